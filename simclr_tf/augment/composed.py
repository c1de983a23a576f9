"""Views by other means than the paper's policy: what it studies (Fig. 5, Table 1, B.2).

Every function makes all views of one image, (H, W, 3), uint8 or floating in [0, 1], from one seed
per view, (V, 2).
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from simclr_tf.augment import autoaugment, blur, color, crop, images, policy, seeds, studied
from simclr_tf.settings.augment import AugmentConfig

Transform = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # view, seed (2,) -> view
ViewsOfImage = Callable[[tf.Tensor, tf.Tensor], list[tf.Tensor]]  # image, seeds (V, 2)

ADDED_PROBABILITY = 0.2  # of each transformation of the broader policy; the paper names none


def views_of_image(image_size: int, config: AugmentConfig, distorted: bool = True) -> ViewsOfImage:
    """The function that makes the views of an image.

    Args:
        image_size: Side of the views in pixels.
        config: Which views.
        distorted: False gives crops and flips only, as in fine-tuning.

    Returns:
        From an image and seeds (V, 2) to V views, float32 (image_size, image_size, 3) in [0, 1].
    """

    def one(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        if not distorted:
            return policy.finetune_view(image, seed, image_size, config.crop_area_min)
        if config.is_plain:
            return policy.pretrain_view(image, seed, image_size, config)
        if config.augmentation == "autoaugment":
            return autoaugment_view(image, seed, image_size, config)
        return broader_view(image, seed, image_size, config)

    def each(image: tf.Tensor, all_seeds: tf.Tensor) -> list[tf.Tensor]:
        return [one(image, seed) for seed in tf.unstack(all_seeds)]

    def on_one_branch(image: tf.Tensor, all_seeds: tf.Tensor) -> list[tf.Tensor]:
        return one_branch_views(image, all_seeds, image_size, config)

    asymmetric = distorted and config.augmentation == "one_branch"
    return on_one_branch if asymmetric else each


def one_branch_views(
    image: tf.Tensor, all_seeds: tf.Tensor, image_size: int, config: AugmentConfig
) -> list[tf.Tensor]:
    """The asymmetric setting of Fig. 5: `config.transforms` on the first view alone.

    The image is cropped at random and resized once, and both views start from that: the paper
    crops "to the same resolution" because images of ImageNet differ in size, and applies what it
    studies to one branch. Were the crop drawn twice, each composition would hold a random crop, and
    no single transformation could be looked at.
    """
    for_base, for_transforms = seeds.split(all_seeds[0], 2)
    image = images.check_image(image)
    base = crop.random_resized_crop(image, image_size, for_base, config.crop_area_min)
    view = base
    names = config.transform_names
    for name, seed in zip(names, seeds.split(for_transforms, max(len(names), 1)), strict=False):
        view = transform(name, image_size, config)(view, seed)
    return [_finish(view, image_size), _finish(base, image_size)]


def broader_view(
    image: tf.Tensor, seed: tf.Tensor, image_size: int, config: AugmentConfig
) -> tf.Tensor:
    """The paper's policy, then each of `config.transforms` with probability 0.2 (B.2)."""
    names = config.transform_names
    for_policy, for_coins, *for_transforms = seeds.split(seed, 2 + len(names))
    view = policy.pretrain_view(image, for_policy, image_size, config)
    coins = seeds.uniforms(for_coins, len(names))
    for name, coin, one in zip(names, coins, for_transforms, strict=True):
        changed = transform(name, image_size, config)
        view = tf.cond(
            coin < ADDED_PROBABILITY,
            lambda view=view, one=one, changed=changed: changed(view, one),
            lambda view=view: tf.identity(view),
        )
    return _finish(view, image_size)


def autoaugment_view(
    image: tf.Tensor, seed: tf.Tensor, image_size: int, config: AugmentConfig
) -> tf.Tensor:
    """A random crop and flip, then AutoAugment's policy (Table 1)."""
    for_crop, for_policy = seeds.split(seed, 2)
    view = policy.finetune_view(image, for_crop, image_size, config.crop_area_min)
    draws = seeds.uniforms(for_policy, autoaugment.DRAWS)
    return _finish(autoaugment.autoaugment(view, draws), image_size)


def transform(name: str, image_size: int, config: AugmentConfig) -> Transform:
    """A transformation of Fig. 5 or B.2 by its name in `settings.TRANSFORMS`.

    `color` and `blur` are the paper's, with their probabilities; the others are always applied.

    Args:
        name: Of the transformation.
        image_size: Side of the views in pixels.
        config: Strengths of crop, colour distortion and blur.

    Returns:
        From a view, float32 (S, S, 3) in [0, 1], and a seed (2,) to a view.
    """
    kernel = blur.blur_kernel_size(image_size)

    def crop_and_flip(view: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return policy.finetune_view(view, seed, image_size, config.crop_area_min)

    def drawn(function: Callable[..., tf.Tensor], count: int, *more: int) -> Transform:
        return lambda view, seed: function(view, seeds.uniforms(seed, count), *more)

    def distort(view: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return color.color_distortion(view, config.color_jitter_strength, seed, config.brightness)

    def turn(view: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return studied.rotate(view, seeds.below(seeds.uniforms(seed, 1)[0], 4))

    known: dict[str, Transform] = {
        "crop": crop_and_flip,
        "cutout": drawn(studied.cutout, studied.CUTOUT_DRAWS),
        "color": distort,
        "sobel": lambda view, seed: studied.sobel(view),
        "noise": studied.gaussian_noise,
        "blur": lambda view, seed: blur.random_blur(view, seed, kernel),
        "rotate": turn,
        "equalize": lambda view, seed: studied.equalize(view),
        "solarize": lambda view, seed: studied.solarize(view),
        "motion_blur": drawn(studied.motion_blur, studied.MOTION_BLUR_DRAWS, kernel),
    }
    return known[name]


def _finish(view: tf.Tensor, image_size: int) -> tf.Tensor:
    return tf.ensure_shape(images.clip(view), (image_size, image_size, 3))
