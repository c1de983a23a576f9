"""Crops and flips (Appendix A of the paper; the evaluation crop of the reference)."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from simclr_tf.augment import images, seeds
from simclr_tf.errors import require

ASPECT_RANGE = (3 / 4, 4 / 3)
FLIP_PROBABILITY = 0.5
CENTER_CROP_PROPORTION = 0.875  # as in the reference
CROP_DRAWS = 4
FLIP_DRAWS = 1

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
    lengths = tf.stack([height, width])  # (2,)
    draws = seeds.uniforms(seed, CROP_DRAWS)
    corner, sides = draw_boxes(lengths, draws, area_range, aspect_range)
    return corner[0], corner[1], sides[0], sides[1]


def random_resized_crop(
    image: tf.Tensor, size: int, seed: tf.Tensor, crop_area_min: float = 0.08
) -> tf.Tensor:
    """A random crop, resized bicubically to size x size and clipped (Appendix A).

    Args:
        image: (H, W, C), uint8, uint16 or floating in [0, 1].
        size: Side of the result in pixels.
        seed: (2,).
        crop_area_min: Smallest share of the image's area, in (0, 1].

    Returns:
        float32 (size, size, C) in [0, 1].
    """
    return resized_crop_from(image, size, seeds.uniforms(seed, CROP_DRAWS), crop_area_min)


def resized_crop_from(
    image: tf.Tensor,
    size: int,
    draws: Sequence[tf.Tensor],
    crop_area_min: float,
    crop_area_max: float = 1.0,
    aspect_range: tuple[float, float] = ASPECT_RANGE,
) -> tf.Tensor:
    """`random_resized_crop` with its `CROP_DRAWS` numbers uniform in [0, 1) given."""
    image = images.check_image(image, channels=None)
    lengths = images.lengths(image)  # (2,)
    corner, sides = draw_boxes(lengths, draws, (crop_area_min, crop_area_max), aspect_range)
    crop = part_of(image, corner, sides)
    return images.clip(images.resize_bicubic(crop, size))  # (size, size, C)


def resized_boxes(batch: tf.Tensor, corners: tf.Tensor, sides: tf.Tensor, size: int) -> tf.Tensor:
    """A box of every image of a batch, resized as by `images.resize_bicubic`, as matrix products.

    Every output row is a sum of the image's rows, and so for the columns.

    Args:
        batch: float (N, H, W, C) of static H and W.
        corners: First row and column of the boxes, int32 (N, 2).
        sides: Their heights and widths, int32 (N, 2), at least 1 and inside the image.
        size: Side S of the result in pixels.

    Returns:
        float32 (N, S, S, C), not clipped.
    """
    height, width = batch.shape[1:3]
    rows = _resizing_matrices(corners[:, 0], sides[:, 0], height, size)  # (N, S, H)
    columns = _resizing_matrices(corners[:, 1], sides[:, 1], width, size)  # (N, S, W)
    by_rows = tf.einsum("nyh,nhwc->nywc", rows, batch)  # (N, S, W, C)
    return tf.einsum("nxw,nywc->nyxc", columns, by_rows)


def _resizing_matrices(first: tf.Tensor, number: tf.Tensor, length: int, size: int) -> tf.Tensor:
    """(N, size, length): bicubic sums of `number` (N,) pixels of `length`, from `first` (N,) on.

    The kernel is Keys's with a = -0.5; beyond the box it is cut off and what is left sums to 1.
    """
    scale = tf.cast(number, tf.float32) / size
    sources = (tf.range(size, dtype=tf.float32) + 0.5) * scale[:, None] - 0.5  # (N, size)
    pixels = tf.range(length) - first[:, None]  # (N, length), counted from the box
    t = tf.abs(sources[:, :, None] - tf.cast(pixels, tf.float32)[:, None])  # (N, size, length)
    near = (1.5 * t - 2.5) * t * t + 1
    far = ((-0.5 * t + 2.5) * t - 4) * t + 2
    weights = tf.where(t <= 1, near, tf.where(t < 2, far, tf.zeros_like(t)))
    inside = (pixels >= 0) & (pixels < number[:, None])  # (N, length)
    weights *= tf.cast(inside, tf.float32)[:, None]
    return weights / tf.reduce_sum(weights, axis=-1, keepdims=True)


def center_crop(
    image: tf.Tensor, size: int, proportion: float = CENTER_CROP_PROPORTION
) -> tf.Tensor:
    """The central square of the image, resized bicubically.

    Args:
        image: (H, W, C) or (N, H, W, C), uint8, uint16 or floating in [0, 1].
        size: Side of the result in pixels.
        proportion: Side of the square as a share of the image's shorter side, in (0, 1].

    Returns:
        float32 (..., size, size, C), not clipped: the kernel overshoots [0, 1] at sharp edges.
    """
    require(0 < proportion <= 1, "proportion", "must lie in (0, 1]", proportion)
    image = images.check_image(image, batched=True, channels=None)
    lengths = images.lengths(image)  # (2,)
    (y, x), (side, _) = (tf.unstack(part) for part in center_box(lengths, proportion))
    return images.resize_bicubic(image[..., y : y + side, x : x + side, :], size)


def center_box(lengths: tf.Tensor, proportion: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Corner and sides of the central square, int32 (2,) each, in an image of `lengths` (2,)."""
    side = _round_sides(tf.reduce_min(lengths), proportion)
    corner = (lengths - side + 1) // 2  # the odd pixel goes first, as in the reference
    return corner, tf.stack([side, side])


def part_of(image: tf.Tensor, corner: tf.Tensor, sides: tf.Tensor) -> tf.Tensor:
    """The box of an image (H, W, C) with this corner and these sides, int32 (2,) each."""
    all_channels = image.shape[-1] or -1
    return tf.slice(image, tf.pad(corner, [[0, 1]]), tf.concat([sides, [all_channels]], 0))


def resize_averaged(image: tf.Tensor, corner: tf.Tensor, sides: tf.Tensor, size: int) -> tf.Tensor:
    """A box of an image, resized bicubically with a kernel as wide as the pixels of the result.

    Every pixel of the box counts, so that nothing between the samples is lost or aliased.

    Args:
        image: (H, W, C), any number type, C static.
        corner: First row and column of the box, float32 (2,), also between pixels.
        sides: Its height and width, float32 (2,), inside the image.
        size: Side of the result in pixels.

    Returns:
        float32 (size, size, C), in the image's range but for what the kernel overshoots at edges.
    """
    first = tf.floor(corner)
    end = tf.math.ceil(corner + sides - 1e-3)
    shape = tf.cast(tf.minimum(end, tf.cast(tf.shape(image)[:2], tf.float32)) - first, tf.int32)
    start = tf.cast(first, tf.int32)
    part = part_of(image, start, shape)
    scale = size / sides
    resized = tf.raw_ops.ScaleAndTranslate(
        images=part[None],
        size=[size, size],
        scale=scale,
        translation=(first - corner) * scale,
        kernel_type="keyscubic",
        antialias=True,
    )
    return tf.ensure_shape(resized[0], (size, size, image.shape[-1]))


def resized_center(image: tf.Tensor, size: int) -> tf.Tensor:
    """The image with its shorter side resized bicubically, then its central square (B.8).

    The longer side is resized in proportion, rounded to whole pixels.

    Args:
        image: (H, W, C), uint8, uint16 or floating in [0, 1].
        size: Length of the shorter side, and side of the square, in pixels.

    Returns:
        float32 (size, size, C), not clipped, see `center_crop`.
    """
    image = images.check_image(image, channels=None)
    lengths = images.lengths(image)  # (2,)
    exact = tf.cast(lengths, tf.float32) * (size / tf.cast(tf.reduce_min(lengths), tf.float32))
    resized = tf.image.resize(
        images.unit_range(image), tf.cast(tf.round(exact), tf.int32), method="bicubic"
    )  # (H', W', C), the shorter of H' and W' is size
    y, x = tf.unstack((tf.shape(resized)[:2] - size + 1) // 2)  # as in `center_crop`
    return resized[y : y + size, x : x + size]


def random_flip(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors the image left to right with probability 0.5 (Appendix A)."""
    return flip_from(image, seeds.uniforms(seed, FLIP_DRAWS))


def flip_from(image: tf.Tensor, draws: Sequence[tf.Tensor], axis: int = -2) -> tf.Tensor:
    """`random_flip` with its `FLIP_DRAWS` numbers uniform in [0, 1) given.

    Args:
        image: (..., H, W, C).
        draws: The numbers.
        axis: -2 mirrors left to right, -3 top to bottom.
    """
    (coin,) = draws
    return tf.cond(
        coin < FLIP_PROBABILITY,
        lambda: tf.reverse(image, axis=[axis]),
        lambda: tf.identity(image),
    )


def draw_boxes(
    lengths: tf.Tensor,
    draws: Sequence[tf.Tensor],
    area_range: tuple[float, float],
    aspect_range: tuple[float, float] = ASPECT_RANGE,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Corners and sides of boxes as in `random_crop_box`, rows first.

    Args:
        lengths: Height and width of the image, int32 (2,).
        draws: `CROP_DRAWS` numbers uniform in [0, 1) per box, of any one shape (...).
        area_range: See `random_crop_box`.
        aspect_range: See `random_crop_box`.

    Returns:
        int32 (..., 2) each.
    """
    _check_ranges(area_range, aspect_range)
    area, aspect, top, left = draws
    area = seeds.between(area, *area_range)
    aspect = seeds.between(
        aspect, tf.maximum(aspect_range[0], area), tf.minimum(aspect_range[1], 1.0 / area)
    )
    sides = _round_sides(lengths, tf.sqrt(tf.stack([area / aspect, area * aspect], -1)))
    corner = seeds.below(tf.stack([top, left], -1), lengths - sides + 1)
    return corner, sides  # (..., 2)


def _round_sides(lengths: tf.Tensor, shares: float | tf.Tensor) -> tf.Tensor:
    exact = tf.cast(lengths, tf.float32) * shares
    return tf.clip_by_value(tf.cast(tf.round(exact), tf.int32), 1, lengths)


def _check_ranges(area: tuple[float, float], aspect: tuple[float, float]) -> None:
    require(0 < area[0] <= area[1] <= 1, "area_range", "must satisfy 0 < low <= high <= 1", area)
    require(
        0 < aspect[0] <= 1 <= aspect[1], "aspect_range", "must satisfy 0 < low <= 1 <= high", aspect
    )
