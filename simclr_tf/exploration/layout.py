"""The place of every image on the map, also of very many."""

from __future__ import annotations

import numpy as np

from simclr_tf.exploration import graph
from simclr_tf.report.embedding_map import choose_examples, embedding_map

MOST_BY_TSNE = 5000
_FEW, _ITERATIONS_OF_FEW, _ITERATIONS = 1000, 500, 1000
_ANCHORS, _TEMPERATURE = 5, 0.07
_SCATTER = 0.5  # of the distance between neighbours on the map
_GOLDEN_ANGLE = np.pi * (3 - 5**0.5)


def place(units: np.ndarray, seed: int = 0, most: int = MOST_BY_TSNE) -> np.ndarray:
    """A map in which near neighbours lie together.

    Up to `most` images are placed by t-SNE (`embedding_map`, with what it can and cannot tell). Of
    more a random part is, and each other image lies at the mean place of the five of these that are
    nearest to it, weighted by exp(similarity / 0.07), scattered by half the distance between
    neighbours there so that copies do not cover each other.

    Args:
        units: (N, D) float32, rows of length 1 or 0.
        seed: Of t-SNE, the part and the scatter.
        most: Images that t-SNE places.

    Returns:
        (N, 2) float32. Images that can't be told apart lie on a spiral.
    """
    count = len(units)
    chosen = choose_examples(count, most, seed)
    if np.ptp(units[chosen], axis=0).max() == 0:
        return _spiral(count)
    iterations = _ITERATIONS_OF_FEW if len(chosen) <= _FEW else _ITERATIONS
    anchors, _ = embedding_map(units[chosen], seed, most, iterations)  # (n, 2)
    if len(chosen) == count:
        return anchors
    others = np.setdiff1d(np.arange(count), chosen)
    places = np.empty((count, 2), np.float32)
    places[chosen] = anchors
    places[others] = _between(units, anchors, chosen, others, seed)
    return places


def _between(
    units: np.ndarray, anchors: np.ndarray, chosen: np.ndarray, others: np.ndarray, seed: int
) -> np.ndarray:
    """(m, 2) places of the others, by those of the chosen (n, 2)."""
    found, nearest = graph.knn.nearest_neighbors(units[chosen], units[others], _ANCHORS)
    weights = np.exp((found - found[:, :1]) / _TEMPERATURE)  # (m, 5)
    weights /= weights.sum(axis=1, keepdims=True)
    means = (anchors[nearest] * weights[:, :, None]).sum(axis=1)
    rng = np.random.default_rng(seed)
    return (means + rng.normal(0, _SCATTER * _spacing(anchors), means.shape)).astype(np.float32)


def _spacing(anchors: np.ndarray) -> float:
    """The usual distance of a place to the nearest other."""
    from scipy.spatial import cKDTree  # slow to import

    distances, _ = cKDTree(anchors).query(anchors, k=2)
    return float(np.median(distances[:, 1]))


def _spiral(count: int) -> np.ndarray:
    steps = np.arange(count)
    return np.stack(
        [np.sqrt(steps) * np.cos(steps * _GOLDEN_ANGLE),
         np.sqrt(steps) * np.sin(steps * _GOLDEN_ANGLE)], axis=1
    ).astype(np.float32)  # fmt: skip
