"""A job: where a command computes, and its voice. Every worker of it runs the same code."""

from __future__ import annotations

import contextlib
import dataclasses
import weakref
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from simclr_tf import console, gpus
from simclr_tf.console import Say
from simclr_tf.distribution import Part, build_strategy, device_kind
from simclr_tf.errors import InputError
from simclr_tf.settings.devices import StrategyConfig

# `from_chief` is called once a second; a new trace would take longer than the exchange.
_traced: weakref.WeakKeyDictionary[tf.distribute.Strategy, Any] = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True)
class Job:
    """The devices and the voice of a command.

    Attributes:
        strategy: Where it computes; the present one where none is given.
        speak: Receives lines for the user; the chief's alone, see `say`.
    """

    strategy: tf.distribute.Strategy = dataclasses.field(default_factory=tf.distribute.get_strategy)
    speak: Say = console.say

    @property
    def replicas(self) -> int:
        """Number of devices that compute side by side."""
        return self.strategy.num_replicas_in_sync

    @property
    def workers(self) -> int:
        """Processes that run this program together; 1 except with `multi_worker`."""
        if not isinstance(self.strategy, tf.distribute.MultiWorkerMirroredStrategy):
            return 1
        spec = self.strategy.cluster_resolver.cluster_spec().as_dict()
        return max(1, sum(len(hosts) for hosts in spec.values()))

    @property
    def is_chief(self) -> bool:
        """Whether this process writes files and speaks; exactly one of a job does."""
        return self.workers == 1 or bool(self.strategy.extended.should_checkpoint)

    @property
    def kind(self) -> str:
        """What the replicas are: "TPU", "GPU" or "CPU"."""
        return device_kind(self.strategy)

    def say(self, text: str) -> None:
        """Tells the user a line, once for all workers."""
        if self.is_chief:
            self.speak(text)

    def silent(self) -> Job:
        """The same job without a voice."""
        return dataclasses.replace(self, speak=console.silent)

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Variables that are made in it belong to all replicas."""
        return self.strategy.scope()

    def from_chief(self, value: int) -> int:
        """The chief's value on all workers, which have to call this together."""
        if self.workers == 1:
            return value
        strategy = self.strategy
        if strategy not in _traced:
            _traced[strategy] = tf.function(
                lambda mine: strategy.run(_of_first_replica, args=(mine,)), autograph=False
            )
        found = _traced[strategy](tf.constant(value, tf.int64))
        return int(strategy.experimental_local_results(found)[0])

    def check_divisible(self, name: str, batch_size: int) -> None:
        """Refuses a global batch that does not divide over the replicas.

        Raises:
            InputError: Names the setting and the two nearest sizes that do divide.
        """
        if batch_size % self.replicas:
            below = batch_size - batch_size % self.replicas
            nearest = [str(size) for size in (below, below + self.replicas) if size > 0]
            raise InputError(
                name,
                f"must be a multiple of the {self.replicas} replicas, such as "
                f"{' or '.join(nearest)}",
                batch_size,
            )

    def distribute(
        self, make: Callable[[Part], tf.data.Dataset]
    ) -> tf.data.Dataset | tf.distribute.DistributedDataset:
        """The batches of all replicas, made on each host for its own replicas.

        Args:
            make: From a part to its elements: for every global batch one element for each replica
                of the part, in the order of replicas.
        """
        if self.replicas == 1:
            return make(Part())

        def of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return make(
                Part(
                    context.input_pipeline_id,
                    context.num_input_pipelines,
                    context.num_replicas_in_sync,
                )
            )

        return self.strategy.distribute_datasets_from_function(of_host)

    def __str__(self) -> str:
        """The devices in words: "2 CPU replicas"."""
        devices = (
            f"one {self.kind}" if self.replicas == 1 else f"{self.replicas} {self.kind} replicas"
        )
        return devices if self.workers == 1 else f"{devices} of {self.workers} workers"


def open_job(devices: StrategyConfig, speak: Say = console.say) -> Job:
    """The job of this process; see `distribution.build_strategy`."""
    job = Job(build_strategy(devices), speak)
    if job.kind == "CPU" and (line := gpus.unused_gpu()):
        job.say(f"note: {line}")
    return job


def _of_first_replica(value: tf.Tensor) -> tf.Tensor:
    context = tf.distribute.get_replica_context()
    first = tf.equal(context.replica_id_in_sync_group, 0)
    mine = tf.where(first, value, tf.zeros_like(value))
    return context.all_reduce(tf.distribute.ReduceOp.SUM, mine)
