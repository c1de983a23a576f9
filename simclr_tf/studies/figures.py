"""The kinds of figures that studies draw: a heat map, bars, lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from simclr_tf.report.curves import COLORS
from simclr_tf.studies.grid import Cell
from simclr_tf.studies.output import plain
from simclr_tf.studies.results import Results

_DOTS_PER_INCH = 120
_MOST_LETTERS = 45  # of all labels below bars that still stand side by side


class Group(NamedTuple):
    """Cells that belong together: a colour of bars, or a line. Positions are labels or numbers."""

    name: str
    cells: Sequence[tuple[Any, Cell]]


def new_figure(
    width: float, height: float, panels: int | tuple[int, int] = 1
) -> tuple[Figure, list[Axes]]:
    """A figure with panels side by side, or in rows and columns; sizes in inches."""
    rows, columns = panels if isinstance(panels, tuple) else (1, panels)
    figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(np.ravel(figure.subplots(rows, columns)))


def heat_map(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: np.ndarray,
    axes_names: tuple[str, str],
) -> Figure:
    """A matrix of percentages (R, C) with a last column of row means; NaN where there is none."""
    with np.errstate(invalid="ignore"):
        counts = np.isfinite(values).sum(axis=1)
        sums = np.nansum(values, axis=1)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    shown = np.concatenate([values, means[:, None]], axis=1)
    figure, (axes,) = new_figure(1.6 + 0.85 * shown.shape[1], 1.4 + 0.62 * len(rows))
    image = axes.imshow(np.ma.masked_invalid(shown), cmap="viridis", aspect="auto")
    axes.axvline(len(columns) - 0.5, color="white", linewidth=3)
    middle = np.nanmean(image.get_clim()) if np.isfinite(shown).any() else 0
    for (i, j), value in np.ndenumerate(shown):
        text = f"{value:.1f}" if np.isfinite(value) else "-"
        color = "white" if np.isfinite(value) and value < middle else "#111111"
        axes.text(j, i, text, ha="center", va="center", color=color, fontsize=9)
    axes.set_xticks(range(shown.shape[1]), [*columns, "mean"])
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylabel(axes_names[0])
    axes.set_xlabel(axes_names[1])
    axes.set_title(title, fontsize=11, loc="left")
    figure.colorbar(image, ax=axes, label="top-1 accuracy, %")
    return figure


def bars(title: str, groups: Sequence[Group], results: Results, x_name: str = "") -> Figure:
    """Percentages as bars with standard errors; the paper's values as diamonds."""
    labels = list(dict.fromkeys(label for group in groups for label, _ in group.cells))
    figure, (axes,) = new_figure(max(6.0, 2.5 + 0.55 * len(labels) * len(groups)), 4.2)
    width = 0.8 / len(groups)
    paper = []
    for index, group in enumerate(groups):
        shift = (index - (len(groups) - 1) / 2) * width
        for label, cell in group.cells:
            at = labels.index(label) + shift
            found = results.estimate(cell)
            if found is not None:
                axes.bar(at, 100 * found.value, width, yerr=100 * found.error, capsize=2,
                         color=COLORS[index % len(COLORS)])  # fmt: skip
            if cell.paper is not None:
                paper.append((at, cell.paper))
    for index, group in enumerate(groups):
        if len(groups) > 1:
            axes.bar(0, 0, color=COLORS[index % len(COLORS)], label=group.name)
    _mark_paper(axes, paper)
    names = [plain(label) for label in labels]
    turned = sum(map(len, names)) > _MOST_LETTERS
    axes.set_xticks(range(len(names)), names, rotation=25 if turned else 0,
                    ha="right" if turned else "center")  # fmt: skip
    finish(axes, title, x_name, legend=False)
    if paper or len(groups) > 1:  # beside the bars, which reach everywhere
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def lines(
    axes: Axes, groups: Sequence[Group], results: Results, metric: str | None = None,
    scale: float = 100.0,
) -> None:  # fmt: skip
    """A line with standard errors per group, over numbers; the paper's values as diamonds."""
    paper = []
    for index, group in enumerate(groups):
        found = [(x, results.estimate(cell, metric)) for x, cell in group.cells]
        known = [(x, one) for x, one in found if one is not None]
        if known:
            axes.errorbar(
                [x for x, _ in known],
                [scale * one.value for _, one in known],
                [scale * one.error for _, one in known],
                color=COLORS[index % len(COLORS)], marker="o", markersize=4, capsize=2,
                label=group.name,
            )  # fmt: skip
        paper += [(x, value) for x, cell in group.cells
                  if (value := cell.paper_of(metric)) is not None]  # fmt: skip
    _mark_paper(axes, paper)


def _mark_paper(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    if points:
        axes.plot(*zip(*points, strict=True), marker="D", color="#333333", markersize=5,
                  linestyle="", label="the paper (ImageNet)")  # fmt: skip


def finish(
    axes: Axes, title: str, x_name: str, y_name: str = "top-1 accuracy, %", legend: bool = True
) -> None:
    """Titles, grid and legend, the same in all figures."""
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel(x_name)
    axes.set_ylabel(y_name)
    axes.grid(axis="y", color="#E2E2E2", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if legend and axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)


def logarithmic(axes: Axes, groups: Sequence[Group]) -> None:
    """Places the numbers of groups on a logarithmic axis, each with its tick."""
    values = sorted({x for group in groups for x, _ in group.cells})
    axes.set_xscale("log")
    axes.set_xticks(values, [plain(value) for value in values])
    axes.minorticks_off()


def on_one_scale(panels: Sequence[Axes]) -> None:
    """Gives panels that show the same figure the same range, so that they can be compared."""
    low = min(panel.get_ylim()[0] for panel in panels)
    high = max(panel.get_ylim()[1] for panel in panels)
    for panel in panels:
        panel.set_ylim(low, high)


def grouped(cells: Sequence[Cell], by: str, x: str) -> list[Group]:
    """The cells in one group per value of a factor, at their values of another."""
    groups: dict[Any, list[tuple[Any, Cell]]] = {}
    for cell in cells:
        groups.setdefault(cell.factors[by], []).append((cell.factors[x], cell))
    return [Group(plain(value), members) for value, members in groups.items()]
