"""A run to its table."""

import json

import pytest

from simclr_tf.modes import train_then_eval

pytestmark = pytest.mark.usefixtures("eager")


def test_train_then_eval_reports_untrained_encoder_and_chance(tmp_path, settings, fake_export):
    said = []
    train_then_eval.train_then_eval(
        settings(tmp_path, linear_probe=True, report=True, quality_images=0, train_steps=1),
        fake_export,
        {"seed": 0},
        said.append,
    )
    assert fake_export.described == [(1, "digits", "test")]
    for name in ("the untrained encoder", "step 1"):
        start = f"evaluating {name}: 256 images of test and 200 of train"
        assert f"{start} for kNN and logistic regression" in said
    table, after = said[-2:]
    assert "Next:" in after and f"export --checkpoint={tmp_path}" in after
    for row in (
        "Linear head, top-1",
        "kNN, k = 20 ",
        "kNN, k = 20, untrained encoder",
        "Logistic regression on frozen features, untrained encoder",
        "Chance",
        "Training",
        "Report ",
        "Checkpoint",
    ):
        assert row in table
    assert json.loads((tmp_path / "flags.json").read_text()) == {"seed": 0}
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["global_step"] == 1
    assert 0 <= result["untrained/knn_20_accuracy"] <= 1
