"""Groups of near-duplicates, in the order in which one would keep their images."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from simclr_tf.retrieval.neighbors import ROUNDING, DuplicateGroup, Space, near_duplicates


def find_duplicates(vectors: np.ndarray, space: Space, nearest: np.ndarray) -> list[DuplicateGroup]:
    """What `near_duplicates` finds, without comparing images that have nothing near.

    Args:
        vectors: (N, D).
        space: How they are compared.
        nearest: (N,) similarity of each to its nearest other.

    Returns:
        The largest group first; indices are rows of `vectors`.
    """
    near = np.flatnonzero(nearest >= space.limit - 2 * ROUNDING)
    if len(near) < 2:
        return []
    found = near_duplicates(vectors[near], space.limit, origin=space.origin)
    return [DuplicateGroup(near[group.indices], group.similarities) for group in found]


def largest_file_first(
    group: DuplicateGroup, ids: Sequence[str], folder: pathlib.Path | None
) -> DuplicateGroup:
    """The group with the largest file first, as the one to keep; else as it is."""
    if folder is None:
        return group
    sizes = np.array([_size(folder / ids[index]) for index in group.indices])
    order = np.argsort(-sizes, kind="stable")
    return DuplicateGroup(group.indices[order], group.similarities[order])


def _size(path: pathlib.Path) -> int:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return -1
