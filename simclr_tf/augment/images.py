"""What every augmentation expects of its input."""

from __future__ import annotations

import tensorflow as tf

from simclr_tf.errors import require

_LARGEST = {tf.uint8: 255.0, tf.uint16: 65535.0}


def check_image(image: tf.Tensor, batched: bool = False, channels: int | None = 3) -> tf.Tensor:
    """An image as a tensor, after the checks that need no pixel values.

    Args:
        image: (H, W, C), or with `batched` also (N, H, W, C); uint8, uint16, or floating in [0, 1].
            The range of a floating image is the caller's promise: checking it would cost a pass.
        batched: Whether a batch is accepted. An image of unknown rank is taken for a single one.
        channels: What C must be; None: any number.

    Raises:
        InputError: The rank, the channels or the type are not those of an image.
    """
    image = tf.convert_to_tensor(image)
    ranks = (None, 3, 4) if batched else (None, 3)
    last = "C" if channels is None else channels
    layout = f"(H, W, {last}) or (N, H, W, {last})" if batched else f"(H, W, {last})"
    shape = image.shape
    require(shape.rank in ranks, "image", f"must have the shape {layout}", shape)
    if shape.rank is not None:
        fits = channels is None or shape[-1] in (None, channels)
        require(fits, "image", f"must have the shape {layout}", shape)
    known = image.dtype in _LARGEST or image.dtype.is_floating
    require(known, "image", "must be uint8, uint16 or floating in [0, 1]", image.dtype.name)
    if shape.rank is None:
        return tf.ensure_shape(image, (None, None, channels))
    if channels is not None and shape[-1] is None:
        return tf.ensure_shape(image, [*[None] * (shape.rank - 1), channels])
    return image


def unit_range(image: tf.Tensor) -> tf.Tensor:
    """The image as float32 in [0, 1]: integers are divided by their largest, others are kept."""
    if image.dtype in _LARGEST:
        return tf.cast(image, tf.float32) * (1.0 / _LARGEST[image.dtype])
    return tf.cast(image, tf.float32)


def to_levels(image: tf.Tensor) -> tf.Tensor:
    """The image in 256 levels, int32: uint8 as it is, other values rounded and limited."""
    if image.dtype == tf.uint8:
        return tf.cast(image, tf.int32)
    levels = tf.round(unit_range(image) * 255.0)
    return tf.cast(tf.clip_by_value(levels, 0.0, 255.0), tf.int32)


def from_levels(levels: tf.Tensor) -> tf.Tensor:
    """From 256 levels, any type, to float32 in [0, 1]."""
    return tf.cast(levels, tf.float32) * (1.0 / 255.0)


def clip(image: tf.Tensor) -> tf.Tensor:
    """The image limited to [0, 1]."""
    return tf.clip_by_value(image, 0.0, 1.0)


def lengths(image: tf.Tensor) -> tf.Tensor:
    """Height and width of an image of known rank, int32 (2,); a constant where they are static."""
    static = image.shape[-3:-1]
    if static.is_fully_defined():
        return tf.constant(static.as_list(), tf.int32)
    return tf.shape(image)[-3:-1]


def resize_bicubic(image: tf.Tensor, size: int) -> tf.Tensor:
    """The image resized to size x size with a bicubic kernel, not antialiased (the reference).

    Args:
        image: (..., H, W, C), uint8, uint16 or floating in [0, 1].
        size: Side of the result in pixels.

    Returns:
        float32 (..., size, size, C) around [0, 1]: a bicubic kernel overshoots at edges.
    """
    return tf.image.resize(unit_range(image), (size, size), method="bicubic")
