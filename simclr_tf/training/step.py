"""One optimizer step: gradients of every replica's share, their sum, the update.

A step is described from outside the replicas (`take`), so that it may consist of several phases
with control flow between them; `tf.distribute` allows no loop or condition around a collective
inside a replica.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import tensorflow as tf
import tf_keras as keras

from simclr_tf.distribution import device_kind
from simclr_tf.models import cpu_conv
from simclr_tf.training.compilation import compiled
from simclr_tf.training.losses import Batch, Losses, LossFunction
from simclr_tf.training.means import Means

_Function = TypeVar("_Function", bound=Callable[..., Any])


def not_converted(function: _Function) -> _Function:
    """A replica's part of a step, which AutoGraph leaves alone.

    There is no control flow in it that depends on tensors, and the conversion of all layers would
    take as long as tracing them.
    """
    return tf.autograph.experimental.do_not_convert(function)


class Computed(NamedTuple):
    """What the update needs; inside a replica, or one value for each replica.

    Attributes:
        gradients: One per trainable variable, summed over the replicas; None where there is none.
        losses: This replica's share.
        finite: () bool, the same on every replica: the loss and all gradients are finite.
    """

    gradients: list[tf.Tensor | None]
    losses: Losses
    finite: tf.Tensor


@runtime_checkable
class Step(Protocol):
    """One optimizer step over all replicas."""

    def compute(self, strategy: tf.distribute.Strategy, batch: Any) -> Computed:
        """The gradients of a batch, one value per replica; changes no weight."""
        ...

    def update(self, computed: Computed) -> None:
        """Changes the weights; inside a replica."""
        ...

    def skip(self) -> None:
        """Counts the step without an update; outside the replicas."""
        ...

    def take(self, strategy: tf.distribute.Strategy, batch: Any) -> tf.Tensor:
        """Computes and updates; returns whether everything was finite, () bool."""
        ...


class OptimizerStep:
    """What steps have in common that differ in how they come to their gradients."""

    def __init__(
        self,
        variables: Sequence[tf.Variable],
        optimizer: keras.optimizers.Optimizer,
        means: Means,
        *,
        jit_compile: bool = False,
    ):
        """Call it in the strategy's scope.

        Args:
            variables: What is trained.
            optimizer: Built for them; its `iterations` count the steps.
            means: Receives the metrics.
            jit_compile: Whether XLA compiles what a replica does; one replica only.
        """
        self._jit_compile = jit_compile
        self._variables = list(variables)
        self._optimizer = optimizer
        self._means = means
        strategy = tf.distribute.get_strategy()
        self._replicas = strategy.num_replicas_in_sync
        # XLA has gradients of its own.
        self._cpu_conv = device_kind(strategy) == "CPU" and not jit_compile

    def compute(self, strategy: tf.distribute.Strategy, batch: Any) -> Computed:
        """See `Step`."""
        raise NotImplementedError

    def take(self, strategy: tf.distribute.Strategy, batch: Any) -> tf.Tensor:
        """See `Step`."""
        computed = self.compute(strategy, batch)
        strategy.run(self.update, args=(computed,))
        return any_replica(strategy, computed.finite)

    @not_converted
    def update(self, computed: Computed) -> None:
        """See `Step`."""
        # Else the step would be counted while its batch is still being read, which may fail.
        with tf.control_dependencies([computed.losses.total]):
            self._optimizer.apply_gradients(
                zip(computed.gradients, self._variables, strict=True),
                skip_gradients_aggregation=True,
            )
            self._means.update(computed.losses.values, computed.losses.weights)

    def skip(self) -> None:
        """See `Step`."""
        self._optimizer.iterations.assign_add(1)


class UpdateStep(OptimizerStep):
    """The ordinary step: the whole batch at once.

    Calling it inside a replica takes the step there.
    """

    def __init__(
        self,
        losses: LossFunction,
        variables: Sequence[tf.Variable],
        optimizer: keras.optimizers.Optimizer,
        means: Means,
        *,
        jit_compile: bool = False,
    ):
        """Call it in the strategy's scope.

        Args:
            losses: One replica's share of the loss.
            variables: As in `OptimizerStep`.
            optimizer: As in `OptimizerStep`.
            means: As in `OptimizerStep`.
            jit_compile: As in `OptimizerStep`.
        """
        super().__init__(variables, optimizer, means, jit_compile=jit_compile)
        self._losses = losses

    @not_converted
    def __call__(self, batch: Batch) -> tf.Tensor:
        """Takes the step inside a replica; returns whether everything was finite, () bool."""
        computed = self._compute(batch)
        self.update(computed)
        return computed.finite

    def compute(self, strategy: tf.distribute.Strategy, batch: Any) -> Computed:
        """See `Step`."""
        return strategy.run(compiled(self._compute, self._jit_compile), args=(batch,))

    def take(self, strategy: tf.distribute.Strategy, batch: Any) -> tf.Tensor:
        """See `Step`; one call of the replicas instead of two."""
        step = compiled(self.__call__, self._jit_compile)
        return any_replica(strategy, strategy.run(step, args=(batch,)))

    @not_converted
    def _compute(self, batch: Batch) -> Computed:
        with cpu_conv.preferred(self._cpu_conv):
            with tf.GradientTape() as tape:
                losses = self._losses(batch)
                replica_loss = losses.total / self._replicas
            gradients = tape.gradient(replica_loss, self._variables)
        return sum_over_replicas(gradients, losses)


def sum_over_replicas(gradients: Sequence[tf.Tensor | None], losses: Losses) -> Computed:
    """Adds up the replicas' gradients, inside a replica, and looks whether all is finite.

    The loss travels along: a replica whose loss alone is not finite is noticed by all.
    """
    present = [gradient for gradient in gradients if gradient is not None]
    context = tf.distribute.get_replica_context()
    *summed, total = context.all_reduce(tf.distribute.ReduceOp.SUM, [*present, losses.total])
    # A sum is finite only if all its terms are, and takes one pass over the gradient.
    sums = [tf.reduce_sum(tf.cast(gradient, tf.float32)) for gradient in summed]
    finite = tf.reduce_all(tf.math.is_finite(tf.stack([*sums, total])))
    remaining = iter(summed)
    complete = [None if gradient is None else next(remaining) for gradient in gradients]
    return Computed(complete, losses, finite)


def any_replica(strategy: tf.distribute.Strategy, value: Any) -> tf.Tensor:
    """The value of a replica where all have the same."""
    return strategy.experimental_local_results(value)[0]
