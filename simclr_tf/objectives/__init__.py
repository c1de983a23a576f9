"""What is minimised, and what is measured beside it: NT-Xent, supervised loss, metrics."""
