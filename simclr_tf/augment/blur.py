"""Gaussian blur (Appendix A of the paper)."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from simclr_tf.augment import images, seeds
from simclr_tf.errors import require

BLUR_PROBABILITY = 0.5
SIGMA_RANGE = (0.1, 2.0)  # px
BLUR_DRAWS = 2


def blur_kernel_size(image_size: int) -> int:
    """The paper's kernel, 10 % of the image; 1 (no blur) below 20 px."""
    return max(image_size // 10, 1)


def gaussian_blur(image: tf.Tensor, sigma: float | tf.Tensor, kernel_size: int) -> tf.Tensor:
    """Blurs with a separable Gaussian.

    Beyond the border the image counts as black, as in the reference, so borders darken.

    Args:
        image: float32 (H, W, C) or (N, H, W, C), C known.
        sigma: Standard deviation in pixels, above 0; one for all images.
        kernel_size: Taps of the kernel, at least 1; an even number is raised by one, as in the
            reference.

    Returns:
        float32, the image's shape.

    Raises:
        InputError: `kernel_size` is below 1.
    """
    require(kernel_size >= 1, "kernel_size", "must be at least 1", kernel_size)
    image = images.check_image(image, batched=True, channels=None)
    channels = image.shape[-1]
    taps = gaussian_taps(sigma, kernel_size // 2)  # (K,)
    column = tf.tile(taps[:, None, None, None], (1, 1, channels, 1))  # (K, 1, C, 1)
    row = tf.reshape(column, (1, -1, channels, 1))  # (1, K, C, 1)
    batch = image if image.shape.rank == 4 else image[tf.newaxis]  # (N, H, W, C)
    for kernel in (column, row):
        batch = tf.nn.depthwise_conv2d(batch, kernel, strides=(1, 1, 1, 1), padding="SAME")
    return batch if image.shape.rank == 4 else batch[0]


def random_blur(
    image: tf.Tensor, seed: tf.Tensor, kernel_size: int, probability: float = BLUR_PROBABILITY
) -> tf.Tensor:
    """Blurs with the given probability and a sigma of the image's own, uniform in [0.1, 2.0].

    The reference draws one sigma for a whole batch; Appendix A reads as one per image.
    """
    return blur_from(image, seeds.uniforms(seed, BLUR_DRAWS), kernel_size, probability)


def blur_from(
    image: tf.Tensor,
    draws: Sequence[tf.Tensor],
    kernel_size: int,
    probability: float = BLUR_PROBABILITY,
    sigma_range: tuple[float, float] = SIGMA_RANGE,
) -> tf.Tensor:
    """`random_blur` with its `BLUR_DRAWS` numbers uniform in [0, 1) given."""
    coin, sigma = draws
    sigma = seeds.between(sigma, *sigma_range)
    return tf.cond(
        coin < probability,
        lambda: gaussian_blur(image, sigma, kernel_size),
        lambda: tf.identity(image),
    )


def gaussian_taps(sigma: float | tf.Tensor, radius: int) -> tf.Tensor:
    """The taps of Gaussians, float32 (..., 2 * radius + 1) for `sigma` (...); each sums to 1."""
    positions = tf.range(-radius, radius + 1, dtype=tf.float32)  # (K,)
    sigma = tf.convert_to_tensor(sigma, tf.float32)[..., tf.newaxis]
    taps = tf.exp(tf.square(positions) * (-0.5 / tf.square(sigma)))  # (..., K)
    return taps / tf.reduce_sum(taps, axis=-1, keepdims=True)
