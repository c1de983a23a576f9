"""Results of studies that nobody ran, to see what is concluded from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from simclr_tf.config import RunConfig
from simclr_tf.settings import recipes
from simclr_tf.studies import catalogue
from simclr_tf.studies.grid import Cell
from simclr_tf.studies.results import Outcome, Results
from simclr_tf.studies.verdicts import CONTRADICTS, OPEN, SUPPORTS

FLIPPED = {SUPPORTS: CONTRADICTS, CONTRADICTS: SUPPORTS, OPEN: OPEN}

Figures = Callable[[Cell], float | Mapping[str, float]]


def base(**settings) -> RunConfig:
    """The quickstart, as a study's base."""
    return recipes.recipe("quickstart", model_dir="unused", **settings)


def results(
    name: str, figures: Figures, grid: str = "small", seeds: int = 2, test_images: int = 10_000
) -> Results:
    """The study's results where `figures` gives a cell's accuracy, or all its figures."""
    cells = catalogue.study(name).grid(base(), grid)
    outcomes = {}
    for cell in cells:
        found = figures(cell)
        metrics = found if isinstance(found, Mapping) else {cell.metric: found}
        outcomes[cell.key] = [Outcome(seed, metrics, None, {}) for seed in range(seeds)]
    return Results(cells, outcomes, test_images)


def answers(name: str, figures: Figures, **options) -> list[str]:
    """What the study says about each of the paper's conclusions."""
    found = catalogue.study(name).conclude(results(name, figures, **options))
    return [verdict.answer for verdict in found]


def mirrored(figures: Figures) -> Figures:
    """The same world with all differences the other way round."""

    def flip(cell: Cell) -> float | Mapping[str, float]:
        found = figures(cell)
        if isinstance(found, Mapping):
            return {name: 1 - value for name, value in found.items()}
        return 1 - found

    return flip
