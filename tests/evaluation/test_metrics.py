"""Metrics against hand-computed cases, loops over examples and scikit-learn."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from simclr_tf.errors import InputError
from simclr_tf.evaluation import metrics


def draw(seed, size=300, classes=7):
    rng = np.random.default_rng(seed)
    return rng.integers(0, classes, size), rng.integers(0, classes, size)


# Accuracies.


def test_accuracies_by_hand():
    labels = np.array([0, 0, 0, 0, 2, 2, 3])
    predictions = np.array([0, 0, 0, 1, 2, 1, 0])
    assert metrics.accuracy(predictions, labels) == 4 / 7
    found = metrics.per_class_accuracy(predictions, labels, 5)
    np.testing.assert_array_equal(found, [0.75, np.nan, 0.5, 0, np.nan])
    assert metrics.mean_per_class_accuracy(predictions, labels, 5) == pytest.approx(1.25 / 3)
    assert metrics.confusion_matrix(predictions, labels, 4).tolist() == [
        [3, 1, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0]
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_accuracies_equal_scikit_learn(seed):
    predictions, labels = draw(seed)
    assert metrics.accuracy(predictions, labels) == sklearn_metrics.accuracy_score(
        labels, predictions
    )
    labels[labels == seed] = (seed + 1) % 7  # A class without examples.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="y_pred contains classes not in y_true")
        balanced = sklearn_metrics.balanced_accuracy_score(labels, predictions)
    assert metrics.mean_per_class_accuracy(predictions, labels, 7) == pytest.approx(balanced)
    found = metrics.confusion_matrix(predictions, labels, 7)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(
        found, sklearn_metrics.confusion_matrix(labels, predictions, labels=range(7))
    )


def test_a_class_without_examples_is_no_reason_to_warn():
    labels = np.array([0, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics.mean_per_class_accuracy(labels, labels, 4) == 1


def test_one_example():
    one = np.array([2])
    assert metrics.accuracy(one, one) == 1
    assert metrics.mean_per_class_accuracy(one, one, 3) == 1
    assert metrics.confusion_matrix(one, one, 3).sum() == 1


def test_small_integer_types_do_not_overflow():
    labels = np.arange(200, dtype=np.uint8)
    found = metrics.confusion_matrix(labels, labels, 200)
    np.testing.assert_array_equal(found, np.eye(200))


def test_a_prediction_outside_the_classes_is_wrong():
    """A model with more outputs than the data set has classes."""
    found = metrics.per_class_accuracy(np.array([0, 900]), np.array([0, 1]), 2)
    assert found.tolist() == [1, 0]


@pytest.mark.parametrize(
    "predictions, labels, text",
    [
        ([0, 1], [0], "predictions must have the labels' shape"),
        ([], [], "labels must have shape"),
        ([0.0, 1.0], [0, 1], "predictions must be integers"),
        ([0, 1], [True, False], "labels must be integers"),
        ([0, 1], [0, 3], r"labels must lie in \[0, 3\) \(example 1\). Received: 3"),
        ([0, 1], [0, -1], r"labels must lie in \[0, 3\) \(example 1\). Received: -1"),
    ],
)
def test_accuracies_refuse(predictions, labels, text):
    with pytest.raises(InputError, match=text):
        metrics.mean_per_class_accuracy(np.array(predictions), np.array(labels), 3)


def test_confusion_refuses_predictions_outside():
    with pytest.raises(InputError, match="predictions must lie in"):
        metrics.confusion_matrix(np.array([0, 3]), np.array([0, 1]), 3)


@pytest.mark.parametrize("k", [1, 3, 5, 10, 12])
def test_top_k_equals_sorting(k):
    rng = np.random.default_rng(k)
    logits, labels = rng.integers(0, 6, (200, 10)).astype(float), rng.integers(0, 10, 200)
    hits = 0
    for row, label in zip(logits, labels, strict=True):
        ranked = sorted(range(10), key=lambda index: (-row[index], index))
        hits += label in ranked[:k]
    assert metrics.top_k_accuracy(logits, labels, k) == hits / 200


def test_constant_logits_give_chance():
    assert metrics.top_k_accuracy(np.zeros((10, 10)), np.arange(10), 1) == 0.1
    assert metrics.top_k_accuracy(np.zeros((10, 10)), np.arange(10), 5) == 0.5


@pytest.mark.parametrize(
    "logits, labels, k",
    [
        (np.zeros((2, 3)), np.array([0, 3]), 1),
        (np.zeros((2, 3)), np.array([0, -1]), 1),
        (np.zeros((2, 3)), np.array([0]), 1),
        (np.zeros((2, 3)), np.array([0.0, 1.5]), 1),
        (np.full((2, 3), np.nan), np.array([0, 1]), 1),
        (np.zeros((2, 3)), np.array([0, 1]), 0),
    ],
)
def test_top_k_bad_input(logits, labels, k):
    with pytest.raises(InputError):
        metrics.top_k_accuracy(logits, labels, k)


# Average precision.


def eleven_points_by_loop(scores, relevant):
    """The definition, threshold by threshold."""
    kept = [(s, r) for s, r in zip(scores, relevant, strict=True) if r != -1]
    total = sum(r for _, r in kept)
    points = []
    for threshold in {s for s, _ in kept}:
        chosen = [r for s, r in kept if s >= threshold]
        points.append((sum(chosen), sum(chosen) / len(chosen)))
    best = [max(p for hits, p in points if 10 * hits >= i * total) for i in range(11)]
    return sum(best) / 11


def test_average_precision_by_hand():
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    # Precision 1, 1/2, 2/3, 1/2, 2/5 at recall 1/2, 1/2, 1, 1, 1.
    relevant = np.array([True, False, True, False, False])
    expected = (6 * 1 + 5 * 2 / 3) / 11
    assert metrics.average_precision_11_point(scores, relevant) == pytest.approx(expected)
    # One relevant example, in third place: precision 1/3 at every level.
    assert metrics.average_precision_11_point(scores, np.array([0, 0, 1, 0, 0])) == pytest.approx(
        1 / 3
    )
    # A later threshold may have the higher precision: 1/2 then 2/3, so 2/3 at every level.
    assert metrics.average_precision_11_point(
        np.array([3.0, 2.0, 1.0]), np.array([0, 1, 1])
    ) == pytest.approx(2 / 3)


def test_recall_levels_are_met_exactly():
    """With ten relevant examples each one reaches its level; 3 / 10 >= 0.1 * 3 must hold."""
    relevant = np.array([1, 0] * 10)
    scores = -np.arange(20.0)
    # The k-th relevant example has precision k / (2k - 1), the highest at levels k / 10 and above.
    expected = (1 + sum(k / (2 * k - 1) for k in range(1, 11))) / 11
    assert metrics.average_precision_11_point(scores, relevant) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(20))
def test_average_precision_equals_the_loop(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 80))
    scores = rng.normal(size=size) if seed % 2 else rng.integers(0, 8, size).astype(float)
    relevant = rng.choice([-1, 0, 1], size, p=[0.2, 0.5, 0.3])
    relevant[0] = 1
    found = metrics.average_precision_11_point(scores, relevant)
    assert found == pytest.approx(eleven_points_by_loop(scores, relevant))


def test_average_precision_with_scikit_learn_thresholds():
    """The curve is scikit-learn's, ties included; only the mean over it is VOC's."""
    rng = np.random.default_rng(0)
    scores, relevant = rng.integers(0, 30, 500).astype(float), rng.random(500) < 0.2
    precision, recall, _ = sklearn_metrics.precision_recall_curve(relevant, scores)
    precision, recall = precision[:-1], recall[:-1]  # The last point, (0, 1), is not an example's.
    best = [precision[recall >= i / 10 - 1e-12].max() for i in range(11)]
    assert metrics.average_precision_11_point(scores, relevant) == pytest.approx(np.mean(best))


def test_perfect_order_equals_scikit_learn():
    scores, relevant = np.arange(10.0), np.arange(10) >= 6
    assert metrics.average_precision_11_point(scores, relevant) == 1
    assert sklearn_metrics.average_precision_score(relevant, scores) == 1


def test_order_of_equal_scores_does_not_matter():
    scores = np.array([1.0, 1.0, 1.0, 0.0])
    for relevant in ([1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]):
        assert metrics.average_precision_11_point(scores, np.array(relevant)) == pytest.approx(
            1 / 3
        )
    constant = metrics.average_precision_11_point(np.zeros(8), np.arange(8) < 2)
    assert constant == pytest.approx(0.25)


def test_ignored_examples_count_neither_way():
    scores = np.array([5.0, 4.0, 3.0, 2.0])
    with_ignored = metrics.average_precision_11_point(scores, np.array([-1, 1, -1, 0]))
    assert with_ignored == metrics.average_precision_11_point(scores[[1, 3]], np.array([1, 0])) == 1


def test_only_order_matters():
    rng = np.random.default_rng(0)
    scores, relevant = rng.normal(size=100), rng.random(100) < 0.3
    expected = metrics.average_precision_11_point(scores, relevant)
    assert metrics.average_precision_11_point(np.exp(3 * scores), relevant) == expected


def test_mean_leaves_out_classes_without_relevant_examples():
    rng = np.random.default_rng(0)
    scores, relevant = rng.normal(size=(60, 4)), rng.choice([-1, 0, 1], (60, 4))
    relevant[:, 2] = np.minimum(relevant[:, 2], 0)
    each = [eleven_points_by_loop(scores[:, c], relevant[:, c]) for c in (0, 1, 3)]
    found = metrics.mean_average_precision_11_point(scores, relevant)
    assert found == pytest.approx(np.mean(each))


@pytest.mark.parametrize(
    "scores, relevant, text",
    [
        ([1.0, np.nan], [1, 0], "scores must be finite. Received: .*example 1"),
        ([1.0, 2.0], [1], "relevant must have the scores' shape"),
        ([1.0, 2.0], [2, 0], "relevant must hold -1, 0 and 1 only"),
        ([1.0, 2.0], [1.0, 0.0], "relevant must be integers"),
        ([1.0, 2.0], [0, -1], "relevant must hold at least one 1"),
        ([[1.0, 2.0]], [[1, 0]], "scores must have shape"),
        ([], [], "scores must have shape"),
    ],
)
def test_average_precision_refuses(scores, relevant, text):
    with pytest.raises(InputError, match=text):
        metrics.average_precision_11_point(np.array(scores), np.array(relevant))


def test_mean_average_precision_refuses_no_relevant_examples():
    with pytest.raises(InputError, match="at least one 1"):
        metrics.mean_average_precision_11_point(np.zeros((2, 2)), np.zeros((2, 2), bool))


# Calibration.


def test_reliability_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.5, 0.5]])
    found = metrics.reliability(probabilities, np.array([0, 1, 1, 0]), bins=4)
    # Confidence 0.9, 0.7, 0.8, 0.5: the third lies in (0.75, 1], 0.5 in (0.25, 0.5].
    np.testing.assert_array_equal(found.edges, [0, 0.25, 0.5, 0.75, 1])
    assert found.counts.tolist() == [0, 1, 1, 2]
    np.testing.assert_allclose(found.confidence, [np.nan, 0.5, 0.7, 0.85])
    np.testing.assert_array_equal(found.accuracy, [np.nan, 1, 0, 1])
    expected = (0.5 + 0.7 + 2 * 0.15) / 4
    assert found.expected_calibration_error == pytest.approx(expected)


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_reliability_equals_a_loop(bins, dtype):
    rng = np.random.default_rng(bins)
    logits = 2 * rng.normal(size=(400, 5)).astype(dtype)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = rng.integers(0, 5, 400)
    found = metrics.reliability(probabilities, labels, bins)
    error = 0.0
    for place in range(bins):
        inside = [
            (row.max(), row.argmax() == label)
            for row, label in zip(probabilities, labels, strict=True)
            if place / bins < row.max() <= (place + 1) / bins
        ]
        assert found.counts[place] == len(inside)
        if inside:
            confidence, right = np.mean(np.array(inside, np.float64), axis=0)
            assert found.confidence[place] == pytest.approx(confidence)
            assert found.accuracy[place] == pytest.approx(right)
            error += len(inside) / 400 * abs(confidence - right)
    assert found.expected_calibration_error == pytest.approx(error)


def test_calibrated_and_overconfident():
    rng = np.random.default_rng(0)
    chance = rng.uniform(0.5, 1, 50_000)
    probabilities = np.stack([chance, 1 - chance], axis=1)
    labels = (rng.random(50_000) > chance).astype(int)
    assert metrics.reliability(probabilities, labels).expected_calibration_error < 0.01
    sure = np.tile([1.0, 0.0], (50_000, 1))
    found = metrics.reliability(sure, labels)
    assert found.expected_calibration_error == pytest.approx(np.mean(labels))
    assert found.counts[-1] == 50_000


@pytest.mark.parametrize(
    "probabilities, labels, bins, text",
    [
        ([[0.5, 0.4]], [0], 15, r"sum 1 \(example 0\)"),
        ([[0.5, 0.5], [1.5, -0.5]], [0, 0], 15, r"sum 1 \(example 1\)"),
        ([[np.nan, 0.5]], [0], 15, "must be finite"),
        ([[0.5, 0.5]], [2], 15, "labels must lie in"),
        ([[0.5, 0.5]], [0, 1], 15, "labels must have shape"),
        ([[0.5, 0.5]], [0], 0, "bins must be at least 1"),
        ([0.5, 0.5], [0], 15, "probabilities must have shape"),
    ],
)
def test_reliability_refuses(probabilities, labels, bins, text):
    with pytest.raises(InputError, match=text):
        metrics.reliability(np.array(probabilities), np.array(labels), bins)
