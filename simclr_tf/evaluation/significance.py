"""Whether two models differ on a test set by more than chance.

Section B.8 of the paper: a permutation test on stored predictions. If the models were equally good,
exchanging their predictions on any example would change nothing but chance; so both are exchanged
on each example by the toss of a coin, many times, and the p-value is the share of exchanges that
give at least the observed difference, in either direction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from simclr_tf.errors import InputError, require

EXCHANGES = 100_000  # Section B.8.

_DRAWS_AT_ONCE = 1_000_000  # Binomial numbers in memory: 8 MB.
_COINS_AT_ONCE = 16_000_000  # Coins in memory: 16 MB of booleans.
_ROUNDING = 1e-12  # Differences of a metric that are this close are equal.


class PermutationTest(NamedTuple):
    """Outcome of a permutation test.

    Attributes:
        difference: Metric of model a minus metric of model b.
        p_value: In (0, 1]; never 0, since the observed assignment is one of those possible.
        exchanges: Random exchanges drawn.
    """

    difference: float
    p_value: float
    exchanges: int


def permutation_test(
    correct_a: np.ndarray, correct_b: np.ndarray, exchanges: int = EXCHANGES, seed: int = 0
) -> PermutationTest:
    """Two-sided permutation test of the difference in accuracy.

    The p-value is `(1 + number of exchanges with |difference| >= |observed|) / (1 + exchanges)`.
    Examples on which both are right or both wrong contribute nothing to any exchange, and the
    others add +1 or -1 with equal chance. The difference of an exchange therefore follows a
    binomial distribution, from which it is drawn: the same as tossing a coin per example, in
    milliseconds and a few megabytes for any N.

    Args:
        correct_a: (N,) bool or 0 / 1: whether model a is right on each example.
        correct_b: (N,) likewise for model b on the same examples in the same order.
        exchanges: At least 1.
        seed: Of the exchanges.

    Raises:
        InputError: Shapes differ, there is no example, or values other than 0 and 1.
    """
    only_a, only_b, count = _discordant(correct_a, correct_b)
    require(exchanges >= 1, "exchanges", "must be at least 1", exchanges)
    rng = np.random.default_rng(seed)
    discordant, observed = only_a + only_b, abs(only_a - only_b)
    extreme = 0
    for start in range(0, exchanges, _DRAWS_AT_ONCE):
        size = min(_DRAWS_AT_ONCE, exchanges - start)
        for_a = rng.binomial(discordant, 0.5, size)  # Discordant examples that a gets right.
        extreme += int(np.count_nonzero(np.abs(2 * for_a - discordant) >= observed))
    return PermutationTest((only_a - only_b) / count, (1 + extreme) / (1 + exchanges), exchanges)


def permutation_test_metric(
    metric: Callable[[np.ndarray, np.ndarray], float],
    predictions_a: np.ndarray,
    predictions_b: np.ndarray,
    labels: np.ndarray,
    exchanges: int = EXCHANGES,
    seed: int = 0,
) -> PermutationTest:
    """Two-sided permutation test of the difference in any metric.

    For mean per-class accuracy or mean average precision, where an example's share in the metric
    depends on the others. `permutation_test` is far faster for accuracy.

    Cost: the metric is computed `2 * exchanges + 2` times, on one core. On 5,000 examples 100,000
    exchanges take about half a minute for mean per-class accuracy and about half an hour for
    11-point mAP of 20 classes; 10,000 are enough to tell p = 0.05 from 0.04. Memory: two copies of
    the predictions and 16 MB.

    Args:
        metric: Maps predictions (N, ...) and labels to a number. It must not keep or change the
            arrays that it is given.
        predictions_a: (N, ...) of model a: classes, or scores per class.
        predictions_b: Same shape, of model b on the same examples in the same order.
        labels: (N, ...), handed to the metric as they are.
        exchanges: At least 1.
        seed: Of the exchanges.

    Raises:
        InputError: Shapes do not fit, there is no example, or the metric is not finite.
    """
    a, b, labels = np.asarray(predictions_a), np.asarray(predictions_b), np.asarray(labels)
    _require_predictions(a, b, labels, exchanges)
    difference = _finite(metric(a, labels)) - _finite(metric(b, labels))
    rows = np.flatnonzero(np.any((a != b).reshape(len(a), -1), axis=1))  # Others never change.
    rows_a, rows_b = a[rows], b[rows]
    mixed_a, mixed_b = a.copy(), b.copy()
    extreme = 0
    for coins in _coins(exchanges, len(rows), seed):
        swapped = coins.reshape(-1, *[1] * (a.ndim - 1))  # (rows, 1, ...)
        mixed_a[rows] = np.where(swapped, rows_b, rows_a)
        mixed_b[rows] = np.where(swapped, rows_a, rows_b)
        exchanged = _finite(metric(mixed_a, labels)) - _finite(metric(mixed_b, labels))
        extreme += abs(exchanged) >= abs(difference) - _ROUNDING
    return PermutationTest(difference, (1 + extreme) / (1 + exchanges), exchanges)


def mcnemar_exact(correct_a: np.ndarray, correct_b: np.ndarray) -> float:
    """Two-sided p-value of the exact McNemar test: the limit of `permutation_test`.

    Args:
        correct_a: (N,) bool or 0 / 1: whether model a is right on each example.
        correct_b: (N,) likewise for model b.

    Returns:
        In (0, 1]; 1 where the models are right on the same examples.

    Raises:
        InputError: As in `permutation_test`.
    """
    from scipy.stats import binomtest  # Slow to import, needed only here.

    only_a, only_b, _ = _discordant(correct_a, correct_b)
    if only_a + only_b == 0:
        return 1.0
    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue)


def _discordant(correct_a: np.ndarray, correct_b: np.ndarray) -> tuple[int, int, int]:
    """Examples that only a gets right, that only b gets right, and all examples."""
    a, b = _checked_correct("correct_a", correct_a), _checked_correct("correct_b", correct_b)
    require(a.shape == b.shape, "correct_b", f"must have the shape of correct_a {a.shape}", b.shape)
    return int(np.count_nonzero(a & ~b)), int(np.count_nonzero(b & ~a)), len(a)


def _checked_correct(name: str, correct: np.ndarray) -> np.ndarray:
    correct = np.asarray(correct)
    require(correct.ndim == 1 and correct.size > 0, name, "must have shape (N,)", correct.shape)
    if correct.dtype != np.bool_:
        wrong = ~np.isin(correct, (0, 1))
        if wrong.any():
            index = int(np.argmax(wrong))
            raise InputError(name, f"must hold 0 and 1 only (example {index})",
                             correct[index].item())  # fmt: skip
    return correct.astype(np.bool_)


def _require_predictions(a: np.ndarray, b: np.ndarray, labels: np.ndarray, exchanges: int) -> None:
    require(a.ndim >= 1 and a.size > 0, "predictions_a", "must have shape (N, ...)", a.shape)
    require(b.shape == a.shape, "predictions_b", f"must have the shape of predictions_a {a.shape}",
            b.shape)  # fmt: skip
    require(labels.ndim >= 1 and len(labels) == len(a), "labels",
            f"must hold {len(a)} examples", labels.shape)  # fmt: skip
    require(exchanges >= 1, "exchanges", "must be at least 1", exchanges)


def _coins(exchanges: int, count: int, seed: int) -> Iterator[np.ndarray]:
    """For each exchange (count,) bool, drawn many at a time."""
    rng = np.random.default_rng(seed)
    at_once = max(1, _COINS_AT_ONCE // max(1, count))
    for start in range(0, exchanges, at_once):
        yield from rng.integers(0, 2, (min(at_once, exchanges - start), count), dtype=np.bool_)


def _finite(value: float) -> float:
    require(bool(np.isfinite(value)), "metric", "must be finite", float(value))
    return float(value)
