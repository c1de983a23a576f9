"""Means over seeds, their errors, and the search among cells."""

from __future__ import annotations

import math

import pytest

from simclr_tf.studies.grid import PROBE, Cell
from simclr_tf.studies.results import Estimate, Outcome, Results

CELLS = [Cell({"a": a, "b": b}, {}) for a in (1, 2) for b in ("x", "y")]


def _results(values: dict[tuple, list[float]], test_images: int = 400) -> Results:
    outcomes = {
        Cell({"a": a, "b": b}, {}).key: [
            Outcome(seed, {PROBE: value, "train/contrast_entropy": 10 * value}, None, {})
            for seed, value in enumerate(found)
        ]
        for (a, b), found in values.items()
    }
    return Results(CELLS, outcomes, test_images)


def test_one_seed_has_the_binomial_error():
    results = _results({(1, "x"): [0.5]})
    assert results.estimate(CELLS[0]) == Estimate(0.5, pytest.approx(math.sqrt(0.25 / 400)))
    assert results.estimate(CELLS[0], "train/contrast_entropy") == Estimate(5.0, 0.0)
    assert results.estimate(CELLS[1]) is None


def test_several_seeds_have_the_larger_of_both_errors():
    apart = _results({(1, "x"): [0.3, 0.7]}).estimate(CELLS[0])
    assert apart == Estimate(0.5, pytest.approx(0.2), True)  # sd 0.2828 / sqrt(2)
    alike = _results({(1, "x"): [0.5, 0.5]}).estimate(CELLS[0])
    assert alike == Estimate(0.5, pytest.approx(math.sqrt(0.25 / 800)), True)


def test_seeds_that_agree_by_chance_have_the_scatter_of_all_cells():
    results = _results({(1, "x"): [0.5, 0.5], (1, "y"): [0.3, 0.5, 0.7], (2, "x"): [0.4]})
    # Squares 0, 0.04, 0 and 0.04 on one and two degrees of freedom.
    pooled = math.sqrt(0.08 / 3)
    assert results.estimate(CELLS[0]) == Estimate(0.5, pytest.approx(pooled / math.sqrt(2)), True)
    own = pytest.approx(0.2 / math.sqrt(3))
    assert results.estimate(CELLS[1]) == Estimate(0.5, own, True)
    assert results.estimate(CELLS[2]) == Estimate(0.4, pytest.approx(pooled), True)  # one seed
    assert results.mean(CELLS[:3]).holds_chance
    assert not _results({(1, "x"): [0.5]}).mean(CELLS[:1]).holds_chance


def test_failed_seeds_are_left_out():
    results = _results({(1, "x"): [0.4]})
    results.outcomes[CELLS[0].key].append(Outcome(1, {}, "NaN", {}))
    assert results.estimate(CELLS[0]).value == 0.4


def test_best_find_and_mean():
    results = _results({(1, "x"): [0.2], (1, "y"): [0.6], (2, "x"): [0.4]})
    assert results.find(a=1) == CELLS[:2] and results.find(a=3) == []
    assert results.best()[0] is CELLS[1] and results.best(b="x")[0] is CELLS[2]
    assert results.best(a=2, b="y") is None
    mean = results.mean(results.find(a=1))
    assert mean.value == pytest.approx(0.4)
    errors = [results.estimate(cell).error for cell in CELLS[:2]]
    assert mean.error == pytest.approx(math.hypot(*errors) / 2)
    assert results.mean(results.find(b="y")) is None  # one of the two is missing
    assert results.mean([]) is None


def test_differences_add_their_errors():
    high, low = Estimate(0.5, 0.03, True), Estimate(0.2, 0.04, True)
    assert high - low == Estimate(pytest.approx(0.3), pytest.approx(0.05), True)
    assert not (high - low._replace(holds_chance=False)).holds_chance
