"""Keras callbacks in a run's own loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tf_keras as keras

from simclr_tf.errors import require
from simclr_tf.training.lengths import Lengths

# They set `model.optimizer.learning_rate`, which a run's schedule decides.
_OF_RATES = (keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler)
_RENAMED = {"total_loss": "loss"}


def check_callbacks(callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """Refuses what is no callback, and those that a run can't serve.

    Raises:
        InputError: Names the callback.
    """
    for callback in callbacks:
        kind = type(callback).__name__
        require(isinstance(callback, keras.callbacks.Callback), "callbacks",
                "must be callbacks of tf_keras", kind)  # fmt: skip
        require(not isinstance(callback, _OF_RATES), "callbacks", "must not set the learning rate, "
                "which the run's schedule decides (SimCLR.fit allows it)", kind)  # fmt: skip


class Callbacks:
    """Tells callbacks of a run what `fit` would tell them.

    An epoch is a pass over the images. Its logs are the means of the step's metrics under their
    names without `train/`, and the total loss as `loss`. Steps are taken several at a time:
    callbacks hear of a batch after each such call, as with `steps_per_execution`.

    Args:
        callbacks: Of tf_keras.
        model: What is trained; a callback stops the run by its `stop_training`.
        lengths: Of the run.
    """

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        model: keras.Model,
        lengths: Lengths,
    ):
        self._model, self._lengths = model, lengths
        self._callbacks = keras.callbacks.CallbackList(
            list(callbacks),
            model=model,
            epochs=-(-lengths.total_steps // lengths.steps_per_epoch),
            steps=lengths.steps_per_epoch,
            verbose=0,
        )
        self._since, self._begun = 0, 0
        self._sums: dict[str, float] = {}
        self._epoch = 0

    @property
    def stop(self) -> bool:
        """Whether one of them wants the run to end."""
        return bool(self._model.stop_training)

    def begin(self, step: int) -> None:
        """The run starts, or goes on, after `step`."""
        self._model.stop_training = False
        self._since = self._begun = step
        self._epoch = step // self._lengths.steps_per_epoch
        self._callbacks.on_train_begin()
        self._callbacks.on_epoch_begin(self._epoch)

    def taken(self, step: int, values: Mapping[str, float]) -> None:
        """Steps up to `step` were taken; `values` are the means since the last summary."""
        place = (step - 1) % self._lengths.steps_per_epoch
        self._callbacks.on_train_batch_begin(place)
        self._callbacks.on_train_batch_end(place, _logs(values))

    def summary(self, step: int, values: Mapping[str, float]) -> None:
        """The means of the steps since the last summary, which all epochs end with."""
        count, self._since = step - self._since, step
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + count * value
        if step % self._lengths.steps_per_epoch and step != self._lengths.total_steps:
            return
        taken, self._begun = step - self._begun, step
        means = {name: total / taken for name, total in self._sums.items()}
        self._sums = {}
        self._callbacks.on_epoch_end(self._epoch, _logs(means))
        self._epoch += 1
        if step != self._lengths.total_steps and not self.stop:
            self._callbacks.on_epoch_begin(self._epoch)

    def end(self) -> None:
        """The run ends."""
        self._callbacks.on_train_end()


def _logs(values: Mapping[str, float]) -> dict[str, float]:
    named = {name.removeprefix("train/"): value for name, value in values.items()}
    return {_RENAMED.get(name, name): value for name, value in named.items()}
