"""All that is found in a file of embeddings, in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from simclr_tf.exploration import duplicates, graph, groups, label_lists, layout, outliers
from simclr_tf.exploration.graph import Neighbors
from simclr_tf.exploration.groups import Groups
from simclr_tf.exploration.label_lists import Suspects
from simclr_tf.exploration.outliers import Outliers
from simclr_tf.retrieval import images
from simclr_tf.retrieval.embeddings import Embeddings
from simclr_tf.retrieval.neighbors import DuplicateGroup, Space

NEIGHBORS = 12  # that a page shows of an image
_NEEDED = max(NEIGHBORS, label_lists.VOTERS)


class Findings(NamedTuple):
    """What was found among N images.

    Attributes:
        places: (N, 2) float32, the map.
        neighbors: The nearest others of each image.
        groups: Found without labels.
        duplicates: Groups of near-duplicates; the first image of each is the one to keep.
        duplicate_group: (N,) int64, their number from 0 on, -1 where an image has none.
        outliers: Images without others like them.
        suspects: Labels that look wrong; None where there are no labels.
        to_label: (n,) int64, images to label next, in that order.
    """

    places: np.ndarray
    neighbors: Neighbors
    groups: Groups
    duplicates: list[DuplicateGroup]
    duplicate_group: np.ndarray
    outliers: Outliers
    suspects: Suspects | None
    to_label: np.ndarray


def find(
    content: Embeddings,
    space: Space,
    num_groups: int | None = None,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Findings:
    """Looks at a file of embeddings from all sides.

    Args:
        content: The embeddings.
        space: How they are compared.
        num_groups: Groups to find; None chooses, see `groups.find_groups`.
        on_stage: Hears what is being done.
    """
    on_stage("nearest images")
    units = graph.seen_from(content.vectors, space.origin)
    neighbors = graph.nearest_others(units, _NEEDED)
    count = len(units)
    nearest = neighbors.similarities[:, 0] if count > 1 else np.full(1, -1, np.float32)
    folder = images.image_folder(content.metadata)
    on_stage("near-duplicates")
    copies = [duplicates.largest_file_first(one, content.ids, folder)
              for one in duplicates.find_duplicates(content.vectors, space, nearest)]  # fmt: skip
    duplicate_group = np.full(count, -1)
    for number, one in enumerate(copies):
        duplicate_group[one.indices] = number
    on_stage("groups")
    found_groups = groups.find_groups(units, num_groups)
    on_stage("labels")
    labels = content.labels
    some = labels is not None and bool((labels >= 0).any())
    suspects = (label_lists.find_suspects(units, labels, neighbors)
                if some and labels is not None else None)  # fmt: skip
    to_label = label_lists.choose_to_label(units, labels, neighbors)
    on_stage("map")
    return Findings(
        layout.place(units), neighbors, found_groups, copies, duplicate_group,
        outliers.find_outliers(neighbors.similarities), suspects, to_label,
    )  # fmt: skip
