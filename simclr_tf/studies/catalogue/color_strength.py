"""Stronger colour distortion, for contrastive and for supervised learning (Table 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from simclr_tf.settings.run import RunConfig
from simclr_tf.studies import figures
from simclr_tf.studies.grid import HEAD, Cell, Study
from simclr_tf.studies.results import Estimate, Results, difference
from simclr_tf.studies.verdicts import Verdict, compare

SIMCLR, SUPERVISED = "SimCLR", "supervised"
WEAKEST, STRONGEST, AUTOAUGMENT = "1/8", "1", "AutoAugment"
# Augmentation -> settings, and the paper's values for SimCLR and supervised learning.
_COLUMNS: dict[str, tuple[dict[str, Any], float, float]] = {
    WEAKEST: ({"color_jitter_strength": 1 / 8, "use_blur": False}, 59.6, 77.0),
    "1/4": ({"color_jitter_strength": 1 / 4, "use_blur": False}, 61.0, 76.7),
    "1/2": ({"color_jitter_strength": 1 / 2, "use_blur": False}, 62.6, 76.5),
    STRONGEST: ({"color_jitter_strength": 1.0, "use_blur": False}, 63.2, 75.7),
    "1 + blur": ({"color_jitter_strength": 1.0, "use_blur": True}, 64.5, 75.4),
    AUTOAUGMENT: ({"augmentation": "autoaugment"}, 61.1, 77.1),
}  # fmt: skip


def _grid(base: RunConfig, grid: str) -> list[Cell]:
    """The same in both grids. A supervised network is measured by its own head, as in the paper."""
    cells = []
    for name, (settings, simclr, supervised) in _COLUMNS.items():
        settings = {"augmentation": "simclr", "transforms": "", **settings}
        cells.append(Cell({"augmentation": name, "method": SIMCLR}, settings, paper=simclr))
        cells.append(
            Cell(
                {"augmentation": name, "method": SUPERVISED},
                {**settings, "train_mode": "supervised", "gradient_cache_chunk": 0},
                metric=HEAD,
                paper=supervised,
            )
        )
    return sorted(cells, key=lambda cell: cell.factors["method"] == SUPERVISED)


def _draw(results: Results) -> Figure:
    groups = figures.grouped(results.cells, by="method", x="augmentation")
    return figures.bars("Strength of colour distortion", groups, results, "augmentation")


def _conclude(results: Results) -> Sequence[Verdict]:
    def at(name: str, method: str) -> Estimate | None:
        return results.mean(results.find(augmentation=name, method=method))

    def gain(method: str) -> Estimate | None:
        return difference(at(STRONGEST, method), at(WEAKEST, method))

    plain = {name: at(name, SIMCLR) for name in _COLUMNS if name != AUTOAUGMENT}
    known = {name: found for name, found in plain.items() if found is not None}
    best = max(known, key=lambda name: known[name].value, default="none has a result")
    return [
        compare("stronger colour distortion helps SimCLR", ("strength 1", at(STRONGEST, SIMCLR)),
                ("strength 1/8", at(WEAKEST, SIMCLR))),
        compare("it helps SimCLR more than supervised learning", ("SimCLR's gain", gain(SIMCLR)),
                ("the supervised gain", gain(SUPERVISED)), unit="points"),
        compare("AutoAugment is not the best for SimCLR",
                (f"the best strength ({best})", known.get(best)),
                (AUTOAUGMENT, at(AUTOAUGMENT, SIMCLR))),
    ]  # fmt: skip


STUDY = Study(
    name="color_strength",
    title="Strength of colour distortion",
    source="Table 1",
    grid=_grid,
    conclude=_conclude,
    draw=_draw,
)
