import numpy as np
import pytest

from simclr_tf.protocols import knn


def test_equals_a_brute_force_search(make_context, pixels):
    context = make_context(pixels, knn_neighbors="1,7,500")
    section = knn.run(context)
    bank, test = context.features("train[:300]"), context.features("test[:100]")
    unit = [
        f / np.linalg.norm(f, axis=1, keepdims=True)
        for f in (bank.features.astype(np.float64), test.features.astype(np.float64))
    ]
    order = np.argsort(-(unit[1] @ unit[0].T), axis=1, kind="stable")
    similarity = np.take_along_axis(unit[1] @ unit[0].T, order, axis=1)
    for k in (1, 7, 500):
        votes = np.zeros((100, 10))
        for row in range(100):
            for column in range(min(k, 300)):
                label = bank.labels[order[row, column]]
                votes[row, label] += np.exp((similarity[row, column] - 1) / 0.07)
        expected = np.mean(votes.argmax(axis=1) == test.labels)
        assert section.metrics["weighted"][f"k_{k}"] == pytest.approx(expected)
    assert section.metrics["plain"]["k_1"] == section.metrics["weighted"]["k_1"]
    assert "all 300 training images" in section.notes[0]


def test_features_are_extracted_once(make_context, pixels):
    context = make_context(pixels)
    first = context.features("train[:300]")
    assert context.features("train[:300]").features is first.features
