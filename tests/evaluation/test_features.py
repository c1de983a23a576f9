"""Extraction: exact rows, one trace, named endpoints, refusals."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.errors import InputError
from simclr_tf.evaluation import features
from simclr_tf.evaluation.features import Extractor

N, BATCH, SIZE = 7, 3, 4


def images():
    return np.random.default_rng(0).uniform(size=(N, SIZE, SIZE, 3)).astype(np.float32)


def batches(pixels=None, labels=None, weights=True):
    """N images in batches of 3, the last one filled up with entries of weight 0."""
    pixels = images() if pixels is None else pixels
    padding = -N % BATCH
    columns = {"image": np.pad(pixels, [(0, padding), (0, 0), (0, 0), (0, 0)], constant_values=9)}
    if labels is not None:
        columns["label"] = np.pad(np.asarray(labels, np.int32), (0, padding), constant_values=-1)
    if weights:
        columns["weight"] = np.pad(np.ones(N, np.float32), (0, padding))
    return tf.data.Dataset.from_tensor_slices(columns).batch(BATCH, drop_remainder=True)


def mean_color(pixels):
    return tf.reduce_mean(pixels, axis=(1, 2))


def test_a_traced_encoder_is_traced_once_for_all_extractions():
    traces = []

    def encode(pixels):
        traces.append(pixels.shape)
        return mean_color(pixels)

    traced = Extractor(encode)
    first, second = traced.features(batches()), traced.features(batches())
    np.testing.assert_array_equal(first.features, second.features)
    assert len(traces) == 1


def test_every_example_once_in_order():
    progress = []
    found = Extractor(mean_color).features(batches(labels=range(N)), progress.append)
    np.testing.assert_allclose(found.features, images().mean((1, 2)), rtol=1e-6)
    assert found.features.dtype == np.float32
    assert found.labels.dtype == np.int64
    assert found.labels.tolist() == list(range(N))
    assert progress == [3, 6, 7]
    assert found.logits is None


def test_padding_anywhere_is_dropped():
    weights = np.array([0, 1, 0, 1, 1, 0], np.float32)
    pixels = np.arange(6, dtype=np.float32).reshape(6, 1, 1, 1) * np.ones((1, 2, 2, 3), np.float32)
    data = tf.data.Dataset.from_tensor_slices(
        {"image": pixels, "label": np.arange(6), "weight": weights}
    ).batch(3)
    found = Extractor(mean_color).features(data)
    assert found.labels.tolist() == [1, 3, 4]
    assert found.features[:, 0].tolist() == [1, 3, 4]


def test_traced_once():
    traces = []

    def encode(pixels):
        traces.append(pixels.shape)
        return mean_color(pixels)

    Extractor(encode).features(batches())
    assert traces == [(BATCH, SIZE, SIZE, 3)]


def test_unpadded_last_batch_is_traced_once_too():
    traces = []

    def encode(pixels):
        traces.append(pixels.shape)
        return mean_color(pixels)

    data = tf.data.Dataset.from_tensor_slices({"image": images()}).batch(BATCH)
    assert len(Extractor(encode).features(data).features) == N
    assert len(traces) == 1


def test_named_endpoints():
    def encode(pixels):
        pooled = tf.cast(mean_color(pixels), tf.float16)
        return {"map": pixels, "final_avg_pool": pooled, "logits_sup": 2 * pooled, "other": pooled}

    extractor = Extractor(
        encode, endpoints=("final_avg_pool", "map"), optional=("logits_sup", "absent")
    )
    found = extractor.features(batches())
    assert sorted(found.endpoints) == ["final_avg_pool", "logits_sup", "map"]
    assert found.endpoints["map"].shape == (N, SIZE, SIZE, 3)
    assert all(array.dtype == np.float32 for array in found.endpoints.values())
    np.testing.assert_array_equal(found.logits, 2 * found.features)


def test_missing_endpoint_lists_what_there_is():
    with pytest.raises(InputError, match="one of final_avg_pool.*logits_sup"):
        Extractor(
            lambda pixels: {"final_avg_pool": mean_color(pixels)}, endpoints=("logits_sup",)
        ).features(batches())


@pytest.mark.parametrize("labels", [None, [-1] * N])
def test_absent_labels(labels):
    assert Extractor(mean_color).features(batches(labels=labels)).labels is None


def test_partly_labeled_is_refused():
    with pytest.raises(InputError, match="example 4"):
        Extractor(mean_color).features(batches(labels=[0, 1, 0, 1, -1, 0, 1]))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_features_are_refused_with_the_index(bad):
    pixels = images()
    pixels[5, 0, 0, 1] = bad
    with pytest.raises(InputError, match="final_avg_pool must be finite at example 5"):
        Extractor(mean_color).features(batches(pixels))


def test_non_finite_padding_does_no_harm():
    with np.errstate(all="ignore"):
        found = Extractor(lambda pixels: mean_color(tf.where(pixels > 8, np.nan, pixels))).features(
            batches()
        )
    assert len(found.features) == N


@pytest.mark.parametrize("limit, rows", [(1, 1), (3, 3), (5, 5), (7, 7), (100, 7)])
def test_max_examples(limit, rows):
    found = Extractor(mean_color).features(batches(labels=range(N)), max_examples=limit)
    assert found.labels.tolist() == list(range(rows))


def test_no_examples():
    with pytest.raises(InputError, match="at least one example"):
        Extractor(mean_color).features(batches().take(0))


def test_other_image_types_are_refused():
    data = batches().map(lambda batch: {"image": tf.cast(255 * batch["image"], tf.uint8)})
    with pytest.raises(InputError, match=r"float32.*uint8"):
        Extractor(mean_color).features(data)


def test_a_failed_read_is_tried_again_and_no_image_counts_twice(monkeypatch):
    sleeps, failures = [], [2]
    patient = functools.partial(features.retry.Backoff, sleep=sleeps.append, say=lambda text: None)
    monkeypatch.setattr(features.retry, "Backoff", patient)

    def read(index):
        if failures and int(index) == failures[0]:
            failures.pop()
            raise tf.errors.UnavailableError(None, None, "storage is away")
        return np.full([1, 4, 4, 3], index, np.float32)

    def image(index):
        found = tf.py_function(read, [index], tf.float32)
        return {"image": tf.ensure_shape(found, [1, 4, 4, 3])}

    batches = tf.data.Dataset.range(5).map(image)
    found = Extractor(lambda images: images[:, 0, 0, :1]).features(batches)
    assert found.features[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert sleeps == [1.0]
