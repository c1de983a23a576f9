"""Images come back by their id, and what is gone does no harm."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from simclr_tf.config import DataConfig
from simclr_tf.data import sources
from simclr_tf.retrieval.images import image_folder, load_images, read_image, shrink


def test_images_of_a_folder(photos):
    names = ["wide.png", "nested folder/tall grün.png", "gray.png", "alpha.png", "damaged.jpg",
             "absent.jpg", "nested folder"]  # fmt: skip
    found = load_images({"dataset": f"folder:{photos}"}, names, largest_side=100)
    shapes = [None if image is None else image.shape for image in found]
    assert shapes == [(20, 60, 3), (100, 25, 3), (16, 16, 3), (16, 16, 3), None, None, None]
    assert all(image.dtype == np.uint8 for image in found if image is not None)
    np.testing.assert_array_equal(found[0], np.asarray(Image.open(photos / "wide.png")))


def test_a_folder_that_is_gone(tmp_path):
    assert load_images({"dataset": f"folder:{tmp_path / 'gone'}"}, ["a.png"]) == [None]


@pytest.mark.parametrize(
    "metadata", [{}, {"dataset": "folder:"}, {"dataset": "no_such_set"}, {"dataset": ""}]
)
def test_a_data_set_that_is_gone(metadata):
    assert load_images(metadata, ["a", "b"]) == [None, None]


def test_a_data_set_is_not_downloaded(tmp_path):
    metadata = {"dataset": "cifar10", "data_dir": str(tmp_path)}
    assert load_images(metadata, ["cifar10-train.tfrecord-00000-of-00001__3"]) == [None]
    assert list(tmp_path.iterdir()) == []


def test_images_of_a_tfds_data_set():
    source = sources.open_source(DataConfig(dataset="digits"))
    examples = [
        example
        for split in ("train", "test")
        for example in source.examples(split).skip(20).take(2).as_numpy_iterator()
    ]
    ids = [example["id"].decode() for example in examples]
    assert len(set(ids)) == 4
    found = load_images({"dataset": "digits", "data_dir": None}, [*ids, "other", f"{ids[0]}99999"])
    for image, example in zip(found[:4], examples, strict=True):
        (expected,) = [np.asarray(Image.open(_file(example["image"])))]
        np.testing.assert_array_equal(image, expected)
    assert found[4:] == [None, None]


def _file(content):
    import io

    return io.BytesIO(content)


def test_one_file(photos):
    assert read_image(photos / "gray.png").shape == (16, 16, 3)
    assert read_image(photos / "damaged.jpg") is None
    assert read_image(photos / "absent.png") is None


def test_ids_stay_in_the_folder(photos, tmp_path):
    """A file of embeddings may come from anybody; links in the folder are the user's own."""
    outside = tmp_path / "secret.png"
    shutil.copy(photos / "gray.png", outside)
    (photos / "link.png").symlink_to(outside)
    os.mkfifo(photos / "pipe.png")
    (photos / "zero.png").symlink_to("/dev/zero")
    with open(photos / "huge.jpg", "wb") as file:
        file.truncate(20 * 10**9)
    refused = [str(outside), "../secret.png", "nested folder/../../secret.png", "/dev/zero",
               "pipe.png", "zero.png", "huge.jpg", "", ".", "a\0b", "x" * 300]  # fmt: skip
    found = load_images({"dataset": f"folder:{photos}"}, ["link.png", *refused])
    assert found[0] is not None and found[1:] == [None] * len(refused)


def test_folders_only_have_a_path(tmp_path):
    assert image_folder({"dataset": f"folder:{tmp_path}"}) == tmp_path
    assert image_folder({"dataset": "cifar10"}) is None


def test_shrinking_keeps_the_aspect_ratio():
    image = np.zeros((50, 200, 3), np.uint8)
    assert shrink(image, 100).shape == (25, 100, 3)
    assert shrink(image, 200) is image
    assert shrink(None, 100) is None
