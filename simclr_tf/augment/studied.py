"""Image operations that the paper only studies (Fig. 4 and appendix B.2).

They are no part of SimCLR's policy. Table 3 asks whether a representation still shows some of them.
TensorFlow Addons has `equalize` and `cutout` too; the tests compare where it can be installed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

from simclr_tf.augment import images, seeds
from simclr_tf.errors import require

CUTOUT_DRAWS = 2
MOTION_BLUR_DRAWS = 1
NOISE_STDDEV = 0.1  # of the range [0, 1]; the paper names none: plainly visible, content readable
_LARGEST_STEP = 4.0  # what the Sobel kernel [1 2 1] x [-1 0 1] makes of a step from black to white


def rotate(image: tf.Tensor, quarter_turns: int | tf.Tensor) -> tf.Tensor:
    """Turns square images counter-clockwise by a multiple of 90 degrees.

    Args:
        image: (S, S, C) or (N, S, S, C), uint8, uint16 or floating.
        quarter_turns: Integer scalar, one for all images; taken modulo 4, may be negative.

    Returns:
        The image's shape and type; every pixel is moved, none is changed.

    Raises:
        InputError: The image is known not to be square, or the turns are no integer.
    """
    image = images.check_image(image, batched=True, channels=None)
    height, width = image.shape[-3:-1]
    square = None in (height, width) or height == width
    require(square, "image", "must be square to be rotated", image.shape)
    turns = tf.convert_to_tensor(quarter_turns)
    require(turns.dtype.is_integer, "quarter_turns", "must be an integer", turns.dtype.name)
    turned = tf.image.rot90(image, tf.cast(turns % 4, tf.int32))  # (..., S, S, C)
    return tf.ensure_shape(turned, image.shape)


def rotate_by(image: tf.Tensor, degrees: float | tf.Tensor) -> tf.Tensor:
    """Turns an image about its centre; beyond its borders it is mirrored.

    Args:
        image: (H, W, C), uint8, uint16 or floating in [0, 1].
        degrees: Counter-clockwise.

    Returns:
        float32 in [0, 1], the image's shape, interpolated bilinearly.
    """
    image = images.unit_range(images.check_image(image, channels=None))
    lengths = images.lengths(image)
    angle = tf.convert_to_tensor(degrees, tf.float32) * (math.pi / 180)
    sine, cosine = tf.sin(angle), tf.cos(angle)
    y, x = tf.unstack(tf.cast(lengths - 1, tf.float32) / 2, num=2)
    # Pixel (x, y) of the result is that at (a x + b y + c, d x + e y + f) of the image.
    rows = [cosine, -sine, x - cosine * x + sine * y, sine, cosine, y - sine * x - cosine * y]
    turned = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=tf.stack([*rows, 0.0, 0.0])[None],
        output_shape=lengths,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
        fill_value=0.0,
    )[0]
    return tf.ensure_shape(images.clip(turned), image.shape)


def gaussian_noise(
    image: tf.Tensor, seed: tf.Tensor, stddev: float | tf.Tensor = NOISE_STDDEV
) -> tf.Tensor:
    """Adds independent normal noise to every channel of every pixel; clipped.

    Args:
        image: (H, W, C) or (N, H, W, C), uint8, uint16 or floating in [0, 1].
        seed: (2,), see `seeds.example_seed`; one for a batch, whose images get noise of their own.
        stddev: Standard deviation for images in [0, 1], at least 0. The default is ours, between
            the first two of the five severities of ImageNet-C (0.08, 0.12; arXiv 1903.12261).

    Returns:
        float32 in [0, 1], the image's shape.

    Raises:
        InputError: `stddev` is a negative number.
    """
    if not tf.is_tensor(stddev):
        require(stddev >= 0, "stddev", "must be at least 0", stddev)
    image = images.unit_range(images.check_image(image, batched=True, channels=None))
    # Philox by name, as in `seeds`: the default differs between devices.
    noise = tf.random.stateless_normal(tf.shape(image), seed, stddev=stddev, alg="philox")
    return tf.ensure_shape(images.clip(image + noise), image.shape)


def sobel(image: tf.Tensor) -> tf.Tensor:
    """The strength of edges: every channel's gradient magnitude by the Sobel operator.

    The scale is fixed, so a flat image stays black and edges of different images compare: a step
    from 0 to 1 along an axis gives 1. Beyond the border the image is mirrored.

    Args:
        image: (H, W, C) or (N, H, W, C), uint8, uint16 or floating in [0, 1]; at least
            2 x 2 pixels.

    Returns:
        float32 in [0, 1], the image's shape. Corners of full contrast, up to 1.12, are clipped.

    Raises:
        InputError: The image is known to be smaller than 2 x 2.
    """
    image = images.unit_range(images.check_image(image, batched=True, channels=None))
    known = [length for length in image.shape[-3:-1] if length is not None]
    require(min(known, default=2) >= 2, "image", "must have at least 2 x 2 pixels", image.shape)
    batch = image if image.shape.rank == 4 else image[tf.newaxis]  # (N, H, W, C)
    gradients = tf.image.sobel_edges(batch)  # (N, H, W, C, 2)
    edges = images.clip(tf.norm(gradients, axis=-1) / _LARGEST_STEP)  # (N, H, W, C)
    return edges if image.shape.rank == 4 else edges[0]


def cutout(image: tf.Tensor, draws: Sequence[tf.Tensor], side: float = 0.5) -> tf.Tensor:
    """Blackens a square around a random point, half as wide as the image (Fig. 4).

    The paper gives no size: this is that of DeVries and Taylor (arXiv 1708.04552) on CIFAR-10,
    16 of 32 px. Its centre is uniform over the image, so that the square may reach beyond it.

    Args:
        image: (H, W, C), uint8, uint16 or floating in [0, 1].
        draws: `CUTOUT_DRAWS` numbers uniform in [0, 1).
        side: Of the square, as a share of the image's shorter side, in (0, 1]; rounded down to an
            even number of pixels.

    Returns:
        float32 in [0, 1], the image's shape.
    """
    image = images.unit_range(images.check_image(image, channels=None))
    lengths = images.lengths(image)
    inside = []
    for length, draw in zip(tf.unstack(lengths, num=2), draws, strict=True):
        half = tf.cast(tf.cast(tf.reduce_min(lengths), tf.float32) * (side / 2), tf.int32)
        first = seeds.below(draw, length) - half
        at = tf.range(length)
        inside.append((at >= first) & (at < first + 2 * half))
    hole = inside[0][:, None] & inside[1][None, :]  # (H, W)
    return tf.where(hole[..., None], tf.zeros_like(image), image)


def solarize(image: tf.Tensor, threshold: float | tf.Tensor = 0.5) -> tf.Tensor:
    """Inverts the values at and above a threshold (B.2).

    Args:
        image: (H, W, C) or (N, H, W, C), uint8, uint16 or floating in [0, 1].
        threshold: In [0, 1]; the default is that of the Python Imaging Library.

    Returns:
        float32 in [0, 1], the image's shape.
    """
    image = images.unit_range(images.check_image(image, batched=True, channels=None))
    return tf.where(image < threshold, image, 1.0 - image)


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Evens out the histogram of every channel (B.2), as the Python Imaging Library does.

    Args:
        image: (H, W, C), uint8, uint16 or floating in [0, 1]; rounded to 256 levels.

    Returns:
        float32 in [0, 1] on those levels, the image's shape. A channel of a single level stays.
    """
    image = images.check_image(image, channels=None)
    levels = images.to_levels(image)  # (H, W, C)
    channels = tf.reshape(tf.transpose(levels, [2, 0, 1]), [tf.shape(image)[2], -1])  # (C, HW)
    counts = tf.math.bincount(channels, minlength=256, maxlength=256, axis=-1)  # (C, 256)
    occupied = tf.where(counts > 0, tf.range(256), -1)
    last = tf.gather(counts, tf.reduce_max(occupied, axis=-1), batch_dims=1)  # (C,)
    step = ((tf.reduce_sum(counts, axis=-1) - last) // 255)[:, None]  # (C, 1)
    below = tf.cumsum(counts, axis=-1, exclusive=True)  # (C, 256)
    table = tf.clip_by_value((below + step // 2) // tf.maximum(step, 1), 0, 255)
    table = tf.where(step > 0, table, tf.range(256))
    even = tf.transpose(tf.gather(table, channels, batch_dims=1))  # (HW, C)
    return tf.ensure_shape(images.from_levels(tf.reshape(even, tf.shape(image))), image.shape)


def motion_blur(image: tf.Tensor, draws: Sequence[tf.Tensor], length: int) -> tf.Tensor:
    """Averages along a line of random direction (B.2); beyond the border the image is mirrored.

    The paper gives no length: the caller's is that of the blur, 10 % of the image.

    Args:
        image: (H, W, C), uint8, uint16 or floating in [0, 1].
        draws: `MOTION_BLUR_DRAWS` numbers uniform in [0, 1).
        length: Of the line in pixels; even ones are raised by one, 1 changes nothing.

    Returns:
        float32 in [0, 1], the image's shape.
    """
    image = images.unit_range(images.check_image(image, channels=None))
    radius = length // 2
    if radius == 0:
        return image
    angle = seeds.between(draws[0], 0.0, math.pi)
    along = tf.range(-radius, radius + 1, dtype=tf.float32)  # (K,), points of the line
    taps = tf.range(-radius, radius + 1, dtype=tf.float32)  # (K,), pixels of the kernel
    rows, columns = (
        tf.maximum(1.0 - tf.abs(taps[:, None] - along * direction), 0.0)  # (K pixels, K points)
        for direction in (tf.sin(angle), tf.cos(angle))
    )
    kernel = tf.einsum("ip,jp->ij", rows, columns)  # bilinear shares of the points
    kernel /= tf.reduce_sum(kernel)
    padded = tf.pad(image, [[radius, radius], [radius, radius], [0, 0]], mode="SYMMETRIC")
    channels = image.shape[-1]
    kernels = tf.tile(kernel[:, :, None, None], [1, 1, channels, 1])  # (K, K, C, 1)
    blurred = tf.nn.depthwise_conv2d(padded[None], kernels, [1, 1, 1, 1], "VALID")[0]
    return images.clip(tf.ensure_shape(blurred, image.shape))
