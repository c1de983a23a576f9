import pytest
import tensorflow as tf

from simclr_tf.config import TrainConfig
from simclr_tf.training import loop
from simclr_tf.training.lengths import run_lengths


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
        self.steps, self.values = [], {}

    def update(self, step, units_done, values):
        self.steps.append((step, units_done))
        self.values = values


def run(train, start=0, means=None):
    lengths = run_lengths(train, steps_per_epoch=10)
    global_step = tf.Variable(start, dtype=tf.int64)
    taken, summaries, saved = [], [], []
    progress = FakeProgress()

    def run_steps(iterator, count):
        for _ in range(int(count)):
            taken.append(int(next(iterator)))
            global_step.assign_add(1)

    loop.run_loop(
        run_steps,
        tf.data.Dataset.range(start, 10_000),
        global_step=global_step,
        lengths=lengths,
        means=means or FakeMeans(),
        learning_rate=lambda step: 0.1,
        progress=progress,
        units_per_step=train.train_batch_size,
        on_summary=lambda step, values: summaries.append(step),
        on_checkpoint=saved.append,
    )
    return taken, summaries, saved, progress


@pytest.mark.parametrize(("steps", "start"), [(1, 0), (10, 0), (47, 0), (47, 13)])
def test_exactly_the_steps_asked_for(steps, start):
    train = TrainConfig(train_batch_size=10, train_steps=steps, checkpoint_steps=10)
    taken, _, saved, progress = run(train, start)
    assert taken == list(range(start, steps))
    assert saved == [s for s in range(start + 1, steps + 1) if s % 10 == 0 or s == steps]
    assert progress.steps[-1] == (steps, (steps - start) * 10)


def test_an_interrupt_saves_the_steps_really_taken():
    saved = []
    train = TrainConfig(train_batch_size=10, train_steps=40, checkpoint_steps=20)
    lengths = run_lengths(train, 10)
    global_step = tf.Variable(0, dtype=tf.int64)

    def run_steps(iterator, count):
        global_step.assign_add(int(count))
        if global_step >= 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.run_loop(
            run_steps, tf.data.Dataset.range(100), global_step=global_step, lengths=lengths,
            means=FakeMeans(), learning_rate=lambda step: 0.1, progress=FakeProgress(),
            units_per_step=10, on_summary=lambda *_: None, on_checkpoint=saved.append,
        )  # fmt: skip
    assert saved == [int(global_step)]


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
    assert named or str(caught.value).endswith("; lower the learning rate")


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
        run_steps(iterator, tf.constant(count))
    assert int(total) == sum(range(7))
    assert run_steps.experimental_get_tracing_count() == 1
