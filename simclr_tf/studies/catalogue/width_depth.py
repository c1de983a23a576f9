"""Wider and deeper encoders, for contrastive and for supervised learning (section 4.1, Fig. 7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from simclr_tf.settings.run import RunConfig
from simclr_tf.studies import figures
from simclr_tf.studies.catalogue.color_strength import SIMCLR, SUPERVISED
from simclr_tf.studies.grid import HEAD, PROBE, Cell, Study
from simclr_tf.studies.results import Estimate, Results, difference
from simclr_tf.studies.verdicts import Verdict, compare

# Depths, and widths as multiples of the base's.
_DEPTHS = {"small": (18, 34), "paper": (18, 34, 50, 101, 152)}
_WIDTHS = {"small": (0.5, 1.0, 2.0), "paper": (1.0, 2.0, 4.0)}


def _grid(base: RunConfig, grid: str) -> list[Cell]:
    cells = []
    for method in (SIMCLR, SUPERVISED):
        for depth in _DEPTHS[grid]:
            for factor in _WIDTHS[grid]:
                width = base.model.encoder.width_multiplier * factor
                settings: dict[str, Any] = {"resnet_depth": depth, "width_multiplier": width}
                if method == SUPERVISED:
                    settings |= {"train_mode": "supervised", "gradient_cache_chunk": 0}
                factors = {"method": method, "depth": depth, "width": width}
                metric = HEAD if method == SUPERVISED else PROBE
                cells.append(Cell(factors, settings, metric=metric))
    return cells


def _draw(results: Results) -> Figure:
    figure, axes = figures.new_figure(10, 4.2, panels=2)
    for panel, method in zip(axes, (SIMCLR, SUPERVISED), strict=True):
        groups = [
            group._replace(name=f"ResNet-{group.name}")
            for group in figures.grouped(results.find(method=method), by="depth", x="width")
        ]
        figures.lines(panel, groups, results)
        figures.logarithmic(panel, groups)
        figures.finish(panel, method, "width multiplier")
    return figure


def _conclude(results: Results) -> Sequence[Verdict]:
    depths = sorted({cell.factors["depth"] for cell in results.cells})
    widths = sorted({cell.factors["width"] for cell in results.cells})

    def at(method: str, largest: bool) -> Estimate | None:
        place = -1 if largest else 0
        return results.mean(results.find(method=method, depth=depths[place], width=widths[place]))

    def gain(method: str) -> Estimate | None:
        return difference(at(method, True), at(method, False))

    return [
        compare("larger encoders are better for SimCLR", ("the largest", at(SIMCLR, True)),
                ("the smallest", at(SIMCLR, False))),
        compare("SimCLR gains more from size than supervised learning",
                ("SimCLR's gain", gain(SIMCLR)), ("the supervised gain", gain(SUPERVISED)),
                unit="points"),
    ]  # fmt: skip


STUDY = Study(
    name="width_depth",
    title="Width and depth of the encoder",
    source="Fig. 7",
    grid=_grid,
    conclude=_conclude,
    draw=_draw,
)
