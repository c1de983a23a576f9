"""Linear warm-up, then cosine decay without restarts (paper, section 2.3)."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf
import tf_keras as keras

from simclr_tf.errors import InputError, require
from simclr_tf.settings.optimizer import OptimizerConfig


@keras.utils.register_keras_serializable(package="simclr_tf")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate of a step, counted from 0.

    It rises in a straight line from 0 to the peak at step `warmup_steps`, then follows half a
    cosine down to 0 at step `total_steps`, and stays there. Without warm-up it starts at the peak.

    Example:
        >>> rate = simclr_tf.WarmupCosine(1.0, warmup_steps=10, total_steps=100)
        >>> [round(float(rate(step)), 2) for step in (0, 5, 10, 55, 100)]
        [0.0, 0.5, 1.0, 0.5, 0.0]

    Args:
        peak_learning_rate: Above 0.
        warmup_steps: At least 0. With `warmup_steps >= total_steps` the run ends while the rate is
            still rising: see `schedule_warning`.
        total_steps: Steps of the whole run, warm-up included, at least 1.

    Raises:
        InputError: A number out of its range.
    """

    def __init__(self, peak_learning_rate: float, warmup_steps: int, total_steps: int):
        super().__init__()
        require(math.isfinite(peak_learning_rate) and peak_learning_rate > 0,
                "peak_learning_rate", "must be greater than 0", peak_learning_rate)  # fmt: skip
        require(warmup_steps >= 0, "warmup_steps", "must be at least 0", warmup_steps)
        require(total_steps >= 1, "total_steps", "must be at least 1", total_steps)
        self.peak_learning_rate = float(peak_learning_rate)
        self.warmup_steps = int(warmup_steps)
        self.total_steps = int(total_steps)

    def __call__(self, step: int | tf.Tensor) -> tf.Tensor:
        """The learning rate of `step` (any shape, counted from 0), float32."""
        step = tf.cast(step, tf.float32)
        peak = tf.constant(self.peak_learning_rate, tf.float32)
        rising = peak * step / max(self.warmup_steps, 1)
        decay_steps = max(self.total_steps - self.warmup_steps, 1)
        done = tf.clip_by_value((step - self.warmup_steps) / decay_steps, 0.0, 1.0)
        # This form loses digits close to the end, where a squared cosine would not, but it gives
        # the reference implementation's float32 values.
        falling = peak * (0.5 * (1.0 + tf.cos(math.pi * done)))
        return tf.where(step < self.warmup_steps, rising, falling)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "peak_learning_rate": self.peak_learning_rate,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
        }


def count_warmup_steps(warmup_epochs: float, train_batch_size: int, num_examples: int) -> int:
    """Whole steps that `warmup_epochs` epochs hold, rounded down as in the reference."""
    return round(warmup_epochs * num_examples // train_batch_size)


def build_schedule(
    config: OptimizerConfig, train_batch_size: int, num_examples: int, total_steps: int
) -> WarmupCosine:
    """The schedule of a run.

    Args:
        config: Optimizer settings; the peak is scaled with the batch.
        train_batch_size: Global batch size.
        num_examples: Images in the training split.
        total_steps: Steps of the whole run.

    Raises:
        InputError: The learning rate is too large for its peak to be a number in float32.
    """
    warmup_steps = count_warmup_steps(config.warmup_epochs, train_batch_size, num_examples)
    peak = config.peak_learning_rate(train_batch_size)
    require(peak <= tf.float32.max, "learning_rate", f"must give a finite peak with "
            f"train_batch_size={train_batch_size}", config.learning_rate)  # fmt: skip
    return WarmupCosine(peak, warmup_steps, total_steps)


def schedule_warning(
    config: OptimizerConfig, train_batch_size: int, num_examples: int, total_steps: int
) -> str | None:
    """What to tell a user whose run ends before the peak learning rate; None where it does not.

    The arguments are those of `build_schedule`. Steps are 0 to total_steps - 1, so that a warm-up
    of total_steps - 1 steps just reaches the peak, in the last one.
    """
    warmup_steps = count_warmup_steps(config.warmup_epochs, train_batch_size, num_examples)
    if warmup_steps < total_steps:
        return None
    peak = config.peak_learning_rate(train_batch_size)
    highest = peak * (total_steps - 1) / warmup_steps
    return (
        f"the warm-up takes {warmup_steps} steps (warmup_epochs={config.warmup_epochs:g}) and the "
        f"run only {total_steps}: the learning rate reaches {highest:.4g} of its peak {peak:.4g} "
        "and never decays"
    )


def check_schedule(
    config: OptimizerConfig, train_batch_size: int, num_examples: int, total_steps: int
) -> None:
    """Raises `InputError` where `schedule_warning` has something to say."""
    warning = schedule_warning(config, train_batch_size, num_examples, total_steps)
    if warning is not None:
        raise InputError("warmup_epochs", f"must be shorter than the run: {warning}",
                         config.warmup_epochs)  # fmt: skip
