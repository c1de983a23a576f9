from __future__ import annotations

from simclr_tf.evaluation import verdict
from simclr_tf.report import unlabelled
from tests.evaluation.test_verdict import PROJECTED, TRAINED, UNTRAINED

METRICS = verdict.figures({"h": TRAINED, "z": PROJECTED, "untrained": UNTRAINED})


def test_figures_stand_beside_those_of_the_untrained_encoder():
    first, *_, last = unlabelled.shown(METRICS)
    assert (first.now, first.before) == ("12.2 %", "2.7 %") and "colours changed" in first.title
    assert last == ("Dead dimensions", "16.0 %", "8.0 %")
    few = verdict.figures({"h": TRAINED._replace(num_images=76), "untrained": UNTRAINED})
    assert unlabelled.shown(few)[0].title.startswith("Finds the other view among 76,")
    assert unlabelled.shown({"eval/knn_20_accuracy": 0.5}) == []


def test_the_table_has_the_verdict_and_what_goes_with_accuracy():
    rows = dict(unlabelled.table_rows(METRICS))
    assert rows["Without labels"] == "healthy"
    assert rows["Effective dimensions"] == "10.9 (untrained 4.0)"
    assert len(rows) == 3 and unlabelled.table_rows({}) == []
