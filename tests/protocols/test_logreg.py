import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from simclr_tf.protocols import logreg

PICTURES = ("regularization.png", "confusion.png", "per_class.png", "reliability.png")


def test_accuracy_is_scikit_learns_at_the_chosen_strength(make_context, pixels, tmp_path):
    context = make_context(pixels, logreg_values=6)
    section = logreg.run(context)
    assert len(section.metrics["path"]) == 6
    train, test = context.features("train[:300]"), context.features("test[:100]")
    value = section.metrics["regularization"]
    oracle = LogisticRegression(C=1 / value, max_iter=5000, tol=1e-8)
    oracle.fit(train.features, train.labels)
    expected = oracle.score(test.features, test.labels)
    assert section.metrics["top_1_accuracy"] == pytest.approx(expected, abs=0.021)
    for name in PICTURES:
        assert (tmp_path / "evaluation" / name).read_bytes().startswith(b"\x89PNG")
    json.dumps(section.metrics)


def test_a_validation_split_of_ones_own(make_context, pixels, no_pictures):
    context = make_context(pixels, logreg_values=3, validation_split="train[300:400]")
    section = logreg.run(context)
    chosen = max(section.metrics["path"], key=lambda cell: cell["validation_accuracy"])
    best = {cell["regularization"] for cell in section.metrics["path"]
            if cell["validation_accuracy"] == chosen["validation_accuracy"]}  # fmt: skip
    assert section.metrics["regularization"] in best
    assert np.isfinite(section.metrics["calibration_error"])
