"""Batch normalisation, aggregated over all replicas where there are several (section 2.2)."""

from __future__ import annotations

import contextlib
import contextvars
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from simclr_tf.errors import require
from simclr_tf.models import saving
from simclr_tf.settings import by_name
from simclr_tf.settings.model import BatchNormConfig

EPSILON = 1e-5  # as in the reference

# Over how many training calls the running statistics decay once; 0 keeps them.
_calls_per_decay: contextvars.ContextVar[int] = contextvars.ContextVar("calls", default=1)


@saving.registered
class BatchNorm(keras.layers.BatchNormalization):
    """Batch normalisation of the last axis, statistics in float32 whatever the input's dtype.

    With `global_bn`, a training call inside a replica takes its mean and variance from the batches
    of all replicas, which must hold equally many elements; every replica then has the same running
    statistics. The gradient with respect to the inputs is that of the loss summed over the
    replicas; those of gamma and beta are this replica's share, for an optimizer that adds them up.

    4-D inputs whose statistics are their own go through the fused kernel. Everywhere the running
    variance moves towards the population variance (divisor N), so that one replica and many
    replicas keep the same statistics; the base layer's fused path would use N - 1.

    Statistics of a batch that are not finite leave the running ones of their channel as they are.
    A layer with `trainable=False` uses and keeps its running statistics even when called with
    `training=True`.

    Args:
        config: Decay of the running statistics, and whether they are global.
        zero_gamma: Start the scale at zero, as the last one of a residual block does.
        center: Whether there is an offset (beta).
        **kwargs: `name`, `dtype` (a policy name) and other arguments of the base layer.
    """

    def __init__(
        self,
        config: BatchNormConfig,
        zero_gamma: bool = False,
        center: bool = True,
        **kwargs: Any,
    ):
        super().__init__(
            momentum=config.batch_norm_decay,
            epsilon=EPSILON,
            center=center,
            gamma_initializer="zeros" if zero_gamma else "ones",
            **kwargs,
        )
        self._config, self._zero_gamma = config, zero_gamma
        self._global = config.global_bn

    def get_config(self) -> dict[str, Any]:
        """All that the constructor takes, as JSON values."""
        config = super().get_config()
        for name in ("momentum", "epsilon", "gamma_initializer"):  # of the settings below
            del config[name]
        return {**config, "config": by_name.flatten(self._config), "zero_gamma": self._zero_gamma}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> BatchNorm:
        """A layer like the one that gave the configuration."""
        settings = by_name.build_config(BatchNormConfig, config["config"])
        return cls(**{**config, "config": settings})

    def get_build_config(self) -> None:
        """Nothing: calling the layer builds it, which gives its variables their whole names."""

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Normalises `inputs` (..., C) with the batch's or the running statistics."""
        if not self._get_training_value(training):
            if not self.fused:  # 2-D inputs
                return super().call(inputs, training=False)
            scale_and_offset = self._scale_and_offset()
            inputs = tf.cast(inputs, self.compute_dtype)
            return _fused(inputs, *scale_and_offset, self.moving_mean, self.moving_variance).y
        replicas = self._other_replicas()
        if replicas is not None:
            return self._normalize_globally(inputs, replicas)
        return self._normalize_fused(inputs) if self.fused else self._normalize(inputs)

    def _other_replicas(self) -> tf.distribute.ReplicaContext | None:
        """Where the statistics come from all replicas, the way to the others."""
        context = tf.distribute.get_replica_context()
        if not self._global or context is None or context.num_replicas_in_sync == 1:
            return None
        return context

    def _normalize_fused(self, inputs: tf.Tensor) -> tf.Tensor:
        found = _fused(tf.cast(inputs, self.compute_dtype), *self._scale_and_offset())
        self._move(self.moving_mean, found.batch_mean)
        self._move(self.moving_variance, _population_variance(found, inputs))
        return found.y

    def _normalize(self, inputs: tf.Tensor) -> tf.Tensor:
        gamma, beta = self._scale_and_offset()
        x = tf.cast(inputs, gamma.dtype)
        mean, variance = _moments(x)
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance)
        inverse_std = tf.math.rsqrt(variance + self.epsilon)  # (C,)
        return tf.cast((x - mean) * (gamma * inverse_std) + beta, self.compute_dtype)

    def _normalize_globally(
        self, inputs: tf.Tensor, replicas: tf.distribute.ReplicaContext
    ) -> tf.Tensor:
        gamma, beta = self._scale_and_offset()
        x = _as_images(tf.cast(inputs, self.compute_dtype))
        found = _fused(tf.stop_gradient(x), tf.ones_like(gamma), tf.zeros_like(gamma))
        own = tf.stack([found.batch_mean, _population_variance(found, x)])  # (2, C)
        gathered = replicas.all_gather(own[tf.newaxis], axis=0)  # (replicas, 2, C)
        mean, variance = _combine(gathered[:, 0], gathered[:, 1])
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance)
        outputs = _normalize_globally(x, gamma, beta, mean, variance, replicas)
        return outputs if inputs.shape.rank == 4 else tf.reshape(outputs, tf.shape(inputs))

    def _scale_and_offset(self) -> tuple[tf.Tensor, tf.Tensor]:
        """(C,) each, of this replica."""
        gamma = tf.convert_to_tensor(self.gamma)
        return gamma, tf.convert_to_tensor(self.beta) if self.center else tf.zeros_like(gamma)

    def _move(self, variable: tf.Variable, value: tf.Tensor) -> None:
        calls = _calls_per_decay.get()
        if calls == 0:
            return
        step = (variable - value) * (1.0 - self.momentum ** (1 / calls))
        variable.assign_sub(tf.where(tf.math.is_finite(step), step, tf.zeros_like(step)))


def _as_images(x: tf.Tensor) -> tf.Tensor:
    """(b, ..., C) as (N, H, W, C), which the fused kernel takes."""
    return x if x.shape.rank == 4 else tf.reshape(x, [-1, 1, 1, x.shape[-1]])


def _fused(
    x: tf.Tensor,
    scale: tf.Tensor,
    offset: tf.Tensor,
    mean: tf.Tensor | None = None,
    variance: tf.Tensor | None = None,
) -> Any:
    """The fused kernel: `x` (N, H, W, C) by `mean` and `variance` (C,), or else by its own.

    Reads and writes `x` in its dtype; statistics and sums are float32.
    """
    nothing = tf.constant([], tf.float32)
    return tf.raw_ops.FusedBatchNormV3(
        x=x, scale=scale, offset=offset, mean=nothing if mean is None else mean,
        variance=nothing if variance is None else variance, epsilon=EPSILON,
        is_training=mean is None,
    )  # fmt: skip


def _population_variance(found: Any, x: tf.Tensor) -> tf.Tensor:
    """(C,) with the divisor N, of what `_fused` found in `x`; the kernel's is N - 1."""
    count = _count(x, tf.float32)
    return found.batch_variance * (count - 1) / count


def _moments(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and population variance (C,) of `x` (b, ..., C)."""
    if x.shape.rank == 2:
        return _combine(x, tf.zeros_like(x))
    # Image by image first: sums of millions of float32 numbers would lose digits.
    return _combine(*tf.nn.moments(x, list(range(1, x.shape.rank - 1))))


def _combine(means: tf.Tensor, variances: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and variance (C,) of all elements, from those (G, C) of G groups of equal size.

    Unlike E[x^2] - E[x]^2, this keeps its digits where the mean is large beside the deviations
    (Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983).
    """
    mean = tf.reduce_mean(means, axis=0)  # (C,)
    mean += tf.reduce_mean(means - mean, axis=0)  # what rounding took from the sum
    return mean, tf.reduce_mean(variances + tf.math.squared_difference(means, mean), axis=0)


def _normalize_globally(
    x: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    mean: tf.Tensor,
    variance: tf.Tensor,
    replicas: tf.distribute.ReplicaContext,
) -> tf.Tensor:
    """`x` (N, H, W, C) normalised, in its dtype, with a gradient of its own.

    The gradient with respect to `x` accounts for `mean` and `variance` (C,) being those of `x` on
    all replicas, and takes one exchange of 2C numbers. Pass them behind a stop-gradient.

    Everything is a fused kernel in inference mode. With x_hat = (x - mean) / std and the means B
    and G, over all replicas, of dy and of dy * x_hat,

        dx = gamma / std * (dy - B - x_hat * G)

    is the gradient of such a kernel, gamma / std * dy, plus the output of another whose scale is
    -gamma / std * G and whose offset is -gamma / std * B.
    """

    @tf.custom_gradient
    def normalize(
        x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor
    ) -> Any:
        def gradient(dy: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
            through_x, of_gamma, of_beta, *_ = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=dy, x=x, scale=gamma, reserve_space_1=mean, reserve_space_2=variance,
                reserve_space_3=tf.constant([], tf.float32), epsilon=EPSILON, is_training=False,
            )  # fmt: skip
            own = tf.stack([of_gamma, of_beta])  # (2, C)
            summed = replicas.all_reduce(tf.distribute.ReduceOp.SUM, own)
            means = summed / (_count(x, tf.float32) * replicas.num_replicas_in_sync)
            through_statistics = -gamma * tf.math.rsqrt(variance + EPSILON) * means  # (2, C)
            scale, offset = tf.unstack(through_statistics)
            dx = through_x + _fused(x, scale, offset, mean, variance).y
            return dx, of_gamma, of_beta, None, None

        return _fused(x, gamma, beta, mean, variance).y, gradient

    return normalize(x, gamma, beta, mean, variance)


def _count(x: tf.Tensor, dtype: tf.DType) -> tf.Tensor | float:
    """Elements of `x` (b, ..., C) per channel; may exceed what int32 holds."""
    if x.shape[:-1].is_fully_defined():
        return float(x.shape[:-1].num_elements())  # no operations
    return tf.reduce_prod(tf.cast(tf.shape(x)[:-1], dtype))


@contextlib.contextmanager
def statistics_kept() -> Iterator[None]:
    """Training calls normalise by the batch, and do not move the running statistics.

    Acts on the calls that the same thread makes inside it. In a graph it acts while the graph is
    traced; under a strategy, enter it inside the replica function.
    """
    with _decaying_once_in(0):
        yield


@contextlib.contextmanager
def statistics_moved_in(parts: int) -> Iterator[None]:
    """Training calls move the running statistics with decay d^(1 / parts) instead of d.

    For a batch that goes through the network in parts. The old statistics then keep the weight d
    after all parts, as after one call with the whole batch, and the parts share the rest almost
    evenly. With d itself they would decay by d^parts in a step, and the statistics would be
    noisier the smaller the parts are.

    Acts where `statistics_kept` does.

    Args:
        parts: Training calls of a step, at least 1.

    Raises:
        InputError: `parts` is below 1.
    """
    require(parts >= 1, "parts", "must be at least 1", parts)
    with _decaying_once_in(parts):
        yield


@contextlib.contextmanager
def _decaying_once_in(calls: int) -> Iterator[None]:
    token = _calls_per_decay.set(calls)
    try:
        yield
    finally:
        _calls_per_decay.reset(token)


def sync_statistics(model: keras.Model) -> None:
    """Gives all replicas the mean of their running statistics, of every batch norm in `model`.

    Without `global_bn` every replica has its own. A checkpoint stores their mean, an evaluation
    reads it, and a resumed run goes on from it on all replicas; after this call the uninterrupted
    run does so too, bit for bit. For that, the assigned values lose the last bits of their
    fraction, one per doubling of the replicas: without, the mean of 3, or of 8 and more, equal
    float32 numbers may differ from the number itself. Worth a call even with `global_bn`,
    therefore.

    Call it outside the replicas, on every worker. With one replica it does nothing.

    Args:
        model: Built under the strategy.
    """
    for layer in model.submodules:
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        if is_norm and hasattr(layer.moving_mean, "values"):  # distributed
            for variable in (layer.moving_mean, layer.moving_variance):
                replicas = variable.distribute_strategy.num_replicas_in_sync
                variable.assign(_summable(variable.read_value(), replicas))


def _summable(value: tf.Tensor, times: int) -> tf.Tensor:
    """float32 `value` rounded such that as many as `times` of it add up without rounding."""
    spare_bits = math.ceil(math.log2(times))  # of the fraction, at its end
    bits = tf.bitcast(value, tf.int32)
    return tf.bitcast(tf.bitwise.bitwise_and(bits, -(1 << spare_bits)), tf.float32)


def local_value(variable: tf.Variable) -> np.ndarray:
    """The value of this process's first copy of `variable`, distributed or not.

    Nothing is exchanged with other replicas or processes, so one process may call it alone.
    """
    copies = getattr(variable, "values", None)
    return (copies[0] if copies else variable).numpy()
