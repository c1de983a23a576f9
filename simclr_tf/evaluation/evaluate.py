"""Scores of one frozen encoder: linear head, weighted kNN, linear probe."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from simclr_tf.errors import require
from simclr_tf.evaluation.features import LOGITS_ENDPOINT, Features
from simclr_tf.evaluation.knn import knn_predictions
from simclr_tf.evaluation.linear import linear_probe_predictions
from simclr_tf.evaluation.metrics import top_k_accuracy

TOP_1 = "eval/label_top_1_accuracy"
TOP_5 = "eval/label_top_5_accuracy"
REGULARIZATION_LOSS = "eval/regularization_loss"
LINEAR_PROBE = "eval/linear_probe_accuracy"
HEAD_METRICS = (TOP_1, TOP_5, REGULARIZATION_LOSS)


class Evaluation(NamedTuple):
    """What was found, and one sentence for each thing that was skipped.

    Attributes:
        metrics: By their TensorBoard name.
        notes: The sentences.
        labels: (N,) of the test set, None without.
        predictions: (N,) classes under the name of the accuracy that they have.
    """

    metrics: dict[str, float]
    notes: list[str]
    labels: np.ndarray | None = None
    predictions: Mapping[str, np.ndarray] = types.MappingProxyType({})


def knn_key(k: int) -> str:
    """The name under which the kNN accuracy for `k` neighbours is reported."""
    return f"eval/knn_{k}_accuracy"


# What evaluations of a run report.
EVAL_METRICS = (*HEAD_METRICS, LINEAR_PROBE, knn_key(20), knn_key(200))


@dataclasses.dataclass(frozen=True)
class Scoring:
    """What is computed from features.

    Attributes:
        num_classes: Classes of the data set.
        ks: Numbers of neighbours.
        temperature: Of the kNN weights.
        probe: Whether to fit a logistic regression on the bank's features as well.
    """

    num_classes: int
    ks: Sequence[int] = (20, 200)
    temperature: float = 0.07
    probe: bool = False

    @property
    def needs_bank(self) -> bool:
        """Whether training images are needed."""
        return len(self.ks) > 0 or self.probe


def evaluate_features(test: Features, bank: Features | None, scoring: Scoring) -> Evaluation:
    """Scores features that have been extracted: every test example counts exactly once.

    Args:
        test: Of the test set, with the logits where there is a linear head.
        bank: Of training images without augmentation, the neighbours of kNN and the examples of the
            probe; None leaves both out.
        scoring: What is computed.

    Returns:
        Metrics in [0, 1] under the reference's names `eval/label_top_1_accuracy`,
        `eval/label_top_5_accuracy` (top min(5, classes)), and the new `eval/knn_<k>_accuracy` and
        `eval/linear_probe_accuracy`. What cannot be computed (no labels, no linear head, no bank)
        is left out and said in the notes.

    Raises:
        InputError: Labels that do not fit `num_classes`.
    """
    metrics: dict[str, float] = {}
    notes: list[str] = []
    predictions: dict[str, np.ndarray] = {}
    if test.labels is None:
        notes.append("The evaluation split has no labels: accuracies are left out.")
        return Evaluation(metrics, notes)
    _require_labels("evaluation labels", test.labels, scoring.num_classes)
    for part in (
        _linear_head(test.logits, test.labels, scoring.num_classes),
        _nearest_neighbours(test, bank, scoring),
        _linear_probe(test, bank, scoring.num_classes) if scoring.probe else Evaluation({}, []),
    ):
        metrics.update(part.metrics)
        notes.extend(part.notes)
        predictions.update(part.predictions)
    return Evaluation(metrics, notes, test.labels, predictions)


def _linear_head(logits: np.ndarray | None, labels: np.ndarray, num_classes: int) -> Evaluation:
    if logits is None:
        why = f"the model has none ({LOGITS_ENDPOINT})"
        return Evaluation({}, [f"The linear head's accuracy is left out: {why}."])
    require(logits.shape[1] == num_classes, LOGITS_ENDPOINT,
            f"must have one logit for each of the {num_classes} classes",
            logits.shape[1])  # fmt: skip
    top_1 = top_k_accuracy(logits, labels, 1)
    top_5 = top_k_accuracy(logits, labels, min(5, num_classes))
    predictions = {TOP_1: logits.argmax(axis=1)}
    return Evaluation({TOP_1: top_1, TOP_5: top_5}, [], labels, predictions)


def _nearest_neighbours(test: Features, bank: Features | None, scoring: Scoring) -> Evaluation:
    if len(scoring.ks) == 0:
        return Evaluation({}, [])
    if bank is None or bank.labels is None:
        return Evaluation({}, [f"kNN is left out: {_no_bank(bank)}."])
    _require_labels("training labels", bank.labels, scoring.num_classes)
    assert test.labels is not None
    found = knn_predictions(
        bank.features, bank.labels, test.features, scoring.ks, scoring.temperature,
        scoring.num_classes,
    )  # fmt: skip
    accuracies = {k: float(np.mean(classes == test.labels)) for k, classes in found.items()}
    size = len(bank.features)
    notes = [
        f"kNN with k={k} uses all {size} training images there are." for k in scoring.ks if k > size
    ]
    return Evaluation({knn_key(k): accuracy for k, accuracy in accuracies.items()}, notes)


def _linear_probe(test: Features, bank: Features | None, num_classes: int) -> Evaluation:
    if bank is None or bank.labels is None:
        return Evaluation({}, [f"The linear probe is left out: {_no_bank(bank)}."])
    _require_labels("training labels", bank.labels, num_classes)
    if len(np.unique(bank.labels)) < 2:
        why = "the training images are all of one class"
        return Evaluation({}, [f"The linear probe is left out: {why}."])
    assert test.labels is not None
    found = linear_probe_predictions(bank.features, bank.labels, test.features)
    accuracy = float(np.mean(found == test.labels))
    return Evaluation({LINEAR_PROBE: accuracy}, [], test.labels, {LINEAR_PROBE: found})


def _no_bank(bank: Features | None) -> str:
    return "no training images were given" if bank is None else "the training split has no labels"


def _require_labels(name: str, labels: np.ndarray, num_classes: int) -> None:
    highest = int(labels.max())
    require(highest < num_classes, name, f"must be below the number of classes, {num_classes}",
            highest)  # fmt: skip
