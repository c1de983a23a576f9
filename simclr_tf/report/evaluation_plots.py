"""Pictures of an evaluation: where regularisation, confusion, confidence and classes stand."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from simclr_tf.errors import require
from simclr_tf.evaluation.metrics import Reliability
from simclr_tf.files import write_bytes_atomically

_PathLike = str | os.PathLike[str]

# Of Okabe and Ito's palette, as in the learning curves.
_BLUE, _ORANGE, _GREEN = "#0072B2", "#D55E00", "#009E73"
_GRAY, _NO_DATA, _UNLABELED = "#555555", "#E2E2E2", "#A0A0A0"
_DOTS_PER_INCH = 120

_MOST_CELLS_WITH_NUMBERS = 20  # Classes of a confusion matrix.
_MOST_NAMES = 40  # Class names along an axis that stay legible.
_LONGEST_NAME = 24
_LEAST_SPAN = 2.0  # Percentage points on an axis: less would make noise look like a trend.
_WORST_AND_BEST = 20
_MOST_IN_LEGEND = 20
_COLORS, _GRAY_OF_TEN = 10, 7  # Of the colour map tab10.


def plot_regularization_path(
    path: _PathLike,
    values: np.ndarray,
    validation: np.ndarray,
    test: np.ndarray | None,
    chosen: float,
    metric_name: str,
) -> None:
    """Draws a metric against the L2 strength and marks the chosen strength.

    The result of the protocol is another number than the one at the chosen strength here: it comes
    after a last fit on training and validation part together. The legend says so.

    Args:
        path: The PNG, written atomically.
        values: (K,) L2 strengths, above 0.
        validation: (K,) metric in [0, 1] on the validation part.
        test: (K,) metric on the test part, or None.
        chosen: One of `values`.
        metric_name: As on the axis: "top-1 accuracy".

    Raises:
        InputError: Shapes differ, a strength is not above 0, or `chosen` is none of them.
    """
    order = np.argsort(values)
    strengths = np.asarray(values, np.float64)[order]  # (K,)
    curves = {"validation": (validation, "validation", _BLUE),
              "test": (test, "test, before the refit", _ORANGE)}  # fmt: skip
    require(len(strengths) > 0 and strengths[0] > 0, "values", "must be > 0", list(values))
    place = int(np.argmin(np.abs(strengths - chosen)))
    require(bool(np.isclose(strengths[place], chosen, rtol=1e-6, atol=0)), "chosen",
            "must be one of the strengths", chosen)  # fmt: skip
    figure, axes = _new_figure((7, 4.2))
    axes.set_xscale("log")
    for name, (curve, title, color) in curves.items():
        if curve is None:
            continue
        require(np.shape(curve) == strengths.shape, name, f"must have shape {strengths.shape}",
                np.shape(curve))  # fmt: skip
        percent = 100 * np.asarray(curve, np.float64)[order]
        axes.plot(strengths, percent, color=color, marker="o", markersize=3, linewidth=1.4,
                  label=f"{title}: {percent[place]:.1f} % at the chosen strength")  # fmt: skip
        axes.plot(strengths[place], percent[place], marker="o", markersize=9, color=color,
                  markerfacecolor="white", markeredgewidth=2, linestyle="none")  # fmt: skip
    axes.axvline(strengths[place], color=_GRAY, linestyle=":", linewidth=1, zorder=0,
                 label=f"chosen strength: {strengths[place]:.2g}")  # fmt: skip
    axes.margins(y=0.12)
    _widen(axes)
    axes.legend(fontsize=9, frameon=False)
    _label(axes, f"{_capital(metric_name)} against regularisation", "L2 strength (log scale)",
           f"{metric_name} (%)")  # fmt: skip
    _save(figure, path)


def plot_confusion(
    path: _PathLike, matrix: np.ndarray, class_names: Sequence[str] | None = None
) -> None:
    """Draws a confusion matrix, each row as shares of its true class.

    Up to 20 classes have their shares written into the cells, up to 40 their names along the axes;
    beyond, axes count classes. A class without examples is a gray row. Colours go with the square
    root of the share, so that errors of a few percent are seen.

    Args:
        path: The PNG, written atomically.
        matrix: (C, C) counts, rows true classes.
        class_names: C names; None writes numbers.

    Raises:
        InputError: The matrix is not square or is empty, or names do not fit.
    """
    matrix = np.asarray(matrix, np.float64)
    require(matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] > 0, "matrix",
            "must have shape (C, C)", matrix.shape)  # fmt: skip
    total = matrix.sum()
    require(bool(total > 0 and matrix.min() >= 0), "matrix", "must hold counts above 0", total)
    names = _names(class_names, len(matrix))
    examples = matrix.sum(axis=1, keepdims=True)  # (C, 1)
    shares = np.divide(100 * matrix, examples, out=np.full_like(matrix, np.nan),
                       where=examples > 0)  # fmt: skip
    side = 5.5 + 0.14 * min(len(matrix), _MOST_NAMES)
    figure, axes = _new_figure((side + 0.9, side))
    picture = axes.imshow(np.ma.masked_invalid(shares), cmap=_blues(),
                          norm=PowerNorm(0.5, vmin=0, vmax=100))  # fmt: skip
    figure.colorbar(picture, ax=axes, shrink=0.8, label="share of the true class (%)")
    if len(matrix) <= _MOST_CELLS_WITH_NUMBERS:
        _write_shares(axes, shares)
    _name_classes(axes, names)
    right = 100 * np.trace(matrix) / total
    _label(axes, f"Confusion matrix: {right:.1f} % of {total:,.0f} examples right",
           "predicted class", "true class", grid=False)  # fmt: skip
    _save(figure, path)


def plot_reliability(path: _PathLike, reliability: Reliability) -> None:
    """Draws accuracy against confidence, with the number of examples per bin below.

    Bars below the diagonal are overconfident predictions.

    Args:
        path: The PNG, written atomically.
        reliability: Of `simclr_tf.evaluation.metrics.reliability`.
    """
    edges = 100 * reliability.edges
    left, widths = edges[:-1], np.diff(edges)
    figure = Figure(figsize=(5.6, 6.2), dpi=_DOTS_PER_INCH, layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    filled = reliability.counts > 0
    accuracy, confidence = 100 * reliability.accuracy, 100 * reliability.confidence
    axes.bar(left[filled], accuracy[filled], widths[filled], align="edge", color=_BLUE, alpha=0.75,
             edgecolor="white", label="accuracy of the bin")  # fmt: skip
    axes.plot(confidence[filled], accuracy[filled], "o", color=_ORANGE, markersize=5,
              clip_on=False, label="at the bin's mean confidence")  # fmt: skip
    axes.plot([0, 100], [0, 100], color=_GRAY, linestyle="--", linewidth=1,
              label="as accurate as confident")  # fmt: skip
    axes.set(xlim=(0, 100), ylim=(0, 100))
    axes.legend(fontsize=9, frameon=False, loc="upper left")
    error = 100 * reliability.expected_calibration_error
    _label(axes, f"Reliability: expected calibration error {error:.1f} %", "", "accuracy (%)")
    below.bar(left, reliability.counts, widths, align="edge", color=_GREEN, edgecolor="white")
    below.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    _label(below, "", "confidence (%)", "examples")
    _save(figure, path)


def plot_per_class(
    path: _PathLike, per_class: np.ndarray, class_names: Sequence[str] | None = None
) -> None:
    """Draws the accuracy of each class as bars, the best on top.

    Of more than 40 classes, the 20 best and the 20 worst are drawn. Classes without examples are
    left out and counted in the title.

    Args:
        path: The PNG, written atomically.
        per_class: (C,) in [0, 1]; NaN where a class has no examples.
        class_names: C names; None writes numbers.

    Raises:
        InputError: No class has examples, or names do not fit.
    """
    percent = 100 * np.asarray(per_class, np.float64)
    require(percent.ndim == 1 and bool(np.isfinite(percent).any()), "per_class",
            "must have shape (C,) and hold a number", percent.shape)  # fmt: skip
    names = _names(class_names, len(percent))
    present = np.flatnonzero(np.isfinite(percent))
    order = present[np.argsort(percent[present], kind="stable")]  # Worst first.
    mean = percent[present].mean()
    title = f"Accuracy per class (dashed: mean, {mean:.1f} %)"
    notes = []
    places = np.arange(len(order), dtype=np.float64)
    if len(order) > _MOST_NAMES:
        notes.append(f"{_WORST_AND_BEST} best and {_WORST_AND_BEST} worst of {len(order)} classes")
        order = np.concatenate([order[:_WORST_AND_BEST], order[-_WORST_AND_BEST:]])
        places = np.arange(len(order)) + 1.0 * (np.arange(len(order)) >= _WORST_AND_BEST)
    if len(present) < len(percent):
        notes.append(f"{len(percent) - len(present)} without examples")
    figure, axes = _new_figure((7, 1.4 + 0.22 * max(places[-1] + 1, 4)))
    axes.barh(places, percent[order], color=_BLUE, height=0.75)
    for place, value in zip(places, percent[order], strict=True):
        axes.text(109, place, f"{value:.1f}", ha="right", va="center", fontsize=8, color=_GRAY)
    axes.axvline(mean, color=_ORANGE, linestyle="--", linewidth=1.2)
    axes.set_yticks(places, [names[index] for index in order])
    axes.set(xlim=(0, 110), ylim=(-0.7, places[-1] + 0.7), xticks=range(0, 101, 20))
    _label(axes, "\n".join([title, *[", ".join(notes)][: len(notes)]]), "accuracy (%)", "")
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    _save(figure, path)


def plot_embedding_map(
    path: _PathLike,
    points: np.ndarray,
    labels: np.ndarray | None,
    class_names: Sequence[str] | None = None,
    title: str = "Map of the features",
) -> None:
    """Draws a map of features, coloured by class.

    Up to 20 classes have a legend: colours of the first ten, the same as triangles for the others.
    The axes have scales of their own, so that the points fill the picture whatever their shape.

    Args:
        path: The PNG, written atomically.
        points: (N, 2), of `simclr_tf.report.embedding_map.embedding_map`.
        labels: (N,) integers; negative ones are unlabeled and gray. None: all unlabeled.
        class_names: A name per class; None writes numbers.
        title: Above the picture.

    Raises:
        InputError: Shapes do not fit, or a label has no name.
    """
    points = np.asarray(points)
    require(points.ndim == 2 and points.shape[1] == 2 and len(points) > 0, "points",
            "must have shape (N, 2)", points.shape)  # fmt: skip
    labels = np.full(len(points), -1) if labels is None else np.asarray(labels)
    require(labels.shape == (len(points),), "labels", f"must have shape ({len(points)},)",
            labels.shape)  # fmt: skip
    classes = int(labels.max()) + 1 if class_names is None else len(class_names)
    require(int(labels.max()) < classes, "labels", f"must be below {classes}, the number of names",
            int(labels.max()))  # fmt: skip
    names = _names(class_names, classes)
    figure, axes = _new_figure((8, 6))
    _scatter(axes, points, labels, names)
    axes.set(xticks=[], yticks=[])
    _label(axes, title, "first coordinate (no unit)", "second coordinate (no unit)")
    _save(figure, path)


def _scatter(axes: Axes, points: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> None:
    """Points in random order, so that no class lies on top of the others."""
    style: dict[str, Any] = {"s": float(np.clip(20_000 / len(points), 5, 40)), "linewidths": 0,
                             "alpha": 0.75}  # fmt: skip
    present = np.unique(labels[labels >= 0])
    unlabeled = labels < 0
    axes.scatter(*points[unlabeled].T, color=_UNLABELED, **style)
    few = len(present) <= _MOST_IN_LEGEND
    ranks = np.searchsorted(present, labels)  # Of unlabeled points 0, not used.
    colors = _class_colors(len(present), few)
    order = np.random.default_rng(0).permutation(len(points))
    for second_ten, marker in ((False, "o"), (True, "^")):
        chosen = order[~unlabeled[order] & ((few & (ranks[order] >= _COLORS)) == second_ten)]
        axes.scatter(*points[chosen].T, color=colors[ranks[chosen]], marker=marker, **style)
    if not few:
        note = f"{len(present)} classes, too many for a legend"
        axes.text(0.01, 0.01, note, transform=axes.transAxes, fontsize=9, color=_GRAY)
        return
    entries = [(names[label], colors[rank], "^" if rank >= _COLORS else "o")
               for rank, label in enumerate(present)]  # fmt: skip
    if unlabeled.any():
        entries.append(("no label", _UNLABELED, "o"))
    handles = [Line2D([], [], color=color, marker=marker, linestyle="none", label=name)
               for name, color, marker in entries]  # fmt: skip
    axes.legend(handles=handles, fontsize=9, frameon=False, loc="center left",
                bbox_to_anchor=(1, 0.5))  # fmt: skip


def _class_colors(count: int, few: bool) -> np.ndarray:
    """(count, 4): ten colours, twice, or a scale where there are more classes."""
    if not few:
        return colormaps["turbo"](np.linspace(0, 1, count))
    colors = colormaps["tab10"](np.arange(count) % _COLORS)
    colors[np.arange(count) % _COLORS == _GRAY_OF_TEN] = (0, 0, 0, 1)  # Gray means no label.
    return colors


def _write_shares(axes: Axes, shares: np.ndarray) -> None:
    """Whole percentages in the cells; nothing where they round to 0, so that errors stand out."""
    small = len(shares) > 12
    for (row, column), share in np.ndenumerate(shares):
        if share > 0.5:
            axes.text(column, row, f"{share:.0f}", ha="center", va="center",
                      fontsize=7 if small else 9,
                      color="white" if share > 30 else "#222222")  # fmt: skip


def _name_classes(axes: Axes, names: Sequence[str]) -> None:
    if len(names) > _MOST_NAMES:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True))
        return
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, names)


def _names(class_names: Sequence[str] | None, count: int) -> list[str]:
    """A name per class in one line, shortened to a legible length."""
    if class_names is None:
        return [str(index) for index in range(count)]
    require(len(class_names) == count, "class_names", f"must be {count} names", len(class_names))
    lines = (" ".join(str(name).split()) for name in class_names)
    return [_shorten(line).replace("$", r"\$") for line in lines]  # No formula begins there.


def _shorten(name: str) -> str:
    """Without its middle where it is long: names of one data set often differ at their ends."""
    half = (_LONGEST_NAME - 1) // 2
    return name if len(name) <= _LONGEST_NAME else f"{name[:half]}…{name[-half:]}"


def _blues() -> Colormap:
    return colormaps["Blues"].with_extremes(bad=_NO_DATA)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _new_figure(inches: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=inches, dpi=_DOTS_PER_INCH, layout="constrained")
    return figure, figure.add_subplot()


def _widen(axes: Axes) -> None:
    """Makes the y axis span `_LEAST_SPAN`, around its middle, where it spans less."""
    low, high = axes.get_ylim()
    missing = _LEAST_SPAN - (high - low)
    if missing > 0:
        axes.set_ylim(low - missing / 2, high + missing / 2)


def _label(axes: Axes, title: str, x: str, y: str, grid: bool = True) -> None:
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel(x, fontsize=10)
    axes.set_ylabel(y, fontsize=10)
    axes.tick_params(labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    if grid:
        axes.grid(color="#E2E2E2", linewidth=0.6)
        axes.set_axisbelow(True)


def _save(figure: Figure, path: _PathLike) -> None:
    picture = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(picture, format="png", bbox_inches="tight")
    write_bytes_atomically(path, picture.getvalue())
