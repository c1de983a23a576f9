"""Colour distortion of strength s (Appendix A of the paper)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import tensorflow as tf

from simclr_tf.augment import images, seeds
from simclr_tf.errors import require
from simclr_tf.settings.operations import BRIGHTNESS_MODES

JITTER_PROBABILITY = 0.8
GRAYSCALE_PROBABILITY = 0.2
TONE_RANGE = 0.8  # of brightness, contrast and saturation, times s
HUE_RANGE = 0.2  # times s, as a share of the colour circle
JITTER_DRAWS = 5
DISTORTION_DRAWS = JITTER_DRAWS + 2
GRAY_WEIGHTS = (0.2989, 0.5870, 0.1140)  # luma of ITU-R BT.601, as the reference has them
# Of brightness, contrast, saturation and hue, which are 0 to 3 here.
ORDERS = tuple(itertools.permutations(range(4)))


def to_grayscale(image: tf.Tensor) -> tf.Tensor:
    """The luma of every pixel in all three channels; float32 (..., H, W, 3)."""
    weights = tf.constant([[weight] * 3 for weight in GRAY_WEIGHTS])  # (3, 3)
    return tf.tensordot(image, weights, axes=1)  # (..., H, W, 3)


def adjust_brightness(image: tf.Tensor, amount: tf.Tensor, brightness: str) -> tf.Tensor:
    """Multiplies by `amount` (`multiplicative`) or adds it (`additive`); clipped."""
    changed = image * amount if brightness == "multiplicative" else image + amount
    return images.clip(changed)  # (..., H, W, 3)


def adjust_contrast(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Scales every channel about its own mean over the image; clipped."""
    return images.clip(tf.image.adjust_contrast(image, factor))  # (..., H, W, 3)


def adjust_saturation(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Multiplies the saturation of HSV, which is limited to 1; this cannot leave [0, 1]."""
    return tf.image.adjust_saturation(image, factor)  # (..., H, W, 3)


def adjust_hue(image: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
    """Turns the hue of HSV by `delta` of the circle, in [-1, 1]; this cannot leave [0, 1]."""
    return tf.image.adjust_hue(image, delta)  # (..., H, W, 3)


def color_jitter(
    image: tf.Tensor, strength: float, seed: tf.Tensor, brightness: str = "multiplicative"
) -> tf.Tensor:
    """Brightness, contrast, saturation and hue in a shuffled order, clipped after each.

    Args:
        image: float32 (H, W, 3) in [0, 1].
        strength: The paper's s, at least 0.
        seed: (2,).
        brightness: `multiplicative`, a factor in [max(1 - 0.8s, 0), 1 + 0.8s] as in the released
            TF2 code, or `additive`, a shift in [-0.8s, 0.8s] as in Appendix A.

    Returns:
        float32 (H, W, 3) in [0, 1]. Contrast and saturation factors are uniform in
        [max(1 - 0.8s, 0), 1 + 0.8s], the hue's turn in [-0.2s, 0.2s] and at most half a circle.
        The two limits matter above s = 1.25 and s = 2.5, where the reference fails.

    Raises:
        InputError: `strength` is negative or `brightness` unknown.
    """
    _check_settings(strength, brightness)
    return jitter_from(image, strength, seeds.uniforms(seed, JITTER_DRAWS), brightness)


def jitter_from(
    image: tf.Tensor, strength: float, draws: Sequence[tf.Tensor], brightness: str
) -> tf.Tensor:
    """`color_jitter` with its `JITTER_DRAWS` numbers uniform in [0, 1) given."""
    order, amounts = jitter_amounts(draws, strength, brightness)
    steps = tf.unstack(tf.gather(tf.constant(ORDERS), order), num=4)
    return images.clip(_adjust_in_order(image, steps, amounts, brightness))


def jitter_amounts(
    draws: Sequence[tf.Tensor], strength: float, brightness: str
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """What `JITTER_DRAWS` numbers uniform in [0, 1), of any one shape, decide.

    Returns:
        Position in `ORDERS`, int32, and the amounts of brightness, contrast, saturation and hue,
        float32, in the ranges of `color_jitter`; all of the draws' shape.
    """
    order, *amounts = draws
    tone = TONE_RANGE * strength
    factors = (max(1 - tone, 0.0), 1 + tone)
    shift = (-tone, tone) if brightness == "additive" else factors
    turn = min(HUE_RANGE * strength, 0.5)
    ranges = (shift, factors, factors, (-turn, turn))
    amounts = [seeds.between(u, *bounds) for u, bounds in zip(amounts, ranges, strict=True)]
    return seeds.below(order, len(ORDERS)), amounts


def color_distortion(
    image: tf.Tensor, strength: float, seed: tf.Tensor, brightness: str = "multiplicative"
) -> tf.Tensor:
    """Jitter with probability 0.8, then grayscale with probability 0.2 (Appendix A).

    Args:
        image: float32 (H, W, 3) in [0, 1].
        strength: The paper's s. 0 returns the image as it is, without grayscale too: that is how
            the reference switches colour distortion off.
        seed: (2,).
        brightness: See `color_jitter`.

    Returns:
        float32 (H, W, 3) in [0, 1].

    Raises:
        InputError: `strength` is negative or `brightness` unknown.
    """
    _check_settings(strength, brightness)
    return distortion_from(image, strength, seeds.uniforms(seed, DISTORTION_DRAWS), brightness)


def distortion_from(
    image: tf.Tensor, strength: float, draws: Sequence[tf.Tensor], brightness: str
) -> tf.Tensor:
    """`color_distortion` with its `DISTORTION_DRAWS` numbers uniform in [0, 1) given."""
    if strength == 0:
        return image
    jitter, gray, *jitter_draws = draws
    image = tf.cond(
        jitter < JITTER_PROBABILITY,
        lambda: jitter_from(image, strength, jitter_draws, brightness),
        lambda: tf.identity(image),
    )
    return tf.cond(
        gray < GRAYSCALE_PROBABILITY, lambda: to_grayscale(image), lambda: tf.identity(image)
    )


def _check_settings(strength: float, brightness: str) -> None:
    require(strength >= 0, "color_jitter_strength", "must be at least 0", strength)
    allowed = ", ".join(BRIGHTNESS_MODES)
    require(brightness in BRIGHTNESS_MODES, "brightness", f"must be one of {allowed}", brightness)


def _adjust_in_order(
    image: tf.Tensor, order: list[tf.Tensor], amounts: list[tf.Tensor], brightness: str
) -> tf.Tensor:
    for operation in order:
        image = tf.switch_case(
            operation,
            [
                lambda image=image: adjust_brightness(image, amounts[0], brightness),
                lambda image=image: adjust_contrast(image, amounts[1]),
                lambda image=image: adjust_saturation(image, amounts[2]),
                lambda image=image: adjust_hue(image, amounts[3]),
            ],
        )
    return image  # (H, W, 3)
