"""The figures of a study's cells, as means over seeds with their standard errors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from simclr_tf.studies.grid import Cell, Factors


class Estimate(NamedTuple):
    """A figure with its standard error, in its own unit.

    An accuracy over N test images has the binomial error sqrt(p (1 - p) / N) even where a single
    seed was run. Where any cell has several seeds, the largest counts of that, of the cell's own
    standard error over its seeds, and of the one by the scatter between seeds over all cells: two
    or three seeds of one cell may agree by chance, and a single one shows nothing.

    Attributes:
        value: The figure.
        error: Its standard error.
        holds_chance: Whether the error holds the chance of training, which several seeds show.
    """

    value: float
    error: float
    holds_chance: bool = False

    def __sub__(self, other: Estimate) -> Estimate:
        return Estimate(self.value - other.value, math.hypot(self.error, other.error),
                        self.holds_chance and other.holds_chance)  # fmt: skip


def difference(high: Estimate | None, low: Estimate | None) -> Estimate | None:
    """The first less the second, None where one of them is missing."""
    return None if high is None or low is None else high - low


class Outcome(NamedTuple):
    """What a cell with one seed gave.

    Attributes:
        metrics: Figures by name; empty where it failed.
        failed: Why there are none.
        record: Everything that was written about it.
    """

    seed: int
    metrics: Mapping[str, float]
    failed: str | None
    record: Mapping[str, Any]


class Results:
    """What the cells of a study gave.

    Args:
        cells: Of the grid.
        outcomes: By `Cell.key`; cells that have none yet may be missing.
        test_images: Images that accuracies are means over.
    """

    def __init__(
        self, cells: Sequence[Cell], outcomes: Mapping[str, Sequence[Outcome]], test_images: int
    ):
        self.cells = list(cells)
        self.outcomes = outcomes
        self.test_images = test_images

    def estimate(self, cell: Cell, metric: str | None = None) -> Estimate | None:
        """The mean of a figure (the cell's own without `metric`) over seeds, None without any."""
        name = metric or cell.metric
        values = self._values(cell, name)
        if not len(values):
            return None
        mean = float(values.mean())
        errors = [0.0]
        if name.startswith("eval/"):
            errors.append(math.sqrt(mean * (1 - mean) / self.test_images / len(values)))
        scatter = self._scatter(name)
        if scatter is not None:
            own = float(values.std(ddof=1)) if len(values) > 1 else 0.0
            errors.append(max(own, scatter) / math.sqrt(len(values)))
        return Estimate(mean, max(errors), scatter is not None)

    def find(self, **factors: Any) -> list[Cell]:
        """The cells that have these factors."""
        return list(self._matching(factors))

    def best(self, metric: str | None = None, **factors: Any) -> tuple[Cell, Estimate] | None:
        """Of the cells that have these factors, the one with the highest figure."""
        found = [(cell, self.estimate(cell, metric)) for cell in self._matching(factors)]
        known = [(cell, estimate) for cell, estimate in found if estimate is not None]
        return max(known, key=lambda pair: pair[1].value, default=None)

    def highest(self, metric: str | None = None, **factors: Any) -> Estimate | None:
        """The figure of `best`, None where there is none."""
        found = self.best(metric, **factors)
        return None if found is None else found[1]

    def mean(self, cells: Sequence[Cell], metric: str | None = None) -> Estimate | None:
        """The mean over cells; None where one of them has no figure, or there are none."""
        known = [self.estimate(cell, metric) for cell in cells]
        if not known or None in known:
            return None
        values = [one.value for one in known if one is not None]
        errors = [one.error for one in known if one is not None]
        holds_chance = all(one.holds_chance for one in known if one is not None)
        return Estimate(float(np.mean(values)), math.hypot(*errors) / len(errors), holds_chance)

    def _values(self, cell: Cell, name: str) -> np.ndarray:
        """A figure of a cell by seed, (S,)."""
        ran = self.outcomes.get(cell.key, ())
        return np.array([one.metrics[name] for one in ran if name in one.metrics])

    def _scatter(self, name: str) -> float | None:
        """Standard deviation of a figure between seeds, pooled over all cells; None unknown."""
        cells = [self._values(cell, name) for cell in self.cells]
        several = [values for values in cells if len(values) > 1]
        squares = sum(float(np.sum((values - values.mean()) ** 2)) for values in several)
        freedom = sum(len(values) - 1 for values in several)
        return math.sqrt(squares / freedom) if freedom else None

    def _matching(self, factors: Factors) -> Iterator[Cell]:
        for cell in self.cells:
            if all(cell.factors.get(name) == value for name, value in factors.items()):
                yield cell
