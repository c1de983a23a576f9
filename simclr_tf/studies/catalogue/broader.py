"""A broader set of augmentations than the paper's policy (appendix B.2)."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from simclr_tf.settings.augment import BROADER_TRANSFORMS
from simclr_tf.settings.run import RunConfig
from simclr_tf.studies import figures
from simclr_tf.studies.grid import Cell, Study
from simclr_tf.studies.results import Results
from simclr_tf.studies.verdicts import Verdict, compare

NONE, ALL = "none", "all four"


def _grid(base: RunConfig, grid: str) -> list[Cell]:
    """The policy alone, with each transformation, and with all of them; the same in both grids."""
    added = {NONE: (), **{name: (name,) for name in BROADER_TRANSFORMS}, ALL: BROADER_TRANSFORMS}
    return [
        Cell({"added": title},
             {"augmentation": "simclr", "transforms": ",".join(names)})
        for title, names in added.items()
    ]  # fmt: skip


def _draw(results: Results) -> Figure:
    group = figures.Group("", [(cell.factors["added"], cell) for cell in results.cells])
    return figures.bars("Broader augmentation", [group], results, "added to the paper's policy")


def _conclude(results: Results) -> Sequence[Verdict]:
    return [
        compare("broader augmentation helps (+0.7 points on ImageNet)",
                ("all four", results.mean(results.find(added=ALL))),
                ("none", results.mean(results.find(added=NONE)))),
    ]  # fmt: skip


STUDY = Study(
    name="broader",
    title="Broader augmentation",
    source="Appendix B.2",
    grid=_grid,
    conclude=_conclude,
    draw=_draw,
)
