"""Each image with its nearest others."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from simclr_tf.errors import require
from simclr_tf.evaluation import knn
from simclr_tf.evaluation.rows import unit_rows

_ROWS_AT_ONCE = 16_384


class Neighbors(NamedTuple):
    """The nearest others of N images among M.

    Attributes:
        similarities: (N, k) float32 in [-1, 1], the nearest first.
        indices: (N, k) int64, among the M.
    """

    similarities: np.ndarray
    indices: np.ndarray


def seen_from(vectors: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """(N, D) float32 of length 1, as images are compared; one that lies at the origin is zero.

    Raises:
        InputError: A value is so large that float32 does not hold its distance from the origin.
    """
    units = np.empty(vectors.shape, np.float32)
    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        with np.errstate(over="ignore"):
            units[rows] = unit_rows(vectors[rows] - origin)
        finite = np.isfinite(units[rows]).all(axis=1)
        require(bool(finite.all()), "embeddings", "must hold numbers of a usual size",
                f"a larger one at example {start + int(np.argmin(finite))}")  # fmt: skip
    return units


def nearest_others(
    units: np.ndarray,
    k: int,
    among: np.ndarray | None = None,
    on_block: Callable[[int, int], None] | None = None,
) -> Neighbors:
    """The k nearest others of every image, never the image itself.

    Args:
        units: (N, D) float32, rows of length 1 or 0.
        k: Above the number of others it means all of them.
        among: (M,) int64, ascending rows that count as neighbours; None takes all.
        on_block: See `simclr_tf.evaluation.knn.nearest_neighbors`.

    Returns:
        For all N images min(k, M - 1) others: indices are rows of `units`.
    """
    rows = np.arange(len(units)) if among is None else among
    bank = units if among is None else units[among]
    wanted = min(k, len(bank) - 1)
    if wanted < 1:
        empty = np.empty((len(units), 0))
        return Neighbors(empty.astype(np.float32), empty.astype(np.int64))
    found, places = knn.nearest_neighbors(bank, units, wanted + 1, on_block=on_block)
    indices = rows[places]  # (N, wanted + 1)
    is_self = indices == np.arange(len(units))[:, None]
    # Where many are equally near, an image need not be among its own nearest: the last goes then.
    is_self[~is_self.any(axis=1), -1] = True
    shape = (len(units), wanted)
    return Neighbors(
        np.clip(found[~is_self].reshape(shape), -1, 1), indices[~is_self].reshape(shape)
    )
