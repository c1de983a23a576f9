"""Logistic regression on frozen features (B.8), and the pictures of its mistakes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

from simclr_tf.evaluation import logistic, metrics
from simclr_tf.evaluation.features import Features
from simclr_tf.progress import Progress
from simclr_tf.protocols.context import Context, Row, Section
from simclr_tf.protocols.fitting import Score, score_logits
from simclr_tf.report import evaluation_plots
from simclr_tf.units import format_percent


def run(context: Context) -> Section:
    """Chooses the L2 strength on validation images, refits on all, and scores the test split.

    The training features are divided class by class, unless `validation_split` names images of
    its own.

    Raises:
        InputError: No labels, a single class, or a feature that is not finite.
    """
    settings = context.settings
    train = context.features(context.train_split)
    test = context.features(context.test_split, setting="eval_split")
    validation = None
    if settings.validation_split is not None:
        validation = context.features(settings.validation_split, setting="validation_split")
    fitted = fit_features(context, Parts(train, test, validation), score_path=True)
    assert test.labels is not None
    found = score_logits(fitted.test_logits, test.labels)
    context.write_predictions("logreg", found.labels, found.logits)
    calibration = metrics.reliability(special.softmax(found.logits, axis=1), found.labels)
    _write_pictures(context, fitted, found, calibration)
    how = f"L2 {fitted.value:.3g}, best of {len(fitted.values)} on validation images"
    rows = [Row("Logistic regression", format_percent(found.top_1), how)]
    if context.num_classes > 5:
        rows.append(Row("Logistic regression, top-5", format_percent(found.top_5)))
    section = {
        **found.metrics(),
        "regularization": fitted.value,
        "path": [
            {"regularization": value, "validation_accuracy": accuracy}
            for value, accuracy in zip(fitted.values, fitted.validation_scores, strict=True)
        ],
        "calibration_error": calibration.expected_calibration_error,
    }
    return Section("Logistic regression (B.8)", tuple(rows), section)


class Parts(NamedTuple):
    """Features of the parts of a data set, all labelled.

    Attributes:
        train: To learn from; a part is held out where `validation` is None.
        test: To predict.
        validation: To choose on, added to the training ones for the last fit.
    """

    train: Features
    test: Features
    validation: Features | None = None


def fit_features(
    context: Context,
    parts: Parts,
    multi_label: bool = False,
    metric: logistic.Metric = logistic.accuracy,
    num_classes: int | None = None,
    score_path: bool = False,
) -> logistic.LogisticResult:
    """The protocol on extracted features.

    Args:
        context: Settings and seed.
        parts: The features.
        multi_label: Whether an image may be of several classes.
        metric: What decides.
        num_classes: Classes; None takes the context's.
        score_path: Score every fit on the test features too, for a picture; nothing is chosen by
            it.
    """
    settings, held = context.settings, parts.validation
    count = settings.logreg_values
    choice = logistic.Choice(
        np.logspace(-6, 5, count) if count > 1 else np.array([1.0]),
        metric,
        None if held is None else logistic.Examples(held.features, held.labels),
        settings.validation_fraction,
        context.seed,
    )
    with Progress(count, label="logistic regression", unit="fits") as bar:
        done = iter(range(1, count + 1))

        def on_value(value: float, score: float) -> None:
            step = next(done)
            bar.update(step, step, {"L2": value, "validation": score})

        return logistic.logistic_regression(
            logistic.Examples(parts.train.features, parts.train.labels),
            logistic.Examples(parts.test.features, parts.test.labels if score_path else None),
            num_classes or context.num_classes,
            choice,
            logistic.FitSettings(
                multi_label=multi_label, max_iterations=settings.logreg_iterations
            ),
            on_value,
        )


def _write_pictures(
    context: Context,
    fitted: logistic.LogisticResult,
    found: Score,
    calibration: metrics.Reliability,
) -> None:
    predicted, classes = found.logits.argmax(axis=1), context.num_classes
    names = context.class_names
    evaluation_plots.plot_regularization_path(
        context.path("regularization.png"), fitted.values, fitted.validation_scores,
        fitted.test_scores, fitted.value, "Accuracy",
    )  # fmt: skip
    evaluation_plots.plot_confusion(
        context.path("confusion.png"), metrics.confusion_matrix(predicted, found.labels, classes),
        names,
    )  # fmt: skip
    evaluation_plots.plot_per_class(
        context.path("per_class.png"),
        metrics.per_class_accuracy(predicted, found.labels, classes), names,
    )  # fmt: skip
    evaluation_plots.plot_reliability(context.path("reliability.png"), calibration)
