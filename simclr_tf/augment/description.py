"""What the random numbers of a view decided, for readers: the parameters of its augmentations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from simclr_tf.augment import autoaugment, blur, color, composed, crop, policy, seeds
from simclr_tf.settings.augment import AugmentConfig
from simclr_tf.settings.view_text import Views

_TONES = ("brightness", "contrast", "saturation", "hue")


class Applied(NamedTuple):
    """One operation that a view went through.

    Attributes:
        name: `crop`, `flip`, `brightness`, `contrast`, `saturation`, `hue`, `gray`, `blur`, or
            another of `settings.TRANSFORMS` and of AutoAugment's operations; of the user's own
            views the place and the whole text of the operation.
        amounts: Of a crop its first row and column, height, width, and share of the image's area;
            a factor of contrast, saturation and multiplicative brightness; a shift of additive
            brightness; a turn of the hue in shares of the circle; sigma of the blur in pixels;
            AutoAugment's strength, where there is one. Empty for the others.
    """

    name: str
    amounts: tuple[float, ...] = ()


def describe_views(
    all_seeds: tf.Tensor,
    lengths: tuple[int, int],
    image_size: int,
    config: AugmentConfig,
    distorted: bool = True,
) -> list[list[Applied]]:
    """The operations of the views that `composed.views_of_image` makes, in their order.

    Args:
        all_seeds: int64 (V, 2), as the views get them.
        lengths: Height and width of the image.
        image_size: Side of the views in pixels.
        config: Which views.
        distorted: False for crops and flips only.
    """
    each = tf.unstack(all_seeds)
    if distorted and config.augmentation == "one_branch":
        return _one_branch(each[0], lengths, image_size, config)
    if not distorted:
        return [_crop_and_flip(seed, lengths, config) for seed in each]
    if config.augmentation == "autoaugment":
        return [_autoaugment(seed, lengths, config) for seed in each]
    if config.is_plain:
        return [_policy(seed, lengths, image_size, config) for seed in each]
    return [_broader(seed, lengths, image_size, config) for seed in each]


def describe_own(views: Views, count: int) -> list[list[Applied]]:
    """The operations of the user's own views in their order: `1. crop(0.2,1)`, `2. flip`.

    They are those of the list: what chance decided is not told.
    """
    return [
        [Applied(f"{place}. {step.text}") for place, step in enumerate(views.of_view(i), 1)]
        for i in range(count)
    ]


def in_words(applied: Applied, brightness: str = "multiplicative") -> str:
    """An operation for a reader: "crop 34 %: 18 × 20 px at 3, 5", "contrast × 1.31".

    Args:
        applied: The operation.
        brightness: As in the settings.
    """
    name, amounts = applied
    if name == "crop" and amounts:
        row, column, height, width, share = amounts
        return f"crop {100 * share:.0f} %: {width:.0f} × {height:.0f} px at {column:.0f}, {row:.0f}"
    if name == "hue":
        return f"hue turned by {360 * amounts[0]:+.0f}°"
    if name == "brightness" and brightness == "additive":
        return f"brightness {amounts[0]:+.2f}"
    if name in _TONES:
        return f"{name} × {amounts[0]:.2f}"
    if name == "blur" and amounts:
        return f"blur, σ = {amounts[0]:.2f} px"
    known = {"flip": "mirrored", "gray": "gray", "motion_blur": "motion blur"}
    return known.get(name, name) + (f" {amounts[0]:g}" if amounts else "")


def _policy(
    seed: tf.Tensor, lengths: tuple[int, int], image_size: int, config: AugmentConfig
) -> list[Applied]:
    numbers = seeds.numbers(seed, sum(policy.PRETRAIN_DRAWS))
    for_crop, (flip,), for_color, for_blur = policy.deal(numbers, policy.PRETRAIN_DRAWS)
    applied = [_crop(for_crop, lengths, config), *_flip(flip), *_distortion(for_color, config)]
    return applied + (_blur(for_blur, image_size) if config.use_blur else [])


def _crop_and_flip(
    seed: tf.Tensor, lengths: tuple[int, int], config: AugmentConfig
) -> list[Applied]:
    numbers = seeds.numbers(seed, sum(policy.FINETUNE_DRAWS))
    for_crop, (flip,) = policy.deal(numbers, policy.FINETUNE_DRAWS)
    return [_crop(for_crop, lengths, config), *_flip(flip)]


def _one_branch(
    seed: tf.Tensor, lengths: tuple[int, int], image_size: int, config: AugmentConfig
) -> list[list[Applied]]:
    for_base, for_transforms = seeds.split(seed, 2)
    base = [_crop(seeds.uniforms(for_base, crop.CROP_DRAWS), lengths, config)]
    names = config.transform_names
    view = list(base)
    for name, one in zip(names, seeds.split(for_transforms, max(len(names), 1)), strict=False):
        view += _transform(name, one, image_size, config)
    return [view, base]


def _broader(
    seed: tf.Tensor, lengths: tuple[int, int], image_size: int, config: AugmentConfig
) -> list[Applied]:
    names = config.transform_names
    for_policy, for_coins, *_ = seeds.split(seed, 2 + len(names))
    coins = seeds.uniforms(for_coins, len(names))
    added = [Applied(name) for name, coin in zip(names, coins, strict=True)
             if coin < composed.ADDED_PROBABILITY]  # fmt: skip
    return _policy(for_policy, lengths, image_size, config) + added


def _autoaugment(seed: tf.Tensor, lengths: tuple[int, int], config: AugmentConfig) -> list[Applied]:
    for_crop, for_policy = seeds.split(seed, 2)
    pair, *rest = seeds.uniforms(for_policy, autoaugment.DRAWS)
    applied = _crop_and_flip(for_crop, lengths, config)
    chosen = autoaugment.POLICY[int(seeds.below(pair, len(autoaugment.POLICY)))]
    for (name, probability, strength), whether in zip(chosen, rest[::2], strict=True):
        if whether < probability:
            applied.append(Applied(name, () if strength is None else (float(strength),)))
    return applied


def _transform(name: str, seed: tf.Tensor, image_size: int, config: AugmentConfig) -> list[Applied]:
    """A transformation of `composed.transform`, which sees a view of the final size."""
    if name == "crop":
        return _crop_and_flip(seed, (image_size, image_size), config)
    if name == "color":
        return _distortion(seeds.uniforms(seed, color.DISTORTION_DRAWS), config)
    if name == "blur":
        return _blur(seeds.uniforms(seed, blur.BLUR_DRAWS), image_size)
    return [Applied(name)]


def _crop(draws: Sequence[tf.Tensor], lengths: tuple[int, int], config: AugmentConfig) -> Applied:
    corner, sides = crop.draw_boxes(tf.constant(lengths), draws, (config.crop_area_min, 1.0))
    (row, column), (height, width) = np.asarray(corner), np.asarray(sides)
    share = height * width / (lengths[0] * lengths[1])
    return Applied("crop", (float(row), float(column), float(height), float(width), float(share)))


def _flip(coin: tf.Tensor) -> list[Applied]:
    return [Applied("flip")] if coin < crop.FLIP_PROBABILITY else []


def _distortion(draws: Sequence[tf.Tensor], config: AugmentConfig) -> list[Applied]:
    strength = config.color_jitter_strength
    if strength == 0:
        return []
    jitter, gray, *jitter_draws = draws
    applied = []
    if jitter < color.JITTER_PROBABILITY:
        order, amounts = color.jitter_amounts(jitter_draws, strength, config.brightness)
        applied = [Applied(_TONES[i], (float(amounts[i]),)) for i in color.ORDERS[int(order)]]
    return applied + ([Applied("gray")] if gray < color.GRAYSCALE_PROBABILITY else [])


def _blur(draws: Sequence[tf.Tensor], image_size: int) -> list[Applied]:
    coin, u = draws
    if blur.blur_kernel_size(image_size) == 1 or coin >= blur.BLUR_PROBABILITY:
        return []
    return [Applied("blur", (float(seeds.between(u, *blur.SIGMA_RANGE)),))]
