"""How long a step takes here, its images included: a few are taken, and thrown away."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import tf_keras as keras

from simclr_tf.console import silent
from simclr_tf.experiment import Given
from simclr_tf.modes import training
from simclr_tf.settings.run import RunConfig

_MANY = 10**6  # steps, which the timing ends long before
_SECONDS, _FEWEST_CALLS = 5.0, 2


class _Stopwatch(keras.callbacks.Callback):
    """Times the calls after the first, which traces, and ends the run."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds_per_step = 0.0
        self._first: tuple[int, float] | None = None
        self._epoch, self._calls = 0, 0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        step, now = self._epoch * self.params["steps"] + batch + 1, time.monotonic()
        if self._first is None:
            self._first = step, now
            return
        self._calls += 1
        taken, passed = step - self._first[0], now - self._first[1]
        self.seconds_per_step = passed / taken
        if passed >= _SECONDS and self._calls >= _FEWEST_CALLS:
            self.model.stop_training = True


def seconds_per_step(run: RunConfig, given: Given) -> float:
    """What a step of a run takes on this machine, after about five seconds of it.

    Args:
        run: Its settings; lengths, pages and folder do not count.
        given: Its images and other objects.

    Raises:
        InputError: As the run itself would.
    """
    watch = _Stopwatch()
    before = None if given.encoder is None else given.encoder.get_weights()
    with tempfile.TemporaryDirectory() as folder:
        short = dataclasses.replace(
            run,
            model_dir=folder,
            train=dataclasses.replace(run.train, train_steps=_MANY, checkpoint_steps=_MANY),
            page=dataclasses.replace(run.page, report=False, log_to="tensorboard"),
        )
        training.train(short, None, None, silent, dataclasses.replace(given, callbacks=(watch,)))
    if given.encoder is not None:  # which was trained in place
        given.encoder.set_weights(before)
    return watch.seconds_per_step
