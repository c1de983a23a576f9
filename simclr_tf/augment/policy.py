"""The three ways an image becomes a network input.

Inputs are (H, W, 3), uint8 or floating in [0, 1], of any size; the static shape may be unknown.
"""

from __future__ import annotations

import tensorflow as tf

from simclr_tf.augment import blur, color, crop, images, seeds
from simclr_tf.config import AugmentConfig

LARGEST_UNCROPPED = 32  # px; evaluation crops above, as in the reference


def pretrain_view(
    image: tf.Tensor, seed: tf.Tensor, image_size: int, config: AugmentConfig
) -> tf.Tensor:
    """A view for contrastive learning: crop, flip, colour distortion, blur (Appendix A).

    Args:
        image: (H, W, 3), uint8 or floating in [0, 1].
        seed: (2,), see `seeds.example_seed`.
        image_size: Side of the view in pixels.
        config: Strengths of the policy.

    Returns:
        float32 (image_size, image_size, 3) in [0, 1].
    """
    crop_seed, flip_seed, color_seed, blur_seed = seeds.split(seed, 4)
    view = crop.random_resized_crop(image, image_size, crop_seed, config.crop_area_min)
    view = crop.random_flip(view, flip_seed)
    view = color.color_distortion(view, config.color_jitter_strength, color_seed, config.brightness)
    if config.use_blur:
        view = blur.random_blur(view, blur_seed, blur.blur_kernel_size(image_size))
    return _finish(view, image_size)


def finetune_view(
    image: tf.Tensor, seed: tf.Tensor, image_size: int, crop_area_min: float = 0.08
) -> tf.Tensor:
    """A training image for a supervised head: crop and flip only (B.5, B.6).

    Args and result as in `pretrain_view`.
    """
    crop_seed, flip_seed = seeds.split(seed, 2)
    view = crop.random_resized_crop(image, image_size, crop_seed, crop_area_min)
    return _finish(crop.random_flip(view, flip_seed), image_size)


def eval_view(image: tf.Tensor, image_size: int) -> tf.Tensor:
    """The image for evaluation: no randomness.

    Above 32 px the central square of 0.875 of the shorter side, resized bicubically, as in the
    reference. At or below 32 px the whole image where it is square, else its central square (the
    shapes of things are kept), resized where the size differs; an image of the right size is
    returned unchanged. The reference never resizes there, so that it fails on other sizes.

    Args:
        image: (H, W, 3), uint8 or floating in [0, 1].
        image_size: Side of the result in pixels.

    Returns:
        float32 (image_size, image_size, 3) in [0, 1].
    """
    proportion = crop.CENTER_CROP_PROPORTION if image_size > LARGEST_UNCROPPED else 1.0
    image = images.check_image(image)
    if proportion == 1 and image.shape[:2] == (image_size, image_size):
        return _finish(images.unit_range(image), image_size)
    return _finish(crop.center_crop(image, image_size, proportion), image_size)


def _finish(view: tf.Tensor, image_size: int) -> tf.Tensor:
    return tf.ensure_shape(images.clip(view), (image_size, image_size, 3))
