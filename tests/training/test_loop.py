import functools
import os
import signal

import pytest
import tensorflow as tf

from simclr_tf.config import TrainConfig
from simclr_tf.data import retry
from simclr_tf.errors import InputError, Preempted
from simclr_tf.job import Job
from simclr_tf.training import loop
from simclr_tf.training.lengths import run_lengths
from simclr_tf.training.losses import Losses
from simclr_tf.training.step import Computed


class FakeMeans:
    def __init__(self, values=(1.0,), **others):
        self.values, self.resets = values, 0
        self.others = {f"train/{name}": value for name, value in others.items()}

    def result(self):
        total = self.values[min(self.resets, len(self.values) - 1)]
        return {"train/total_loss": total, **self.others}

    def reset(self):
        self.resets += 1


class FakeProgress:
    def __init__(self):
        self.steps, self.values, self.notes = [], {}, []

    def update(self, step, units_done, values):
        self.steps.append((step, units_done))
        self.values = values

    def note(self, text):
        self.notes.append(text)


def run(
    train, start=0, means=None, bad_steps=(), most=0, fail_reads=(), retries=3, fail_opening=(),
    learning_rate=lambda step: 0.1,
):  # fmt: skip
    fail_reads = list(fail_reads)
    lengths = run_lengths(train, steps_per_epoch=10)
    global_step = tf.Variable(start, dtype=tf.int64)
    taken, summaries, saved = [], [], []
    progress = FakeProgress()

    def run_steps(iterator, count):
        before, bad = len(taken), []
        for _ in range(int(count)):
            number = int(next(iterator))
            if number in fail_reads:
                fail_reads.remove(number)
                raise tf.errors.UnavailableError(None, None, "storage is away")
            taken.append(number)
            global_step.assign_add(1)
            if number + 1 in bad_steps:
                bad.append(len(taken) - 1 - before)
        return loop.Outcome(len(bad), bad[0] if bad else -1)

    def open_batches(at):
        opened.append(at)
        if len(opened) in fail_opening:
            raise InputError("data_service", "must be reachable", "grpc://a:1")
        return tf.data.Dataset.range(at, 10_000)

    opened = []
    loop.run_loop(
        run_steps,
        open_batches,
        loop.Course(lengths, train.train_batch_size, most, retries),
        loop.Meters(global_step, means or FakeMeans(), learning_rate),
        loop.Listeners(
            progress,
            on_summary=lambda step, values: summaries.append(step),
            on_checkpoint=lambda step, values: saved.append(step),
        ),
        Job(),
    )
    return taken, summaries, saved, progress


@pytest.mark.parametrize(("steps", "start"), [(1, 0), (10, 0), (47, 0), (47, 13)])
def test_exactly_the_steps_asked_for(steps, start):
    train = TrainConfig(train_batch_size=10, train_steps=steps, checkpoint_steps=10)
    taken, _, saved, progress = run(train, start)
    assert taken == list(range(start, steps))
    assert saved == [s for s in range(start + 1, steps + 1) if s % 10 == 0 or s == steps]
    assert progress.steps[-1] == (steps, (steps - start) * 10)


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Preempted)]
)
def test_a_signal_saves_the_steps_really_taken_and_ends_the_run(number, raised):
    saved = []
    train = TrainConfig(train_batch_size=10, train_steps=40, checkpoint_steps=20)
    global_step = tf.Variable(0, dtype=tf.int64)

    def run_steps(iterator, count):
        global_step.assign_add(int(count))
        if global_step == 7:
            os.kill(os.getpid(), number)
        return loop.Outcome(0, -1)

    before = signal.getsignal(number)
    with pytest.raises(raised):
        loop.run_loop(
            run_steps, lambda at: tf.data.Dataset.range(100),
            loop.Course(run_lengths(train, 10), 10),
            loop.Meters(global_step, FakeMeans(), lambda step: 0.1),
            loop.Listeners(FakeProgress(), on_checkpoint=lambda step, values: saved.append(step)),
            Job(),
        )  # fmt: skip
    assert saved == [7]
    assert signal.getsignal(number) == before


def do_not_wait(monkeypatch):
    patient = functools.partial(retry.Backoff, sleep=lambda seconds: None)
    monkeypatch.setattr(loop.retry, "Backoff", patient)


def test_a_failed_read_goes_on_at_the_same_step(monkeypatch):
    do_not_wait(monkeypatch)
    train = TrainConfig(train_batch_size=10, train_steps=30, checkpoint_steps=10)
    taken, _, saved, progress = run(train, fail_reads=[0, 5, 17])
    assert taken == list(range(30))
    assert saved == [10, 20, 30]
    assert sum("reading failed" in note for note in progress.notes) == 3


def test_a_data_service_that_comes_back_is_waited_for(monkeypatch):
    do_not_wait(monkeypatch)
    train = TrainConfig(train_batch_size=10, train_steps=30)
    taken = run(train, fail_reads=[5], fail_opening=(2, 3))[0]
    assert taken == list(range(30))
    with pytest.raises(InputError):
        run(train, fail_reads=[5], fail_opening=(2, 3, 4))
    with pytest.raises(InputError):  # at the start it is simply not there
        run(train, fail_opening=(1,))


def test_storage_that_stays_away_ends_the_run(monkeypatch):
    do_not_wait(monkeypatch)
    train = TrainConfig(train_batch_size=10, train_steps=30)
    with pytest.raises(tf.errors.UnavailableError):
        run(train, fail_reads=[5, 5, 5], retries=2)


def test_bad_steps_are_skipped_up_to_the_number_given():
    train = TrainConfig(train_batch_size=10, train_steps=30, checkpoint_steps=10)
    taken, _, saved, progress = run(train, bad_steps=(3, 17), most=2)
    assert taken == list(range(30)) and saved == [10, 20, 30]
    assert "step 3 at learning rate 0.1 was left out" in progress.notes[0]
    assert "2 of at most 2" in progress.notes[1]
    with pytest.raises(loop.NonFiniteLossError, match=r"step 22.*after 2 such steps"):
        run(train, bad_steps=(3, 17, 22), most=2)


def test_an_interval_without_updates_has_no_summary():
    train = TrainConfig(train_batch_size=10, train_steps=10, checkpoint_steps=2)
    _, summaries, saved, progress = run(train, bad_steps=(1, 2, 3, 4), most=4)
    assert saved == [2, 4, 6, 8, 10]
    assert summaries == [5, 6, 7, 8, 9, 10]
    assert progress.notes and progress.values == {"loss": 1.0}


def test_a_bad_step_is_named_and_no_checkpoint_follows():
    train = TrainConfig(train_batch_size=10, train_steps=30, checkpoint_steps=4)
    with pytest.raises(loop.NonFiniteLossError, match="in step 6 at learning rate 0.1;"):
        run(train, bad_steps=(6,))


def test_the_learning_rate_that_is_named_is_that_of_the_bad_step():
    """An optimizer that has taken 5 steps takes the sixth at the schedule's value of 5."""
    train = TrainConfig(train_batch_size=10, train_steps=30, checkpoint_steps=10)
    settings = {"learning_rate": lambda step: 0.25 + step, "bad_steps": (6, 17)}
    notes = run(train, most=2, **settings)[-1].notes
    assert "step 6 at learning rate 5.25 was left out" in notes[0]
    assert "step 17 at learning rate 16.25 was left out" in notes[1]
    with pytest.raises(loop.NonFiniteLossError, match="in step 17 at learning rate 16.25,"):
        run(train, most=1, **settings)
    # In a call of many steps it is that of the bad one, not of the last.
    long = TrainConfig(train_batch_size=10, train_steps=4000, checkpoint_steps=20)
    with pytest.raises(loop.NonFiniteLossError, match="in step 26 at learning rate 25.25;"):
        run(long, **{**settings, "bad_steps": (26,)})


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_the_checkpoint(bad):
    train = TrainConfig(train_batch_size=10, train_steps=20, checkpoint_steps=5)
    with pytest.raises(loop.NonFiniteLossError, match="learning rate 0.1"):
        run(train, means=FakeMeans((1.0, 1.0, bad)))


@pytest.mark.parametrize(("others", "named"), [({"contrast_loss": 1.0}, True), ({}, False)])
def test_advice_on_a_loss_that_is_not_finite_fits_the_run(others, named):
    train = TrainConfig(train_batch_size=10, train_steps=20)
    with pytest.raises(loop.NonFiniteLossError, match="lower") as caught:
        run(train, means=FakeMeans((float("nan"),), supervised_loss=1.0, **others))
    assert ("raise --temperature" in str(caught.value)) == named
    assert named or str(caught.value).endswith("; lower --learning_rate")


@pytest.mark.parametrize(
    ("means", "shown"),
    [
        ({}, {"loss": 1.0}),
        ({"supervised_loss": 2.0, "supervised_acc": 0.3, "contrast_loss": 3.0,
          "contrast_acc": 0.4}, {"loss": 3.0, "contrast_acc": 0.4, "supervised_acc": 0.3}),
        ({"supervised_loss": 2.0, "supervised_acc": 0.3}, {"loss": 2.0, "supervised_acc": 0.3}),
        # The labels' loss has weight 0 in the paper's distillation.
        ({"distill_loss": 4.0, "distill_agreement": 0.5, "supervised_loss": 2.0,
          "supervised_acc": 0.3},
         {"loss": 4.0, "distill_agreement": 0.5, "supervised_acc": 0.3}),
    ],
)  # fmt: skip
def test_progress_shows_what_the_run_trains(means, shown):
    train = TrainConfig(train_batch_size=10, train_steps=3)
    progress = run(train, means=FakeMeans(**means))[-1]
    assert progress.values == shown


def test_compiled_steps_count_and_trace_once():
    traces, total = [], tf.Variable(0, dtype=tf.int64)

    def step(value):
        traces.append(1)
        total.assign_add(value)

    run_steps = loop.compile_steps(step, tf.distribute.get_strategy())
    iterator = iter(tf.data.Dataset.range(100))
    for count in (1, 4, 2):
        outcome = run_steps(iterator, tf.constant(count))
        assert int(outcome.bad) == 0
    assert int(total) == sum(range(7))
    assert run_steps.experimental_get_tracing_count() == 1


class Halving:
    """A step whose loss is a number of the batch."""

    def __init__(self):
        self.weight, self.counted = tf.Variable(1.0), tf.Variable(0)

    def compute(self, strategy, batch):
        losses = Losses(batch, {})
        return Computed([], losses, tf.math.is_finite(batch))

    def update(self, computed):
        self.weight.assign(self.weight / 2 * computed.losses.total)
        self.counted.assign_add(1)

    def skip(self):
        self.counted.assign_add(1)

    def take(self, strategy, batch):
        computed = self.compute(strategy, batch)
        self.update(computed)
        return computed.finite


@pytest.mark.parametrize("skip", [False, True])
def test_compiled_steps_stop_at_or_skip_what_is_not_finite(skip):
    step = Halving()
    run_steps = loop.compile_steps(step, tf.distribute.get_strategy(), skip_bad=skip)
    batches = tf.data.Dataset.from_tensor_slices([1.0, 1.0, float("nan"), 1.0, float("inf"), 1.0])
    outcome = run_steps(iter(batches), tf.constant(6))
    assert int(outcome.first_bad) == 2
    if skip:
        assert int(outcome.bad) == 2
        assert float(step.weight) == 2**-4 and int(step.counted) == 6
    else:
        assert int(outcome.bad) == 1 and int(step.counted) == 3
