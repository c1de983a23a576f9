"""L2-regularised logistic regression on frozen features, by L-BFGS: the paper's transfer protocol.

Appendix B.8: multinomial logistic regression, 45 strengths between 1e-6 and 1e5 of which a
validation set chooses one, then a last fit on training and validation examples together. The
objective here is

    sum over examples of the cross-entropy + value / 2 * (sum of squared weights),

the bias unpenalised. The paper says neither "sum" nor "mean"; the sum is what scikit-learn
minimises with C = 1 / value. Features are penalised as they are, like the paper's, for which no
scaling is described; `FitSettings.standardize` changes that.

`simclr_tf/evaluation/logistic_problem.py` holds the objective and the optimizer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from simclr_tf.errors import require
from simclr_tf.evaluation.logistic_problem import (
    FitSettings,
    LogisticModel,
    Problem,
    Solution,
    check_labels,
    decision,
)
from simclr_tf.evaluation.rows import (
    RowChain,
    Rows,
    RowSubset,
    check_rows,
    full_float32,
    require_rows,
)

REGULARIZATION_VALUES = np.logspace(-6, 5, 45)

Metric = Callable[[np.ndarray, np.ndarray], float]


class PathPoint(NamedTuple):
    """One fit on the way along the regularisation values.

    Attributes:
        value: Strength of the penalty.
        score: The metric on the validation part.
        solution: The fit: its model, and what it took.
    """

    value: float
    score: float
    solution: Solution


class LogisticPath(NamedTuple):
    """The fits for all values.

    Attributes:
        values: (V,) from the strongest to the weakest.
        scores: (V,) the metric on the validation part.
        chosen: The value with the best score, the strongest of several.
        model: The fit with it, on the training part alone.
        iterations: (V,) L-BFGS steps.
        converged: (V,) False where `max_iterations` ended a fit.
    """

    values: np.ndarray
    scores: np.ndarray
    chosen: float
    model: LogisticModel
    iterations: np.ndarray
    converged: np.ndarray


class LogisticResult(NamedTuple):
    """What the protocol finds.

    Attributes:
        value: The strength that was chosen.
        values: (V,) all of them, from the strongest to the weakest.
        validation_scores: (V,) their metric on the validation part.
        test_scores: (V,) the metric of each fit of the path on the test part, for plots, not for
            choosing; None without test labels.
        model: The fit with the chosen value on training and validation part together.
        test_logits: (M, C) float32 of that model.
    """

    value: float
    values: np.ndarray
    validation_scores: np.ndarray
    test_scores: np.ndarray | None
    model: LogisticModel
    test_logits: np.ndarray


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of (N, C) logits that are largest at the label; of equal ones the lowest class is."""
    return float(np.mean(np.argmax(logits, axis=1) == labels))


class Examples(NamedTuple):
    """Features with their labels.

    Attributes:
        features: (N, D), in memory or mapped from a file (`simclr_tf/evaluation/rows.py`).
        labels: (N,) integers, or (N, C) for several labels; None where they are not known.
    """

    features: Rows
    labels: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Choice:
    """How the strength of the penalty is chosen.

    Attributes:
        values: Strengths, above 0, in any order.
        metric: Takes (M, C) logits and the labels; more is better.
        validation: Labelled examples to choose on; None holds a part of the training examples out.
        fraction: Of that part, see `split_validation`; with several labels drawn regardless of
            them.
        seed: Draws the examples to hold out.
    """

    values: Sequence[float] | np.ndarray = dataclasses.field(
        default_factory=lambda: REGULARIZATION_VALUES
    )
    metric: Metric = accuracy
    validation: Examples | None = None
    fraction: float = 0.1
    seed: int = 0


def fit_logistic(
    features: Rows,
    labels: np.ndarray,
    value: float,
    num_classes: int,
    *,
    start: LogisticModel | None = None,
    settings: FitSettings | None = None,
) -> LogisticModel:
    """Fits one regression.

    Args:
        features: (N, D), in memory or mapped from a file (`simclr_tf/evaluation/rows.py`).
        labels: (N,) integers in [0, num_classes), or (N, num_classes) for several labels. A class
            without an example is allowed: its logits sink.
        value: Strength of the penalty, above 0.
        num_classes: Number of classes.
        start: A model to start from; None starts from zero.
        settings: None takes the defaults.

    Raises:
        InputError: Shapes do not fit, a feature is not finite (the error gives the row), a label
            is out of range, or all labels are the same.
    """
    _check_values([value])
    settings = settings or FitSettings()
    with full_float32():
        problem = Problem(features, labels, num_classes, settings, "training")
        return problem.solve(value, start).model


def logistic_path(
    train: Examples,
    validation: Examples,
    num_classes: int,
    choice: Choice | None = None,
    settings: FitSettings | None = None,
    on_value: Callable[[PathPoint], None] | None = None,
) -> LogisticPath:
    """Fits all values, from the strongest to the weakest, each from the one before.

    Args:
        train: Labelled; see `fit_logistic`.
        validation: Labelled; decides.
        num_classes: Number of classes.
        choice: Values and metric; None takes the defaults.
        settings: None takes the defaults.
        on_value: Called after each fit.

    Raises:
        InputError: See `fit_logistic`; or a score is not finite.
    """
    choice, settings = choice or Choice(), settings or FitSettings()
    ordered = np.sort(_check_values(choice.values))[::-1]
    train_labels = _labels("training", train)
    validation_features = check_rows("validation features", validation.features)
    validation_labels = check_labels(
        "validation", _labels("validation", validation), len(validation_features), num_classes,
        settings,
    )  # fmt: skip
    best: PathPoint | None = None
    points: list[tuple[float, int, bool]] = []
    model = None
    with full_float32():
        problem = Problem(train.features, train_labels, num_classes, settings, "training")
        _require_width(validation_features, problem.features, "validation features")
        for value in ordered.tolist():
            solution = problem.solve(value, model)
            model = solution.model
            score = float(choice.metric(decision(model, validation_features), validation_labels))
            require(bool(np.isfinite(score)), "metric", "must give a finite score", score)
            point = PathPoint(value, score, solution)
            points.append((score, solution.iterations, solution.converged))
            if best is None or score > best.score:
                best = point
            if on_value is not None:
                on_value(point)
    assert best is not None
    scores, iterations, converged = (np.array(column) for column in zip(*points, strict=True))
    return LogisticPath(ordered, scores, best.value, best.solution.model, iterations, converged)


def logistic_regression(
    train: Examples,
    test: Examples,
    num_classes: int,
    choice: Choice | None = None,
    settings: FitSettings | None = None,
    on_value: Callable[[float, float], None] | None = None,
) -> LogisticResult:
    """The whole protocol of appendix B.8: choose a value, refit on both parts, test once.

    Args:
        train: Labelled; see `fit_logistic`.
        test: What is predicted; labels only to score every fit of the path too.
        num_classes: Number of classes.
        choice: How the value is chosen; None takes the defaults.
        settings: None takes the defaults.
        on_value: Called after each fit of the path with the value and its validation score.

    Raises:
        InputError: See `logistic_path` and `split_validation`.
    """
    chosen_by, settings = choice or Choice(), settings or FitSettings()
    rows = require_rows("training features", train.features)
    labels = check_labels("training", _labels("training", train), len(rows), num_classes, settings)
    train = Examples(rows, labels)
    test_features = check_rows("test features", test.features)
    _require_width(test_features, rows, "test features")
    test_labels = test.labels
    if test_labels is not None:
        test_labels = check_labels("test", test_labels, len(test_features), num_classes, settings)
    if chosen_by.validation is None:
        fitted_on, validation = _held_out(rows, labels, chosen_by.fraction, chosen_by.seed)
        everything = train
    else:
        fitted_on, validation = train, chosen_by.validation
        everything = _together(train, validation)
    test_scores: list[float] = []

    def on_point(point: PathPoint) -> None:
        if test_labels is not None:
            logits = decision(point.solution.model, test_features)
            test_scores.append(float(chosen_by.metric(logits, test_labels)))
        if on_value is not None:
            on_value(point.value, point.score)

    path = logistic_path(fitted_on, validation, num_classes, chosen_by, settings, on_point)
    model = fit_logistic(
        everything.features, _labels("training", everything), path.chosen, num_classes,
        start=path.model, settings=settings,
    )  # fmt: skip
    return LogisticResult(
        path.chosen, path.values, path.scores, np.array(test_scores) if test_scores else None,
        model, decision(model, test_features),
    )  # fmt: skip


def _labels(name: str, examples: Examples) -> np.ndarray:
    require(examples.labels is not None, f"{name} labels", "must be given", None)
    return np.asarray(examples.labels)


def _held_out(
    features: Rows, labels: np.ndarray, fraction: float, seed: int
) -> tuple[Examples, Examples]:
    """The part to train on and the part to choose on."""
    strata = labels if labels.ndim == 1 else np.zeros(len(labels), np.int64)
    kept, held = split_validation(strata, fraction, seed)
    return (
        Examples(RowSubset(features, kept), labels[kept]),
        Examples(RowSubset(features, held), labels[held]),
    )


def _together(train: Examples, validation: Examples) -> Examples:
    rows = require_rows("validation features", validation.features)
    _require_width(rows, train.features, "validation features")
    labels = np.concatenate([_labels("training", train), _labels("validation", validation)])
    return Examples(RowChain([train.features, rows]), labels)


def split_validation(
    labels: np.ndarray, fraction: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Holds out a part of the training examples, the same share of each class.

    Depends on the labels, the fraction and the seed alone; a class's choice on its own labels.

    Args:
        labels: (N,) integers, at least 0.
        fraction: Of each class in the validation part, rounded to whole examples (halves up), but
            at least one example of each class stays for training. In (0, 1). Where that leaves
            nothing to hold out, since all classes are small, it is the share of all examples
            instead, at least one, each of another class.
        seed: Draws the examples, and those classes.

    Returns:
        Row numbers of the training and of the validation part, ascending, int64.

    Raises:
        InputError: A setting is out of range, or no class has two examples.
    """
    labels = np.asarray(labels)
    whole = labels.ndim == 1 and len(labels) > 0 and np.issubdtype(labels.dtype, np.integer)
    require(whole and bool(labels.min() >= 0), "labels", "must be (N,) integers of at least 0",
            (labels.shape, str(labels.dtype)))  # fmt: skip
    require(0 < fraction < 1, "validation_fraction", "must lie between 0 and 1", fraction)
    classes, sizes = np.unique(labels, return_counts=True)
    counts = _held_out_counts(sizes, fraction, seed)  # (C,)
    held_out = np.zeros(len(labels), bool)
    for label, count in zip(classes.tolist(), counts.tolist(), strict=True):
        members = np.flatnonzero(labels == label)
        order = np.random.default_rng([seed, label]).permutation(len(members))
        held_out[members[order[:count]]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def _held_out_counts(sizes: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """(C,) examples to hold out of classes of these sizes."""
    require(bool(sizes.max() >= 2), "validation_fraction",
            "needs a class with at least two examples, one to hold out and one to train on",
            fraction)  # fmt: skip
    counts = np.minimum((fraction * sizes + 0.5).astype(np.int64), sizes - 1)
    if not counts.any():
        total = max(1, int(fraction * sizes.sum() + 0.5))
        possible = np.flatnonzero(sizes >= 2)
        counts[np.random.default_rng(seed).permutation(possible)[:total]] = 1
    return counts


def _check_values(values: Sequence[float] | np.ndarray) -> np.ndarray:
    array = np.asarray(values, np.float64)
    good = array.ndim == 1 and array.size > 0 and bool(np.all((array > 0) & (array < np.inf)))
    require(good, "values", "must be numbers above 0", array.tolist())
    return array


def _require_width(features: Rows, like: Rows, name: str) -> None:
    require(features.shape[1] == like.shape[1], name,
            f"must have the training features' {like.shape[1]} dimensions",
            features.shape[1])  # fmt: skip
