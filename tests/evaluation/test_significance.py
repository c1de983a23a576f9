"""Permutation tests against the exact McNemar test, enumeration and a coin per example."""

import itertools
import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from simclr_tf.errors import InputError
from simclr_tf.evaluation import significance
from simclr_tf.evaluation.metrics import accuracy, mean_per_class_accuracy
from simclr_tf.evaluation.significance import (
    mcnemar_exact,
    permutation_test,
    permutation_test_metric,
)


def table(both, only_a, only_b, neither):
    """Correctness of two models with the given counts, in shuffled order."""
    a = np.repeat([1, 1, 0, 0], [both, only_a, only_b, neither])
    b = np.repeat([1, 0, 1, 0], [both, only_a, only_b, neither])
    order = np.random.default_rng(0).permutation(len(a))
    return a[order].astype(bool), b[order].astype(bool)


TABLES = [(5, 3, 1, 2), (100, 20, 9, 50), (100, 9, 20, 50), (0, 7, 7, 0), (900, 30, 31, 39),
          (40_000, 310, 260, 9_000), (10, 1, 0, 0), (50, 14, 2, 3)]  # fmt: skip


def within_three_sigma(found, p):
    expected = (1 + found.exchanges * p) / (1 + found.exchanges)
    return abs(found.p_value - expected) <= 3 * np.sqrt(p * (1 - p) / found.exchanges) + 1e-12


@pytest.mark.parametrize("counts", TABLES)
def test_permutation_agrees_with_the_exact_mcnemar_test(counts):
    a, b = table(*counts)
    found = permutation_test(a, b)
    assert found.exchanges == 100_000
    assert found.difference == pytest.approx((counts[1] - counts[2]) / sum(counts))
    assert within_three_sigma(found, mcnemar_exact(a, b))


@pytest.mark.parametrize("counts", TABLES[:5])
def test_general_form_agrees_with_the_exact_mcnemar_test(counts):
    a, b = table(*counts)
    labels = np.arange(len(a)) % 3
    predictions_a, predictions_b = np.where(a, labels, 5), np.where(b, labels, 4)
    found = permutation_test_metric(accuracy, predictions_a, predictions_b, labels, 4_000)
    assert within_three_sigma(found, mcnemar_exact(a, b))


def test_mcnemar_by_hand():
    assert mcnemar_exact(*table(10, 1, 0, 0)) == 1
    assert mcnemar_exact(*table(3, 5, 0, 3)) == pytest.approx(2 / 2**5)
    # 1 or fewer of 6: (1 + 6) / 64, twice.
    assert mcnemar_exact(*table(0, 5, 1, 9)) == pytest.approx(14 / 64)


def test_metric_that_does_not_decompose_equals_enumeration():
    """All 2^8 exchanges of a small case, with scikit-learn's metric."""
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 2])
    a = np.array([0, 0, 0, 0, 1, 1, 1, 0])
    b = np.array([0, 1, 0, 2, 1, 0, 1, 2])

    def gap(first, second):
        return balanced_accuracy_score(labels, first) - balanced_accuracy_score(labels, second)

    observed = gap(a, b)
    hits = 0
    for swaps in itertools.product([False, True], repeat=8):
        hits += abs(gap(np.where(swaps, b, a), np.where(swaps, a, b))) >= abs(observed) - 1e-9
    found = permutation_test_metric(
        lambda p, y: mean_per_class_accuracy(p, y, 3), a, b, labels, 5_000
    )
    assert found.difference == pytest.approx(observed)
    assert within_three_sigma(found, hits / 2**8)


def test_scores_per_class_are_exchanged_as_rows():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 60)
    a, b = rng.normal(size=(60, 4)), rng.normal(size=(60, 4))
    b[:20] = a[:20]
    rows = {tuple(row) for row in np.concatenate([a, b])}

    def metric(scores, seen):
        assert seen is labels
        assert {tuple(row) for row in scores} <= rows
        np.testing.assert_array_equal(scores[:20], a[:20])
        return accuracy(scores.argmax(1), seen)

    general = permutation_test_metric(metric, a, b, labels, 2_000)
    assert within_three_sigma(general, mcnemar_exact(a.argmax(1) == labels, b.argmax(1) == labels))


def test_rows_that_differ_in_one_class_are_exchanged_too():
    """Two coins of which neither model is the better if they differ: p is 1/2."""
    labels = np.array([0, 1])
    a = np.array([[0.6, 0.5], [0.4, 0.5]])
    b = np.array([[0.4, 0.5], [0.6, 0.5]])  # the other class is as likely as for a
    found = permutation_test_metric(lambda p, y: accuracy(p.argmax(1), y), a, b, labels, 1_000)
    assert found.difference == 1 and within_three_sigma(found, 0.5)


def test_arguments_stay_as_they_were():
    a, b, labels = np.array([0, 1, 1]), np.array([1, 1, 0]), np.array([0, 1, 0])
    permutation_test_metric(accuracy, a, b, labels, 20)
    assert (a.tolist(), b.tolist(), labels.tolist()) == ([0, 1, 1], [1, 1, 0], [0, 1, 0])


@pytest.mark.parametrize("exchanges", [1, 1000])
def test_identical_models_give_one(exchanges):
    correct = np.arange(30) % 3 > 0
    assert permutation_test(correct, correct, exchanges) == (0, 1, exchanges)
    assert mcnemar_exact(correct, correct) == 1
    labels = np.arange(30)
    assert permutation_test_metric(accuracy, labels, labels, labels, exchanges).p_value == 1


def test_never_zero():
    a, b = np.ones(2_000), np.zeros(2_000)
    assert permutation_test(a, b, 999).p_value == 1 / 1000
    labels = np.zeros(2_000, int)
    found = permutation_test_metric(accuracy, labels, labels + 1, labels, 99)
    assert found.p_value == 1 / 100
    assert mcnemar_exact(a[:500], b[:500]) > 0


def test_direction_does_not_matter():
    a, b = table(100, 20, 9, 50)
    forward, backward = permutation_test(a, b, seed=3), permutation_test(b, a, seed=3)
    assert forward.p_value == backward.p_value
    assert forward.difference == -backward.difference


def test_seed_decides_and_chunks_do_not(monkeypatch):
    a, b = table(100, 20, 9, 50)
    labels = np.zeros(len(a), int)
    runs = [permutation_test(a, b, 5_000, seed).p_value for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]
    monkeypatch.setattr(significance, "_DRAWS_AT_ONCE", 7)
    assert permutation_test(a, b, 5_000).p_value == runs[0]
    monkeypatch.setattr(significance, "_COINS_AT_ONCE", 50)
    found = permutation_test_metric(accuracy, 1 - a, 1 - b, labels, 2_000)
    assert within_three_sigma(found, mcnemar_exact(a, b))


def test_rounding_of_the_metric_does_not_hide_ties():
    """One discordant example: every exchange has the observed difference, up to rounding."""
    labels = np.arange(3)
    a, b = labels.copy(), np.array([0, 1, 0])
    calls = itertools.count()

    def noisy(predictions, seen):
        return float(np.mean(predictions == seen)) - 1e-16 * (next(calls) % 7)

    assert permutation_test_metric(noisy, a, b, labels, 200).p_value == 1


def test_memory_stays_bounded():
    a, b = table(20_000, 12_000, 11_000, 7_000)
    tracemalloc.start()
    permutation_test(a, b, 3_000_000)
    labels = np.ones(50_000, int)
    permutation_test_metric(accuracy, a.astype(int), b.astype(int), labels, 800)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60e6


@pytest.mark.parametrize(
    "a, b, text",
    [
        ([1, 0], [1], "correct_b must have the shape of correct_a"),
        ([], [], "correct_a must have shape"),
        ([[1, 0]], [[1, 0]], "correct_a must have shape"),
        ([1, 0], [1, 2], r"correct_b must hold 0 and 1 only \(example 1\). Received: 2"),
        ([1, np.nan], [1, 0], r"correct_a must hold 0 and 1 only \(example 1\)"),
    ],
)
def test_correctness_refused(a, b, text):
    for test in (permutation_test, mcnemar_exact):
        with pytest.raises(InputError, match=text):
            test(np.array(a), np.array(b))


def test_exchanges_refused():
    one = np.array([1])
    for test in (
        lambda: permutation_test(one, one, 0),
        lambda: permutation_test_metric(accuracy, one, one, one, 0),
    ):
        with pytest.raises(InputError, match="exchanges must be at least 1"):
            test()


@pytest.mark.parametrize(
    "b, labels, metric, text",
    [
        ([0, 1, 2], [0, 1], accuracy, "predictions_b must have the shape"),
        ([0, 1], [0, 1, 2], accuracy, "labels must hold 2 examples"),
        ([0, 1], [0, 1], lambda p, y: np.nan, "metric must be finite"),
    ],
)
def test_general_form_refuses(b, labels, metric, text):
    with pytest.raises(InputError, match=text):
        permutation_test_metric(metric, np.array([1, 1]), np.array(b), np.array(labels), 10)
