"""From what a run holds to what its page says: numbers and positions, no markup."""

from __future__ import annotations

import colorsys
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simclr_tf.report import accuracies
from simclr_tf.report.kept import Examples, Predictions
from simclr_tf.units import format_percent

NEIGHBORS = 6
_QUERIES = 8
_MOST_CLASSES_IN_TABLE = 20
_MOST_PAIRS = 20
_MOST_CLASSES_AS_BARS = 40
_MAP_SIZE = (1000, 640)  # units of the map's view box
_MAP_MARGIN = 20
# Of matplotlib's tab10, without its gray.
_COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#17becf",
           "#bcbd22", "#5b7f95")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Neighbor:
    """An image of the examples, beside a query.

    Attributes:
        index: Of the image.
        name: Its class; "" unlabeled.
        same: Whether it is of the query's class; None unlabeled.
    """

    index: int
    name: str
    same: bool | None


@dataclasses.dataclass(frozen=True)
class Query:
    """An image with its nearest neighbours before and after training."""

    index: int
    name: str
    before: list[Neighbor]
    now: list[Neighbor]


@dataclasses.dataclass(frozen=True)
class Neighborhoods:
    """Neighbours of a few images, and how many of all images' neighbours are of their class.

    Attributes:
        queries: A few images.
        before: Share of same-class neighbours of the untrained encoder, None without labels.
        now: The same of the trained one.
        count: Neighbours of each image.
    """

    queries: list[Query]
    before: float | None
    now: float | None
    count: int


@dataclasses.dataclass(frozen=True)
class MapPoint:
    """A point of the map: place, class, colour, and what is said of it; in the examples' order."""

    x: float
    y: float
    label: int
    color: str
    text: str


def neighborhoods(examples: Examples, names: Sequence[str] | None) -> Neighborhoods:
    """Nearest neighbours by cosine similarity among the examples."""
    count = min(NEIGHBORS, len(examples.images) - 1)
    before, now = (_nearest(features, count) for features in (examples.before, examples.now))
    labels = examples.labels

    def described(query: int, found: np.ndarray) -> list[Neighbor]:
        return [Neighbor(int(i), class_name(int(labels[i]), names),
                         bool(labels[i] == labels[query]) if labels[query] >= 0 else None)
                for i in found[query]]  # fmt: skip

    queries = [Query(i, class_name(int(labels[i]), names), described(i, before), described(i, now))
               for i in _queries(labels)]  # fmt: skip
    return Neighborhoods(queries, _agreement(before, labels), _agreement(now, labels), count)


def embedding_points(examples: Examples, names: Sequence[str] | None) -> list[MapPoint]:
    """The examples' places, scaled to `_MAP_SIZE`."""
    low, high = examples.points.min(axis=0), examples.points.max(axis=0)
    span = np.maximum(high - low, 1e-9)
    inner = np.array(_MAP_SIZE) - 2 * _MAP_MARGIN
    places = (examples.points - low) / span * inner + _MAP_MARGIN
    colors = class_colors(int(examples.labels.max(initial=-1)) + 1)
    points = []
    for index, (x, y) in enumerate(places):
        label, predicted = int(examples.labels[index]), int(examples.predicted[index])
        text = class_name(label, names) or "no label"
        if predicted >= 0 and label >= 0:
            verdict = "as the linear head says" if predicted == label else (
                f"the linear head says {class_name(predicted, names)}")  # fmt: skip
            text = f"{text}, {verdict}"
        color = colors[label] if label >= 0 else "none"
        points.append(MapPoint(round(float(x), 1), round(float(y), 1), label, color, text))
    return points


def map_size() -> tuple[int, int]:
    """Width and height of the map in its own units."""
    return _MAP_SIZE


def class_colors(count: int) -> list[str]:
    """A colour for each class; beyond ten they go round the hues."""
    if count <= len(_COLORS):
        return list(_COLORS[:count])
    found = []
    for index in range(count):
        rgb = colorsys.hls_to_rgb(index / count, 0.5, 0.65)
        found.append("#" + "".join(f"{round(255 * one):02x}" for one in rgb))
    return found


def class_name(label: int, names: Sequence[str] | None) -> str:
    """The name of a class; "" where there is no label."""
    if label < 0:
        return ""
    return names[label] if names is not None and label < len(names) else f"class {label}"


def per_class(
    predictions: Predictions, classes: np.ndarray, names: Sequence[str] | None
) -> dict[str, Any]:
    """Accuracy of each class, best first; of many classes the best and the worst."""
    labels = predictions.labels
    rows: list[dict[str, Any]] = []
    for label in np.unique(labels[labels >= 0]):
        of_class = labels == label
        share = float(np.mean(classes[of_class] == label))
        rows.append({"name": class_name(int(label), names), "share": share,
                     "text": format_percent(share), "count": int(of_class.sum())})  # fmt: skip
    rows.sort(key=lambda row: -row["share"])
    left_out = max(0, len(rows) - _MOST_CLASSES_AS_BARS)
    if left_out:
        half = _MOST_CLASSES_AS_BARS // 2
        rows = rows[:half] + rows[-half:]
    return {"rows": rows, "left_out": left_out}


def confusion(
    predictions: Predictions, classes: np.ndarray, names: Sequence[str] | None
) -> dict[str, Any]:
    """The confusion matrix of few classes as rows of shares; of many the commonest errors."""
    known = predictions.labels >= 0
    labels, found = predictions.labels[known], classes[known]
    size = int(max(labels.max(), found.max())) + 1
    if names is not None:
        size = max(size, len(names))
    if size <= _MOST_CLASSES_IN_TABLE:
        matrix = np.zeros((size, size), np.int64)
        np.add.at(matrix, (labels, found), 1)
        titles = [class_name(i, names) for i in range(size)]
        totals = np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        return {"names": titles, "shares": (matrix / totals).tolist(), "counts": matrix.tolist()}
    wrong = np.stack([labels, found], axis=1)[labels != found]
    pairs, counts = np.unique(wrong, axis=0, return_counts=True)
    largest = np.argsort(-counts, kind="stable")[:_MOST_PAIRS]
    return {"pairs": [{"true": class_name(int(pairs[i, 0]), names),
                       "found": class_name(int(pairs[i, 1]), names),
                       "count": int(counts[i])} for i in largest]}  # fmt: skip


def scoreboard(
    metrics: Mapping[str, float], num_classes: int | None = None
) -> list[dict[str, str]]:
    """Accuracies of an evaluation beside those of the untrained encoder, as text."""
    rows = []
    for name in accuracies.ordered(metrics, num_classes):
        before = metrics.get(name.replace("eval/", "untrained/", 1))
        rows.append({"title": accuracies.title(name), "value": format_percent(metrics[name]),
                     "before": "" if before is None else format_percent(before)})  # fmt: skip
    return rows


def _queries(labels: np.ndarray) -> list[int]:
    """A few images, each of another class as far as there are so many."""
    first = np.unique(labels, return_index=True)[1]
    rest = np.setdiff1d(np.arange(len(labels)), first)
    return [int(i) for i in np.concatenate([np.sort(first), rest])[:_QUERIES]]


def _nearest(features: np.ndarray, count: int) -> np.ndarray:
    """(N, count) indices of the most similar other rows, the nearest first."""
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(norms, 1e-12)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -np.inf)
    return np.argsort(-similar, axis=1, kind="stable")[:, :count]


def _agreement(found: np.ndarray, labels: np.ndarray) -> float | None:
    known = labels >= 0
    if not known.any() or not found.size:
        return None
    classes, counts = np.unique(labels[known], return_counts=True)
    known &= np.isin(labels, classes[counts > 1])  # one image alone has no neighbour of its class
    if not known.any():
        return None
    return float(np.mean(labels[found[known]] == labels[known, None]))
