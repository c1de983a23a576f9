"""Fig. 9 and Table B.1: batches, lengths and scalings that agree where they should."""

from __future__ import annotations

import math

import pytest

from simclr_tf.studies import catalogue
from simclr_tf.studies.grid import with_settings
from tests.studies import made_up


def _as_in_the_paper(cell):
    """Large batches help by 5 points in a short training, by 1 in a long one."""
    batch, length = cell.factors["batch"], cell.factors["length"]
    help_ = (0.05 if length == 1 else 0.01) * math.log2(batch / 64)
    root = 0.03 if cell.factors["scaling"] == "sqrt" and batch == 64 and length == 1 else 0
    return 0.5 + 0.1 * math.log2(length) + help_ + root


def test_scalings_agree_at_the_bases_batch():
    base = made_up.base()
    for grid, count in (("small", 12), ("paper", 48)):
        cells = catalogue.study("batch_size").grid(base, grid)
        assert len({cell.key for cell in cells}) == count
    for cell in cells:
        run = with_settings(base, cell.settings)
        peak = run.optimizer.peak_learning_rate(run.train.train_batch_size)
        share = run.train.train_batch_size / base.train.train_batch_size
        expected = base.optimizer.peak_learning_rate(base.train.train_batch_size) * (
            share if cell.factors["scaling"] == "linear" else math.sqrt(share)
        )
        assert peak == pytest.approx(expected)


def test_conclusions():
    assert made_up.answers("batch_size", _as_in_the_paper) == ["supports"] * 4
    flipped = made_up.answers("batch_size", made_up.mirrored(_as_in_the_paper))
    assert flipped[:3] == ["contradicts"] * 3
    results = made_up.results("batch_size", _as_in_the_paper)
    assert len(catalogue.study("batch_size").draw(results).axes) == 2
