"""The training loop: calls of a compiled, bounded run of steps, with all writing in between."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping

import tensorflow as tf

from simclr_tf.report.progress import Progress
from simclr_tf.training.lengths import Lengths
from simclr_tf.training.step import Means, Step

# One compiled call should last about a second: long enough to hide Python, short enough to report.
_SECONDS_PER_CALL = 1.0
_MAX_STEPS_PER_CALL = 100

# What a person watches: the first of these losses that the run has, then the accuracies.
# Distillation may weigh the labels' loss with 0, so its own comes before.
_CONTRAST_LOSS = "train/contrast_loss"
_LOSSES = ("train/distill_loss", _CONTRAST_LOSS, "train/supervised_loss")
_ACCURACIES = {
    "contrast_acc": "train/contrast_acc",
    "distill_agreement": "train/distill_agreement",
    "supervised_acc": "train/supervised_acc",
}


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite; training stopped without writing a checkpoint."""


def compile_steps(
    step: Step, strategy: tf.distribute.Strategy
) -> Callable[[Iterator, tf.Tensor], None]:
    """A traced function that runs `step` a given number of times on every replica."""

    @tf.function
    def run_steps(iterator: Iterator, count: tf.Tensor) -> None:
        for _ in tf.range(count):
            # The scope's own control flow keeps one trace, whatever `count` is.
            strategy.run(step, args=(next(iterator),))

    return run_steps


def _steps_per_call(seconds_per_step: float | None) -> int:
    if seconds_per_step is None:
        return 1
    return max(1, min(_MAX_STEPS_PER_CALL, int(_SECONDS_PER_CALL / max(seconds_per_step, 1e-6))))


def _shown(values: Mapping[str, float]) -> dict[str, float]:
    loss = next((values[name] for name in _LOSSES if name in values), values["train/total_loss"])
    accuracies = {name: values[key] for name, key in _ACCURACIES.items() if key in values}
    return {"loss": loss, **accuracies}


def _check_finite(values: dict[str, float], step: int, learning_rate: float) -> None:
    loss = values["train/total_loss"]
    if not math.isfinite(loss):
        contrastive = _CONTRAST_LOSS in values
        advice = (
            "lower --learning_rate or raise --temperature"
            if contrastive
            else "lower the learning rate"
        )
        raise NonFiniteLossError(
            f"loss must stay finite. Received: {loss} up to step {step} at learning rate "
            f"{learning_rate:.4g}; {advice}"
        )


def run_loop(
    run_steps: Callable[[Iterator, tf.Tensor], None],
    batches: tf.data.Dataset,
    *,
    global_step: tf.Variable,
    lengths: Lengths,
    means: Means,
    learning_rate: Callable[[int], float],
    progress: Progress,
    units_per_step: int,
    on_summary: Callable[[int, dict[str, float]], None],
    on_checkpoint: Callable[[int], None],
) -> None:
    """Trains from `global_step` to `lengths.total_steps`, exactly.

    Args:
        run_steps: From `compile_steps`.
        batches: An endless stream of global batches that starts at `global_step`.
        global_step: Steps taken so far; the optimizer counts it up.
        lengths: Where to end, and where to write.
        means: The running means that the step updates; reset after each summary.
        learning_rate: The learning rate at a step, for messages and summaries.
        progress: Receives every call's figures.
        units_per_step: Pairs (or images) per step, over all replicas.
        on_summary: Called with the step and the means since the last summary.
        on_checkpoint: Called with the step; on an interrupt too, before it is raised again.

    Raises:
        NonFiniteLossError: The loss is NaN or infinite.
    """
    iterator = iter(batches)
    start_step = step = int(global_step.numpy())
    seconds_per_step: float | None = None
    try:
        while step < lengths.total_steps:
            count = min(_steps_per_call(seconds_per_step), lengths.next_stop(step) - step)
            started = time.monotonic()
            run_steps(iterator, tf.constant(count))
            step += count
            values = means.result()
            # The first call traces the step, so its time says nothing about the next ones.
            seconds_per_step = (
                (time.monotonic() - started) / count if step > start_step + 1 else None
            )
            _check_finite(values, step, learning_rate(step))
            progress.update(step, (step - start_step) * units_per_step, _shown(values))
            if lengths.is_summary(step):
                on_summary(step, values)
                means.reset()
            if lengths.is_checkpoint(step):
                on_checkpoint(step)
    except KeyboardInterrupt:
        # The interrupt can arrive after the steps ran and before they were counted here.
        on_checkpoint(int(global_step.numpy()))
        raise
