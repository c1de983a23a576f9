"""Groups of images that are alike, found without labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simclr_tf.exploration import clusters

NUMBERS = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40)
FEWEST_OF_GROUP = 20  # on average, of the numbers that are tried
LEAST_EXCESS = 0.02
_MOST_TO_TRY = 2000


class Groups(NamedTuple):
    """A group for every image.

    Attributes:
        group: (N,) int64 from 0 on, the largest group first.
        number: Of groups.
        typicality: (N,) float32, similarity to the middle of the own group.
        rank: (N,) int64 from 1 on, by typicality within the group.
        excess: How much better the groups are apart than those of features without groups; None
            where the number was given, or there were too few images to try.
    """

    group: np.ndarray
    number: int
    typicality: np.ndarray
    rank: np.ndarray
    excess: float | None


def find_groups(units: np.ndarray, number: int | None = None, seed: int = 0) -> Groups:
    """Groups by k-means, in the space in which images are compared.

    Without a number the one is taken at which the groups are apart the most beyond chance: with
    which the mean silhouette exceeds by most that of the same rows with each principal component
    shuffled on its own, which has no groups but the same spread. (The silhouette itself nearly
    always prefers two.) Tried are `NUMBERS` with at least 20 images for each group, on at most
    2,000 images; where the excess stays below 0.02, all images are one group.

    Args:
        units: (N, D) float32, rows of length 1 or 0.
        number: Of groups, at most N.
        seed: Of k-means and of what is shuffled.
    """
    rows = clusters.reduced(units, seed) if np.ptp(units, axis=0).max() > 0 else None
    excess = None
    if rows is not None and number is None:
        number, excess = _choose_number(rows, seed)
    if rows is None or number is None or number < 2:
        found = np.zeros(len(units), np.int64)
    else:
        found = clusters.cluster(rows, min(number, len(units)), seed)
    group = _largest_first(found)
    typicality = _typicality(units, group)
    return Groups(group, int(group.max()) + 1, typicality, _ranks(group, typicality), excess)


def _choose_number(rows: np.ndarray, seed: int) -> tuple[int, float | None]:
    sample = rows[clusters.some(len(rows), _MOST_TO_TRY, seed)]
    tried = [number for number in NUMBERS if number * FEWEST_OF_GROUP <= len(sample)]
    if not tried:
        return 1, None
    rng = np.random.default_rng(seed)
    shuffled = np.stack([rng.permutation(column) for column in sample.T], axis=1)
    excess = [_silhouette(sample, number, seed) - _silhouette(shuffled, number, seed)
              for number in tried]  # fmt: skip
    best = int(np.argmax(excess))
    return (tried[best] if excess[best] >= LEAST_EXCESS else 1), float(excess[best])


def _silhouette(rows: np.ndarray, number: int, seed: int) -> float:
    """Mean silhouette in [-1, 1], 0 where all fall into one."""
    from sklearn.metrics import silhouette_score

    found = clusters.cluster(rows, number, seed)
    distinct = int(found.max()) + 1
    if not 1 < distinct < len(rows):
        return 0.0
    return float(silhouette_score(rows, found))


def _largest_first(found: np.ndarray) -> np.ndarray:
    """The same groups under other numbers; of equally large ones the one that begins first."""
    names, first, sizes = np.unique(found, return_index=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    renamed = np.empty(len(names), np.int64)
    renamed[order] = np.arange(len(names))
    return renamed[np.searchsorted(names, found)]


def _typicality(units: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(N,) cosine of each row with the mean of its group."""
    values = np.empty(len(units), np.float32)
    for one in range(int(group.max()) + 1):
        members = np.flatnonzero(group == one)
        mean = units[members].mean(axis=0, dtype=np.float64)
        values[members] = units[members] @ (mean / max(np.linalg.norm(mean), 1e-12))
    return np.clip(values, -1, 1)


def _ranks(group: np.ndarray, typicality: np.ndarray) -> np.ndarray:
    order = np.lexsort((np.arange(len(group)), -np.round(typicality, 6), group))
    starts = np.searchsorted(group[order], group[order])
    ranks = np.empty(len(group), np.int64)
    ranks[order] = np.arange(len(group)) - starts + 1
    return ranks
