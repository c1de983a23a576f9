"""TFDS data sets: ids, prepared folders, refusals."""

from __future__ import annotations

import socket

import numpy as np
import pytest
import tensorflow_datasets as tfds

from simclr_tf.data import tfds_source
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
