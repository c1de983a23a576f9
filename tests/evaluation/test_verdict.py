"""The sentence on an encoder, for figures as they were measured of runs whose accuracy is known."""

from __future__ import annotations

import pytest

from simclr_tf.evaluation import verdict
from simclr_tf.evaluation.quality import Quality

UNTRAINED = Quality(4.0, 0.06, 0.14, -0.14, 0.96, 0.08, 0.04, 0.027, 0.22, 1000)
TRAINED = Quality(10.9, 0.17, 0.33, -0.66, 0.81, 0.16, 0.11, 0.122, 0.48, 1000)
PROJECTED = TRAINED._replace(effective_rank=20.6, spread=0.86)


@pytest.mark.parametrize(
    ("kind", "h", "z"),
    [
        (verdict.HEALTHY, {}, {}),
        (verdict.HEALTHY, {"retrieval": 0.054, "crop_retrieval": 0.06}, {}),
        (verdict.COLLAPSED, {"spread": 0.02}, {}),
        (verdict.COLLAPSED, {"spread": float("nan")}, {}),
        (verdict.COLLAPSED, {}, {"spread": 0.069}),
        (verdict.TOO_FEW, {"num_images": 49, "spread": 0.02}, {}),
        (verdict.DIMENSIONAL, {}, {"effective_rank": 2.2}),
        (verdict.DIMENSIONAL, {"effective_rank": 3.5}, {}),
        (verdict.SHORTCUT, {"retrieval": 0.056, "crop_retrieval": 0.999}, {}),
        (verdict.SHORTCUT, {"retrieval": 0.034, "crop_retrieval": 0.629}, {}),
        (verdict.LITTLE, {"retrieval": 0.053, "crop_retrieval": 0.409}, {}),
        (verdict.UNTRAINED, {"retrieval": 0.029, "crop_retrieval": 0.36}, {}),
        (verdict.UNTRAINED, {"retrieval": 0.017, "crop_retrieval": 0.3}, {}),
    ],
)
def test_every_kind(kind, h, z):
    found = verdict.judge(TRAINED._replace(**h), UNTRAINED, PROJECTED._replace(**z))
    assert found.kind == kind and str(found).startswith(f"{kind}: ")
    if not z:
        assert verdict.judge(TRAINED._replace(**h), UNTRAINED).kind == kind


def test_figures_are_found_again_among_others():
    measured = {"h": TRAINED, "z": PROJECTED, "untrained": UNTRAINED}
    metrics = verdict.figures(measured)
    assert metrics["quality/h_retrieval"] == 0.122
    assert metrics["quality/untrained_effective_rank"] == 4.0
    assert verdict.measured({**metrics, "eval/knn_20_accuracy": 0.5}) == measured
    assert verdict.of_metrics(metrics) == verdict.judge(TRAINED, UNTRAINED, PROJECTED)
    del metrics["quality/untrained_spread"]
    assert verdict.of_metrics(metrics) is None and verdict.of_metrics({}) is None


def test_a_spread_that_was_small_before_is_no_collapse():
    """Untrained networks have one around 0.07."""
    untrained, h = UNTRAINED._replace(spread=0.05), TRAINED._replace(spread=0.06)
    assert verdict.judge(h, untrained, PROJECTED).kind == verdict.HEALTHY
    alike = UNTRAINED._replace(spread=0.0)
    found = verdict.judge(alike, alike, PROJECTED)
    assert found.kind == verdict.COLLAPSED and "may be all alike" in found.text
