"""Operations to make views of images with, as lists in the order in which they are applied.

    from simclr_tf import views

    steps = [views.crop((0.2, 1)), views.flip(vertical=True), views.rot90(), my_function]
    batches = simclr_tf.view_pairs(images, steps, image_size=32, batch_size=64)

Any function of an image, or of an image and a seed, is an operation too (`own`). A `Views` of two
lists makes the two views of an image in different ways.
"""

from __future__ import annotations

from simclr_tf.settings.augment import as_policy
from simclr_tf.settings.operations import (
    Operation,
    blur,
    color,
    crop,
    cutout,
    equalize,
    flip,
    grayscale,
    motion_blur,
    noise,
    one_of,
    own,
    paper,
    random_apply,
    rot90,
    rotate,
    sobel,
    solarize,
    tone,
)
from simclr_tf.settings.view_text import Views, parse_views

__all__ = [
    "Operation",
    "Views",
    "as_policy",
    "blur",
    "color",
    "crop",
    "cutout",
    "equalize",
    "flip",
    "grayscale",
    "motion_blur",
    "noise",
    "one_of",
    "own",
    "paper",
    "parse_views",
    "random_apply",
    "rot90",
    "rotate",
    "sobel",
    "solarize",
    "tone",
]
