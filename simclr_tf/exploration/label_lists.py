"""Labels that look wrong, and images that are worth a label."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simclr_tf.exploration import clusters, graph
from simclr_tf.exploration.graph import Neighbors

VOTERS, TEMPERATURE = 20, 0.07
MOST_TO_LABEL = 24
_MOST_CLUSTERS = 500
_DENSITY_NEIGHBORS = 20
_VOTE_ROWS = 4096  # whose votes are counted at once


class Suspects(NamedTuple):
    """What the neighbours say of every image's label.

    Attributes:
        suggested: (N,) int64, the class that most neighbours vote for; -1 where none does.
        score: (N,) float32 in [-1, 1], share of the votes for the best other class minus that for
            the own one; NaN where there is no label to judge.
        listed: (n,) int64, images whose neighbours prefer another class, the surest first.
        voters: Neighbours that vote.
    """

    suggested: np.ndarray
    score: np.ndarray
    listed: np.ndarray
    voters: int


def find_suspects(units: np.ndarray, labels: np.ndarray, neighbors: Neighbors) -> Suspects:
    """Labels that the nearest labelled images vote against, each image left out of its own vote.

    At most 20 neighbours vote, and no more than half of the classes have other images, with weight
    exp(similarity / 0.07) as in kNN classification. A label that a single image has is not judged.

    Args:
        units: (N, D) float32, rows of length 1 or 0.
        labels: (N,) int64, -1 where there is none.
        neighbors: The nearest others among all images; used where all have labels.
    """
    count = len(labels)
    known = np.flatnonzero(labels >= 0)
    nobody = Suspects(np.full(count, -1), np.full(count, np.nan, np.float32),
                      np.empty(0, np.int64), 0)  # fmt: skip
    if len(known) < 2:
        return nobody
    classes, places, sizes = np.unique(labels[known], return_inverse=True, return_counts=True)
    if sizes.max() < 2:
        return nobody
    voters = int(np.clip(np.median(sizes[sizes > 1]) - 1, 1, VOTERS))
    enough = len(known) == count and neighbors.indices.shape[1] >= min(voters, count - 1)
    found = neighbors if enough else graph.nearest_others(units, voters, known)
    own = np.full(count, -1)
    own[known] = places
    suggested, of_own, of_other = _votes(found, voters, own, len(classes))
    score = nobody.score.copy()
    judged = known[sizes[places] > 1]
    score[judged] = (of_other - of_own)[judged]
    listed = np.flatnonzero(np.nan_to_num(score, nan=-1) > 0)
    order = np.lexsort((listed, -np.round(score[listed], 6)))
    return Suspects(classes[suggested], score, listed[order], voters)


def _votes(
    found: Neighbors, voters: int, own: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The class with most votes, and the shares of the own one and of the best other, each (N,).

    `own` and the classes are places from 0 on; -1 is no class.
    """
    count = len(own)
    suggested, of_own, of_other = np.empty(count, np.int64), np.zeros(count), np.zeros(count)
    for start in range(0, count, _VOTE_ROWS):
        rows = slice(start, start + _VOTE_ROWS)
        similarities = found.similarities[rows, :voters].astype(np.float64)
        weights = np.exp((similarities - similarities[:, :1]) / TEMPERATURE)
        weights /= weights.sum(axis=1, keepdims=True)
        shares = np.zeros((len(weights), num_classes))
        place = np.arange(len(weights))
        np.add.at(shares, (place[:, None], own[found.indices[rows, :voters]]), weights)
        suggested[rows] = shares.argmax(axis=1)
        has_own = own[rows] >= 0
        of_own[rows] = np.where(has_own, shares[place, own[rows]], 0)
        shares[place[has_own], own[rows][has_own]] = 0
        of_other[rows] = shares.max(axis=1)
    return suggested, of_own, of_other


def choose_to_label(
    units: np.ndarray,
    labels: np.ndarray | None,
    neighbors: Neighbors,
    most: int = MOST_TO_LABEL,
    seed: int = 0,
) -> np.ndarray:
    """Images to label next, so that all kinds of images get some: TypiClust.

    Hacohen, Dekel and Weinshall, arXiv 2202.02794: as many clusters as there are labels already and
    labels to give (at most 500), and from each cluster without a label, the largest first, the most
    typical image: the one with the nearest 20 neighbours. Where fewer clusters are without labels
    than images are asked for, those with the fewest labels follow.

    Args:
        units: (N, D) float32, rows of length 1 or 0.
        labels: (N,) int64, -1 where there is none; None where there are none at all.
        neighbors: The nearest others.
        most: Images to choose.
        seed: Of the clusters.

    Returns:
        (n,) int64, the one to label first first; empty where all have labels.
    """
    count = len(units)
    labelled = np.zeros(count, bool) if labels is None else labels >= 0
    if labelled.all():
        return np.empty(0, np.int64)
    number = min(_MOST_CLUSTERS, int(labelled.sum()) + most, count)
    alike = np.ptp(units, axis=0).max() == 0
    found = (np.zeros(count, np.int64) if alike or number < 2
             else clusters.cluster(clusters.reduced(units, seed), number, seed))  # fmt: skip
    typical = _density(neighbors)
    sizes = np.bincount(found)
    covered = np.bincount(found, labelled, len(sizes))
    open_ = np.bincount(found, ~labelled, len(sizes)) > 0
    order = [one for one in np.lexsort((-sizes, covered)) if open_[one]][:most]
    chosen = []
    for one in order:
        members = np.flatnonzero((found == one) & ~labelled)
        chosen.append(members[np.argmax(typical[members])])
    return np.array(chosen, np.int64)


def _density(neighbors: Neighbors) -> np.ndarray:
    """(N,) the smaller the farther the neighbours are, on the mean."""
    near = neighbors.similarities[:, :_DENSITY_NEIGHBORS]
    if near.shape[1] == 0:
        return np.zeros(len(near))
    return -np.sqrt(np.maximum(2 - 2 * near.astype(np.float64), 0)).mean(axis=1)
