"""Batches of a split with arguments by name instead of a `Stream`, a `Selection` and a `Part`."""

from __future__ import annotations

from simclr_tf.augment import policy
from simclr_tf.console import silent
from simclr_tf.data import pipeline
from simclr_tf.data.excluding import ExcludingSource
from simclr_tf.distribution import Part


def without(source, excluded_ids):
    """A source that leaves out images as if they could not be decoded."""
    if not excluded_ids:
        return source
    places = {name: at for at, name in enumerate(ids(source, "train"))}
    found = {places[name]: name for name in excluded_ids}
    return ExcludingSource(source, silent, None, {("train", 0, len(places)): found})


def training(
    source, split, *, batch_size, views, seed=0, start_step=0, shard=(0, 1), replicas=None,
    excluded_ids=(), **settings,
):  # fmt: skip
    chosen = pipeline.Stream(split, batch_size, seed, **settings)
    part = Part(*shard, replicas or shard[1])
    return pipeline.train_batches(without(source, excluded_ids), chosen, views, start_step, part)


def evaluation(
    source, split, *, batch_size, image_size, view_fn=policy.eval_view, max_examples=None,
    shard=(0, 1), replicas=None, excluded_ids=(),
):  # fmt: skip
    chosen = pipeline.Selection(split, max_examples)
    part = Part(*shard, replicas or shard[1])
    source = without(source, excluded_ids)
    return pipeline.eval_batches(source, chosen, batch_size, image_size, view_fn, part)


def ids(source, split, excluded_ids=(), max_examples=None):
    chosen = pipeline.Selection(split, max_examples)
    return pipeline.example_ids(without(source, excluded_ids), chosen)
