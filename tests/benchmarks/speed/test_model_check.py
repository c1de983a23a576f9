from __future__ import annotations

import pytest

from benchmarks.speed import model_check
from benchmarks.speed.flops import pair_flops
from benchmarks.speed.step_model import estimate


def test_without_memory_traffic_the_check_predicts_the_matrix_products():
    settings = model_check.settings_here(1e12, 1e18)
    found = estimate(settings, "op by op", "host", high=True).device_seconds
    assert found == pytest.approx(64 * pair_flops(18, 32) / 1e12, rel=0.01)


def test_the_sentence_says_what_was_measured():
    said = model_check.Check(5e11, 2e10, 1.0, 0.8, 0.8, (0.7, 0.9)).sentence()
    assert "500 GFLOP/s" in said and "20.0 GB/s" in said
    assert "0.80 of the measured time (0.70 to 0.90" in said


def test_the_model_is_within_a_factor_of_this_machine(monkeypatch):
    monkeypatch.setattr(model_check, "PAIRS", 16)
    monkeypatch.setattr(model_check, "EDGE", 1024)
    found = model_check.check(rounds=3, steps=1)
    assert found.predicted > 0 and found.spread[0] <= found.ratio <= found.spread[1]
    assert 0.2 < found.ratio < 2


def test_the_hosts_rate_is_measured():
    found = model_check.host_rates("", 64, pairs=8)
    assert found["host_pairs_per_core"] > 1
