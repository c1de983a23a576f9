"""Pillow's decoders in graphs of tf.data.

The functions are known to TensorFlow by fixed names, so that a graph made in one process runs in
another one that has imported this module, as workers of a tf.data service do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import script_ops

from simclr_tf.data import formats, pixels

_NAME = "simclr_tf.data.by_pillow."
_NO_PIXELS = np.zeros((1, 1, 3), np.uint8)


def decode(
    encoded: tf.Tensor,
    value_range: pixels.ValueRange | None = None,
    upright: bool = True,
    ratio: int | tf.Tensor = 1,
) -> tf.Tensor:
    """`formats.decode` in a graph; fails as a check of the graph does, uint8 (H, W, 3)."""
    bounds = tf.constant(value_range or [], tf.float64)
    image, problem = tf.raw_ops.PyFunc(
        input=[encoded, bounds, tf.constant(upright), tf.convert_to_tensor(ratio, tf.int32)],
        token=_NAME + "decode", Tout=[tf.uint8, tf.string],
    )  # fmt: skip
    return tf.ensure_shape(_checked(image, problem), (None, None, 3))


def lengths(encoded: tf.Tensor) -> tf.Tensor:
    """`formats.lengths` in a graph, int32 (2,)."""
    found, problem = tf.raw_ops.PyFunc(
        input=[encoded], token=_NAME + "lengths", Tout=[tf.int32, tf.string]
    )
    return tf.ensure_shape(_checked(found, problem), (2,))


def _checked(found: tf.Tensor, problem: tf.Tensor) -> tf.Tensor:
    problem = tf.ensure_shape(problem, ())
    with tf.control_dependencies([tf.raw_ops.Assert(condition=problem == b"", data=[problem])]):
        return tf.identity(found)


def _decode(encoded: bytes, bounds: np.ndarray, upright: np.bool_, ratio: np.int32) -> list[Any]:
    value_range = tuple(bounds.tolist()) or None
    try:
        return [formats.decode(encoded, value_range, bool(upright), int(ratio)), b""]
    except ValueError as error:
        return [_NO_PIXELS, str(error).encode(errors="replace")]


def _lengths(encoded: bytes) -> list[Any]:
    try:
        return [np.array(formats.lengths(encoded), np.int32), b""]
    except ValueError as error:
        return [np.zeros(2, np.int32), str(error).encode(errors="replace")]


_FUNCTIONS: dict[str, Callable[..., list[Any]]] = {
    _NAME + "decode": _decode,
    _NAME + "lengths": _lengths,
}
# `tf.numpy_function` makes names of its own, which no other process knows.
script_ops._py_funcs._funcs.update(_FUNCTIONS)
