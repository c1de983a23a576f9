"""A training put together: optimizer, running means, step and loop, of every task alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import tf_keras as keras

from simclr_tf.job import Job
from simclr_tf.models.network import Network
from simclr_tf.models.roles import variable_roles
from simclr_tf.optimizers import factory, schedule
from simclr_tf.settings.optimizer import OptimizerConfig
from simclr_tf.training import compilation, loop
from simclr_tf.training.gradient_cache import CachedStep, Chunks
from simclr_tf.training.lengths import Lengths
from simclr_tf.training.losses import pretrain_losses_of_outputs
from simclr_tf.training.means import Means
from simclr_tf.training.step import Step, UpdateStep
from simclr_tf.training.tasks import Contrast, Task


@dataclasses.dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast a training learns.

    Attributes:
        lengths: In steps.
        batch_size: Images per step, over all replicas.
        num_examples: Images of an epoch, which the warm-up is counted in.
        optimizer: Optimizer and learning rate.
        jit_compile: As `compilation.resolve` says.
        chunks: The gradient cache, where the batch goes through the network in parts.
        skip_nonfinite_steps: As in `TrainConfig`.
        read_retries: As in `DataConfig`.
    """

    lengths: Lengths
    batch_size: int
    num_examples: int
    optimizer: OptimizerConfig
    jit_compile: str = "off"
    chunks: Chunks | None = None
    skip_nonfinite_steps: int = 0
    read_retries: int = 5

    @property
    def steps(self) -> int:
        """The last step."""
        return self.lengths.total_steps

    @property
    def course(self) -> loop.Course:
        """The same as the loop takes it."""
        return loop.Course(
            self.lengths, self.batch_size, self.skip_nonfinite_steps, self.read_retries
        )


class Fit:
    """A model that learns a task on a job's devices.

    Args:
        model: Built in the job's scope.
        task: What it learns.
        plan: How long and how fast.
        job: Where.
    """

    def __init__(self, model: Network, task: Task, plan: TrainingPlan, job: Job):
        self.model, self.plan = model, plan
        self._task, self._job = task, job
        with job.scope():
            rate = schedule.build_schedule(
                plan.optimizer, plan.batch_size, plan.num_examples, plan.steps
            )
            self.optimizer: keras.optimizers.Optimizer = factory.build_optimizer(
                plan.optimizer, rate, variable_roles(model)
            )
            self.optimizer.build(model.trainable_variables)

    @property
    def global_step(self) -> int:
        """Steps taken so far; restoring the optimizer sets them."""
        return int(self.optimizer.iterations.numpy())

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The scalars that its steps report."""
        return self._task.metric_names(self.model)

    def learning_rate(self, at: int) -> float:
        """The learning rate of a step."""
        return float(self.optimizer._learning_rate(at))

    def run(self, open_batches: Callable[[int], Iterable], listeners: loop.Listeners) -> None:
        """Takes the steps that are left; see `loop.run_loop`."""
        if self.global_step >= self.plan.steps:
            return
        with self._job.scope():
            means = Means(self.metric_names)
            step = self._step(means)
        skips = self.plan.skip_nonfinite_steps > 0
        loop.run_loop(
            loop.compile_steps(step, self._job.strategy, skips),
            open_batches,
            self.plan.course,
            loop.Meters(self.optimizer.iterations, means, self.learning_rate),
            listeners,
            self._job,
        )

    def _step(self, means: Means) -> Step:
        plan = self.plan
        jit_compile = compilation.compiles(plan.jit_compile, self._job.strategy)
        if plan.chunks is not None:
            assert isinstance(self._task, Contrast)  # settings of others are refused
            combine = pretrain_losses_of_outputs(self.model, self._task.objective, plan.optimizer)
            return CachedStep(
                self.model, combine, self.optimizer, means, plan.chunks, jit_compile=jit_compile
            )
        losses = self._task.losses(self.model, plan.optimizer)
        return UpdateStep(
            losses, self.model.trainable_variables, self.optimizer, means, jit_compile=jit_compile
        )
