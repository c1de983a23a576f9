"""The page of a folder: what its scripts read, as numbers and texts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from simclr_tf.exploration import groups as grouping
from simclr_tf.exploration import label_lists, layout
from simclr_tf.exploration import outliers as outlying
from simclr_tf.exploration.findings import NEIGHBORS, Findings
from simclr_tf.exploration.table import class_name
from simclr_tf.exploration.thumbnails import Origin, Sheets, load_thumbnails, make_sheets
from simclr_tf.report import page, sections
from simclr_tf.retrieval import images
from simclr_tf.retrieval.embeddings import Embeddings
from simclr_tf.retrieval.neighbors import Space
from simclr_tf.text import printable_name
from simclr_tf.units import format_percent

MOST_POINTS = 100_000
MOST_THUMBNAILS = 20_000
_SIDES = ((1000, 96), (5000, 64), (MOST_THUMBNAILS, 40))  # of the pictures of so many images
_LARGE_SIDE = 96  # of those in lists
_TYPICAL = 9
_DUPLICATES, _OF_DUPLICATES = 60, 12
_LISTED = 60
_FARTHEST = 8  # shown even where none is an outlier
_SMALL_SET = 32  # px, where it is not known how large images are
_GRID = 65_535
_LONGEST = 300  # characters of what a file says of its images
_TRUSTED_AGREEMENT = 0.7


class Lists(NamedTuple):
    """What the lists of a page show, as rows of the file.

    Attributes:
        typical: Of each group the most typical images, (n,) each.
        duplicates: Groups of near-duplicates with similarities, shortened.
        outliers: (n,), the farthest first.
        suspects: (n,), the most doubtful label first.
        to_label: (n,), in their order.
    """

    typical: list[np.ndarray]
    duplicates: list[tuple[np.ndarray, np.ndarray]]
    outliers: np.ndarray
    suspects: np.ndarray
    to_label: np.ndarray

    def rows(self) -> np.ndarray:
        """All of them, each once, ascending."""
        parts = [*self.typical, *(rows for rows, _ in self.duplicates), self.outliers,
                 self.suspects, self.to_label]  # fmt: skip
        return np.unique(np.concatenate([np.empty(0, np.int64), *parts]))


def page_html(
    title: str,
    content: Embeddings,
    found: Findings,
    space: Space,
    origin: Origin | None = None,
    table: str = "",
) -> str:
    """The HTML of the page.

    Args:
        title: Its title.
        content: The embeddings.
        found: What was found in them.
        space: How they were compared.
        origin: Where the images come from; None takes what the file of embeddings says.
        table: Name of the CSV file beside the page.
    """
    origin = content.metadata if origin is None else origin
    lists = _lists(found)
    rows = _points(len(content.ids), lists.rows())
    shown = _with_pictures(rows, lists.rows())
    small = _small_side(content, len(shown), origin)
    pictures = load_thumbnails(origin, content.ids, shown, small)
    large_side = _side(content, _LARGE_SIDE, origin)
    larger = large_side > small
    wanted = lists.rows() if larger else np.empty(0, np.int64)
    large = load_thumbnails(origin, content.ids, wanted, large_side)
    data = {
        **_of_points(content, found, rows),
        **_of_lists(content, found, lists, rows),
        "key": _key(content, found),
        "small": _pictures(make_sheets(pictures.pixels), pictures.rows, rows),
        "large": _pictures(make_sheets(large.pixels), large.rows, rows),
        "folder": _folder_uri(content),
        "pixelated": small <= _SMALL_SET,
    }
    return page.render(
        "explore.html.j2", "simclr_tf.exploration", title=title, data=page.json_in_page(data),
        says=_says(content, found, space, rows, len(pictures.rows), len(shown)), table=table,
        has_labels=found.suspects is not None, to_label=len(lists.to_label),
    )  # fmt: skip


def _lists(found: Findings) -> Lists:
    groups, outliers, suspects = found.groups, found.outliers, found.suspects
    typical = []
    for number in range(groups.number):
        members = np.flatnonzero(groups.group == number)
        typical.append(members[np.argsort(groups.rank[members])[:_TYPICAL]])
    duplicates = [(one.indices[:_OF_DUPLICATES], one.similarities[:_OF_DUPLICATES])
                  for one in found.duplicates[:_DUPLICATES]]  # fmt: skip
    count = max(len(outliers.listed), _FARTHEST)
    farthest = np.argsort(outliers.rank)[: min(count, _LISTED)]
    doubtful = np.empty(0, np.int64) if suspects is None else suspects.listed[:_LISTED]
    return Lists(typical, duplicates, farthest, doubtful, found.to_label)


def _points(count: int, needed: np.ndarray) -> np.ndarray:
    """Rows that are points of the page, ascending: all, or those listed and a random part."""
    return _some(np.arange(count), needed, MOST_POINTS)


def _with_pictures(rows: np.ndarray, needed: np.ndarray) -> np.ndarray:
    return _some(rows, needed, MOST_THUMBNAILS)


def _some(rows: np.ndarray, needed: np.ndarray, most: int) -> np.ndarray:
    if len(rows) <= most:
        return rows
    others = np.setdiff1d(rows, needed)
    chosen = np.random.default_rng(0).permutation(others)[: most - len(needed)]
    return np.sort(np.concatenate([needed, chosen]))


def _small_side(content: Embeddings, count: int, origin: Origin) -> int:
    side = next(side for most, side in _SIDES if count <= most)
    return _side(content, side, origin)


def _side(content: Embeddings, side: int, origin: Origin) -> int:
    """No larger than images are; files of a folder mostly are larger than what was embedded."""
    if not isinstance(origin, tuple) and images.image_folder(content.metadata) is not None:
        return side
    own = content.metadata.get("image_size")
    return min(side, max(own, 8)) if type(own) is int else side


def _of_points(content: Embeddings, found: Findings, rows: np.ndarray) -> dict[str, Any]:
    count = len(content.ids)
    at = np.full(count, -1, np.int32)
    at[rows] = np.arange(len(rows))
    places = found.places[rows]
    low = places.min(axis=0)
    span = max(float(np.ptp(places, axis=0).max()), 1e-9)
    labels = content.labels
    near = at[found.neighbors.indices[rows, :NEIGHBORS]]
    similar = np.round(100 * found.neighbors.similarities[rows, :NEIGHBORS])
    return {
        "count": len(rows),
        "total": count,
        "ids": [_text(content.ids[row]) for row in rows],
        "places": _packed((places - low) / span * _GRID, np.uint16),
        "group": _packed(found.groups.group[rows], np.uint16),
        "rank": _packed(found.groups.rank[rows], np.int32),
        "outlier": _packed(found.outliers.rank[rows], np.int32),
        "k": near.shape[1],
        "near": _packed(near, np.int32),
        "similar": _packed(similar, np.int8),
        "copies": _packed(found.duplicate_group[rows], np.int32),
        "label": None if labels is None else _packed(_label_places(labels)[rows], np.int32),
        "classes": _classes(content),
        "colors": sections.class_colors(max(found.groups.number, 1)),
        "class_colors": sections.class_colors(len(_classes(content))),
    }


def _of_lists(
    content: Embeddings, found: Findings, lists: Lists, rows: np.ndarray
) -> dict[str, Any]:
    def on_page(chosen: np.ndarray) -> list[int]:
        return np.searchsorted(rows, chosen).tolist()

    sizes = np.bincount(found.groups.group, minlength=found.groups.number)
    kept = np.array([one.indices[0] for one in found.duplicates], np.int64)
    suspects, doubts = found.suspects, []
    if suspects is not None:
        doubts = [[int(at), class_name(content, int(suspects.suggested[row])),
                   round(float(suspects.score[row]), 3)]
                  for at, row in zip(on_page(lists.suspects), lists.suspects,
                                     strict=True)]  # fmt: skip
    return {
        "groups": [{"size": int(size), "typical": on_page(typical)}
                   for size, typical in zip(sizes, lists.typical, strict=True)],
        "duplicates": [{"size": len(whole.indices), "rows": on_page(listed),
                        "similar": [round(float(value), 3) for value in similarities]}
                       for (listed, similarities), whole in zip(lists.duplicates, found.duplicates,
                                                                strict=False)],
        "num_duplicates": len(found.duplicates),
        "kept": on_page(kept[np.isin(kept, rows)]),
        "outliers": [[at, round(float(found.outliers.score[row]), 3)]
                     for at, row in zip(on_page(lists.outliers), lists.outliers, strict=True)],
        "num_outliers": len(found.outliers.listed),
        "suspects": doubts,
        "to_label": on_page(lists.to_label),
    }  # fmt: skip


def _pictures(sheets: Sheets, of: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
    slots = np.full(len(rows), -1, np.int32)
    slots[np.searchsorted(rows, of)] = np.arange(len(of))
    return {"side": sheets.side, "columns": sheets.columns, "rows": sheets.rows,
            "sheets": sheets.uris, "slot": _packed(slots, np.int32)}  # fmt: skip


def _label_places(labels: np.ndarray) -> np.ndarray:
    """Labels as places in `_classes`."""
    return np.where(labels < 0, -1, np.searchsorted(np.unique(labels[labels >= 0]), labels))


def _classes(content: Embeddings) -> list[str]:
    """The names of the classes that images have."""
    if content.labels is None:
        return []
    used = np.unique(content.labels[content.labels >= 0])
    return [_text(class_name(content, int(label))) for label in used]


def _says(
    content: Embeddings,
    found: Findings,
    space: Space,
    rows: np.ndarray,
    num_pictures: int,
    num_tried: int,
) -> dict[str, Any]:
    """What the page says of how things were found."""
    count, groups, suspects = len(content.ids), found.groups, found.suspects
    agreement = None if suspects is None else agreement_of(suspects.score)
    return {
        "count": count,
        "origin": printable_name(str(content.metadata.get("dataset") or ""))[:_LONGEST],
        "in_folder": images.image_folder(content.metadata) is not None,
        "similarity": space.similarity,
        "limit": f"{space.limit:.4g}",
        "expected": space.expected,
        "pairs": count * (count - 1) // 2,
        "by_tsne": min(count, layout.MOST_BY_TSNE),
        "points": len(rows),
        "pictures": num_pictures,
        "tried": num_tried,
        "groups": groups.number,
        "excess": None if groups.excess is None else f"{groups.excess:.3f}",
        "least_excess": grouping.LEAST_EXCESS,
        "fewest_of_group": grouping.FEWEST_OF_GROUP,
        "duplicates": len(found.duplicates),
        "in_duplicates": int((found.duplicate_group >= 0).sum()),
        "most_are_copies": most_are_copies(found),
        "shown_duplicates": min(len(found.duplicates), _DUPLICATES),
        "outliers": len(found.outliers.listed),
        "outlier_limit": f"{found.outliers.limit:.3f}" if np.isfinite(found.outliers.limit) else "",
        "outlier_neighbors": outlying.NEIGHBORS,
        "shown": _LISTED,
        "suspects": 0 if suspects is None else len(suspects.listed),
        "voters": 0 if suspects is None else suspects.voters,
        "agreement": None if agreement is None else format_percent(agreement),
        "weak": agreement is not None and agreement < _TRUSTED_AGREEMENT,
        "to_label": len(found.to_label),
        "most_clusters": label_lists.MOST_TO_LABEL,
    }


def most_are_copies(found: Findings) -> bool:
    """Whether most images have a near-duplicate, which is likely to say little."""
    return int((found.duplicate_group >= 0).sum()) > max(10, len(found.duplicate_group) // 2)


def agreement_of(score: np.ndarray) -> float | None:
    """Share of the judged labels that neighbours agree with; None where none was judged."""
    judged = ~np.isnan(score)
    return float((score[judged] <= 0).mean()) if judged.any() else None


def _key(content: Embeddings, found: Findings) -> str:
    """Names these images in these groups, for what the browser remembers of them."""
    hashed = hashlib.sha256(found.groups.group.tobytes())
    for name in content.ids:
        hashed.update(name.encode("utf-8", "backslashreplace") + b"\0")
    return hashed.hexdigest()[:20]


def _folder_uri(content: Embeddings) -> str:
    """Where the images lie on this machine; "" for what is no folder."""
    folder = images.image_folder(content.metadata)
    return "" if folder is None or not folder.is_dir() else folder.absolute().as_uri()


def _text(text: str) -> str:
    """Without halves of surrogate pairs, which no page can hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _packed(values: np.ndarray | Sequence[float], kind: Any) -> str:
    """Little-endian numbers in base64."""
    little = np.asarray(values).astype(np.dtype(kind).newbyteorder("<"))
    return base64.b64encode(np.ascontiguousarray(little).tobytes()).decode()
