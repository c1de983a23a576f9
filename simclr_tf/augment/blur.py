"""Gaussian blur (Appendix A of the paper)."""

from __future__ import annotations

import tensorflow as tf

from simclr_tf.augment import images, seeds
from simclr_tf.errors import require

BLUR_PROBABILITY = 0.5
SIGMA_RANGE = (0.1, 2.0)


def blur_kernel_size(image_size: int) -> int:
    """The paper's kernel, 10 % of the image; 1 (no blur) below 20 px."""
    return max(image_size // 10, 1)


def gaussian_blur(image: tf.Tensor, sigma: float | tf.Tensor, kernel_size: int) -> tf.Tensor:
    """Blurs with a separable Gaussian.

    Beyond the border the image counts as black, as in the reference, so borders darken.

    Args:
        image: float32 (H, W, 3) or (N, H, W, 3).
        sigma: Standard deviation in pixels, above 0; one for all images.
        kernel_size: Taps of the kernel, at least 1; an even number is raised by one, as in the
            reference.

    Returns:
        float32, the image's shape.

    Raises:
        InputError: `kernel_size` is below 1.
    """
    require(kernel_size >= 1, "kernel_size", "must be at least 1", kernel_size)
    image = images.check_image(image, batched=True)
    taps = _gaussian_taps(sigma, kernel_size // 2)  # (2R + 1,)
    batch = image if image.shape.rank == 4 else image[tf.newaxis]  # (N, H, W, 3)
    blurred = _convolve(_convolve(batch, taps, axis=1), taps, axis=2)  # (N, H, W, 3)
    return blurred if image.shape.rank == 4 else blurred[0]


def random_blur(
    image: tf.Tensor, seed: tf.Tensor, kernel_size: int, probability: float = BLUR_PROBABILITY
) -> tf.Tensor:
    """Blurs with the given probability and a sigma of the image's own, uniform in [0.1, 2.0].

    The reference draws one sigma for a whole batch; Appendix A reads as one per image.
    """
    coin, sigma = seeds.uniforms(seed, 2)
    sigma = seeds.between(sigma, *SIGMA_RANGE)
    return tf.cond(
        coin < probability,
        lambda: gaussian_blur(image, sigma, kernel_size),
        lambda: tf.identity(image),
    )


def _gaussian_taps(sigma: float | tf.Tensor, radius: int) -> tf.Tensor:
    positions = tf.range(-radius, radius + 1, dtype=tf.float32)  # (2R + 1,)
    taps = tf.exp(-tf.square(positions) / (2.0 * tf.square(sigma)))
    return taps / tf.reduce_sum(taps)


def _convolve(batch: tf.Tensor, taps: tf.Tensor, axis: int) -> tf.Tensor:
    shape = (-1, 1, 1, 1) if axis == 1 else (1, -1, 1, 1)
    kernel = tf.tile(tf.reshape(taps, shape), (1, 1, 3, 1))  # (K, 1, 3, 1) or (1, K, 3, 1)
    return tf.nn.depthwise_conv2d(batch, kernel, strides=(1, 1, 1, 1), padding="SAME")
