"""Colour distortion and blur of `policy.pretrain_view`, in few passes over the pixels.

Brightness and contrast are each one affine map of every channel. Saturation and hue change the
chroma and the angle of the same colour hexagon, and neither reads what the other changes: where one
follows the other, both are one pass. So any order of the four operations is a part of the sequence

    hue/saturation, affine, hue/saturation, affine, hue/saturation

in which what is not needed is left out. The result is that of `color.distortion_from` and
`blur.blur_from` for the same draws, up to rounding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from simclr_tf.augment import blur, color, images
from simclr_tf.augment.seeds import between

STAGES = 5  # the even ones turn and saturate, the odd ones are affine
_SATURATION = 2  # in `color.ORDERS`; below it are the affine operations
_PARTS = (6, 6, STAGES, 1, 1)  # of a packed vector, see `Distortion`; the last only with blur
_SMALLEST_SIGMA = 1e-3  # px; all weight is on one pixel
# Above its smallest channel a colour has, of its chroma, |hue - peak| * slope + offset in each
# channel, limited to [0, 1]; hue in sixths of the circle.
_PEAKS, _SLOPES, _OFFSETS = np.array([(3, 2, 4), (1, -1, -1), (-1, 2, 2)], np.float32)
_LUMA = np.array(color.GRAY_WEIGHTS, np.float32)


class Distortion(NamedTuple):
    """What is done to a view, or with leading axes to several.

    Attributes:
        colors: (..., 3, 2), for every even stage the factor of the saturation and the turn of the
            hue in sixths of the circle.
        tones: (..., 2, 3), for every odd stage a scale, a shift, and 1 where the scale is about the
            channel's mean or 0 where it is about black.
        needed: (..., 5), 1 where a stage changes anything.
        gray: (...), 1 where the view loses its colour.
        sigma: (...), of the blur in pixels, 0 for views without; None where none is blurred.
    """

    colors: tf.Tensor
    tones: tf.Tensor
    needed: tf.Tensor
    gray: tf.Tensor
    sigma: tf.Tensor | None


def draw(
    for_color: Sequence[tf.Tensor],
    for_blur: Sequence[tf.Tensor] | None,
    strength: float,
    brightness: str,
) -> tf.Tensor:
    """What the random numbers of views decide, packed into one vector per view.

    Args:
        for_color: `color.DISTORTION_DRAWS` numbers uniform in [0, 1), each of the same shape (...).
        for_blur: `blur.BLUR_DRAWS` of them; None where nothing is blurred.
        strength: The paper's s.
        brightness: See `color.color_jitter`.

    Returns:
        float32 (..., P), for `distort_image` and `distort_batch`.
    """
    jitter_coin, gray_coin, *jitter_draws = for_color
    order, amounts = color.jitter_amounts(jitter_draws, strength, brightness)
    used = tf.gather(tf.constant(_schedules()), order)  # (..., STAGES, 2)
    jittered = (jitter_coin < color.JITTER_PROBABILITY) & (strength > 0)
    used *= tf.cast(jittered, tf.float32)[..., None, None]
    shift, contrast, saturation, hue = (amount[..., None] for amount in amounts)
    first, second = tf.unstack(used, axis=-1)  # (..., STAGES) each
    colors = tf.stack(
        [1 + first[..., ::2] * (saturation - 1), second[..., ::2] * hue * 6], -1
    )  # (..., 3, 2)
    changed, contrasted = first[..., 1::2], second[..., 1::2]  # (..., 2) each
    scale = 1 + contrasted * (contrast - 1)
    if brightness == "additive":
        added = changed * shift
    else:
        scale, added = scale + changed * (shift - 1), tf.zeros_like(scale)
    tones = tf.stack([scale, added, contrasted], -1)  # (..., 2, 3)
    gray = tf.cast((gray_coin < color.GRAYSCALE_PROBABILITY) & (strength > 0), tf.float32)
    needed = tf.reduce_max(used, axis=-1)  # (..., STAGES)
    shape = tf.concat([tf.shape(gray), [6]], 0)
    parts = [tf.reshape(colors, shape), tf.reshape(tones, shape), needed, gray[..., None]]
    if for_blur is not None:
        coin, u = for_blur
        sigma = tf.where(coin < blur.BLUR_PROBABILITY, between(u, *blur.SIGMA_RANGE), 0.0)
        parts.append(sigma[..., None])
    return tf.ensure_shape(tf.concat(parts, -1), [*gray.shape, sum(_PARTS[: len(parts)])])


def distort_image(image: tf.Tensor, packed: tf.Tensor, compiled: bool = False) -> tf.Tensor:
    """Distorts one view, and skips what its random numbers leave out.

    Args:
        image: float32 (S, S, 3) in [0, 1], of static shape.
        packed: (P,), from `draw`.
        compiled: Whether every pass over the pixels is compiled with XLA.

    Returns:
        float32 (S, S, 3) in [0, 1].
    """
    passes = _passes(compiled)
    found = _unpack(packed)
    for stage in range(STAGES):
        if stage % 2 == 0:
            make = functools.partial(passes.turn_and_saturate, image, found.colors[stage // 2])
        else:
            make = functools.partial(passes.change_tone, image, found.tones[stage // 2])
        image = _if(found.needed[stage], make, image)
    image = _if(found.gray, functools.partial(passes.to_gray, image), image)
    radius = blur.blur_kernel_size(image.shape[0]) // 2
    if found.sigma is not None and radius:
        taps = blur.gaussian_taps(found.sigma, radius)  # (K,)
        image = _if(found.sigma, functools.partial(_blur_image, image, taps, passes), image)
    return image


def distort_batch(batch: tf.Tensor, packed: tf.Tensor) -> tf.Tensor:
    """Distorts views all at once: for accelerators, to which a pass is cheaper than a choice.

    Args:
        batch: float (N, S, S, 3) in [0, 1], of static S.
        packed: (N, P), from `draw`.

    Returns:
        float32 (N, S, S, 3) in [0, 1].
    """
    batch = tf.cast(batch, tf.float32)
    found = _unpack(packed)
    for stage in range(STAGES):
        if stage % 2 == 0:
            batch = _turn_and_saturate(batch, found.colors[:, stage // 2])
        else:
            batch = _change_tone(batch, found.tones[:, stage // 2])
    gray = found.gray[:, None, None, None] > 0
    batch = tf.where(gray, _to_gray(batch), batch)
    radius = blur.blur_kernel_size(batch.shape[1]) // 2
    if found.sigma is None or not radius:
        return batch
    taps = blur.gaussian_taps(tf.maximum(found.sigma, _SMALLEST_SIGMA), radius)  # (N, K)
    return _blur_batch(batch, taps)


def input_view(batch: Mapping[str, tf.Tensor], index: int) -> tf.Tensor:
    """A view as the network sees it, (B, S, S, 3): distorted here if that is still to do.

    Args:
        batch: Of `pipeline.train_batches`.
        index: Of the view.
    """
    view, packed = batch[f"view_{index}"], batch.get(f"distortion_{index}")
    return view if packed is None else distort_batch(view, packed)


def _schedules() -> np.ndarray:
    """float32 (24, STAGES, 2): which operations each stage has, for every one of `color.ORDERS`.

    Saturation and hue for the even stages, brightness and contrast for the odd ones.
    """
    table = np.zeros((len(color.ORDERS), STAGES, 2), np.float32)
    for row, order in zip(table, color.ORDERS, strict=True):
        stage = 0
        for operation in order:
            affine = operation < _SATURATION
            if stage % 2 != affine or (affine and row[stage].any()):
                stage += 1 + (stage % 2 == affine)
            row[stage, operation % 2] = 1
    return table


def _unpack(packed: tf.Tensor) -> Distortion:
    sizes = _PARTS if packed.shape[-1] == sum(_PARTS) else _PARTS[:-1]
    lead = tf.shape(packed)[:-1]
    colors, tones, needed, gray, *sigma = tf.split(packed, sizes, axis=-1)
    return Distortion(
        tf.reshape(colors, tf.concat([lead, [3, 2]], 0)),
        tf.reshape(tones, tf.concat([lead, [2, 3]], 0)),
        needed,
        gray[..., 0],
        sigma[0][..., 0] if sigma else None,
    )


def _if(number: tf.Tensor, make: Callable[[], tf.Tensor], image: tf.Tensor) -> tf.Tensor:
    return tf.cond(number > 0, make, lambda: tf.identity(image))


def _turn_and_saturate(image: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
    """Saturation times a factor, at most 1, and hue turned, as in HSV; value stays.

    Args:
        image: (..., S, S, 3) in [0, 1].
        amounts: (..., 2), the factor and the turn in sixths of the circle, in [-3, 3].
    """
    factor, turn = (amounts[..., i, None, None] for i in range(2))
    red, green, blue = tf.unstack(image, axis=-1)  # (..., S, S) each
    value = tf.maximum(tf.maximum(red, green), blue)
    chroma = value - tf.minimum(tf.minimum(red, green), blue)
    per_chroma = tf.where(chroma > 0, 1 / chroma, tf.zeros_like(chroma))
    hue = tf.where(
        value == red,
        (green - blue) * per_chroma,
        tf.where(value == green, 2 + (blue - red) * per_chroma, 4 + (red - green) * per_chroma),
    )  # in sixths, in [-1, 5]
    hue += turn
    hue -= 6 * tf.floor(hue / 6)
    chroma = tf.minimum(chroma * factor, value)
    # All channels by one formula: three of them, stacked, would be a branch per number to XLA.
    share = images.clip(tf.abs(hue[..., None] - _PEAKS) * _SLOPES + _OFFSETS)  # (..., S, S, 3)
    return value[..., None] - chroma[..., None] * (1 - share)


def _change_tone(image: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
    """Scales about the channel's mean or about black, shifts and clips.

    Args:
        image: (..., S, S, 3) in [0, 1].
        amounts: (..., 3), see `Distortion.tones`.
    """
    scale, shift, about_mean = (amounts[..., i, None, None, None] for i in range(3))
    means = tf.reduce_mean(image, axis=[-3, -2], keepdims=True)  # (..., 1, 1, 3)
    return images.clip(image * scale + (shift + about_mean * means * (1 - scale)))


def _to_gray(image: tf.Tensor) -> tf.Tensor:
    """As `color.to_grayscale`."""
    luma = tf.reduce_sum(image * _LUMA, axis=-1, keepdims=True)  # (..., S, S, 1)
    return tf.broadcast_to(luma, tf.shape(image))


def _add_shifted(padded: tf.Tensor, taps: tf.Tensor, step: int) -> tf.Tensor:
    """The sum of K shares of `padded` (H, W + (K - 1) * step), each shifted by `step`: (H, W)."""
    number = taps.shape[0]
    width = padded.shape[1] - (number - 1) * step
    shifted = [padded[:, k * step : k * step + width] * taps[k] for k in range(number)]
    return functools.reduce(tf.add, shifted)


class _Passes(NamedTuple):
    """The passes over the pixels of one image, compiled or not."""

    turn_and_saturate: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    change_tone: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    to_gray: Callable[[tf.Tensor], tf.Tensor]
    add_shifted: Callable[[tf.Tensor, tf.Tensor, int], tf.Tensor]


@functools.cache
def _passes(compiled: bool) -> _Passes:
    functions = (_turn_and_saturate, _change_tone, _to_gray, _add_shifted)
    if not compiled:
        return _Passes(*functions)
    return _Passes(*(tf.function(f, jit_compile=True, autograph=False) for f in functions))


def _blur_image(image: tf.Tensor, taps: tf.Tensor, passes: _Passes) -> tf.Tensor:
    """As `blur.gaussian_blur`: sums of shifted rows, then of shifted columns."""
    size, radius = image.shape[0], taps.shape[0] // 2
    # Padded outside of what is compiled: XLA would compute the padding anew for every tap.
    flat = tf.reshape(image, [1, -1])  # (1, S * S * 3)
    row = 3 * size
    flat = passes.add_shifted(tf.pad(flat, [[0, 0], [radius * row] * 2]), taps, row)
    rows = tf.pad(tf.reshape(flat, [size, row]), [[0, 0], [radius * 3] * 2])
    return tf.reshape(passes.add_shifted(rows, taps, 3), [size, size, 3])


def _blur_batch(batch: tf.Tensor, taps: tf.Tensor) -> tf.Tensor:
    """Images (N, S, S, 3), each with its own taps (N, K), as the channels of one."""
    size = batch.shape[1]
    channels = tf.reshape(tf.transpose(batch, [1, 2, 0, 3]), [1, size, size, -1])  # (1, S, S, 3N)
    column = tf.repeat(tf.transpose(taps), 3, axis=1)[:, None, :, None]  # (K, 1, 3N, 1)
    for kernel in (column, tf.transpose(column, [1, 0, 2, 3])):
        channels = tf.nn.depthwise_conv2d(channels, kernel, strides=(1, 1, 1, 1), padding="SAME")
    return tf.transpose(tf.reshape(channels, [size, size, -1, 3]), [2, 0, 1, 3])
