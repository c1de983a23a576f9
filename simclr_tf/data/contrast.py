"""Notices images that show nothing: all black, of one colour, or all the same."""

from __future__ import annotations

import numpy as np

from simclr_tf.augment import policy
from simclr_tf.data import decode, reduced
from simclr_tf.data.sources import Source
from simclr_tf.data.spread import spread

_SAMPLE, _SIDE = 16, 32  # images, and their side in pixels
_PLAIN = 2 / 255  # a range of values within an image that nobody sees
_DARK = 0.05
_SAME = 1 / 255


def note(source: Source, split: str) -> str | None:
    """What is wrong with a few images from all over a split, None where they show something.

    Args:
        source: The images.
        split: A split expression.

    Raises:
        InputError: An image can't be decoded.
    """
    few = spread(source, split, _SAMPLE)
    with decode.naming_bad_image(source, split):
        images = np.stack([
            reduced.eval_image(one["image"], policy.eval_view, _SIDE, source.reading)
            for one in few.examples(split).take(_SAMPLE)
        ])  # (N, 32, 32, C) in [0, 1]  # fmt: skip
    count = len(images)
    looked = "the only image is" if count == 1 else f"all {count} images that were looked at are"
    flat = images.reshape(count, -1, images.shape[-1])
    if np.ptp(flat, axis=1).max() <= _PLAIN:
        if images.max() <= _PLAIN:
            return (f"{looked} black: if their values are small, --value_range=0:HIGH tells "
                    "what is white")  # fmt: skip
        return f"{looked} of one colour: there is nothing to learn from"
    if images.max() <= _DARK:
        return (f"{looked} almost black, with values up to {images.max():.3f} of 1: "
                "--value_range=0:HIGH tells what is white")  # fmt: skip
    if count > 1 and np.abs(images - images[0]).max() <= _SAME:
        return f"{looked} the same: there is nothing to tell apart"
    return None
