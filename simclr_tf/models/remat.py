"""Activations that the backward pass computes again instead of keeping (Chen et al. 2016).

Of a recomputed layer only the input waits for the gradient; everything inside it is computed a
second time when the gradient arrives ("Training deep nets with sublinear memory cost", arXiv
1604.06174). The price is a second forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from simclr_tf.models import batch_norm


def recomputed(layer: keras.layers.Layer, inputs: tf.Tensor, training: bool) -> tf.Tensor:
    """`layer(inputs, training=training)`, whose activations are computed again for its gradient.

    Values and gradients are those of the plain call. The running statistics of batch norms move
    in the forward pass alone. Inside a replica the second pass makes the same exchanges between
    the replicas as the first.

    The memory is saved in graphs; eagerly, an outer gradient tape keeps the activations all the
    same.

    Args:
        layer: From one tensor to one tensor, with variables that exist already, and deterministic.
        inputs: Floats.
        training: As the layer takes it.
    """

    @tf.custom_gradient
    def forward(x: tf.Tensor) -> Any:
        def backward(dy: tf.Tensor, variables: Sequence[tf.Variable] = ()) -> Any:
            # Behind `dy`: otherwise both passes are the same expression, and TensorFlow computes
            # it once, early, and keeps it.
            with tf.control_dependencies([dy]):
                again = tf.identity(x)
            with batch_norm.statistics_kept(), tf.GradientTape() as tape:
                tape.watch(again)
                y = layer(again, training=training)
            dx, *others = tape.gradient(y, [again, *variables], output_gradients=dy)
            return (dx, others) if variables else dx

        return layer(x, training=training), backward

    return forward(inputs)
