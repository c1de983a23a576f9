"""The CSV file of everything that was found."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from simclr_tf.exploration.findings import Findings
from simclr_tf.retrieval import images
from simclr_tf.retrieval.embeddings import Embeddings

HEAD = ("id", "path", "x", "y", "group", "typicality", "rank_in_group", "outlier_score",
        "outlier_rank", "is_outlier", "duplicate_group", "keep_of_duplicates",
        "nearest", "nearest_similarity", "label", "suggested_label", "label_doubt",
        "label_doubt_rank", "label_next_rank")  # fmt: skip
MARK = b"id,path,x,y,group,typicality,"  # how every table of ours begins
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cell_text(text: str) -> str:
    """A text that a spreadsheet takes for no formula: those that begin as one get a `'` in front.

    Halves of surrogate pairs, which no encoding can write, become escapes.
    """
    safe = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return f"'{safe}" if safe.startswith(_FORMULA) else safe


def csv_table(content: Embeddings, found: Findings) -> str:
    """A line for each image, in the order of the file. Groups and ranks count from 1.

    An empty cell means that there is none: no duplicates, no label, not on the list.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEAD)
    writer.writerows(_rows(content, found))
    return text.getvalue()


def _rows(content: Embeddings, found: Findings) -> Iterator[list[Any]]:
    folder = images.image_folder(content.metadata)
    count = len(content.ids)
    kept = {int(one.indices[0]) for one in found.duplicates}
    beyond = np.zeros(count, bool)
    beyond[found.outliers.listed] = True
    suspects = found.suspects
    doubted = {} if suspects is None else _ranks(suspects.listed)
    next_ = _ranks(found.to_label)
    groups, outliers, neighbors = found.groups, found.outliers, found.neighbors
    has_others = neighbors.indices.shape[1] > 0
    for row, name in enumerate(content.ids):
        copies = int(found.duplicate_group[row])
        yield [
            cell_text(name),
            cell_text(str(images.path_below(folder, name) or "")) if folder is not None else "",
            *(f"{value:.3f}" for value in found.places[row]),
            groups.group[row] + 1,
            f"{groups.typicality[row]:.4f}",
            groups.rank[row],
            f"{outliers.score[row]:.4f}",
            outliers.rank[row],
            int(beyond[row]),
            "" if copies < 0 else copies + 1,
            "" if copies < 0 else int(row in kept),
            cell_text(content.ids[neighbors.indices[row, 0]]) if has_others else "",
            f"{neighbors.similarities[row, 0]:.4f}" if has_others else "",
            cell_text(content.label_name(row) or ""),
            *_of_label(content, found, row),
            doubted.get(row, ""),
            next_.get(row, ""),
        ]


def _of_label(content: Embeddings, found: Findings, row: int) -> tuple[str, str]:
    """What neighbours suggest, and by how much against the given label."""
    suspects = found.suspects
    if suspects is None or suspects.suggested[row] < 0:
        return "", ""
    score = suspects.score[row]
    name = class_name(content, int(suspects.suggested[row]))
    return cell_text(name), "" if np.isnan(score) else f"{score:.4f}"


def class_name(content: Embeddings, label: int) -> str:
    """The name of a class, its number where names are not known."""
    names = content.label_names
    return names[label] if names is not None and label < len(names) else str(label)


def _ranks(listed: np.ndarray) -> dict[int, int]:
    return {int(row): rank for rank, row in enumerate(listed, start=1)}
