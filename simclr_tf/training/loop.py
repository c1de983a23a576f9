"""The training loop: calls of a compiled, bounded run of steps, with all writing in between."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from simclr_tf.data import retry
from simclr_tf.errors import InputError, RunError
from simclr_tf.job import Job
from simclr_tf.progress import Progress
from simclr_tf.training.coordination import coordinate, is_worker_loss
from simclr_tf.training.guessing import CONTRAST_LOSS
from simclr_tf.training.lengths import Lengths
from simclr_tf.training.means import Means
from simclr_tf.training.step import Computed, Step, any_replica

# One compiled call should last about a second: long enough to hide Python, short enough to report.
_SECONDS_PER_CALL = 1.0
_MAX_STEPS_PER_CALL = 100

# What a person watches: the first of these losses that the run has, then the accuracies.
# Distillation may weigh the labels' loss with 0, so its own comes before.
_LOSSES = ("train/distill_loss", CONTRAST_LOSS, "train/supervised_loss")
_ACCURACIES = {
    "contrast_acc": "train/contrast_acc",
    "distill_agreement": "train/distill_agreement",
    "supervised_acc": "train/supervised_acc",
}


class NonFiniteLossError(RunError):
    """The loss or a gradient became NaN or infinite; no checkpoint was written since."""


class Outcome(NamedTuple):
    """What came of a call of some steps.

    Attributes:
        bad: () int32, steps whose loss or gradient was not finite.
        first_bad: () int32, how many steps of the call came before the first of them; -1 without.
    """

    bad: Any
    first_bad: Any


StepsFunction = Callable[[Iterator, tf.Tensor], Outcome]


def compile_steps(
    step: Step | Callable[[Any], None], strategy: tf.distribute.Strategy, skip_bad: bool = False
) -> StepsFunction:
    """A traced function that takes a given number of steps on every replica.

    Args:
        step: A `Step`, or a function of a replica's batch that looks after itself.
        strategy: Where it computes.
        skip_bad: Leave out updates that are not finite and go on. Otherwise the call ends with the
            first of them; the weights are useless then.
    """
    if not isinstance(step, Step):
        take = _without_count(step)
    elif skip_bad:
        take = functools.partial(_take_or_skip, step)
    else:
        take = step.take

    @tf.function
    def run_steps(iterator: Iterator, count: tf.Tensor) -> Outcome:
        taken, bad, first_bad = tf.constant(0), tf.constant(0), tf.constant(-1)
        # The scope's own control flow keeps one trace, whatever `count` is.
        while taken < count and (skip_bad or bad == 0):
            batch = next(iterator)
            finite = take(strategy, batch)
            if not finite:
                bad += 1
                first_bad = tf.where(first_bad < 0, taken, first_bad)
            taken += 1
        return Outcome(bad, first_bad)

    return run_steps


def _without_count(step: Callable[[Any], None]) -> Callable[..., tf.Tensor]:
    """A step that looks after itself, as one that is always finite."""

    def take(strategy: tf.distribute.Strategy, batch: Any) -> tf.Tensor:
        strategy.run(step, args=(batch,))
        return tf.constant(True)

    return take


def _take_or_skip(step: Step, strategy: tf.distribute.Strategy, batch: Any) -> tf.Tensor:
    """Updates only if everything is finite; the condition stands outside the replicas."""
    computed: Computed = step.compute(strategy, batch)
    finite = any_replica(strategy, computed.finite)
    if finite:
        strategy.run(step.update, args=(computed,))
    else:
        step.skip()
    return finite


def _steps_per_call(seconds_per_step: float | None) -> int:
    if seconds_per_step is None:
        return 1
    return max(1, min(_MAX_STEPS_PER_CALL, int(_SECONDS_PER_CALL / max(seconds_per_step, 1e-6))))


def _shown(values: Mapping[str, float]) -> dict[str, float]:
    if not values:
        return {}
    loss = next((values[name] for name in _LOSSES if name in values), values["train/total_loss"])
    accuracies = {name: values[key] for name, key in _ACCURACIES.items() if key in values}
    return {"loss": loss, **accuracies}


class Taken(NamedTuple):
    """An `Outcome` in numbers: bad steps, and the first of them counted from 1; 0 without."""

    bad: int
    first_bad: int


class _Health:
    """Counts the steps that were not finite and knows when there are too many."""

    def __init__(self, most: int, learning_rate: Callable[[int], float]):
        self._most, self._learning_rate, self._count = most, learning_rate, 0

    def check(self, taken: Taken, values: Mapping[str, float], to: int) -> str:
        """A note where steps were skipped, "" otherwise.

        Args:
            taken: What came of the steps.
            values: The means so far.
            to: The last of the steps.

        Raises:
            NonFiniteLossError: There were more than are skipped.
        """
        self._count += taken.bad
        if not taken.bad and math.isfinite(values.get("train/total_loss", 0.0)):
            return ""
        first = taken.first_bad or to
        where = f"step {first} at learning rate {self._learning_rate(first - 1):.4g}"
        if self._count > self._most or not taken.bad:
            skipped = f", after {self._most} such steps were skipped" if self._most else ""
            advice = "lower --learning_rate"
            if CONTRAST_LOSS in values:
                advice += " or raise --temperature"
            raise NonFiniteLossError(
                "loss and gradients must stay finite. Received: NaN or infinity in "
                f"{where}{skipped}; {advice}"
            )
        return (
            f"note: {where} was left out: its loss or gradient is not finite "
            f"({self._count} of at most {self._most})"
        )


class _Feed:
    """The batches from a step on; opened again there when reading fails for a passing reason."""

    def __init__(self, open_batches: Callable[[int], Iterable], backoff: retry.Backoff, step: int):
        self._open, self._backoff = open_batches, backoff
        self._iterator: Iterator | None = iter(open_batches(step))

    def advance(self, run_steps: StepsFunction, global_step: tf.Variable, to: int) -> Taken:
        """Takes the steps up to `to`, or to the first bad one that is not skipped.

        A batch follows from its step alone, and a failed read leaves `global_step` at the steps
        that were taken: nothing is repeated and nothing left out.
        """
        while True:
            here = int(global_step.numpy())
            try:
                if self._iterator is None:
                    self._iterator = iter(self._open(here))
                outcome = run_steps(self._iterator, tf.constant(to - here))
            # Opening again finds no data service while that is being started again.
            except (*retry.TRANSIENT, InputError) as error:
                if isinstance(error, tf.errors.OpError) and is_worker_loss(error):
                    raise
                if not retry.may_pass(error):
                    raise
                self._backoff.failed(error)
                self._iterator = None
            else:
                self._backoff.worked()
                bad = int(outcome.bad)
                return Taken(bad, here + int(outcome.first_bad) + 1 if bad else 0)


@dataclasses.dataclass(frozen=True)
class Course:
    """How far a training goes, and what it puts up with on the way.

    Attributes:
        lengths: Where to end, and where to write.
        units_per_step: Pairs (or images) per step, over all replicas.
        skip_nonfinite_steps: Steps left out before the run stops; needs `skip_bad` in the steps.
        read_retries: Failed reads in a row that are tried again.
    """

    lengths: Lengths
    units_per_step: int
    skip_nonfinite_steps: int = 0
    read_retries: int = 5


@dataclasses.dataclass(frozen=True)
class Meters:
    """What the loop reads of the steps that it takes.

    Attributes:
        global_step: Steps taken so far; the optimizer counts it up.
        means: The running means that the step updates; reset after each summary.
        learning_rate: The learning rate at a step, for messages and summaries.
    """

    global_step: tf.Variable
    means: Means
    learning_rate: Callable[[int], float]


@dataclasses.dataclass(frozen=True)
class Listeners:
    """Who hears of the loop.

    Attributes:
        progress: Receives every call's figures.
        on_summary: Called with the step and the means since the last summary.
        on_checkpoint: Called with the step and those means; when the run is asked to stop too.
        on_taken: Called with the step and those means after each call of steps.
        stop: Whether the run shall end early, asked after each call and after each checkpoint; None
            where nobody decides it.
    """

    progress: Progress
    on_summary: Callable[[int, dict[str, float]], None] = lambda step, values: None
    on_checkpoint: Callable[[int, dict[str, float]], None] = lambda step, values: None
    on_taken: Callable[[int, dict[str, float]], None] = lambda step, values: None
    stop: Callable[[], bool] | None = None


def _ends(listeners: Listeners, job: Job) -> bool:
    """Whether a listener ends the run, on all workers alike."""
    return listeners.stop is not None and job.from_chief(int(listeners.stop())) > 0


def run_loop(
    run_steps: StepsFunction,
    open_batches: Callable[[int], Iterable],
    course: Course,
    meters: Meters,
    listeners: Listeners,
    job: Job,
) -> None:
    """Trains from `global_step` to the last step of the course, or until a listener stops it.

    All workers call it together and make the same calls of `run_steps`.

    Args:
        run_steps: From `compile_steps`.
        open_batches: From a step to the endless stream of global batches that starts there.
        course: How far it goes.
        meters: What it reads.
        listeners: Who hears of it.
        job: Where `run_steps` computes.

    Raises:
        NonFiniteLossError: A loss or gradient is NaN or infinite.
        KeyboardInterrupt, Preempted: After a checkpoint, on SIGINT and SIGTERM.
        WorkerLostError: Another worker is gone.
    """
    lengths, progress, means = course.lengths, listeners.progress, meters.means
    global_step = meters.global_step
    start_step = step = int(global_step.numpy())
    seconds_per_step: float | None = None
    values: dict[str, float] = {}
    updates = 0  # since the last summary
    health = _Health(course.skip_nonfinite_steps, meters.learning_rate)
    feed = _Feed(open_batches, retry.Backoff(course.read_retries, say=progress.note), step)
    with coordinate(job, lambda: listeners.on_checkpoint(step, values)) as coordinator:
        while step < lengths.total_steps:
            wanted = min(_steps_per_call(seconds_per_step), lengths.next_stop(step) - step)
            count = coordinator.agree(wanted)
            started = time.monotonic()
            to = step + count
            taken = coordinator.run(functools.partial(feed.advance, run_steps, global_step, to))
            updates += count - taken.bad
            if updates:  # there is no mean of nothing
                values = means.result()
            if note := health.check(taken, values, to):
                progress.note(note)
            step = to
            # The first call traces the step, so its time says nothing about the next ones.
            seconds_per_step = (
                (time.monotonic() - started) / count if step > start_step + 1 else None
            )
            progress.update(step, (step - start_step) * course.units_per_step, _shown(values))
            listeners.on_taken(step, values)
            if lengths.is_summary(step) and updates:
                listeners.on_summary(step, values)
                means.reset()
                updates = 0
            stops = _ends(listeners, job)
            if lengths.is_checkpoint(step) or stops:
                listeners.on_checkpoint(step, values)
                stops = stops or _ends(listeners, job)
            coordinator.check()
            if stops:
                return
