"""`load_images`: the pictures that an encoder is shown, as arrays; `explore` of a file."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras as keras
from PIL import Image

import simclr_tf
from simclr_tf.errors import InputError

RNG = np.random.default_rng(0)


def quiet(text):
    """Nobody reads it."""


@pytest.fixture
def photographs(tmp_path):
    """Two of 24 x 16 px in folders that are classes, losslessly, and their pixels by id."""
    pixels = {
        f"{name}/{number}.png": RNG.integers(0, 256, (16, 24, 3), np.uint8)
        for name in ("b", "a") for number in (1, 2)
    }  # fmt: skip
    for name, image in pixels.items():
        path = tmp_path / "photographs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return tmp_path / "photographs", pixels


def test_images_of_a_folder_come_in_the_order_of_their_paths(photographs):
    folder, pixels = photographs
    found = simclr_tf.load_images(folder, image_size=16, say=quiet)
    assert found.ids == sorted(pixels)
    assert found.class_names == ("a", "b") and found.labels.tolist() == [0, 0, 1, 1]
    assert found.images.shape == (4, 16, 16, 3) and found.images.dtype == np.float32
    means = [pixels[one].mean(axis=(0, 1)) / 255 for one in found.ids]
    np.testing.assert_allclose(found.images.mean(axis=(1, 2)), means, atol=0.1)


def test_arrays_keep_order_depth_and_channels():
    images = RNG.integers(0, 65_536, (300, 8, 8, 5), np.uint16)  # more than one batch
    found = simclr_tf.load_images(images)
    np.testing.assert_allclose(found.images, images / 65_535, atol=1e-6)
    assert found.ids[17] == "train/17" and found.class_names is None
    assert set(found.labels) == {-1}
    gray = simclr_tf.load_images(images[..., 0], "train[:40]", channels=1)
    assert gray.images.shape == (40, 8, 8, 1)
    for one, example_id in zip(gray.images, gray.ids, strict=True):
        at = int(example_id.removeprefix("train/"))
        np.testing.assert_allclose(one[..., 0], images[at, ..., 0] / 65_535, atol=1e-6)


def test_the_rows_are_those_of_embed():
    """An encoder that gives the corner of an image back."""
    encoder = keras.Sequential(
        [keras.layers.InputLayer((8, 8, 3)), keras.layers.Cropping2D(((0, 7), (0, 7)))]
    )
    found = simclr_tf.load_images("digits", "test", image_size=8)
    ids, vectors = simclr_tf.embed(
        simclr_tf.from_model(encoder, 8), "digits", split="test", with_ids=True
    )
    assert ids == found.ids
    np.testing.assert_allclose(vectors, found.images[:, 0, 0], atol=1e-6)


def test_all_splits_of_a_folder_are_embedded_and_found_again(tmp_path, monkeypatch):
    """The picture of the neighbours shows the images themselves, wherever it is asked for."""
    colors = {
        "train/a/1.png": (255, 0, 0),
        "train/b/2.png": (0, 255, 0),
        "test/a/3.png": (0, 0, 255),
    }
    for name, color in colors.items():
        path = tmp_path / "photographs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), color).save(path)
    encoder = simclr_tf.from_model(keras.Sequential([keras.layers.InputLayer((8, 8, 3))]), 8)
    monkeypatch.chdir(tmp_path)
    ids, _ = simclr_tf.embed(encoder, "photographs", output="found.npz", with_ids=True, say=quiet)
    assert ids == sorted(colors)
    monkeypatch.chdir(tmp_path.parent)
    found = simclr_tf.neighbors(tmp_path / "found.npz", "test/a/3.png", say=quiet)
    picture = np.asarray(Image.open(found).convert("RGB")).reshape(-1, 3).tolist()
    for color in colors.values():
        assert picture.count(list(color)) > 1000


def test_the_page_of_a_file_of_embeddings(photographs, tmp_path):
    folder, pixels = photographs
    encoder = simclr_tf.from_model(keras.Sequential([keras.layers.InputLayer((8, 8, 3))]), 8)
    simclr_tf.embed(encoder, folder, output=tmp_path / "found.npz", say=quiet)
    said = []
    path = simclr_tf.explore(tmp_path / "found.npz", num_groups=2, say=said.append)
    assert path == str(tmp_path / "found.explore.html") and "2 groups (--num_groups)" in said
    assert "Pictures: 4 of 4" in (tmp_path / "found.explore.html").read_text()
    with pytest.raises(InputError, match="num_groups must be at most 4"):
        simclr_tf.explore(tmp_path / "found.npz", num_groups=9, say=quiet)
    simclr_tf.explore(tmp_path / "found.npz", np.stack(list(pixels.values())), say=quiet)
    assert "Pictures: 0 of 4" in (tmp_path / "found.explore.html").read_text()  # other ids


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"image_size": 4}, "image_size"),
        ({"image_size": None}, "image_size"),
        ({"split": "nothing"}, "split"),
        ({"data_dir": "data"}, "data_dir"),
    ],
)
def test_what_cannot_be_is_one_line(changes, name):
    given = {"image_size": 16, "split": "train", **changes}
    with pytest.raises(InputError) as caught:
        simclr_tf.load_images(np.zeros((4, 9, 8, 3), np.uint8), **given)
    assert caught.value.name == name and "\n" not in str(caught.value)
