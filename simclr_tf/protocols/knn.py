"""k nearest neighbours on frozen features, weighted and plain, several k from one search."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from simclr_tf.evaluation import knn
from simclr_tf.protocols.context import Context, Row, Section
from simclr_tf.units import format_percent

WEIGHTINGS: tuple[Literal["weighted", "plain"], ...] = ("weighted", "plain")


def run(context: Context) -> Section:
    """Classifies the test split by its neighbours in the training split.

    No k is chosen: every one asked for is reported, since choosing by test accuracy would not be
    honest and the protocol has no validation set.

    Raises:
        InputError: No labels, or a feature that is not finite.
    """
    settings = context.settings
    bank = context.features(context.train_split)
    test = context.features(context.test_split, setting="eval_split")
    assert bank.labels is not None and test.labels is not None
    similarities, indices = knn.nearest_neighbors(
        bank.features, test.features, min(max(settings.ks), len(bank.features))
    )
    rows: list[Row] = []
    metrics: dict[str, Any] = {}
    for weighting in WEIGHTINGS:
        accuracies = {}
        for k in settings.ks:
            predicted = knn.vote(
                similarities[:, :k],
                bank.labels[indices[:, :k]],
                context.num_classes,
                weighting=weighting,
                temperature=settings.knn_temperature,
            )
            accuracies[k] = float(np.mean(predicted == test.labels))
            context.write_predictions(f"knn_{k}_{weighting}", test.labels, predicted)
        metrics[weighting] = {f"k_{k}": accuracy for k, accuracy in accuracies.items()}
        shown = ", ".join(f"k={k}: {format_percent(a)}" for k, a in accuracies.items())
        rows.append(Row(f"kNN, {weighting}", shown, _how(weighting, context)))
    size = len(bank.features)
    notes = [f"kNN with k={k} uses all {size} training images there are."
             for k in settings.ks if k > size]  # fmt: skip
    return Section("k nearest neighbours", tuple(rows), metrics, tuple(notes))


def _how(weighting: str, context: Context) -> str:
    if weighting == "plain":
        return "cosine, one vote each"
    return f"cosine, votes exp(similarity / {context.settings.knn_temperature:g})"
