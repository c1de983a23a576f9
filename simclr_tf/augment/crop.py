"""Crops and flips (Appendix A of the paper; the evaluation crop of the reference)."""

from __future__ import annotations

import tensorflow as tf

from simclr_tf.augment import images, seeds
from simclr_tf.errors import require

ASPECT_RANGE = (3 / 4, 4 / 3)
FLIP_PROBABILITY = 0.5
CENTER_CROP_PROPORTION = 0.875  # as in the reference

Box = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]


def random_crop_box(
    height: int | tf.Tensor,
    width: int | tf.Tensor,
    seed: tf.Tensor,
    area_range: tuple[float, float] = (0.08, 1.0),
    aspect_range: tuple[float, float] = ASPECT_RANGE,
) -> Box:
    """Draws the box of a random crop.

    The area is drawn first, uniform over the whole range, then the aspect ratio uniform over the
    part of its range in which a box of that area fits. So every draw is valid, without retries or
    a fallback, and the areas are uniform as the paper says. The reference samples the box's height
    uniformly instead (the op it uses does), which favours small areas: a mean of 0.45 of the image
    rather than 0.54 for areas from 0.08.

    Args:
        height: Of the image, at least 1.
        width: Of the image, at least 1.
        seed: (2,).
        area_range: Smallest and largest share of the image's area, within (0, 1].
        aspect_range: Smallest and largest ratio of width to height, relative to the ratio of the
            image (Appendix A); must contain 1, so that there is a box for every area.

    Returns:
        int32 scalars y, x, h, w with h, w >= 1, inside the image. Sides are rounded to whole
        pixels, so the area and ratio may leave their ranges by half a pixel a side.

    Raises:
        InputError: A range is empty or out of bounds.
    """
    _check_ranges(area_range, aspect_range)
    area, aspect, top, left = seeds.uniforms(seed, 4)
    area = seeds.between(area, *area_range)
    aspect = seeds.between(
        aspect, tf.maximum(aspect_range[0], area), tf.minimum(aspect_range[1], 1.0 / area)
    )
    box_height = _side(height, tf.sqrt(area / aspect))
    box_width = _side(width, tf.sqrt(area * aspect))
    y = seeds.below(top, height - box_height + 1)
    x = seeds.below(left, width - box_width + 1)
    return y, x, box_height, box_width


def random_resized_crop(
    image: tf.Tensor, size: int, seed: tf.Tensor, crop_area_min: float = 0.08
) -> tf.Tensor:
    """A random crop, resized bicubically to size x size and clipped (Appendix A).

    Args:
        image: (H, W, 3), uint8 or floating in [0, 1].
        size: Side of the result in pixels.
        seed: (2,).
        crop_area_min: Smallest share of the image's area, in (0, 1].

    Returns:
        float32 (size, size, 3) in [0, 1].
    """
    image = images.check_image(image)
    height, width = images.size_of(image)
    y, x, h, w = random_crop_box(height, width, seed, (crop_area_min, 1.0))
    crop = tf.slice(image, tf.stack([y, x, 0]), tf.stack([h, w, 3]))  # (h, w, 3)
    return images.clip(images.resize_bicubic(crop, size))  # (size, size, 3)


def center_crop(
    image: tf.Tensor, size: int, proportion: float = CENTER_CROP_PROPORTION
) -> tf.Tensor:
    """The central square of the image, resized bicubically.

    Args:
        image: (H, W, 3) or (N, H, W, 3), uint8 or floating in [0, 1].
        size: Side of the result in pixels.
        proportion: Side of the square as a share of the image's shorter side, in (0, 1].

    Returns:
        float32 (..., size, size, 3), not clipped: the kernel overshoots [0, 1] at sharp edges.
    """
    require(0 < proportion <= 1, "proportion", "must lie in (0, 1]", proportion)
    image = images.check_image(image, batched=True)
    height, width = images.size_of(image)
    side = _side(tf.minimum(height, width), proportion)
    y = (height - side + 1) // 2  # the odd pixel goes to the top and left, as in the reference
    x = (width - side + 1) // 2
    return images.resize_bicubic(image[..., y : y + side, x : x + side, :], size)


def random_flip(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors the image left to right with probability 0.5 (Appendix A)."""
    (coin,) = seeds.uniforms(seed, 1)
    flip = coin < FLIP_PROBABILITY
    return tf.cond(flip, lambda: tf.reverse(image, axis=[-2]), lambda: tf.identity(image))


def _side(length: int | tf.Tensor, share: float | tf.Tensor) -> tf.Tensor:
    exact = tf.cast(length, tf.float32) * share
    return tf.clip_by_value(tf.cast(tf.round(exact), tf.int32), 1, length)


def _check_ranges(area: tuple[float, float], aspect: tuple[float, float]) -> None:
    require(0 < area[0] <= area[1] <= 1, "area_range", "must satisfy 0 < low <= high <= 1", area)
    require(
        0 < aspect[0] <= 1 <= aspect[1], "aspect_range", "must satisfy 0 < low <= 1 <= high", aspect
    )
