"""Verdicts follow the figures and say them."""

from __future__ import annotations

import pytest

from simclr_tf.studies.results import Estimate
from simclr_tf.studies.verdicts import CONTRADICTS, OPEN, SUPPORTS, answer, compare


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        ((0.05, 0.02), SUPPORTS),
        ((-0.05, 0.02), CONTRADICTS),
        ((0.03, 0.02), OPEN),
        ((-0.03, 0.02), OPEN),
        ((0.0, 0.0), OPEN),
        ((0.001, 0.0), SUPPORTS),
    ],
)
def test_two_standard_errors_decide(difference, expected):
    assert answer(Estimate(*difference)) == expected


def test_the_sentence_holds_the_figures():
    said = "This study supports that a beats b: a 62.0 %, b 55.0 %, difference +7.0 ± 0.5"
    several = ("a", Estimate(0.62, 0.003, True)), ("b", Estimate(0.55, 0.004, True))
    assert compare("a beats b", *several).sentence == f"{said}."
    one = several[0], ("b", Estimate(0.55, 0.004))
    assert compare("a beats b", *one).sentence == (
        f"{said} (one seed: the error lacks the chance of training)."
    )


def test_cells_that_disagree_leave_open_what_their_means_say():
    """Differences of 12, -17 and -15 points: mean -6.7, standard error 9.3."""
    high, low = ([Estimate(value, 0.01) for value in values]
                 for values in ((0.57, 0.56, 0.50), (0.45, 0.73, 0.65)))  # fmt: skip
    means = ("a", Estimate(0.5433, 0.006)), ("b", Estimate(0.61, 0.006))
    verdict = compare("a is better", *means, pairs=zip(high, low, strict=True))
    assert verdict.answer == "leaves open" and "difference -6.7 ± 9.4" in verdict.evidence
    assert compare("a is better", *means).answer == "contradicts"
    assert "one seed" in compare("a is better", *means).evidence
    assert "one seed" not in verdict.evidence  # the scatter holds it
    agreeing = [(Estimate(0.5, 0.01), Estimate(0.56, 0.01))] * 3
    assert "± 0.8" in compare("a is better", *means, pairs=agreeing).evidence
    assert "± 0.8" in compare("a is better", *means, pairs=agreeing[:1]).evidence


def test_without_a_figure_nothing_is_concluded():
    verdict = compare("a beats b", ("a", Estimate(0.6, 0.0)), ("b", None))
    assert verdict.answer == OPEN and "no result for b" in verdict.sentence
