"""Order, resume, parts and exact counts of the batches."""

from __future__ import annotations

import collections
import itertools

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.augment import policy
from simclr_tf.data import decode, folder_source, pipeline, sources, tfds_source, views
from simclr_tf.data.views import function_views
from simclr_tf.errors import InputError
from simclr_tf.settings.augment import AugmentConfig
from tests.data import streams
from tests.data.numbered import N, noise_view, value_view

BATCH = 5
VIEWS = function_views((value_view, noise_view))
STEPS = N // BATCH


def _batches(source, count, **options):
    settings = {"batch_size": BATCH, "views": VIEWS, "seed": 3, **options}
    dataset = streams.training(source, "train", **settings)
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def _values(batch):
    return [int(value) for value in batch["view_0"][:, 0, 0, 0]]


def _order(source, count=2 * STEPS, **options):
    return [_values(batch) for batch in _batches(source, count, **options)]


def _flat(lists):
    return list(itertools.chain.from_iterable(lists))


def _assert_equal(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key])


def test_shapes_and_labels(source):
    dataset = streams.training(source, "train", batch_size=BATCH, views=VIEWS, seed=3)
    assert dataset.element_spec["view_0"].shape[0] == BATCH
    batch = next(dataset.as_numpy_iterator())
    assert set(batch) == {"view_0", "view_1", "label"}
    # Classes a and b hold the even and the odd images by construction; sorted: a first.
    assert batch["label"].tolist() == [value % 2 for value in _values(batch)]
    assert batch["label"].dtype == np.int64


@pytest.mark.parametrize("cache", [False, True])
def test_no_duplicates_within_batch_or_epoch(source, cache):
    order = _order(source, 6 * STEPS, cache=cache)
    for epoch in range(6):
        seen = _flat(order[epoch * STEPS : (epoch + 1) * STEPS])
        assert len(set(seen)) == len(seen) == STEPS * BATCH


def test_every_image_is_used_over_epochs(source):
    assert set(_flat(_order(source, 8 * STEPS))) == set(range(N))


def test_epochs_differ_and_follow_from_the_seed(source):
    order = _order(source)
    assert order[:STEPS] != order[STEPS:]
    assert order == _order(source, cache=True)
    assert order != _order(source, seed=4)
    assert _flat(order[:STEPS]) != sorted(_flat(order[:STEPS]))


def test_process_wide_seed_changes_nothing(source):
    order = _order(source)
    try:
        tf.random.set_seed(1)
        assert _order(source) == order
    finally:
        tf.random.set_seed(0)


@pytest.mark.parametrize(
    ("cache", "start_steps"),
    [(False, (1, STEPS - 1, STEPS, STEPS + 2, 3 * STEPS)), (True, (1, STEPS, 3 * STEPS))],
)
def test_resume(source, cache, start_steps):
    steps = 3 * STEPS + 3
    straight = _batches(source, steps)
    for start_step in start_steps:
        resumed = _batches(source, steps - start_step, start_step=start_step, cache=cache)
        _assert_equal(straight[start_step:], resumed)


def test_resume_does_not_decode_what_it_skips(source):
    first = _order(source, 1)[0]
    for path in source.root.rglob("*.png"):
        if int(path.stem) in first:
            path.write_bytes(b"broken")
    _batches(source, STEPS - 1, start_step=1)


def test_views_have_seeds_of_their_own(source):
    batches = _batches(
        source, 2 * STEPS, views=function_views((value_view, noise_view, noise_view))
    )
    draws = np.concatenate([np.concatenate([b["view_1"], b["view_2"]]) for b in batches])
    assert len(np.unique(draws[..., 0])) == len(draws)


def test_seeds_do_not_depend_on_the_batch_size(source):
    small, large = (
        {value: noise for batch in _batches(source, N // size, batch_size=size)
         for value, noise in zip(_values(batch), batch["view_1"].tolist(), strict=True)}
        for size in (2, 11)
    )  # fmt: skip
    assert all(small[value] == large[value] for value in set(small) & set(large))


def test_image_is_decoded_once_for_all_views(source, monkeypatch):
    traced = []
    decode = views.decode_image
    monkeypatch.setattr(views, "decode_image", lambda *a: traced.append(1) or decode(*a))
    _batches(source, 1, views=function_views((value_view, noise_view, noise_view)))
    assert len(traced) == 1


def test_cache_reads_files_once(source):
    dataset = streams.training(
        source, "train", batch_size=BATCH, views=function_views((value_view,)), seed=0, cache=True
    )
    iterator = dataset.as_numpy_iterator()
    for _ in range(STEPS):
        next(iterator)
    for path in source.root.rglob("*.png"):
        path.unlink()
    for _ in range(3 * STEPS):
        next(iterator)


def test_excluded_images_never_come(source):
    excluded = ["a/00.png", "b/01.png", "a/04.png"]
    steps = pipeline.steps_per_epoch(streams.without(source, excluded), "train", BATCH)
    assert steps == 4
    order = _order(source, 5 * steps, excluded_ids=excluded)
    assert set(_flat(order)) == set(range(N)) - {0, 1, 4}
    assert all(set(_flat(order[i : i + steps])) == set(range(N)) - {0, 1, 4}
               for i in range(0, 5 * steps, steps))  # fmt: skip


def test_batch_of_all_images(source):
    order = _order(source, 3, batch_size=N)
    assert all(sorted(batch) == list(range(N)) for batch in order) and order[0] != order[1]


@pytest.mark.parametrize(
    ("options", "constraint"),
    [
        ({"batch_size": N + 1}, f"the {N} images"),
        ({"batch_size": N, "excluded_ids": ["a/00.png"]}, "the 22 images"),
        ({"shard": (0, 2)}, "divisible by the 2 parts"),
    ],
)
def test_refused_batch_size(source, options, constraint):
    with pytest.raises(InputError, match=constraint) as caught:
        _batches(source, 1, **options)
    assert caught.value.name == "train_batch_size"


def test_missing_split(source):
    with pytest.raises(InputError) as caught:
        pipeline.steps_per_epoch(source, "validation", 4)
    assert caught.value.name == "train_split"


def _resized(image, image_size):
    return tf.image.resize(tf.cast(image, tf.float32), (image_size, image_size))


@pytest.mark.parametrize("batch_size", [1, 22, 23, 64])
def test_evaluation_counts_every_image_once(source, batch_size):
    dataset = streams.evaluation(
        source, "train", batch_size=batch_size, image_size=6, view_fn=_resized
    )
    values: collections.Counter = collections.Counter()
    for batch in dataset.as_numpy_iterator():
        assert batch["image"].shape == (batch_size, 6, 6, 3)
        assert batch["label"].shape == batch["weight"].shape == (batch_size,)
        for image, weight in zip(batch["image"], batch["weight"], strict=True):
            values[int(image[0, 0, 0])] += weight
    assert values == dict.fromkeys(range(N), 1.0) | ({0: 1.0})


def test_evaluation_keeps_the_order_and_its_limits(source):
    dataset = streams.evaluation(
        source, "train", batch_size=4, image_size=8, view_fn=_resized,
        excluded_ids=["a/00.png"], max_examples=7,
    )  # fmt: skip
    batches = list(dataset.as_numpy_iterator())
    weights = np.concatenate([batch["weight"] for batch in batches])
    values = np.concatenate([batch["image"][:, 0, 0, 0] for batch in batches])
    assert weights.tolist() == [1.0] * 7 + [0.0]
    examples = [e for e in source.examples("train") if e["id"] != b"a/00.png"]
    expected = [int(decode.decode_image(e["image"])[0, 0, 0]) for e in examples[:7]]
    assert values[:7].tolist() == expected
    assert dataset.element_spec["image"].shape == (4, 8, 8, 3)


def test_unlabeled(write_images):
    root = write_images([f"{i}.png" for i in range(4)])
    batch = _batches(folder_source.open_folder(str(root), "data_dir"), 1, batch_size=4)[0]
    assert batch["label"].tolist() == [-1] * 4


def test_embedded_set(embedded_dir):
    source = tfds_source.open_tfds("digits", str(embedded_dir))
    settings = {"batch_size": 100, "views": function_views((noise_view,)), "seed": 0}
    dataset = streams.training(source, "train[:250]", **settings)
    straight = list(itertools.islice(dataset.as_numpy_iterator(), 5))
    resumed = streams.training(source, "train[:250]", start_step=3, **settings)
    _assert_equal(straight[3:], list(itertools.islice(resumed.as_numpy_iterator(), 2)))


def test_large_splits_go_through_a_bounded_buffer(source, monkeypatch):
    assert pipeline._shuffle_buffer(source, "train", False) == N
    monkeypatch.setattr(pipeline, "_MIN_BUFFER", 6)
    monkeypatch.setattr(pipeline, "SHUFFLE_BYTES", 10 * source.record_bytes)
    assert pipeline._shuffle_buffer(source, "train", False) == 10
    assert pipeline._shuffle_buffer(source, "train", True) == N
    order = _order(source, 2 * STEPS)
    assert len(set(_flat(order[:STEPS]))) == STEPS * BATCH


@pytest.mark.parametrize("max_examples", [None, 7, 100])
def test_example_ids_are_those_of_the_evaluation(source, max_examples):
    excluded = ["a/00.png", "b/05.png"]
    options = {"excluded_ids": excluded, "max_examples": max_examples}
    ids = streams.ids(source, "train", **options)
    batches = streams.evaluation(
        source, "train", batch_size=4, image_size=8, view_fn=_resized, **options
    )
    values = [
        int(image[0, 0, 0])
        for batch in batches.as_numpy_iterator()
        for image, weight in zip(batch["image"], batch["weight"], strict=True)
        if weight
    ]
    assert len(ids) == min(N - 2, max_examples or N)
    assert [int(example_id[-6:-4]) for example_id in ids] == values


def test_example_ids_without_reading_images(source):
    for path in source.root.rglob("*.png"):
        path.write_bytes(b"broken")
    assert len(set(streams.ids(source, "train[:9]"))) == 9
    with pytest.raises(InputError) as caught:
        streams.ids(source, "validation")
    assert caught.value.name == "eval_split"


class _Bits(sources.WrappedSource):
    """Image i has the classes of the bits of i, and class 0 is never counted."""

    multi_label = True
    num_classes = 5

    def records(self, split, setting="train_split"):
        def relabel(record):
            number = tf.strings.to_number(tf.strings.substr(record["id"], -6, 2), tf.int64)
            bits = number // tf.constant([1, 2, 4, 8, 16], tf.int64) % 2
            return {**record, "label": tf.concat([[-tf.ones((), tf.int64)], bits[1:]], 0)}

        return self.base.records(split, setting).map(relabel)


def _bits(number):
    return [-1] + [number >> k & 1 for k in range(1, 5)]


def test_multi_label_evaluation(source):
    bits = _Bits(source)
    batches = streams.evaluation(bits, "train", batch_size=10, image_size=8, view_fn=_resized)
    assert batches.element_spec["label"].shape == (10, 5)
    found = list(batches.as_numpy_iterator())
    labels = np.concatenate([batch["label"] for batch in found])
    weights = np.concatenate([batch["weight"] for batch in found])
    numbers = [int(i[-6:-4]) for i in streams.ids(bits, "train")]
    assert labels.tolist() == [_bits(number) for number in numbers] + [[0] * 5] * 7
    assert weights.tolist() == [1.0] * N + [0.0] * 7 and labels.dtype == np.int64


def test_multi_label_training(source):
    bits = _Bits(source)
    with pytest.raises(InputError, match="one label per image") as caught:
        _batches(bits, 1)
    assert caught.value.name == "dataset"


def test_evaluation_of_images_that_need_no_change(embedded_dir):
    """Digits are 8 x 8: collected as bytes, the same numbers as image by image."""
    source = tfds_source.open_tfds("digits", str(embedded_dir))
    assert source.image_shape == (8, 8)
    settings = {"batch_size": 100, "image_size": 8}
    found = streams.evaluation(source, "test", view_fn=policy.eval_view, **settings)
    expected = streams.evaluation(
        source, "test", view_fn=lambda image, size: policy.eval_view(image, size), **settings
    )
    assert found.element_spec["image"] == tf.TensorSpec((100, 8, 8, 3), tf.float32)
    _assert_equal(list(found.as_numpy_iterator()), list(expected.as_numpy_iterator()))


def test_nothing_waits_for_the_tuner(source):
    """Its iterators can end late in TensorFlow 2.21; all cores work from the start without it."""
    training = streams.training(source, "train", batch_size=BATCH, views=VIEWS, seed=0)
    evaluation = streams.evaluation(
        source, "train", batch_size=BATCH, image_size=8, view_fn=policy.eval_view
    )
    for dataset in (training, evaluation):
        assert dataset.options().autotune.enabled is False


@pytest.mark.parametrize("image_size", [8, 72])
def test_pixels_in_the_cache_give_the_same_batches(embedded_dir, monkeypatch, image_size):
    """Views of small images are made a batch at a time, larger ones from boxes; both agree."""
    source = tfds_source.open_tfds("digits", str(embedded_dir))
    assert source.image_shape is not None and source.always_cached
    crops = AugmentConfig(color_jitter_strength=0.0, use_blur=False)
    made, decoded = [], []
    decode = pipeline.decode_stored
    monkeypatch.setattr(pipeline, "decode_stored", lambda *a: decoded.append(1) or decode(*a))
    for limit in (pipeline.DECODED_BYTES, 0):
        monkeypatch.setattr(pipeline, "DECODED_BYTES", limit)
        dataset = streams.training(
            source, "train[:100]", batch_size=40, seed=0,
            views=views.PolicyViews(2, image_size, crops, compiled=False),
        )  # fmt: skip
        made.append(list(itertools.islice(dataset.as_numpy_iterator(), 5)))
    assert len(decoded) == 1  # traced with the cache of pixels alone
    _assert_equal(*made)
