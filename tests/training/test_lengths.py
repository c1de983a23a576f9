import pytest

from simclr_tf.config import TrainConfig
from simclr_tf.training.lengths import run_lengths


@pytest.mark.parametrize(
    ("settings", "per_epoch", "total", "checkpoint"),
    [
        (dict(train_batch_size=512, train_epochs=10), 97, 970, 97),
        (dict(train_batch_size=512, train_steps=10), 97, 10, 97),
        (dict(train_batch_size=10, train_epochs=2, checkpoint_epochs=2), 10, 20, 20),
        (dict(train_batch_size=10, train_epochs=2, checkpoint_steps=3), 10, 20, 3),
        (dict(train_batch_size=100, train_epochs=3), 1, 3, 1),
    ],
)
def test_epochs_become_steps(settings, per_epoch, total, checkpoint):
    lengths = run_lengths(TrainConfig(**settings), per_epoch)
    assert lengths.steps_per_epoch == per_epoch
    assert lengths.total_steps == total
    assert lengths.checkpoint_steps == checkpoint


def test_a_run_of_the_reference_ends_where_it_counts():
    config = TrainConfig(train_batch_size=512, train_epochs=10)
    assert run_lengths(config, 97, reference_steps=977).total_steps == 977
    exact = TrainConfig(train_batch_size=512, train_steps=12)
    assert run_lengths(exact, 97, reference_steps=977).total_steps == 12


def test_walking_the_stops_visits_every_checkpoint_and_ends_exactly():
    lengths = run_lengths(
        TrainConfig(train_batch_size=10, train_steps=47, checkpoint_steps=10), 100
    )
    step, checkpoints = 0, []
    while step < lengths.total_steps:
        step = lengths.next_stop(step)
        if lengths.is_checkpoint(step):
            checkpoints.append(step)
    assert step == 47
    assert checkpoints == [10, 20, 30, 40, 47]


def test_summaries_are_about_two_hundred():
    lengths = run_lengths(TrainConfig(train_batch_size=10, train_steps=4_000), 1_000)
    assert lengths.summary_steps == 20
    assert lengths.is_summary(20) and not lengths.is_summary(21)
