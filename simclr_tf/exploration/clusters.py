"""k-means on the directions in which images differ, quick also for very many."""

from __future__ import annotations

import numpy as np

MOST_TO_FIT = 20_000
_DIMENSIONS = 50
_RESTARTS = 3
_MANY_CLUSTERS, _MANY_ROWS = 50, 5000  # from which mini-batches are used
_ROWS_AT_ONCE = 65_536


def reduced(units: np.ndarray, seed: int = 0) -> np.ndarray:
    """Rows in their first 50 principal components, where k-means is quick and loses little.

    Args:
        units: (N, D) float32.
        seed: Of the part, at most `MOST_TO_FIT` rows, that the components are found from.

    Returns:
        (N, min(50, N, D)) float32.
    """
    from sklearn.decomposition import PCA

    sample = units[some(len(units), MOST_TO_FIT, seed)]
    pca = PCA(min(_DIMENSIONS, *sample.shape), random_state=seed).fit(sample)
    parts = [pca.transform(units[start : start + _ROWS_AT_ONCE])
             for start in range(0, len(units), _ROWS_AT_ONCE)]  # fmt: skip
    return np.concatenate(parts).astype(np.float32)


def some(count: int, most: int, seed: int) -> np.ndarray:
    """Ascending indices of a random part, of all where there are no more."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def cluster(rows: np.ndarray, number: int, seed: int = 0) -> np.ndarray:
    """The cluster of each row: k-means, the best of three starts; of many rows by mini-batches.

    Args:
        rows: (N, D) float32, at least `number` of them.
        number: Clusters; fewer come out where rows are equal.
        seed: Of the starts, and of the `MOST_TO_FIT` rows that of more are used.

    Returns:
        (N,) int64 from 0 on, without gaps.
    """
    import warnings

    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    sample = rows[some(len(rows), MOST_TO_FIT, seed)]
    many = number > _MANY_CLUSTERS and len(sample) > _MANY_ROWS
    kind = MiniBatchKMeans if many else KMeans
    # On one thread the result is the same on every machine.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters
        found = kind(number, n_init=_RESTARTS, random_state=seed).fit(sample)
        parts = [found.predict(rows[start : start + _ROWS_AT_ONCE])
                 for start in range(0, len(rows), _ROWS_AT_ONCE)]  # fmt: skip
    return np.unique(np.concatenate(parts), return_inverse=True)[1].astype(np.int64)
