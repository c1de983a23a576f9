"""What callbacks of Keras hear in a run's own loop."""

import pytest
import tf_keras as keras

from simclr_tf.errors import InputError
from simclr_tf.training.callbacks import Callbacks, check_callbacks
from simclr_tf.training.lengths import Lengths


class Recorder(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.heard = []

    def on_epoch_begin(self, epoch, logs=None):
        self.heard.append(("begin", epoch))

    def on_epoch_end(self, epoch, logs=None):
        self.heard.append(("end", epoch, logs))

    def on_train_batch_end(self, batch, logs=None):
        self.heard.append(("batch", batch))


@pytest.fixture
def model():
    return keras.Sequential([keras.layers.Dense(1)])


def test_an_epochs_logs_are_the_mean_of_its_steps(model):
    """4 steps an epoch, summaries after 3, 4, 6, 7: means over different numbers of steps."""
    recorder = Recorder()
    lengths = Lengths(4, 7, 100, 3, summarizes_epochs=True)
    callbacks = Callbacks([recorder], model, lengths)
    callbacks.begin(0)
    losses = {1: 1.0, 2: 2.0, 3: 3.0, 4: 10.0, 5: 5.0, 6: 7.0, 7: 3.0}
    last = 0
    for step in losses:
        if lengths.is_summary(step):
            taken = [losses[one] for one in range(last + 1, step + 1)]
            callbacks.summary(step, {"train/total_loss": sum(taken) / len(taken)})
            last = step
    assert recorder.heard == [
        ("begin", 0),
        ("end", 0, {"loss": 4.0}),
        ("begin", 1),
        ("end", 1, {"loss": 5.0}),
    ]


def test_a_run_that_goes_on_is_in_its_epoch(model):
    recorder = Recorder()
    callbacks = Callbacks([recorder], model, Lengths(4, 12, 100, 4, summarizes_epochs=True))
    callbacks.begin(6)
    callbacks.taken(7, {})
    callbacks.summary(8, {"train/contrast_acc": 0.5})
    assert recorder.heard == [
        ("begin", 1), ("batch", 2), ("end", 1, {"contrast_acc": 0.5}), ("begin", 2),
    ]  # fmt: skip


def test_an_early_stop_is_seen(model):
    stopper = keras.callbacks.EarlyStopping("loss", patience=1)
    callbacks = Callbacks([stopper], model, Lengths(1, 9, 100, 1, summarizes_epochs=True))
    callbacks.begin(0)
    stops = []
    for step, loss in enumerate((3.0, 2.0, 2.5, 2.6), 1):
        callbacks.summary(step, {"train/total_loss": loss})
        stops.append(callbacks.stop)
    assert stops == [False, False, True, True]
    callbacks.begin(4)
    assert not callbacks.stop


def test_the_loop_stops_after_every_epoch_only_where_somebody_listens():
    listening = Lengths(4, 20, 10, 7, summarizes_epochs=True)
    stops = [step for step in range(1, 21) if listening.is_summary(step)]
    assert stops == [4, 7, 8, 10, 12, 14, 16, 20]
    assert [listening.next_stop(step) for step in (0, 4, 8, 10)] == [4, 7, 10, 12]
    deaf = Lengths(4, 20, 10, 7)
    assert [step for step in range(1, 21) if deaf.is_summary(step)] == [7, 10, 14, 20]


@pytest.mark.parametrize(
    "callback",
    ["loss", keras.callbacks.ReduceLROnPlateau(), keras.callbacks.LearningRateScheduler(float)],
)
def test_what_a_run_can_not_serve_is_refused(callback):
    with pytest.raises(InputError, match="callbacks must"):
        check_callbacks([keras.callbacks.History(), callback])
