"""The gradient of a large batch's contrastive loss in the memory of a small one.

The loss needs the embeddings of the whole batch, the network's activations only its own images
(Gao et al., "Scaling deep contrastive learning batch size under memory limited setup",
arXiv 2101.06983). So a step has three phases:

1. every chunk of the batch goes through the network, without a gradient tape: the embeddings;
2. one loss over all embeddings of all replicas, and its gradient with respect to each of them;
3. every chunk goes through the network again, and the gradient of phase 2 goes back through it.

The sum over the chunks is the gradient of the whole batch. Only batch norm sees a difference,
since it normalises by the chunk: see `gradient_cache_bn` in `TrainConfig`. The price is a second
forward pass.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import tensorflow as tf
import tf_keras as keras

from simclr_tf.models import batch_norm, cpu_conv
from simclr_tf.models.endpoints import PROJECTED_ENDPOINT
from simclr_tf.models.network import Network
from simclr_tf.training.compilation import compiled
from simclr_tf.training.losses import Batch, Losses, LossOfOutputs, stack_views
from simclr_tf.training.means import Means
from simclr_tf.training.step import Computed, OptimizerStep, not_converted, sum_over_replicas


@dataclasses.dataclass(frozen=True)
class Chunks:
    """How a batch goes through the network in parts.

    Attributes:
        batch_size: Global batch size B, a multiple of `chunk_size`.
        chunk_size: Images of a chunk over all replicas, a multiple of their number.
        frozen_bn: Normalise by the running statistics and keep them, instead of by each chunk's
            own. The gradient is then exactly that of the whole batch.
    """

    batch_size: int
    chunk_size: int
    frozen_bn: bool = False


class CachedStep(OptimizerStep):
    """A pretraining step that holds the activations of one chunk at a time; a `step.Step`."""

    def __init__(
        self,
        model: Network,
        combine: LossOfOutputs,
        optimizer: keras.optimizers.Optimizer,
        means: Means,
        chunks: Chunks,
        *,
        jit_compile: bool = False,
    ):
        """Call it in the strategy's scope.

        Args:
            model: In pretraining's configuration.
            combine: From `pretrain_losses_of_outputs`.
            optimizer: Built for the model's trainable variables.
            means: Receives the metrics.
            chunks: How the batch is divided.
            jit_compile: Whether XLA compiles the phases; one replica only.
        """
        super().__init__(model.trainable_variables, optimizer, means, jit_compile=jit_compile)
        self._model = model
        self._combine = combine
        self._chunks = chunks.batch_size // chunks.chunk_size
        self._rows = chunks.chunk_size // self._replicas  # of a chunk, on one replica
        self._frozen_bn = chunks.frozen_bn
        outputs = model(tf.zeros([1, 32, 32, 3]), training=False)
        self._projected = self._buffer(outputs[PROJECTED_ENDPOINT].shape[-1])
        self._features = self._buffer(outputs["final_avg_pool"].shape[-1])
        self._projected_gradient = self._buffer(outputs[PROJECTED_ENDPOINT].shape[-1])
        self._gradients = [_per_replica(variable.shape) for variable in self._variables]

    def _buffer(self, width: int) -> tf.Variable:
        """(chunks, 2, c, width): the two views of the c images of each chunk."""
        return _per_replica([self._chunks, 2, self._rows, width])

    def compute(self, strategy: tf.distribute.Strategy, batch: Any) -> Computed:
        """See `step.Step`; for graphs."""
        embed, contrast, backpropagate = (
            compiled(phase, self._jit_compile)
            for phase in (self._embed, self._contrast, self._backpropagate)
        )
        for index in tf.range(self._chunks):
            strategy.run(embed, args=(batch, index))
        losses = strategy.run(contrast, args=(batch["label"],))
        for index in tf.range(self._chunks):
            strategy.run(backpropagate, args=(batch, index))
        return strategy.run(self._collect, args=(losses,))

    def _forward(self, batch: Batch, index: tf.Tensor) -> dict[str, tf.Tensor]:
        """The outputs of one chunk, for both views: (2c, ...)."""
        chunk = {
            name: tf.reshape(rows, [self._chunks, self._rows, *rows.shape[1:]])[index]
            for name, rows in batch.items()
            if name != "label"
        }
        return self._model(stack_views(chunk), training=not self._frozen_bn)

    @not_converted
    def _embed(self, batch: Batch, index: tf.Tensor) -> None:
        with batch_norm.statistics_kept():
            outputs = self._forward(batch, index)
        for buffer, name in (
            (self._projected, PROJECTED_ENDPOINT),
            (self._features, "final_avg_pool"),
        ):
            views = tf.reshape(outputs[name], [1, 2, self._rows, -1])
            buffer.assign(tf.tensor_scatter_nd_update(buffer.read_value(), [[index]], views))

    @not_converted
    def _contrast(self, labels: tf.Tensor) -> Losses:
        projected = _stacked(self._projected)  # (2b, P)
        head = self._model.linear_head
        with tf.GradientTape() as tape:
            tape.watch(projected)
            # Behind a stop-gradient, so that the head's whole gradient comes from here.
            logits = None if head is None else head(_stacked(self._features))  # (2b, C)
            losses = self._combine(projected, logits, labels)
            replica_loss = losses.total / self._replicas
        gradients = tape.gradient(
            replica_loss,
            [projected, *self._variables],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        self._projected_gradient.assign(_unstacked(gradients[0], self._chunks))
        for total, gradient in zip(self._gradients, gradients[1:], strict=True):
            total.assign(gradient)
        return losses

    @not_converted
    def _backpropagate(self, batch: Batch, index: tf.Tensor) -> None:
        moving = (
            contextlib.nullcontext()
            if self._frozen_bn
            else batch_norm.statistics_moved_in(self._chunks)
        )
        with cpu_conv.preferred(self._cpu_conv):
            with moving, tf.GradientTape() as tape:
                projected = self._forward(batch, index)[PROJECTED_ENDPOINT]  # (2c, P)
            towards = tf.reshape(self._projected_gradient.read_value()[index], tf.shape(projected))
            gradients = tape.gradient(
                projected,
                self._variables,
                output_gradients=towards,
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
        for total, gradient in zip(self._gradients, gradients, strict=True):
            total.assign_add(gradient)

    @not_converted
    def _collect(self, losses: Losses) -> Computed:
        return sum_over_replicas([total.read_value() for total in self._gradients], losses)


def _per_replica(shape: Any) -> tf.Variable:
    """A float32 variable of which every replica has its own."""
    return tf.Variable(
        tf.zeros(shape),
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.NONE,
    )


def _stacked(buffer: tf.Variable) -> tf.Tensor:
    """(chunks, 2, c, D) -> (2b, D): all first views, then all second ones."""
    values = tf.transpose(buffer.read_value(), [1, 0, 2, 3])  # (2, chunks, c, D)
    return tf.reshape(values, [-1, values.shape[-1]])


def _unstacked(stacked: tf.Tensor, chunks: int) -> tf.Tensor:
    """(2b, D) -> (chunks, 2, c, D)."""
    values = tf.reshape(stacked, [2, chunks, -1, stacked.shape[-1]])
    return tf.transpose(values, [1, 0, 2, 3])
