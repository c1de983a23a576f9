"""Batch size, length of training and scaling of the learning rate (Fig. 9, Table B.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from simclr_tf.settings.run import RunConfig
from simclr_tf.studies import figures
from simclr_tf.studies.grid import Cell, Study
from simclr_tf.studies.results import Estimate, Results, difference
from simclr_tf.studies.verdicts import Verdict, compare

# Batches as multiples of the base's, lengths as multiples of the budget. The paper's go from
# 256 to 8192 images and from 100 to 1000 epochs.
_BATCHES = {"small": (0.5, 1.0, 2.0), "paper": (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)}
_LENGTHS = {"small": (1.0, 2.0), "paper": (1.0, 2.0, 4.0, 8.0)}


def _grid(base: RunConfig, grid: str) -> list[Cell]:
    """Both scalings agree at the base's batch size, as the paper's agree at 4096."""
    full = base.train.train_batch_size
    rates = {
        "linear": base.optimizer.peak_learning_rate(full) * 256 / full,
        "sqrt": base.optimizer.peak_learning_rate(full) / math.sqrt(full),
    }
    cells = []
    for scaling, rate in rates.items():
        for length in _LENGTHS[grid]:
            for share in _BATCHES[grid]:
                batch = max(2, round(full * share))
                factors = {"scaling": scaling, "length": length, "batch": batch}
                settings: dict[str, Any] = {
                    "train_batch_size": batch,
                    "learning_rate_scaling": scaling,
                    "learning_rate": rate,
                    "gradient_cache_chunk": 0,
                    "gradient_cache_bn": "chunk",
                }
                cells.append(Cell(factors, settings, length=length))
    return cells


def _draw(results: Results) -> Figure:
    figure, axes = figures.new_figure(10, 4.2, panels=2)
    for panel, scaling in zip(axes, ("linear", "sqrt"), strict=True):
        cells = results.find(scaling=scaling)
        groups = [
            group._replace(name=f"{group.name} x the budget")
            for group in figures.grouped(cells, by="length", x="batch")
        ]
        figures.lines(panel, groups, results)
        figures.logarithmic(panel, groups)
        figures.finish(panel, f"Learning rate scaled: {scaling}", "batch size")
    figures.on_one_scale(axes)
    return figure


def _conclude(results: Results) -> Sequence[Verdict]:
    batches = sorted({cell.factors["batch"] for cell in results.cells})
    lengths = sorted({cell.factors["length"] for cell in results.cells})
    smallest, largest = batches[0], batches[-1]
    short, long = lengths[0], lengths[-1]
    best = results.highest

    def gain(length: float) -> Estimate | None:
        return difference(best(batch=largest, length=length), best(batch=smallest, length=length))

    return [
        compare("large batches are better in a short training (on ImageNet, linear scaling, "
                "64.6 % with 4096 images and 57.5 % with 256)",
                (f"batch {largest}", best(batch=largest, length=short)),
                (f"batch {smallest}", best(batch=smallest, length=short))),
        compare("the gain from large batches shrinks in a longer training",
                ("the gain in the shortest", gain(short)), ("in the longest", gain(long)),
                unit="points"),
        compare("longer training is better",
                (f"{long:g} x the budget", best(length=long)),
                (f"{short:g} x", best(length=short))),
        compare("square-root scaling is better for small batches in a short training (on "
                "ImageNet, 256 images, 62.8 % and 57.5 %)",
                ("sqrt", best(batch=smallest, length=short, scaling="sqrt")),
                ("linear", best(batch=smallest, length=short, scaling="linear"))),
    ]  # fmt: skip


STUDY = Study(
    name="batch_size",
    title="Batch size and length of training",
    source="Fig. 9, Table B.1",
    grid=_grid,
    conclude=_conclude,
    draw=_draw,
)
