"""Evaluation of an encoder whose right answers are known."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.errors import InputError
from simclr_tf.evaluation.evaluate import Scoring, evaluate_features
from simclr_tf.evaluation.features import Extractor, Features

CLASSES = 6


def batches(labels, batch=4, with_labels=True):
    """Images whose brightness is their class / 10; the last batch is padded."""
    labels = np.asarray(labels)
    padding = -len(labels) % batch
    padded = np.pad(labels, (0, padding))
    columns = {
        "image": np.float32(np.ones((1, 8, 8, 3)) * padded[:, None, None, None] / 10),
        "weight": np.pad(np.ones(len(labels), np.float32), (0, padding)),
    }
    if with_labels:
        columns["label"] = padded
    return tf.data.Dataset.from_tensor_slices(columns).batch(batch, drop_remainder=True)


def encode(images):
    """One-hot features of the class; logits that mistake class 0 for class 1, and 5 for all."""
    seen = tf.cast(tf.round(10 * images[:, 0, 0, 0]), tf.int32)
    features = tf.one_hot(seen, CLASSES) + 0.01
    table = np.eye(CLASSES, dtype=np.float32)
    table[0] = [0.5, 1, 0, 0, 0, 0]
    table[5] = [5, 4, 3, 2, 1, 0]
    return {"final_avg_pool": features, "logits_sup": tf.gather(table, seen)}


def evaluate(encoder, test, bank, num_classes=CLASSES, **settings):
    """Extracts the features and scores them."""
    extractor = Extractor(encoder, optional=("logits_sup",))
    found = None if bank is None else extractor.features(bank)
    return evaluate_features(extractor.features(test), found, Scoring(num_classes, **settings))


TEST = [0, 1, 2, 3, 4, 5, 1, 2, 3, 4]
BANK = list(range(CLASSES)) * 4


def test_known_answers():
    found = evaluate(encode, batches(TEST), batches(BANK), ks=(1, 4, 200), probe=True)
    assert found.metrics == {
        "eval/label_top_1_accuracy": pytest.approx(0.8),
        "eval/label_top_5_accuracy": pytest.approx(0.9),
        "eval/knn_1_accuracy": 1.0,
        "eval/knn_4_accuracy": 1.0,
        "eval/knn_200_accuracy": 1.0,
        "eval/linear_probe_accuracy": 1.0,
    }
    assert found.notes == ["kNN with k=200 uses all 24 training images there are."]


def test_standard_ks():
    found = evaluate(encode, batches(TEST), batches(BANK))
    assert {"eval/knn_20_accuracy", "eval/knn_200_accuracy"} < set(found.metrics)


def test_without_linear_head():
    found = evaluate(
        lambda images: encode(images)["final_avg_pool"], batches(TEST), batches(BANK), ks=(1,)
    )
    assert set(found.metrics) == {"eval/knn_1_accuracy"}
    assert "linear head" in found.notes[0]


def test_without_bank():
    found = evaluate(encode, batches(TEST), None, probe=True)
    assert set(found.metrics) == {"eval/label_top_1_accuracy", "eval/label_top_5_accuracy"}
    assert len(found.notes) == 2
    assert all("no training images were given" in note for note in found.notes)


def test_nothing_asked_of_the_bank():
    found = evaluate(encode, batches(TEST), batches(BANK), ks=())
    assert found.notes == []
    assert len(found.metrics) == 2


def test_unlabeled_test_split():
    data = batches(TEST, with_labels=False)
    found = evaluate(encode, data, batches(BANK))
    assert found.metrics == {}
    assert found.notes == ["The evaluation split has no labels: accuracies are left out."]


def test_unlabeled_bank():
    found = evaluate(encode, batches(TEST), batches(BANK, with_labels=False))
    assert found.notes == ["kNN is left out: the training split has no labels."]


def test_bank_of_one_class():
    found = evaluate(encode, batches(TEST), batches([1, 1]), ks=(1,), probe=True)
    assert found.metrics["eval/knn_1_accuracy"] == pytest.approx(0.2)
    assert "one class" in found.notes[-1]


def test_fewer_than_five_classes():
    features = np.eye(3, dtype=np.float32)
    test = Features(features, np.arange(3), {"logits_sup": np.roll(features, 1, axis=1)})
    found = evaluate_features(test, None, Scoring(3, ks=()))
    assert found.metrics == {"eval/label_top_1_accuracy": 0.0, "eval/label_top_5_accuracy": 1.0}


@pytest.mark.parametrize("num_classes", [3, 7])
def test_wrong_number_of_classes(num_classes):
    with pytest.raises(InputError):
        evaluate(encode, batches(TEST), None, num_classes)
