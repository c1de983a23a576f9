"""The objective of logistic regression on frozen features, and L-BFGS on it.

The sum over examples of the cross-entropy, plus value / 2 times the squared weights; see
`simclr_tf/evaluation/logistic.py` for the protocol.

Two changes of variables make L-BFGS fast and leave the objective's values and its minimum alone.
Features are centred, which the unpenalised bias makes up for. And the optimizer walks along the
eigenvectors of their covariance, in steps that the expected curvature of the objective scales:
features after a ReLU are non-negative and correlated, and along their own axes weak penalties take
several times the steps.

Loss and gradient are computed by TensorFlow in blocks of rows, on the accelerator if there is one.
The blocks stay there if they fit, otherwise each evaluation reads the features again, so that files
larger than the memory work.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from simclr_tf.errors import require
from simclr_tf.evaluation.rows import Rows, check_rows, full_float32, require_rows, row_blocks

_MOST_ROTATED = 8192  # Dimensions up to which the covariance is decomposed; above, its diagonal.
_FLATTEST = 1e-6  # Mean of p * (1 - p) that steps are made for, at least.
_CONSTANT = 1e-6  # A deviation below this share of the mean is rounding: the feature is constant.


@dataclasses.dataclass(frozen=True)
class FitSettings:
    """How a regression is fitted.

    Attributes:
        multi_label: Independent sigmoids with labels (N, C) of 1, 0 or -1 (an entry that does not
            count), as VOC2007 needs, instead of a softmax with labels (N,).
        standardize: Divide features by their standard deviation in the training part first, so
            that the penalty treats all alike. Off, as in the paper: the strengths then mean what
            they mean there. Speed is no reason for it here (see the module's text).
        max_iterations: L-BFGS steps at most, per value.
        tolerance: A fit has converged when a step lowers the objective by less than this share.
        block_rows: Examples handled at once.
        resident_bytes: Training features up to this size (as float32) stay in memory, or on the
            accelerator, during a fit; larger ones are read again for each evaluation.
    """

    multi_label: bool = False
    standardize: bool = False
    max_iterations: int = 1000
    tolerance: float = 1e-7
    block_rows: int = 8192
    resident_bytes: int = 4 * 2**30

    def __post_init__(self) -> None:
        require(self.max_iterations >= 1, "max_iterations", "must be at least 1",
                self.max_iterations)  # fmt: skip
        require(self.tolerance > 0, "tolerance", "must be > 0", self.tolerance)
        require(self.block_rows >= 1, "block_rows", "must be at least 1", self.block_rows)
        require(self.resident_bytes >= 0, "resident_bytes", "must be at least 0",
                self.resident_bytes)  # fmt: skip


class LogisticModel(NamedTuple):
    """logits = (features - mean) / scale @ weights + bias; all float64.

    Attributes:
        weights: (D, C), what the penalty is on.
        bias: (C,).
        mean: (D,) of the training features.
        scale: (D,) their standard deviations where features are standardised, otherwise 1.
    """

    weights: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    scale: np.ndarray


class Solution(NamedTuple):
    """A minimum of the objective.

    Attributes:
        model: The weights and bias there.
        objective: The sum that was minimised.
        iterations: L-BFGS steps taken.
        evaluations: Passes over the features.
        converged: False where `max_iterations` ended the fit.
    """

    model: LogisticModel
    objective: float
    iterations: int
    evaluations: int
    converged: bool


def decision(model: LogisticModel, features: Rows, block_rows: int = 8192) -> np.ndarray:
    """Logits of a model.

    Args:
        model: A fit.
        features: (N, D).
        block_rows: Examples handled at once.

    Returns:
        (N, C) float32.

    Raises:
        InputError: The number of dimensions is not the model's.
    """
    features = require_rows("features", features)
    require(features.shape[1] == len(model.mean), "features",
            f"must have the model's {len(model.mean)} dimensions", features.shape[1])  # fmt: skip
    weights, bias = (tf.constant(array, tf.float32) for array in (model.weights, model.bias))
    logits = np.empty((len(features), len(model.bias)), np.float32)
    with full_float32():
        for rows, block in row_blocks(features, block_rows):
            scaled = _scaled(block, model.mean, model.scale, np.float32)
            logits[rows] = (tf.matmul(tf.constant(scaled), weights) + bias).numpy()
    return logits


def check_labels(
    part: str, labels: np.ndarray, count: int, num_classes: int, settings: FitSettings
) -> np.ndarray:
    """Labels as int32 (N,), or (N, C) for several labels.

    Raises:
        InputError: The shape or type is another, or a label is out of range.
    """
    labels = np.asarray(labels)
    shape = (count, num_classes) if settings.multi_label else (count,)
    require(labels.shape == shape, f"{part} labels", f"must have shape {shape}", labels.shape)
    require(np.issubdtype(labels.dtype, np.integer), f"{part} labels", "must be integers",
            str(labels.dtype))  # fmt: skip
    lowest, highest = (-1, 1) if settings.multi_label else (0, num_classes - 1)
    found = int(labels.min()), int(labels.max())
    require(lowest <= found[0] and found[1] <= highest, f"{part} labels",
            f"must lie in [{lowest}, {highest}]", found)  # fmt: skip
    return labels.astype(np.int32)


class Problem:
    """The objective for one set of examples, and its solution for a value."""

    def __init__(
        self,
        features: Rows,
        labels: np.ndarray,
        num_classes: int,
        settings: FitSettings,
        part: str,
        dtype: tf.DType = tf.float32,
    ):
        self.features = check_rows(f"{part} features", features)  # (N, D)
        self.labels = check_labels(part, labels, len(self.features), num_classes, settings)
        known = self.labels[self.labels >= 0]
        require(known.size > 0 and known.min() != known.max(), f"{part} labels",
                "must not all be the same", np.unique(known).tolist())  # fmt: skip
        self.num_classes, self.settings, self.dtype = num_classes, settings, dtype
        self.block_loss = _block_loss(settings.multi_label, dtype)
        self.mean, self.scale, self.spread, self.axes = _statistics(self.features, settings)
        self.curvature = np.zeros(num_classes)  # (C,) sums of p * (1 - p), last evaluation
        size = 4 * len(self.features) * self.features.shape[1]
        self.resident = list(self._read()) if size <= settings.resident_bytes else None

    def evaluate(
        self, weights: np.ndarray, bias: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """The sum of the losses and its gradients, without the penalty."""
        w, b = (tf.constant(array, self.dtype) for array in (weights, bias))
        sums = [0.0, np.zeros_like(weights.T), np.zeros_like(bias), np.zeros_like(bias)]
        for x, y in self._read() if self.resident is None else self.resident:
            for place, part in enumerate(self.block_loss(x, y, w, b)):
                sums[place] = sums[place] + part.numpy().astype(np.float64)
        loss, by_weights, by_bias, self.curvature = sums
        return float(loss), by_weights.T, by_bias

    def solve(self, value: float, start: LogisticModel | None) -> Solution:
        """Minimises the objective."""
        from scipy import optimize  # Slow to import, needed only here.

        tolerance = self.settings.tolerance
        weights, bias = self._start(start)  # (D, C), (C,)
        self.evaluate(weights, bias)  # gives the curvature
        stretch, lift = self._steps(value)  # (D, C), (C,)

        def objective(position: np.ndarray) -> tuple[float, np.ndarray]:
            w, b = self._place(position, stretch, lift)
            loss, by_weights, by_bias = self.evaluate(w, b)
            gradient = stretch * self._turn_back(by_weights + value * w)  # (D, C)
            flat = np.concatenate([gradient.ravel(), lift * by_bias])
            return loss + value / 2 * float(np.sum(w * w)), flat

        first = np.concatenate([(self._turn_back(weights) / stretch).ravel(), bias / lift])
        loss, gradient = objective(first)
        # With unit curvature this is what is left to gain; below that, rounding leads the search.
        if np.sum(gradient**2) / 2 <= tolerance * loss:
            return Solution(self._model(weights, bias), loss, 0, 2, True)
        found = optimize.minimize(
            objective, first, jac=True, method="L-BFGS-B",
            options={"maxiter": self.settings.max_iterations, "maxfun": 10**9, "ftol": tolerance,
                     "gtol": float(np.sqrt(2 * tolerance * loss / first.size))},
        )  # fmt: skip
        model = self._model(*self._place(found.x, stretch, lift))
        # Status 1 is the limit. At 2 rounding hides what a step gains: nothing is left to do.
        return Solution(
            model, float(found.fun), int(found.nit), int(found.nfev) + 2, found.status != 1
        )

    def _steps(self, value: float) -> tuple[np.ndarray, np.ndarray]:
        """Steps along each axis (D, C) and of the bias (C,) with about unit curvature."""
        curvature = np.maximum(self.curvature, _FLATTEST * len(self.features))  # (C,)
        if not self.settings.multi_label:
            # Softmax does not see what all classes share; equal steps leave that at its best, 0.
            curvature = np.full_like(curvature, curvature.mean())
        return (
            1 / np.sqrt(value + self.spread[:, None] * curvature),
            1 / np.sqrt(curvature),
        )

    def _place(
        self, position: np.ndarray, stretch: np.ndarray, lift: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Weights (D, C) and bias (C,) of a position of the optimizer."""
        steps = position[: stretch.size].reshape(stretch.shape) * stretch  # (D, C)
        weights = steps if self.axes is None else self.axes @ steps
        return weights, lift * position[stretch.size :]

    def _turn_back(self, weights: np.ndarray) -> np.ndarray:
        """From the features' axes to those of their covariance; (D, C)."""
        return weights if self.axes is None else self.axes.T @ weights

    def _start(self, start: LogisticModel | None) -> tuple[np.ndarray, np.ndarray]:
        """Weights and bias with which this problem's scaled features give a model's logits."""
        shape = (self.features.shape[1], self.num_classes)
        if start is None:
            return np.zeros(shape), np.zeros(self.num_classes)
        require(start.weights.shape == shape, "start", f"must have weights {shape}",
                start.weights.shape)  # fmt: skip
        raw = start.weights / start.scale[:, None]  # (D, C)
        return raw * self.scale[:, None], start.bias + (self.mean - start.mean) @ raw

    def _model(self, weights: np.ndarray, bias: np.ndarray) -> LogisticModel:
        if not self.settings.multi_label:
            # Softmax does not see what all classes share. Without it the penalty is lowest.
            weights = weights - weights.mean(axis=1, keepdims=True)
            bias = bias - bias.mean()
        return LogisticModel(weights, bias, self.mean, self.scale)

    def _read(self) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        """Blocks of scaled features (n, D) and labels (n,) or (n, C)."""
        kind = self.dtype.as_numpy_dtype
        for rows, block in row_blocks(self.features, self.settings.block_rows):
            x = _scaled(block, self.mean, self.scale, kind)
            yield tf.constant(x), tf.constant(self.labels[rows])


def _block_loss(multi_label: bool, dtype: tf.DType) -> Callable[..., Any]:
    """A compiled function of features, labels, weights and bias, for blocks of any length.

    It returns the sum of the losses, its gradients by weights, transposed, (C, D) and by bias (C,),
    and the sum of p * (1 - p) for each class (C,).
    """
    return tf.function(
        _sigmoid_loss if multi_label else _softmax_loss,
        input_signature=[
            tf.TensorSpec((None, None), dtype),
            tf.TensorSpec((None, None) if multi_label else (None,), tf.int32),
            tf.TensorSpec((None, None), dtype),
            tf.TensorSpec((None,), dtype),
        ],
    )


def _softmax_loss(x: tf.Tensor, labels: tf.Tensor, w: tf.Tensor, b: tf.Tensor) -> Sequence:
    logits = tf.matmul(x, w) + b  # (n, C)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)  # (n,)
    p = tf.nn.softmax(logits)  # (n, C)
    residual = p - tf.one_hot(labels, tf.shape(b)[0], dtype=x.dtype)  # (n, C)
    return _sums(x, losses, residual, p * (1 - p))


def _sigmoid_loss(x: tf.Tensor, labels: tf.Tensor, w: tf.Tensor, b: tf.Tensor) -> Sequence:
    logits = tf.matmul(x, w) + b  # (n, C)
    known = tf.cast(labels >= 0, x.dtype)  # (n, C)
    positive = tf.cast(labels > 0, x.dtype)
    losses = known * tf.nn.sigmoid_cross_entropy_with_logits(positive, logits)  # (n, C)
    p = tf.nn.sigmoid(logits)
    return _sums(x, losses, known * (p - positive), known * p * (1 - p))


def _sums(x: tf.Tensor, losses: tf.Tensor, residual: tf.Tensor, spread: tf.Tensor) -> Sequence:
    loss = tf.reduce_sum(tf.cast(losses, tf.float64))
    by_weights = tf.matmul(residual, x, transpose_a=True)  # (C, D): faster than its transpose
    return loss, by_weights, tf.reduce_sum(residual, axis=0), tf.reduce_sum(spread, axis=0)


def _scaled(block: np.ndarray, mean: np.ndarray, scale: np.ndarray, kind: Any) -> np.ndarray:
    return (block.astype(kind) - mean.astype(kind)) / scale.astype(kind)


def _statistics(
    features: Rows, settings: FitSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Mean (D,), scale (D,), and the covariance of scaled features: its spectrum (D,), axes (D, D).

    Without axes (more than `_MOST_ROTATED` dimensions) the spectrum is the covariance's diagonal.
    """
    count, dims = features.shape
    rotated = dims <= _MOST_ROTATED
    shift, total, products = None, np.zeros(dims), 0.0
    for _, block in row_blocks(features, settings.block_rows):
        if shift is None:
            shift = block.mean(axis=0, dtype=np.float64).astype(np.float32)  # (D,)
        x = tf.constant(block - shift)  # near the mean: squares lose no digits
        total += tf.reduce_sum(tf.cast(x, tf.float64), axis=0).numpy()
        square = tf.matmul(x, x, transpose_a=True) if rotated else tf.reduce_sum(x * x, axis=0)
        products = products + square.numpy().astype(np.float64)  # (D, D) or (D,)
    assert shift is not None
    drift = total / count  # (D,)
    mean = shift + drift
    if not rotated:
        variance = products / count - drift**2
        scale = _scale(mean, variance, settings)
        return mean, scale, np.maximum(variance, 0) / scale**2, None
    covariance = products / count - np.outer(drift, drift)  # (D, D)
    scale = _scale(mean, np.diag(covariance), settings)
    spectrum, axes = np.linalg.eigh(covariance / np.outer(scale, scale))
    return mean, scale, np.maximum(spectrum, 0), axes


def _scale(mean: np.ndarray, variance: np.ndarray, settings: FitSettings) -> np.ndarray:
    if not settings.standardize:
        return np.ones_like(mean)
    deviation = np.sqrt(np.maximum(variance, 0))
    return np.where(deviation > _CONSTANT * np.abs(mean), deviation, 1)
