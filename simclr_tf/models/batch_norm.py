"""Batch normalisation, aggregated over all replicas where there are several (section 2.2)."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras

from simclr_tf.config import BatchNormConfig

EPSILON = 1e-5  # as in the reference


class BatchNorm(keras.layers.BatchNormalization):
    """Batch normalisation of the last axis, statistics in float32 whatever the input's dtype.

    With `global_bn`, a layer built under a strategy of several replicas takes its mean and
    variance from all of them. Otherwise 4-D inputs go through the fused kernel. Both move their
    running variance towards the population variance (divisor N), so that one replica and many
    replicas keep the same statistics; the layer's own fused path would use N - 1.

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
        several = tf.distribute.get_strategy().num_replicas_in_sync > 1
        super().__init__(
            momentum=config.batch_norm_decay,
            epsilon=EPSILON,
            center=center,
            gamma_initializer="zeros" if zero_gamma else "ones",
            synchronized=several and config.global_bn,
            **kwargs,
        )

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Normalises `inputs` (..., C) with the batch's or the running statistics."""
        if not self.fused:  # 2-D inputs, or statistics from all replicas
            return super().call(inputs, training=training)
        if self._get_training_value(training):
            return self._normalize_by_batch(inputs)
        return self._fused(inputs, self.moving_mean, self.moving_variance, training=False)[0]

    def _normalize_by_batch(self, inputs: tf.Tensor) -> tf.Tensor:
        nothing = tf.constant([], tf.float32)
        outputs, mean, variance = self._fused(inputs, nothing, nothing, training=True)
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance * (count - 1) / count)  # the kernel's is N - 1
        return outputs

    def _move(self, variable: tf.Variable, value: tf.Tensor) -> None:
        variable.assign_sub((variable - value) * (1.0 - self.momentum))

    def _fused(
        self, inputs: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        beta = self.beta if self.center else tf.zeros_like(self.gamma)
        results = tf.raw_ops.FusedBatchNormV3(
            x=tf.cast(inputs, self.compute_dtype),
            scale=self.gamma,
            offset=beta,
            mean=mean,
            variance=variance,
            epsilon=self.epsilon,
            is_training=training,
        )
        return results.y, results.batch_mean, results.batch_variance
