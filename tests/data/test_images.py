"""Batches of a split on a job's devices; the batches themselves are the pipeline's."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf import capacity
from simclr_tf.data import pipeline
from simclr_tf.data.images import Images
from simclr_tf.data.views import function_views
from simclr_tf.distribution import Part
from simclr_tf.errors import InputError
from simclr_tf.job import Job
from tests.data.numbered import N, noise_view, value_view

VIEWS = function_views((value_view, noise_view))


def test_both_kinds_of_batches_are_the_pipelines(source):
    images, stream = Images(source, 8, 4), pipeline.Stream("train", 5, seed=3)
    ours = images.train_batches(stream, VIEWS, 2)
    theirs = pipeline.train_batches(source, stream, VIEWS, 2)
    for one, other in itertools.islice(zip(ours, theirs, strict=True), 4):
        np.testing.assert_array_equal(one["view_1"], other["view_1"])
    rows = list(images.eval_batches("train", 7, "train_split")(Part()))
    assert sum(float(tf.reduce_sum(batch["weight"])) for batch in rows) == min(7, N)
    assert rows[0]["image"].shape == (4, 8, 8, 3)


def test_what_devices_or_memory_can_not_take_is_refused(source, monkeypatch):
    class Three:
        num_replicas_in_sync = 3

    with pytest.raises(InputError, match="eval_batch_size must be a multiple of the 3 replicas"):
        Images(source, 8, 4, Job(Three())).eval_batches("train")
    monkeypatch.setattr(capacity, "physical_bytes", lambda: 1000)
    with pytest.raises(InputError, match="eval_batch_size must be smaller"):
        Images(source, 8, 4).eval_batches("train")
