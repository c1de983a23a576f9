"""Image operations that the paper only studies (Fig. 4): rotation, Gaussian noise, Sobel filtering.

They are no part of SimCLR's policy. Table 3 asks whether a representation still shows them.
"""

from __future__ import annotations

import tensorflow as tf

from simclr_tf.augment import images
from simclr_tf.errors import require

NOISE_STDDEV = 0.1  # of the range [0, 1]; the paper names none: plainly visible, content readable
_LARGEST_STEP = 4.0  # what the Sobel kernel [1 2 1] x [-1 0 1] makes of a step from black to white


def rotate(image: tf.Tensor, quarter_turns: int | tf.Tensor) -> tf.Tensor:
    """Turns square images counter-clockwise by a multiple of 90 degrees.

    Args:
        image: (S, S, 3) or (N, S, S, 3), uint8 or floating.
        quarter_turns: Integer scalar, one for all images; taken modulo 4, may be negative.

    Returns:
        The image's shape and type; every pixel is moved, none is changed.

    Raises:
        InputError: The image is known not to be square, or the turns are no integer.
    """
    image = images.check_image(image, batched=True)
    height, width = image.shape[-3:-1]
    square = None in (height, width) or height == width
    require(square, "image", "must be square to be rotated", image.shape)
    turns = tf.convert_to_tensor(quarter_turns)
    require(turns.dtype.is_integer, "quarter_turns", "must be an integer", turns.dtype.name)
    turned = tf.image.rot90(image, tf.cast(turns % 4, tf.int32))  # (..., S, S, 3)
    return tf.ensure_shape(turned, image.shape)


def gaussian_noise(
    image: tf.Tensor, seed: tf.Tensor, stddev: float | tf.Tensor = NOISE_STDDEV
) -> tf.Tensor:
    """Adds independent normal noise to every channel of every pixel; clipped.

    Args:
        image: (H, W, 3) or (N, H, W, 3), uint8 or floating in [0, 1].
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
    image = images.unit_range(images.check_image(image, batched=True))
    # Philox by name, as in `seeds`: the default differs between devices.
    noise = tf.random.stateless_normal(tf.shape(image), seed, stddev=stddev, alg="philox")
    return tf.ensure_shape(images.clip(image + noise), image.shape)


def sobel(image: tf.Tensor) -> tf.Tensor:
    """The strength of edges: every channel's gradient magnitude by the Sobel operator.

    The scale is fixed, so a flat image stays black and edges of different images compare: a step
    from 0 to 1 along an axis gives 1. Beyond the border the image is mirrored.

    Args:
        image: (H, W, 3) or (N, H, W, 3), uint8 or floating in [0, 1]; at least 2 x 2 pixels.

    Returns:
        float32 in [0, 1], the image's shape. Corners of full contrast, up to 1.12, are clipped.

    Raises:
        InputError: The image is known to be smaller than 2 x 2.
    """
    image = images.unit_range(images.check_image(image, batched=True))
    known = [length for length in image.shape[-3:-1] if length is not None]
    require(min(known, default=2) >= 2, "image", "must have at least 2 x 2 pixels", image.shape)
    batch = image if image.shape.rank == 4 else image[tf.newaxis]  # (N, H, W, 3)
    gradients = tf.image.sobel_edges(batch)  # (N, H, W, 3, 2)
    edges = images.clip(tf.norm(gradients, axis=-1) / _LARGEST_STEP)  # (N, H, W, 3)
    return edges if image.shape.rank == 4 else edges[0]
