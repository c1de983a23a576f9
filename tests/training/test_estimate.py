from __future__ import annotations

import time

import pytest
import tensorflow as tf

from simclr_tf.job import Job
from simclr_tf.training import estimate


class _Slow:
    """Takes a tenth of a second for a call, of whatever images."""

    def __init__(self):
        self.shapes = []

    def __call__(self, images, training):
        assert training is False
        self.shapes.append(tuple(images.shape))
        time.sleep(0.1)


@pytest.mark.parametrize(("size", "count"), [(8, 64), (32, 64), (224, 2), (1000, 2)])
def test_the_second_of_two_forward_passes_counts(size, count):
    model = _Slow()
    found = estimate.seconds_per_view(model, size, 5)
    assert model.shapes == [(count, size, size, 5)] * 2
    assert 3 * 0.1 / count <= found < 3 * 0.4 / count


def test_only_long_runs_on_one_cpu_are_said(monkeypatch):
    monkeypatch.setattr(estimate, "seconds_per_view", lambda *_: 0.1)
    job = Job()
    assert estimate.note(None, 224, 3, 800_000, job) == ""
    said = estimate.note(None, 224, 3, 8_640_000, job)
    assert "takes about 10.0 days" in said and "--recipe=photos --budget=1h" in said
    monkeypatch.setattr(estimate, "seconds_per_view", None)  # not even timed
    assert estimate.note(None, 224, 3, 20_000, job) == ""
    two = Job(tf.distribute.MirroredStrategy(["cpu:0"]))
    monkeypatch.setattr(type(two), "kind", "GPU")
    assert estimate.note(None, 224, 3, 8_640_000, two) == ""
