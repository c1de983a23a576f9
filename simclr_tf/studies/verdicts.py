"""What a study says about the paper's conclusions, computed from its figures.

A difference counts where it is more than two of its standard errors away from zero. The chance of
training shows between seeds, and where groups of cells are compared in the scatter of the
differences between cells that belong together. Where neither is there, the sentence says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from simclr_tf.studies.results import Estimate

SUPPORTS, CONTRADICTS, OPEN = "supports", "contradicts", "leaves open"
_ERRORS = 2.0


class Verdict(NamedTuple):
    """A conclusion of the paper and how this study stands to it.

    Attributes:
        conclusion: The paper's, as a clause: "nonlinear heads are better than linear ones".
        answer: `SUPPORTS`, `CONTRADICTS` or `OPEN`.
        evidence: The figures behind it.
    """

    conclusion: str
    answer: str
    evidence: str

    @property
    def sentence(self) -> str:
        """One sentence for a reader."""
        return f"This study {self.answer} that {self.conclusion}: {self.evidence}."


def compare(
    conclusion: str,
    better: tuple[str, Estimate | None],
    worse: tuple[str, Estimate | None],
    scale: float = 100.0,
    unit: str = "%",
    pairs: Iterable[tuple[Estimate | None, Estimate | None]] = (),
) -> Verdict:
    """Holds "the first is above the second" against two estimates.

    Args:
        conclusion: As in `Verdict`.
        better: Name and figure of what the paper finds higher.
        worse: The other.
        scale: Factor of the figures for the reader.
        unit: Of the scaled figures.
        pairs: Where both are means over cells, the figures that belong together, such as those at
            one dimension.
    """
    (name, high), (other_name, low) = better, worse
    if high is None or low is None:
        missing = name if high is None else other_name
        return Verdict(conclusion, OPEN, f"there is no result for {missing}")
    difference, scatter = high - low, _scatter(pairs)
    difference = difference._replace(error=max(difference.error, scatter))
    evidence = (
        f"{name} {_number(high.value * scale)} {unit}, {other_name} {_number(low.value * scale)} "
        f"{unit}, difference {difference.value * scale:+.1f} ± {difference.error * scale:.1f}"
    )
    if not (difference.holds_chance or scatter):
        evidence += " (one seed: the error lacks the chance of training)"
    return Verdict(conclusion, answer(difference), evidence)


def answer(difference: Estimate) -> str:
    """What a difference says about the claim that it is above zero."""
    if abs(difference.value) <= _ERRORS * difference.error:
        return OPEN
    return SUPPORTS if difference.value > 0 else CONTRADICTS


def _scatter(pairs: Iterable[tuple[Estimate | None, Estimate | None]]) -> float:
    """Standard error of the mean of differences; 0 of fewer than two."""
    values = [high.value - low.value for high, low in pairs if high and low]
    return float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def _number(value: float) -> str:
    return f"{value:.1f}"
