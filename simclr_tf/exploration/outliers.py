"""Images that have no others like them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NEIGHBORS = 10
FEWEST = 20
_FENCE = 1.5


class Outliers(NamedTuple):
    """How far every image is from its neighbours.

    Attributes:
        score: (N,) float32 in [0, 2], mean of 1 - similarity to the nearest others.
        rank: (N,) int64 from 1 on, the farthest first.
        limit: Score above which an image is an outlier; infinite where there are too few images.
        listed: (n,) int64, the outliers, the farthest first.
    """

    score: np.ndarray
    rank: np.ndarray
    limit: float
    listed: np.ndarray


def find_outliers(similarities: np.ndarray) -> Outliers:
    """Outliers by the mean distance (1 - similarity) to the ten nearest others.

    An outlier lies beyond Tukey's fence: its distance is above the third quartile by more than
    1.5 times what lies between the quartiles. Among fewer than 20 images there are none.

    Args:
        similarities: (N, k) to the nearest others, the nearest first; ten or fewer are used.
    """
    used = similarities[:, :NEIGHBORS]  # (N, <=10)
    count = len(used)
    if used.shape[1] == 0:
        return Outliers(np.zeros(count, np.float32), np.arange(1, count + 1), np.inf,
                        np.empty(0, np.int64))  # fmt: skip
    score = (1 - used).mean(axis=1, dtype=np.float64).clip(0, 2)
    order = np.argsort(-score, kind="stable")
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(1, count + 1)
    limit = np.inf
    if count >= FEWEST:
        low, high = np.quantile(score, (0.25, 0.75))
        limit = float(high + _FENCE * (high - low))
    beyond = score[order] > limit + 1e-6
    return Outliers(score.astype(np.float32), rank, limit, order[beyond])
