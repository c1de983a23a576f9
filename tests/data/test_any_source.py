"""Data sets of whatever holds images; what becomes of arrays is in test_array_source.py."""

import numpy as np
import pytest
import tensorflow as tf

import simclr_tf
from simclr_tf import capacity
from simclr_tf.data.any_source import as_source, from_dataset
from simclr_tf.data.array_source import ArraySource
from simclr_tf.data.folder_source import FolderSource
from simclr_tf.data.tfds_source import TfdsSource
from simclr_tf.errors import InputError

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (7, 6, 5, 3), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2, 3])
DEEP = RANDOM.integers(0, 65_536, (7, 6, 5, 7), np.uint16)


def silent(line):
    pass


def slices(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0])


def content(source, split="train"):
    """Images and labels of a source, by their position."""
    found = sorted(source.examples(split).as_numpy_iterator(),
                   key=lambda one: int(one["id"].split(b"/")[1]))  # fmt: skip
    return np.stack([one["image"] for one in found]), [one["label"] for one in found]


@pytest.mark.parametrize("make", [
    lambda: slices(IMAGES, LABELS),
    lambda: slices(IMAGES, LABELS).batch(3),
    lambda: slices(IMAGES, LABELS.astype(np.int32)).batch(2).prefetch(2),
    lambda: slices({"image": IMAGES, "label": LABELS, "id": [str(n) for n in range(7)]}),
    lambda: slices({"image": IMAGES, "label": LABELS}).batch(7),
    lambda: slices({"image": IMAGES, "label": LABELS, "at": tf.ragged.constant([[1]] * 7)}),
    lambda: slices(IMAGES, LABELS).filter(lambda image, label: label >= 0),  # of unknown length
    lambda: tf.data.Dataset.from_generator(  # of unknown shapes
        lambda: zip(IMAGES, LABELS, strict=True),
        output_types=(tf.uint8, tf.int64)),
])  # fmt: skip
def test_elements_of_every_form(make):
    source = from_dataset(make(), say=silent)
    images, labels = content(source)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)
    assert source.num_classes == 4 and source.splits == {"train": 7} and source.channels == 3


@pytest.mark.parametrize("make", [
    lambda: slices(DEEP),
    lambda: slices(DEEP).batch(3),
    lambda: slices((DEEP,)),
    lambda: slices({"image": DEEP}),
    lambda: slices(DEEP, np.full(7, -1)),  # as splits of TFDS without labels
])  # fmt: skip
def test_without_labels_channels_and_depth_are_kept(make):
    source = from_dataset(make(), say=silent)
    images, labels = content(source)
    np.testing.assert_allclose(images, DEEP / 65_535, rtol=1e-6)
    assert source.num_classes is None and set(labels) == {-1} and source.channels == 7


def test_splits_names_and_settings_are_passed_on():
    datasets = {
        "train": slices(IMAGES[..., :2], LABELS),
        "test": slices(IMAGES[:4, ..., :2], LABELS[:4]),
    }
    lines = []
    source = from_dataset(datasets, class_names="abcd", channels=2, value_range=(0, 510),
                          say=lines.append)  # fmt: skip
    assert source.splits == {"train": 7, "test": 4} and source.class_names == tuple("abcd")
    images, labels = content(source, "test")
    np.testing.assert_allclose(images, IMAGES[:4, ..., :2] / 510, rtol=1e-6)
    np.testing.assert_array_equal(labels, LABELS[:4])
    assert lines == ["the 11 images of the dataset, 0.00 MB, are copied into memory"]


def test_it_is_read_once_and_keeps_its_order():
    reads = []

    def images():
        reads.append(1)
        yield from RANDOM.permutation(IMAGES)

    spec = tf.TensorSpec((6, 5, 3), tf.uint8)
    source = from_dataset(tf.data.Dataset.from_generator(images, output_signature=spec), say=silent)
    first, again = content(source)[0], content(source)[0]
    np.testing.assert_array_equal(first, again)
    assert len(reads) == 1


def test_labels_of_several_classes():
    several = np.eye(7, 4, dtype=np.int64)
    source = from_dataset(slices(IMAGES, several).batch(2), say=silent)
    assert source.multi_label and source.num_classes == 4
    np.testing.assert_array_equal(content(source)[1], several)


def fails():
    yield IMAGES[0]
    raise OSError("the disk is gone")


@pytest.mark.parametrize(("make", "line"), [
    (lambda: slices(IMAGES).repeat(), r"must have an end: leave out repeat\(\), or use take\(n\)"),
    (lambda: slices(IMAGES).take(0), "must have at least one image"),
    (lambda: slices(IMAGES).filter(lambda image: False), "must have at least one image"),
    (lambda: slices(IMAGES).concatenate(slices(IMAGES[:, :3])),
     r"images of one shape: resize them in its map\(\).*\(6, 5, 3\), \(3, 5, 3\)"),
    (lambda: slices(IMAGES, LABELS, LABELS), r"elements that are an image, \(image, label\), or"),
    (lambda: slices({"picture": IMAGES}), "elements that are an image"),
    (lambda: tf.data.Dataset.from_tensor_slices(tf.ragged.constant([[1], [2, 3]])),
     "elements that are an image"),
    (lambda: slices(["a.png", "b.png"]), "must have decoded images"),
    (lambda: slices(IMAGES[..., 0]), r"must have images \(H, W, C\), or batches.*\(6, 5\)"),
    (lambda: tf.data.Dataset.from_generator(fails, output_types=tf.uint8),
     "must be readable to its end.*the disk is gone"),
    (lambda: IMAGES, "must be a tf.data.Dataset, or a mapping.*ndarray"),
    (lambda: {}, "must have at least one split"),
])  # fmt: skip
def test_datasets_that_are_refused(make, line):
    with pytest.raises(InputError, match=f"dataset.* {line}") as caught:
        from_dataset(make(), say=silent)
    assert "\n" not in str(caught.value)


def test_what_memory_can_not_take_is_refused_as_early_as_it_shows(monkeypatch):
    seen = []

    def images():
        while True:  # whose length TensorFlow does not know
            seen.append(1)
            yield IMAGES[0]

    monkeypatch.setattr(capacity, "physical_bytes", lambda: 2 * 3 * IMAGES[0].nbytes)
    unknown = tf.data.Dataset.from_generator(images, output_types=tf.uint8)
    with pytest.raises(InputError, match="dataset must be smaller: its images so far"):
        from_dataset(unknown, say=silent)
    assert len(seen) < 1_000  # it reads ahead
    with pytest.raises(InputError, match="dataset must be smaller: its images and the copy"):
        from_dataset(slices(IMAGES), say=silent)
    assert from_dataset(unknown.take(3), say=silent).splits == {"train": 3}


def test_every_kind_of_images_becomes_a_source(tmp_path, monkeypatch):
    lists = as_source(list(IMAGES), LABELS, class_names="abcd")
    np.testing.assert_array_equal(content(lists)[0], IMAGES)
    assert lists.class_names == tuple("abcd")
    assert as_source(lists) is lists
    assert as_source(tf.constant(DEEP)).channels == 7
    splits = as_source({"train": IMAGES[..., :1], "test": list(IMAGES[:2, ..., :1])}, channels=1)
    assert splits.splits == {"train": 7, "test": 2} and splits.channels == 1
    lines = []
    copied = as_source({"train": slices(IMAGES), "test": slices(IMAGES)}, say=lines.append)
    assert isinstance(copied, ArraySource) and len(lines) == 1
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for at, image in enumerate(IMAGES[:2]):
            path = str(tmp_path / "photos" / name / f"{at}.png")
            tf.io.write_file(path, tf.io.encode_png(image))
    folder = as_source(tmp_path / "photos", value_range=(0, 255), channels=3)
    assert isinstance(folder, FolderSource) and folder.class_names == ("cat", "dog")
    assert folder.reading.value_range == (0, 255) and folder.channels == 3
    monkeypatch.chdir(tmp_path)
    assert as_source("photos").splits == as_source("folder:photos").splits == {"train": 4}
    digits = as_source("digits")
    assert isinstance(digits, TfdsSource) and digits.channels == 3
    assert as_source(digits) is digits


@pytest.mark.parametrize(("images", "settings", "line"), [
    (7, {}, "images must be an array .*, a tf.data.Dataset, a folder, .* or a source.*'int'"),
    (None, {}, "images must be an array"),
    (b"digits", {}, "images must be an array"),
    ({"train": 3}, {}, "images must be an array"),
    (iter(IMAGES), {}, "images must be an array"),
    ("digits", {"labels": LABELS}, "labels must be left out with a folder or the name"),
    ("digits", {"class_names": "ab"}, "class_names must be left out with a folder"),
    ("digits", {"channels": 1}, "channels must be 3 with a folder"),
    ("no_such_set", {}, "no_such_set"),
    ("./absent", {}, "images must be an existing folder"),
    (__file__, {}, "images must be a folder, not a file"),
    ("digits", {"value_range": (3, 2)}, r"value_range must be \(LOW, HIGH\)"),
    (as_source("digits"), {"labels": LABELS}, "labels must be left out with a source"),
    (simclr_tf.from_arrays(IMAGES), {"value_range": (0, 1)}, "value_range must be left out with a"),
    (slices(IMAGES), {"labels": LABELS}, r"labels must be left out with a tf.data.Dataset: its"),
    (IMAGES, {"labels": LABELS[:3]}, r"labels\['train'\] must be of shape \(7,\)"),
    (IMAGES, {"data_dir": "/tmp"}, "data_dir must be left out but for the name"),
    ([IMAGES[0], IMAGES[0, :2]], {}, "must be an array, or arrays of one shape"),
])  # fmt: skip
def test_what_is_refused(images, settings, line):
    with pytest.raises(InputError, match=line) as caught:
        as_source(images, say=silent, **settings)
    assert "\n" not in str(caught.value)
