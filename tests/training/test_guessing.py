from __future__ import annotations

import math

from simclr_tf.training.guessing import Guessing


def _notes(losses, guess=10.0, total_steps=1000, every=50):
    watch = Guessing(guess, total_steps)
    return [watch.note(every * (i + 1), {"train/contrast_loss": loss})
            for i, loss in enumerate(losses)]  # fmt: skip


def test_a_loss_that_stays_at_guessing_is_said_once():
    notes = _notes([10.1] * 8)
    assert [bool(note) for note in notes] == [False] * 3 + [True] + [False] * 4
    assert "loss is 10.10 after 200 steps, that of guessing is 10.00" in notes[3]


def test_of_a_long_run_a_tenth_is_waited_for():
    assert [bool(note) for note in _notes([10.1] * 12, total_steps=5000)].index(True) == 9


def test_a_loss_that_falls_or_is_of_another_kind_is_not():
    assert not any(_notes([10.1, 9.9, 9.6, 10.0, 9.9, 9.9]))  # below 97 % at the third
    assert not any(_notes([10.1] * 9, guess=None))
    assert not Guessing(10.0, 100).note(500, {"train/supervised_loss": 20.0})
    assert not any(_notes([math.nan] * 3))
