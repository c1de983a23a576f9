"""Pairs of views of arrays: the batches of a run, in an order of its own in every pass."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import simclr_tf
from simclr_tf import views
from simclr_tf.config import AugmentConfig
from simclr_tf.data import pipeline
from simclr_tf.data import views as data_views
from simclr_tf.data.views import ViewRecipe
from simclr_tf.errors import InputError

SIZE = 16


def images_of(count=20, channels=3):
    return np.random.default_rng(0).integers(0, 256, (count, 20, 18, channels), np.uint8)


def pairs(own=None, count=20, **settings):
    settings = {"image_size": SIZE, "batch_size": 8, "seed": 3, **settings}
    return simclr_tf.view_pairs(images_of(count), own, **settings)


def bright(image):
    return image * 0 + 1


@pytest.mark.parametrize("text", ["", "crop flip rot90 | tone(0.5)"])
def test_the_batches_are_those_of_a_run(text, monkeypatch):
    monkeypatch.setattr(data_views, "compiles", lambda: False)  # XLA takes longer than all else
    images, labels = images_of(), np.arange(20)
    source = simclr_tf.from_arrays(images, labels)
    maker = ViewRecipe(AugmentConfig(views=text), SIZE, 2, distorted=True).maker()
    run = pipeline.train_batches(source, pipeline.Stream("train", 8, 3), maker)
    found = pairs(text or None, labels=labels)
    assert int(found.cardinality()) == 2
    passes = [batch for _ in range(2) for batch in found]
    for wanted, batch in zip(run.take(4), passes, strict=True):
        assert set(batch) == {"view_0", "view_1", "label"}
        for name in wanted:
            np.testing.assert_array_equal(batch[name], wanted[name])
    seen = [set(np.concatenate([b["label"] for b in passes[i : i + 2]])) for i in (0, 2)]
    assert [len(one) for one in seen] == [16, 16]
    assert not np.array_equal(passes[0]["label"], passes[2]["label"])


def test_repeated_it_goes_on_and_taken_it_begins_anew():
    labels = np.arange(20)
    repeated = [batch["label"].numpy() for batch in pairs("flip", labels=labels).repeat(2)]
    passes = pairs("flip", labels=labels)
    assert np.array_equal(repeated, [batch["label"].numpy() for _ in range(2) for batch in passes])
    taken = [batch["label"].numpy() for batch in pairs("flip", labels=labels).take(1)]
    assert np.array_equal(taken, repeated[:1])


def test_what_is_taken_for_views():
    as_list = pairs([views.rot90(), bright])
    as_text = pairs(f"rot90 {__name__}:bright")
    both = pairs(views.Views([views.rot90()], [bright]))
    for found in (as_list, as_text):
        assert next(iter(found))["view_0"].numpy().min() == 1
    batch = next(iter(both))
    assert batch["view_0"].numpy().min() < 1 and batch["view_1"].numpy().min() == 1
    assert batch["view_0"].shape == (8, SIZE, SIZE, 3) and batch["view_0"].dtype == tf.float32
    assert set(batch["label"].numpy()) == {-1}


def test_sources_and_arrays_of_other_channels():
    source = simclr_tf.from_arrays({"a": images_of(), "b": images_of(9)}, None)
    found = simclr_tf.view_pairs(source, "rot90", image_size=SIZE, batch_size=9, split="b")
    assert int(found.cardinality()) == 1
    gray = simclr_tf.view_pairs(
        images_of(8, 1), "rot90", image_size=np.int64(SIZE), batch_size=np.int32(8)
    )
    view = next(iter(gray))["view_0"].numpy()
    np.testing.assert_array_equal(view[..., 0], view[..., 2])


@pytest.mark.parametrize("channels", [1, 5])
def test_channels_and_depth_are_kept(channels):
    """Turned views hold the values of the images, all 16 bits of them."""
    images = np.random.default_rng(1).integers(0, 65_536, (8, SIZE, SIZE, channels), np.uint16)
    found = simclr_tf.view_pairs(
        images, "rot90", image_size=SIZE, batch_size=8, labels=np.arange(8), channels=channels
    )
    batch = next(iter(found))
    for view in (batch["view_0"].numpy(), batch["view_1"].numpy()):
        assert view.shape == (8, SIZE, SIZE, channels)
        for one, at in zip(view, batch["label"].numpy(), strict=True):
            turns = [np.rot90(images[at] / 65_535, turn) for turn in range(4)]
            assert min(np.abs(one - turned).max() for turned in turns) < 1e-6
    with pytest.raises(InputError, match=r"color.*3 channels"):
        simclr_tf.view_pairs(images, "crop color", image_size=SIZE, batch_size=8, channels=channels)


def test_folders_names_and_ranges_are_images_too():
    digits = simclr_tf.view_pairs("digits", "flip", image_size=SIZE, batch_size=4)
    assert next(iter(digits))["view_0"].shape == (4, SIZE, SIZE, 3)
    ct = np.full((4, SIZE, SIZE, 1), 500, np.int16)
    windowed = simclr_tf.view_pairs(
        ct, "rot90", image_size=SIZE, batch_size=4, value_range=(-1000, 1000), channels=1
    )
    np.testing.assert_allclose(next(iter(windowed))["view_0"], 0.75, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"batch_size": 21}, "batch_size"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"image_size": 4}, "image_size"),
        ({"image_size": 16.0}, "image_size"),
        ({"own": "crp"}, "views"),
        ({"own": 3}, "views"),
        ({"own": [lambda image: image[..., 0]]}, f"{__name__}:<lambda>"),
        ({"labels": np.arange(3)}, "labels['train']"),
        ({"split": "test"}, "split"),
    ],
)
def test_what_cannot_be_is_refused_at_once(settings, name):
    with pytest.raises(InputError) as caught:
        pairs(**settings)
    assert caught.value.name == name and "\n" not in str(caught.value)


def test_labels_take_the_place_of_those_of_arrays_only():
    source = simclr_tf.from_arrays(images_of(8), np.zeros(8, np.int64))
    found = simclr_tf.view_pairs(source, "flip", image_size=SIZE, batch_size=8, labels=np.arange(8))
    assert sorted(next(iter(found))["label"].numpy()) == list(range(8))
    with pytest.raises(InputError, match="labels must be left out"):
        simclr_tf.view_pairs("digits", image_size=SIZE, batch_size=8, labels=np.arange(20))
