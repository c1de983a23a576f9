"""Scores of predictions: accuracies, confusion, VOC2007's average precision, calibration.

NumPy alone; which data set is judged by which of them is section B.8 of the paper.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simclr_tf.errors import InputError, require

_IGNORED = -1  # Of `relevant`: VOC's difficult examples, neither right nor wrong.
_SUM_TOLERANCE = 1e-3  # Of a row of probabilities; float16 softmax stays within.


class Reliability(NamedTuple):
    """How well confidence tells accuracy, by equally wide bins of confidence.

    Attributes:
        edges: (bins + 1,) float64 from 0 to 1. A bin holds its upper edge, not its lower one.
        confidence: (bins,) float64, mean probability of the predicted class; NaN in empty bins.
        accuracy: (bins,) float64, share of right predictions; NaN in empty bins.
        counts: (bins,) int64, examples.
        expected_calibration_error: Mean over the examples of their bin's
            `|accuracy - confidence|`, in [0, 1].
    """

    edges: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    counts: np.ndarray
    expected_calibration_error: float


def accuracy(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Share of examples whose predicted class is the right one.

    Args:
        predictions: (N,) integers.
        labels: (N,) integers.

    Raises:
        InputError: Not integers, shapes differ, or there is no example.
    """
    predictions, labels = _checked_pair(predictions, labels)
    return float(np.mean(predictions == labels))


def top_k_accuracy(logits: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of examples whose class is among the k largest logits.

    Of equal logits the lower class ranks first, so a head that says the same for every class gets
    chance, not 100 %. With fewer than k classes all of them are counted: 1.0.

    Args:
        logits: (N, classes) finite floats.
        labels: (N,) integers in [0, classes).
        k: At least 1.

    Raises:
        InputError: Shapes do not fit, a logit is not finite, or a label is out of range.
    """
    logits = _checked_rows("logits", logits)
    classes = logits.shape[1]
    labels = _checked_classes("labels", labels, len(logits), classes)
    require(k >= 1, "k", "must be at least 1", k)
    own = np.take_along_axis(logits, labels[:, None], axis=1)  # (N, 1)
    earlier = np.arange(classes)[None, :] < labels[:, None]  # (N, classes)
    rank = np.sum((logits > own) | ((logits == own) & earlier), axis=1)  # (N,)
    return float(np.mean(rank < k))


def per_class_accuracy(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Accuracy within each true class.

    Args:
        predictions: (N,) integers; one outside [0, num_classes) is a wrong one.
        labels: (N,) integers in [0, num_classes).
        num_classes: C.

    Returns:
        (C,) float64 in [0, 1], NaN for a class without examples.

    Raises:
        InputError: Not integers, shapes differ, there is no example, or a label is out of range.
    """
    predictions, labels = _checked_pair(predictions, labels)
    labels = _checked_classes("labels", labels, len(labels), num_classes)
    examples = np.bincount(labels, minlength=num_classes)  # (C,)
    right = np.bincount(labels[predictions == labels], minlength=num_classes)  # (C,)
    return np.divide(right, examples, out=np.full(num_classes, np.nan), where=examples > 0)


def mean_per_class_accuracy(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> float:
    """Mean of `per_class_accuracy` over the classes that have examples.

    The metric of Aircraft, Pets, Caltech-101 and Flowers (section B.8): each class counts the same,
    however many examples it has.

    Args and errors as in `per_class_accuracy`.
    """
    return float(np.nanmean(per_class_accuracy(predictions, labels, num_classes)))


def confusion_matrix(predictions: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts examples by true class and predicted class.

    Args:
        predictions: (N,) integers in [0, num_classes).
        labels: (N,) integers in [0, num_classes).
        num_classes: C.

    Returns:
        (C, C) int64; row i holds the examples of class i, column j those predicted as j.

    Raises:
        InputError: Not integers, shapes differ, there is no example, or a class is out of range.
    """
    predictions, labels = _checked_pair(predictions, labels)
    labels = _checked_classes("labels", labels, len(labels), num_classes)
    predictions = _checked_classes("predictions", predictions, len(labels), num_classes)
    cells = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return cells.astype(np.int64).reshape(num_classes, num_classes)


def average_precision_11_point(scores: np.ndarray, relevant: np.ndarray) -> float:
    """Average precision of one class as VOC2007 defines it.

    The mean over the recall levels 0, 0.1, ... 1 of the highest precision at any recall of at least
    that level. Examples of equal score enter together, so their order in the arrays has no
    influence; where scores are constant the result is the share of relevant examples.

    Args:
        scores: (N,) finite floats, higher where the class is likelier.
        relevant: (N,) bool, or integers: 1 for examples that show the class, 0 for others, -1 for
            those that count neither way. (VOC's own files write 1, -1 and, for difficult
            examples, 0.)

    Returns:
        In [0, 1].

    Raises:
        InputError: Shapes differ, a score is not finite, `relevant` holds other values, or no
            example is relevant.
    """
    scores = np.asarray(scores)
    require(scores.ndim == 1, "scores", "must have shape (N,)", scores.shape)
    columns = _checked_rows("scores", scores[:, None])
    relevant = _checked_relevance(relevant, scores.shape)
    require(bool(np.any(relevant == 1)), "relevant", "must hold at least one 1",
            np.unique(relevant).tolist())  # fmt: skip
    return _average_precision(columns[:, 0], relevant)


def mean_average_precision_11_point(scores: np.ndarray, relevant: np.ndarray) -> float:
    """Mean over classes of `average_precision_11_point`: the metric of VOC2007 (section B.8).

    Classes without relevant examples are left out.

    Args:
        scores: (N, C) finite floats.
        relevant: (N, C) as in `average_precision_11_point`.

    Returns:
        In [0, 1].

    Raises:
        InputError: As in `average_precision_11_point`; no class has relevant examples.
    """
    scores = _checked_rows("scores", scores)
    relevant = _checked_relevance(relevant, scores.shape)
    present = np.flatnonzero(np.any(relevant == 1, axis=0))
    require(len(present) > 0, "relevant", "must hold at least one 1", np.unique(relevant).tolist())
    return float(np.mean([_average_precision(scores[:, c], relevant[:, c]) for c in present]))


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> Reliability:
    """Compares the confidence of predictions with their accuracy (Guo et al. 2017, 1706.04599).

    Args:
        probabilities: (N, C) floats in [0, 1], each row with sum 1. The predicted class is the
            most probable one, of equal ones the lowest; its probability is the confidence.
        labels: (N,) integers in [0, C).
        bins: Equally wide bins of [0, 1].

    Returns:
        The bins and the expected calibration error.

    Raises:
        InputError: Shapes do not fit, rows are no distributions, or a label is out of range.
    """
    probabilities = _checked_probabilities(probabilities)
    labels = _checked_classes("labels", labels, len(probabilities), probabilities.shape[1])
    require(bins >= 1, "bins", "must be at least 1", bins)
    confidences = np.max(probabilities, axis=1)  # (N,)
    right = np.argmax(probabilities, axis=1) == labels  # (N,)
    edges = np.linspace(0, 1, bins + 1)
    places = np.clip(np.searchsorted(edges, confidences, side="left") - 1, 0, bins - 1)  # (N,)
    counts = np.bincount(places, minlength=bins)  # (bins,)
    sums = (np.bincount(places, weights, minlength=bins) for weights in (confidences, right))
    confidence, share = (
        np.divide(total, counts, out=np.full(bins, np.nan), where=counts > 0) for total in sums
    )
    error = np.nansum(counts * np.abs(share - confidence)) / len(labels)
    return Reliability(edges, confidence, share, counts.astype(np.int64), float(error))


def _average_precision(scores: np.ndarray, relevant: np.ndarray) -> float:
    """Of checked input; at least one example is relevant."""
    scores, relevant = scores[relevant != _IGNORED], relevant[relevant != _IGNORED]
    order = np.argsort(-scores)
    scores, relevant = scores[order], relevant[order]
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # Last of equal scores.
    found = np.cumsum(relevant)[ends]  # Relevant examples down to each threshold.
    precision = found / (ends + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]  # At that threshold or a lower one.
    # Recall >= i / 10 in whole numbers: rounding would move thresholds across a level.
    levels = np.searchsorted(10 * found, np.arange(11) * found[-1])  # (11,)
    return float(np.mean(highest[levels]))


def _checked_rows(name: str, rows: np.ndarray) -> np.ndarray:
    """(N, C) floats, at least one example and one class, all finite."""
    rows = np.asarray(rows)
    require(rows.ndim == 2 and rows.size > 0, name, "must have shape (N, C)", rows.shape)
    finite = np.isfinite(rows).all(axis=1)  # (N,)
    if not finite.all():
        raise InputError(name, "must be finite", f"NaN or infinity at example {np.argmin(finite)}")
    return rows if np.issubdtype(rows.dtype, np.floating) else rows.astype(np.float64)


def _checked_probabilities(probabilities: np.ndarray) -> np.ndarray:
    probabilities = _checked_rows("probabilities", probabilities).astype(np.float64)
    sums = probabilities.sum(axis=1)  # (N,)
    wrong = (np.abs(sums - 1) > _SUM_TOLERANCE) | (probabilities.min(axis=1) < 0)
    if wrong.any():
        index = int(np.argmax(wrong))
        raise InputError("probabilities", f"must be at least 0 with sum 1 (example {index})",
                         probabilities[index].tolist()[:10])  # fmt: skip
    return probabilities


def _checked_classes(name: str, classes: np.ndarray, count: int, num_classes: int) -> np.ndarray:
    """(count,) int64 in [0, num_classes)."""
    classes = np.asarray(classes)
    require(classes.shape == (count,), name, f"must have shape ({count},)", classes.shape)
    _require_integers(name, classes)
    outside = (classes < 0) | (classes >= num_classes)
    if outside.any():
        index = int(np.argmax(outside))
        raise InputError(name, f"must lie in [0, {num_classes}) (example {index})",
                         int(classes[index]))  # fmt: skip
    return classes.astype(np.int64)


def _checked_pair(predictions: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    require(labels.ndim == 1 and labels.size > 0, "labels", "must have shape (N,)", labels.shape)
    require(predictions.shape == labels.shape, "predictions",
            f"must have the labels' shape {labels.shape}", predictions.shape)  # fmt: skip
    _require_integers("predictions", predictions)
    _require_integers("labels", labels)
    return predictions, labels


def _checked_relevance(relevant: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    relevant = np.asarray(relevant)
    require(relevant.shape == shape, "relevant", f"must have the scores' shape {shape}",
            relevant.shape)  # fmt: skip
    if relevant.dtype != np.bool_:
        _require_integers("relevant", relevant)
        values = np.unique(relevant)
        require(set(values.tolist()) <= {_IGNORED, 0, 1}, "relevant", "must hold -1, 0 and 1 only",
                values.tolist())  # fmt: skip
    return relevant.astype(np.int64)


def _require_integers(name: str, values: np.ndarray) -> None:
    require(np.issubdtype(values.dtype, np.integer), name, "must be integers", str(values.dtype))
