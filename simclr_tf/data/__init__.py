"""Images from TFDS, from folders and from two embedded sets, to batches of views."""
