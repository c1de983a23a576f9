"""The rule by which stored values become 8-bit RGB, in NumPy and in graphs.

Depth: values of 8 bits are kept. Others are mapped linearly so that the range [low, high] becomes
[0, 255], rounded, and what lies beyond is cut off. The range is the one that is given
(`--value_range`), else the one that a folder's images use (`simclr_tf.data.own_range`), else that
of the type: 0 to 65,535 for 16 bits, 0 to 1 for floating values.
Other integers have none, and floating values beyond [0, 1] do not say theirs: they are refused
until a range is given. What is not a number counts as `low`.

Colour: gray is repeated on three channels, palettes are looked up.

Alpha: the image is laid over white, as on a page. Colours under alpha 0 are whatever the program
that wrote the file left there.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

ValueRange = tuple[float, float]

BACKGROUND = 255  # white
NEEDS_RANGE = "its values need --value_range=LOW:HIGH"
_RANGES = {"uint16": (0.0, 65_535.0), "float32": (0.0, 1.0), "float64": (0.0, 1.0)}


def to_bytes(values: np.ndarray, value_range: ValueRange | None = None) -> np.ndarray:
    """Maps values of more than 8 bits to [0, 255]; a last channel of four or two is alpha.

    Args:
        values: (H, W) or (H, W, C) of any number type.
        value_range: None for that of the type. Alpha has always that of its type.

    Returns:
        uint8 of the same shape.

    Raises:
        ValueError: There is no range.
    """
    if values.dtype == np.uint8:
        return values
    own = _RANGES.get(values.dtype.name)
    if value_range is None:
        finite = np.nan_to_num(values, nan=0.0, posinf=np.inf, neginf=-np.inf)
        if own is None or finite.min(initial=own[0]) < own[0] or finite.max(initial=0) > own[1]:
            raise ValueError(f"{NEEDS_RANGE}, they lie in [{np.nanmin(values):g}, "
                             f"{np.nanmax(values):g}]")  # fmt: skip
    low, high = value_range or own or (0.0, 1.0)
    found = _map(values, low, high)
    if values.ndim == 3 and values.shape[-1] in (2, 4) and own is not None:
        found[..., -1] = _map(values[..., -1], *own)
    return found


def _map(values: np.ndarray, low: float, high: float) -> np.ndarray:
    shares = (values.astype(np.float64) - low) / (high - low) * 255.0
    return np.clip(np.rint(np.nan_to_num(shares, nan=0.0)), 0, 255).astype(np.uint8)


def to_rgb(values: np.ndarray) -> np.ndarray:
    """Gray, gray with alpha, RGB or RGBA, uint8 (H, W) or (H, W, C), to RGB (H, W, 3)."""
    values = values[..., None] if values.ndim == 2 else values
    colors = values.shape[-1] - 1 if values.shape[-1] in (2, 4) else values.shape[-1]
    found = np.repeat(values[..., :1], 3, axis=-1) if colors == 1 else values[..., :3]
    if colors == values.shape[-1]:
        return found
    alpha = values[..., -1:].astype(np.int32)
    laid = (found * alpha + BACKGROUND * (255 - alpha) + 127) // 255
    return laid.astype(np.uint8)


def over_background(rgba: tf.Tensor) -> tf.Tensor:
    """`to_rgb` of RGBA, uint8 (H, W, 4), in graphs; uint8 (H, W, 3)."""
    values = tf.cast(rgba, tf.int32)
    color, alpha = values[..., :3], values[..., 3:]
    laid = (color * alpha + BACKGROUND * (255 - alpha) + 127) // 255
    return tf.cast(laid, tf.uint8)


def bytes_of(values: tf.Tensor, value_range: ValueRange | None = None) -> tf.Tensor:
    """`to_bytes` of uint16 or float32, (H, W, 1), (H, W, 3) or (H, W, 4), in graphs.

    Fails, as a check of the graph, where floating values leave [0, 1] and no range is given.
    """
    own = _RANGES[values.dtype.name]
    checks = []
    if value_range is None and values.dtype.is_floating:
        fits = tf.reduce_all((values >= own[0]) & (values <= own[1]) | tf.math.is_nan(values))
        checks = [tf.raw_ops.Assert(condition=fits, data=[NEEDS_RANGE])]
    with tf.control_dependencies(checks):
        values = tf.cast(values, tf.float64)
    lows, highs = (np.full(values.shape[-1], bound) for bound in value_range or own)
    if len(lows) == 4:
        lows[3], highs[3] = own  # alpha
    shares = (values - lows) / (highs - lows) * 255.0
    shares = tf.where(tf.math.is_nan(shares), tf.zeros_like(shares), shares)
    return tf.cast(tf.clip_by_value(tf.round(shares), 0.0, 255.0), tf.uint8)
