"""The ways an image becomes a network input.

Inputs are (H, W, C), uint8, uint16 or floating in [0, 1], of any size; the static shape may be
unknown. Crops, flips and views for evaluation take any number of channels C, distorted colours
three.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from simclr_tf.augment import blur, color, crop, images, seeds
from simclr_tf.settings.augment import AugmentConfig

LARGEST_UNCROPPED = 32  # px; evaluation crops above, as in the reference
# Random numbers of a view: for the crop, the flip, the colour distortion and the blur.
FINETUNE_DRAWS = (crop.CROP_DRAWS, crop.FLIP_DRAWS)
PRETRAIN_DRAWS = (*FINETUNE_DRAWS, color.DISTORTION_DRAWS, blur.BLUR_DRAWS)


def pretrain_view(
    image: tf.Tensor, seed: tf.Tensor, image_size: int, config: AugmentConfig
) -> tf.Tensor:
    """A view for contrastive learning: crop, flip, colour distortion, blur (Appendix A).

    Example:
        >>> seed = tf.constant([0, 1], tf.int64)
        >>> image, config = np.zeros([40, 50, 3], np.uint8), simclr_tf.AugmentConfig()
        >>> simclr_tf.pretrain_view(image, seed, 32, config).shape
        TensorShape([32, 32, 3])

    Args:
        image: (H, W, C), uint8 or floating in [0, 1]; C is 3 where colours are distorted.
        seed: (2,), see `seeds.example_seed`.
        image_size: Side of the view in pixels.
        config: Strengths of the policy.

    Returns:
        float32 (image_size, image_size, C) in [0, 1].
    """
    for_crop, for_flip, for_color, for_blur = _draws(seed, PRETRAIN_DRAWS)
    strength = config.color_jitter_strength
    image = images.check_image(image, channels=3 if strength > 0 else None)
    view = crop.resized_crop_from(image, image_size, for_crop, config.crop_area_min)
    view = crop.flip_from(view, for_flip)
    view = color.distortion_from(view, strength, for_color, config.brightness)
    if config.use_blur:
        view = blur.blur_from(view, for_blur, blur.blur_kernel_size(image_size))
    return _finish(view, image_size)


def finetune_view(
    image: tf.Tensor, seed: tf.Tensor, image_size: int, crop_area_min: float = 0.08
) -> tf.Tensor:
    """A training image for a supervised head: crop and flip only (B.5, B.6).

    Args and result as in `pretrain_view`, of any number of channels.

    Example:
        >>> seed = tf.constant([0, 1], tf.int64)
        >>> simclr_tf.finetune_view(np.zeros([40, 50, 3], np.uint8), seed, 32).shape
        TensorShape([32, 32, 3])
    """
    for_crop, for_flip = _draws(seed, FINETUNE_DRAWS)
    image = images.check_image(image, channels=None)
    view = crop.resized_crop_from(image, image_size, for_crop, crop_area_min)
    return _finish(crop.flip_from(view, for_flip), image_size)


def eval_view(image: tf.Tensor, image_size: int) -> tf.Tensor:
    """The image for evaluation: no randomness.

    Above 32 px the central square of 0.875 of the shorter side, resized bicubically, as in the
    reference. At or below 32 px the whole image where it is square, else its central square (the
    shapes of things are kept), resized where the size differs; an image of the right size is
    returned unchanged. The reference never resizes there, so that it fails on other sizes.

    Example:
        >>> simclr_tf.eval_view(np.zeros([40, 50, 3], np.uint8), 32).shape
        TensorShape([32, 32, 3])

    Args:
        image: (H, W, C), uint8, uint16 or floating in [0, 1].
        image_size: Side of the result in pixels.

    Returns:
        float32 (image_size, image_size, C) in [0, 1].
    """
    proportion = eval_proportion(image_size)
    image = images.check_image(image, channels=None)
    if proportion == 1 and image.shape[:2] == (image_size, image_size):
        return _finish(images.unit_range(image), image_size)
    return _finish(crop.center_crop(image, image_size, proportion), image_size)


def eval_proportion(image_size: int) -> float:
    """What `eval_view` shows of the shorter side, as a share of it."""
    return crop.CENTER_CROP_PROPORTION if image_size > LARGEST_UNCROPPED else 1.0


def transfer_view(image: tf.Tensor, image_size: int) -> tf.Tensor:
    """The image for transfer to another data set: no randomness (B.8).

    The shorter side is resized bicubically to `image_size`, whatever the size of the image, then
    the central square is taken: all of a square image is seen, nothing is cropped from it.

    Args:
        image: (H, W, C), uint8, uint16 or floating in [0, 1].
        image_size: Side of the result in pixels; 224 in the paper.

    Returns:
        float32 (image_size, image_size, C) in [0, 1].
    """
    return _finish(crop.resized_center(image, image_size), image_size)


def is_identity(
    view: Callable[[tf.Tensor, int], tf.Tensor], shape: tuple[int, int] | None, image_size: int
) -> bool:
    """Whether a view for evaluation of images of this height and width is the image itself.

    Args:
        view: `eval_view`, `transfer_view`, or another function, of which nothing is known.
        shape: None where the images differ.
        image_size: Side of the view in pixels.
    """
    if shape != (image_size, image_size):
        return False
    return view is transfer_view or (view is eval_view and image_size <= LARGEST_UNCROPPED)


def deal(numbers: tf.Tensor, counts: Sequence[int]) -> list[list[tf.Tensor]]:
    """Deals out the random numbers of views, (..., D), to their operations.

    Args:
        numbers: From `seeds.numbers`.
        counts: `FINETUNE_DRAWS` or `PRETRAIN_DRAWS`; their sum is D.

    Returns:
        Tensors (...), as many for each operation as `counts` says.
    """
    remaining = iter(tf.unstack(numbers, num=sum(counts), axis=-1))
    return [[next(remaining) for _ in range(count)] for count in counts]


def _draws(seed: tf.Tensor, counts: Sequence[int]) -> list[list[tf.Tensor]]:
    """All random numbers of a view from one draw."""
    return deal(seeds.numbers(seed, sum(counts)), counts)


def _finish(view: tf.Tensor, image_size: int) -> tf.Tensor:
    """The view, clipped and of static shape; an unknown number of channels is taken for three."""
    channels = 3 if view.shape.rank is None else view.shape[-1] or 3
    return tf.ensure_shape(images.clip(view), (image_size, image_size, channels))
