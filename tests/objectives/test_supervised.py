"""Supervised cross entropy and top-k counts against plain loops."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.errors import InputError
from simclr_tf.objectives.supervised import softmax_cross_entropy, top_k_accuracy, top_k_correct


def naive_cross_entropy(logits, labels):
    losses = []
    for row, label in zip(logits.astype(np.float64), labels, strict=True):
        if label >= 0:
            losses.append(np.log(np.exp(row - row.max()).sum()) + row.max() - row[label])
    return np.mean(losses) if losses else 0.0


def draw(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(9, 5)).astype(np.float32), rng.integers(-1, 5, size=9)


@pytest.mark.parametrize("seed", range(4))
def test_cross_entropy_equals_naive_loop(seed):
    logits, labels = draw(seed)
    loss = softmax_cross_entropy(logits, labels, 5)
    assert float(loss) == pytest.approx(naive_cross_entropy(logits, labels), rel=1e-6)
    assert loss.dtype == tf.float32


def test_unlabeled_examples_get_no_gradient():
    logits, labels = tf.constant(draw()[0]), np.array([0, -1, 2, -1, 4, 0, 1, -1, 3])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = softmax_cross_entropy(logits, labels, 5)
    gradient = tape.gradient(loss, logits).numpy()
    assert not gradient[labels < 0].any()
    assert gradient[labels >= 0].any(axis=1).all()


def test_no_labels_at_all():
    logits, labels = tf.constant(draw()[0]), -np.ones(9, np.int64)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = softmax_cross_entropy(logits, labels, 5)
    assert float(loss) == 0
    assert not tape.gradient(loss, logits).numpy().any()
    assert float(top_k_accuracy(logits, labels, 1)) == 0


def test_low_precision_logits_are_computed_in_float32():
    logits = tf.cast([[60000.0, -60000.0]], tf.float16)
    assert float(softmax_cross_entropy(logits, [1], 2)) == pytest.approx(120000, rel=1e-3)


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("seed", range(3))
def test_top_k_equals_sorting(k, seed):
    logits, labels = draw(seed)
    ranked = np.argsort(-logits, axis=1)[:, :k]
    expected = sum(label in row for row, label in zip(ranked, labels, strict=True))
    correct, count = top_k_correct(logits, labels, k)
    assert (int(correct), int(count)) == (expected, (labels >= 0).sum())
    assert float(top_k_accuracy(logits, labels, k)) == pytest.approx(expected / int(count))


def test_more_than_all_classes():
    correct, count = top_k_correct(np.ones((4, 3), np.float32), np.array([0, 1, 2, -1]), 5)
    assert (int(correct), int(count)) == (3, 3)


def test_constant_logits_are_right_for_one_class_only():
    logits = np.zeros((10, 10), np.float32)
    assert float(top_k_accuracy(logits, np.arange(10), 1)) == pytest.approx(0.1)
    assert float(top_k_accuracy(logits, np.arange(10), 5)) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (np.ones((3, 4), np.float32), np.ones(3, np.int64)),  # 4 columns for 5 classes
        (np.ones((3, 5), np.float32), np.ones(2, np.int64)),
        (np.ones((3, 5), np.float32), np.ones((3, 1), np.int64)),
        (np.ones((3, 5), np.float32), np.ones(3, np.float32)),
        (np.ones((3, 5), np.int64), np.ones(3, np.int64)),
    ],
)
def test_refuses_shapes_and_dtypes(logits, labels):
    with pytest.raises(ValueError, match="Received"):
        softmax_cross_entropy(logits, labels, 5)


def test_top_k_refuses_logits_of_pixels():
    """Their shape fits the labels as far as the batch goes."""
    with pytest.raises(ValueError, match=r"shape \(b, classes\).*Received: \(3, 4, 5\)"):
        top_k_correct(np.ones((3, 4, 5), np.float32), np.ones(3, np.int64), 1)


def test_refuses_k():
    with pytest.raises(InputError, match="k must be at least 1"):
        top_k_correct(*draw(), 0)
