"""Batches divided over several input pipelines and replicas.

The expected rows come from a single pipeline, or from the order of the records themselves.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.data import excluding, labels, pipeline, sources, subset
from simclr_tf.data.views import function_views
from simclr_tf.errors import InputError
from tests.data import streams
from tests.data.numbered import N, noise_view, value_view


def _stream(source, **options):
    settings = {
        "batch_size": 8,
        "views": function_views((value_view, noise_view)),
        "seed": 3,
        **options,
    }
    return streams.training(source, "train", **settings)


def _evaluation(source, batch_size, **options):
    return streams.evaluation(
        source, "train", batch_size=batch_size, image_size=8,
        view_fn=lambda image, size: tf.cast(image, tf.float32), **options,
    )  # fmt: skip


def _take(dataset, count):
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def _joined(elements):
    return {name: np.concatenate([element[name] for element in elements]) for name in elements[0]}


def _global_batches(make, count, replicas, steps, whole=False):
    """The elements of all pipelines put together, step by step in the order of replicas.

    With `whole` no pipeline has more.
    """
    local = replicas // count
    streams = [_take(make(shard=(i, count), replicas=replicas), steps * local + whole)
               for i in range(count)]  # fmt: skip
    assert all(len(stream) == steps * local for stream in streams)
    return [
        _joined(_flat(stream[step * local : (step + 1) * local] for stream in streams))
        for step in range(steps)
    ]


def _flat(lists):
    return list(itertools.chain.from_iterable(lists))


def _values(batch):
    return [int(value) for value in batch["view_0"][:, 0, 0, 0]]


def _assert_equal(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert set(batch) == set(other)
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key])


@pytest.mark.parametrize(
    ("options", "divisions"),  # the latter into pipelines and replicas
    [({}, [(1, 2), (2, 2), (2, 4), (4, 4)]), ({"start_step": 3, "cache": True}, [(2, 4)])],
)
def test_training_does_not_depend_on_the_division(source, options, divisions):
    whole = _take(_stream(source, **options), 5)
    for count, replicas in divisions:
        parts = _global_batches(
            lambda **shard: _stream(source, **options, **shard), count, replicas, 5
        )
        _assert_equal(parts, whole)


def test_elements_are_those_of_a_replica(source):
    spec = _stream(source, shard=(1, 2), replicas=4).element_spec
    assert spec["view_0"].shape[0] == 2 and spec["label"].shape == (2,)
    spec = _evaluation(source, 8, shard=(1, 2), replicas=4).element_spec
    assert spec["image"].shape == (2, 8, 8, 3) and spec["weight"].shape == (2,)


def test_what_others_deliver_is_not_decoded(source):
    first, second = _take(_stream(source), 2)
    others = _values(first)[4:] + _values(second)[4:]
    for path in source.root.rglob("*.png"):
        if int(path.stem) in others:
            path.write_bytes(b"broken")
    mine = _take(_stream(source, shard=(0, 2), replicas=4), 4)
    assert [_values(part) for part in mine] == [
        _values(batch)[i : i + 2] for batch in (first, second) for i in (0, 2)
    ]


# By hand: the rows of the last batch, and which of 4 parts of 16 rows hold images.
@pytest.mark.parametrize(
    ("batch_size", "max_examples", "batches"),
    [(4, None, 6), (16, None, 2), (16, 5, 1), (24, None, 1), (32, 1, 1), (8, 16, 2)],
)
def test_evaluation_does_not_depend_on_the_division(source, batch_size, max_examples, batches):
    _check_evaluation(source, 2, 4, batch_size, max_examples, batches)


@pytest.mark.parametrize(("count", "replicas"), [(1, 1), (1, 2), (4, 4)])
def test_evaluation_over_other_divisions(source, count, replicas):
    """23 images in batches of 16: the last has 7, so two of four pipelines have none of them."""
    _check_evaluation(source, count, replicas, 16, None, 2)


def _check_evaluation(source, count, replicas, batch_size, max_examples, batches):
    def make(**shard):
        part = _evaluation(source, batch_size, max_examples=max_examples, **shard)
        assert int(part.cardinality()) == batches * replicas // count
        return part

    rows = _joined(_global_batches(make, count, replicas, batches, whole=True))
    total = min(N, max_examples or N)
    expected = [int(name[-6:-4]) for name in streams.ids(source, "train")][:total]
    padding = batches * batch_size - total
    assert rows["weight"].tolist() == [1.0] * total + [0.0] * padding
    assert rows["image"][:, 0, 0, 0].tolist() == expected + [0] * padding
    assert rows["label"].tolist() == [i % 2 for i in expected] + [0] * padding


def test_evaluation_decodes_its_own_rows_only(source):
    order = [int(name[-6:-4]) for name in streams.ids(source, "train")]
    for path in source.root.rglob("*.png"):
        if order.index(int(path.stem)) % 8 < 4:
            path.write_bytes(b"broken")
    rows = _joined(_take(_evaluation(source, 8, shard=(1, 2)), 3))
    values = rows["image"][rows["weight"] > 0][:, 0, 0, 0].tolist()
    assert values == order[4:8] + order[12:16] + order[20:]


def test_evaluation_without_excluded_images(source):
    excluded = ["a/00.png", "b/05.png"]
    rows = _joined(_global_batches(
        lambda **shard: _evaluation(source, 8, excluded_ids=excluded, **shard), 2, 4, 3
    ))  # fmt: skip
    ids = streams.ids(source, "train", excluded)
    assert rows["weight"].tolist() == [1.0] * 21 + [0.0] * 3
    assert rows["image"][:21, 0, 0, 0].tolist() == [int(name[-6:-4]) for name in ids]


def _own_parts(source, count):
    """Values of the images in each of `count` equal parts of the split, in its order."""
    order = [int(name[-6:-4]) for name in streams.ids(source, "train")]
    size = N // count
    return [order[i * size : (i + 1) * size] for i in range(count)]


@pytest.mark.parametrize(("count", "replicas"), [(2, 4), (4, 4)])
def test_split_sharding_reads_disjoint_parts(source, count, replicas):
    steps = N // 8
    local = replicas // count
    owned = _own_parts(source, count)
    for index in range(count):
        stream = _stream(source, sharding="split", shard=(index, count), replicas=replicas)
        elements = _take(stream, 6 * steps * local)
        seen = [set() for _ in range(6)]
        for i, element in enumerate(elements):
            values = _values(element)
            epoch = seen[i // (steps * local)]
            assert len(set(values)) == len(values) == 8 // replicas
            assert not epoch & set(values)  # at most once in an epoch
            epoch |= set(values)
        assert all(len(epoch) == steps * 8 // count for epoch in seen)
        assert set.union(*seen) == set(owned[index])


def test_split_sharding_shuffles_every_part_and_epoch_anew(source):
    owned = _own_parts(source, 2)
    ranks = []
    for index in range(2):
        elements = _take(_stream(source, sharding="split", shard=(index, 2)), 4)
        order = [owned[index].index(value) for value in _flat(map(_values, elements))]
        ranks += [order[:8], order[8:]]
    assert all(one != other for one, other in itertools.combinations(ranks, 2))


def test_split_sharding_follows_from_seed_and_step(source):
    options = {"sharding": "split", "shard": (1, 2), "replicas": 4}
    straight = _take(_stream(source, **options), 14)
    _assert_equal(_take(_stream(source, start_step=3, **options), 8), straight[6:])
    other = _take(_stream(source, **{**options, "seed": 4}), 4)
    assert [_values(element) for element in other] != [_values(e) for e in straight[:4]]


def test_split_sharding_on_one_pipeline_is_that_of_batches(source):
    options = {"shard": (0, 1), "replicas": 2}
    _assert_equal(
        _take(_stream(source, sharding="split", excluded_ids=["a/00.png"], **options), 6),
        _take(_stream(source, sharding="batch", excluded_ids=["a/00.png"], **options), 6),
    )


def test_no_pipeline_runs_dry():
    """Its part of the images always fills the steps that the whole split has."""
    for images, count, rows in itertools.product(range(1, 120), range(1, 9), range(1, 9)):
        steps = images // (count * rows)
        assert math.floor(images / count) >= steps * rows
        assert (images // count) // rows == steps


def test_split_sharding_needs_all_images_and_labels(source):
    hidden = labels.limit_labels(source, "train", "2_per_class", 0, "pretrain").training
    fewer = subset.open_subset(source, "train", "8_per_class", 0)
    readable = streams.without(source, ["a/00.png"])
    for refused in (hidden, fewer, readable):
        with pytest.raises(InputError, match="must be batch") as caught:
            _stream(refused, sharding="split", shard=(0, 2))
        assert caught.value.name == "data_sharding"
    with pytest.raises(InputError, match="must be batch"):
        _stream(source, sharding="split", shard=(0, 2), excluded_ids=["a/00.png"])
    plain = _take(_stream(sources.UnlabeledSource(source), sharding="split", shard=(0, 2)), 2)
    assert all((element["label"] == -1).all() for element in plain)


def _resolved(source, cache=False, setting="auto", **options):
    return pipeline.resolve_sharding(source, "train", cache, setting, **options)


def test_automatic_sharding(source, monkeypatch):
    hidden = labels.limit_labels(source, "train", "2_per_class", 0, "pretrain").training
    assert _resolved(source) == "batch"  # paths are small
    monkeypatch.setattr(pipeline, "_MIN_BUFFER", 6)
    monkeypatch.setattr(pipeline, "SHUFFLE_BYTES", 10 * source.record_bytes)
    assert _resolved(source) == "split"
    assert _resolved(source, cache=True) == "batch"
    assert _resolved(streams.without(source, ["a/00.png"])) == "batch"
    assert _resolved(excluding.ExcludingSource(source)) == "split"  # nothing is left out
    assert _resolved(hidden) == "batch"
    for setting in ("batch", "split"):
        assert _resolved(source, setting=setting) == setting


@pytest.mark.parametrize(
    ("options", "name", "constraint"),
    [
        ({"shard": (0, 3)}, "batch_size", "divisible by the 3 parts"),
        ({"shard": (0, 2), "replicas": 16}, "batch_size", "divisible by the 16 parts"),
        ({"shard": (0, 2), "replicas": 3}, "replicas", "a multiple of the 2 input pipelines"),
    ],
)
def test_refused_divisions(source, options, name, constraint):
    for make, kind in ((_stream, "train_"), (lambda s, **o: _evaluation(s, 8, **o), "eval_")):
        with pytest.raises(InputError, match=constraint) as caught:
            make(source, **options)
        assert caught.value.name == (name if name == "replicas" else kind + name)
