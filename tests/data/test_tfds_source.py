"""TFDS data sets: ids, prepared folders, refusals."""

from __future__ import annotations

import socket

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from simclr_tf.augment import policy
from simclr_tf.data import decode, embedded, pipeline, tfds_source
from simclr_tf.data.pixels import to_bytes, to_rgb
from simclr_tf.errors import InputError


@pytest.fixture(scope="module")
def digits(embedded_dir):
    return tfds_source.open_tfds("digits", str(embedded_dir))


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise socket.gaierror("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def _ids(source, split):
    return [example["id"] for example in source.examples(split).as_numpy_iterator()]


def test_attributes(digits):
    assert digits.num_classes == 10 and digits.class_names == tuple("0123456789")
    assert digits.splits == {"train": 1_442, "test": 355}
    assert 50 < digits.record_bytes < 1_000


def test_ids_do_not_depend_on_the_split_expression(digits):
    whole = _ids(digits, "train")
    assert len(set(whole)) == len(whole) == digits.num_examples("train") == 1_442
    assert _ids(digits, "train[100:110]") == whole[100:110]
    assert _ids(digits, "test[:2]+train[-3:]") == _ids(digits, "test")[:2] + whole[-3:]
    assert not set(whole) & set(_ids(digits, "test"))


def test_images_stay_encoded(digits):
    example = next(digits.examples("train").as_numpy_iterator())
    assert example["image"].startswith(b"\x89PNG")
    assert set(example) == {"id", "image", "label"} and example["label"].dtype == "int64"


def test_reading_prints_nothing(digits, capfd):
    _ids(digits, "test[:3]")
    captured = capfd.readouterr()
    assert "deprecated" not in captured.out + captured.err


@pytest.mark.parametrize("use_dir_itself", [False, True])
def test_cifar10_is_read_where_it_is_prepared(shared_dir, no_network, use_dir_itself):
    folder = shared_dir / "data" / "tfds"
    if not folder.is_dir():
        pytest.skip(f"CIFAR-10 is absent: {folder}")
    if use_dir_itself:
        folder = folder / "cifar10" / "3.0.2"
    source = tfds_source.open_tfds("cifar10", str(folder))
    assert source.splits == {"train": 50_000, "test": 10_000}
    assert source.class_names[:3] == ("airplane", "automobile", "bird")
    assert source.num_examples("train[:10%]") == 5_000
    assert len(_ids(source, "test[:7]")) == 7
    with pytest.raises(InputError, match=r"train \(50000\), test \(10000\)") as caught:
        source.examples("validation", "eval_split")
    assert caught.value.name == "eval_split"


@pytest.mark.parametrize(
    ("dataset", "constraint"),
    [
        ("cifr10", "cifar10"),
        ("pattern", "patterns"),
        ("nothing_like_it_at_all", "TFDS name"),
        ("cifar10/no_such_config", "no_such_config"),
        ("cifar10", "no network"),
    ],
)
def test_refused(dataset, constraint, tmp_path, no_network):
    with pytest.raises(InputError) as caught:
        tfds_source.open_tfds(dataset, str(tmp_path))
    assert caught.value.name == "dataset" and caught.value.received == dataset
    assert constraint in str(caught.value) and "\n" not in str(caught.value)


class Waveforms(tfds.core.GeneratorBasedBuilder):
    """No image."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict({"wave": tfds.features.Scalar(np.int64)}),
        )

    def _split_generators(self, dl_manager):
        return {"train": iter([(0, {"wave": 1})])}

    def _generate_examples(self):
        raise NotImplementedError


class Unlabeled(Waveforms):
    """No label, and something beside the image."""

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(4, 4, 3)),
                    "size": tfds.features.Scalar(np.int64),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": iter([(0, {"image": np.zeros((4, 4, 3), np.uint8), "size": 1})])}


def test_no_image(tmp_path):
    with pytest.raises(InputError, match=r"feature `image`.*wave"):
        tfds_source.open_tfds("waveforms", str(tmp_path))


def test_no_label(tmp_path):
    source = tfds_source.open_tfds("unlabeled", str(tmp_path))
    assert source.num_classes is None and source.class_names is None
    (example,) = source.examples("train").as_numpy_iterator()
    assert example["label"] == -1 and set(example) == {"id", "image", "label"}


NAMES = ("cat", "dog", "bird", "car")
# Lists of all classes of an image, and of those with an object that is not marked difficult.
OBJECTS = [
    (["cat", "dog"], ["cat"]),
    (["bird"], ["bird"]),
    ([], []),
    (["car", "cat", "dog"], ["car", "cat", "dog"]),
    (["dog"], []),
]
# By hand: 1 present, 0 absent, -1 present as difficult only; columns as in NAMES.
LABELS = [[1, -1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [1, 1, 0, 1], [0, -1, 0, 0]]


class Objects(Waveforms, skip_registration=True):
    """The labels of VOC 2007; image i is filled with i."""

    with_difficult = True

    def _info(self):
        listed = tfds.features.Sequence(tfds.features.ClassLabel(names=NAMES))
        features = {"image": tfds.features.Image(shape=(4, 4, 3)), "labels": listed}
        if self.with_difficult:
            features["labels_no_difficult"] = listed
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i, (labels, no_difficult) in enumerate(OBJECTS):
            example = {"image": np.full((4, 4, 3), i, np.uint8), "labels": labels}
            if self.with_difficult:
                example["labels_no_difficult"] = no_difficult
            yield i, example


class PlainObjects(Objects, skip_registration=True):
    """A list of labels alone."""

    with_difficult = False


def _prepared(builder_class, folder):
    builder = builder_class(data_dir=str(folder))
    with embedded.quiet():
        builder.download_and_prepare()
    return tfds_source.TfdsSource(builder, "objects")


def _labels_by_image(source):
    """Labels in the order of OBJECTS, by the value of the images."""
    found = list(source.examples("train").as_numpy_iterator())
    values = [int(tf.io.decode_png(example["image"])[0, 0, 0]) for example in found]
    assert all(example["label"].dtype == np.int64 for example in found)
    return [found[values.index(i)]["label"].tolist() for i in range(len(OBJECTS))]


def test_multi_label(tmp_path):
    source = _prepared(Objects, tmp_path)
    assert source.multi_label and source.num_classes == 4 and source.class_names == NAMES
    assert _labels_by_image(source) == LABELS
    assert source.records("train").element_spec["label"].shape == (4,)


def test_multi_label_without_the_code_of_the_data_set(tmp_path):
    version = _prepared(Objects, tmp_path).builder.data_path
    source = tfds_source.open_tfds("voc/2007", str(version))
    assert source.multi_label and _labels_by_image(source) == LABELS


def test_multi_label_with_one_list(tmp_path):
    source = _prepared(PlainObjects, tmp_path)
    assert source.multi_label
    assert _labels_by_image(source) == np.abs(LABELS).tolist()


def test_one_label_is_not_several(digits):
    assert digits.multi_label is False


def test_a_folder_of_images_is_told_how_to_be_named(tmp_path):
    with pytest.raises(InputError, match=f"a folder of images is folder:{tmp_path}"):
        tfds_source.open_tfds(str(tmp_path), None)


def test_ranges(digits):
    assert digits.ranges("test[:2]+train[-3:]") == [("test", 0, 2), ("train", 1_439, 1_442)]


def test_prepared_dir(tmp_path):
    for version in ("1.0.0", "2.9.0", "2.10.0"):
        (tmp_path / "some" / "config" / version).mkdir(parents=True)
        (tmp_path / "some" / "config" / version / "dataset_info.json").write_text("{}")
    (tmp_path / "some" / "config" / "3.0.0").mkdir()  # not finished
    (tmp_path / "some" / "config" / "3.0.0.incompleteX").mkdir()
    (tmp_path / "some" / "config" / "notes.txt").write_text("")
    newest = tfds_source.prepared_dir("some/config", str(tmp_path))
    assert newest is not None and newest.name == "2.10.0"
    assert tfds_source.prepared_dir("some", str(tmp_path)) is None
    assert tfds_source.prepared_dir("other", str(tmp_path)) is None
    assert tfds_source.prepared_dir("other", str(tmp_path / "absent")) is None


@pytest.mark.parametrize(
    ("shape", "dtype"), [((8, 8, 1), np.uint8), ((8, 8, 4), np.uint8), ((8, 8, 3), np.uint16),
                         ((None, None, 1), np.uint16), ((8, 8, 1), np.float32)],
)  # fmt: skip
def test_images_of_other_types_and_channels(tmp_path, shape, dtype):
    """Held against the values that were written, by the rule worked out in NumPy."""
    sides = [8 if side is None else side for side in shape]
    rng = np.random.default_rng(0)
    if dtype == np.float32:
        images = rng.random((5, *sides), np.float32)
    else:
        images = rng.integers(0, np.iinfo(dtype).max, (5, *sides), dtype)

    class Strange(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            image = tfds.features.Image(shape=shape, dtype=dtype, encoding_format="png")
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict({"image": image})
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            yield from ((i, {"image": image}) for i, image in enumerate(images))

    builder = Strange(data_dir=str(tmp_path))
    with embedded.quiet():
        builder.download_and_prepare()
    source = tfds_source.TfdsSource(builder, "strange")
    assert source.reading.dtype == np.dtype(dtype).name and source.reading.channels == shape[-1]
    expected = sorted(to_rgb(to_bytes(image)).tobytes() for image in images)
    found = [decode.decode_image(e["image"], source.reading) for e in source.examples("train")]
    assert sorted(image.numpy().tobytes() for image in found) == expected
    (batch,) = pipeline.eval_batches(source, pipeline.Selection("train"), 5, 8, policy.eval_view)
    levels = np.rint(batch["image"].numpy() * 255).astype(np.uint8)
    assert sorted(image.tobytes() for image in levels) == expected
