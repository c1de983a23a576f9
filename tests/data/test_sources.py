"""Choosing a source by its name."""

from __future__ import annotations

import numpy as np
import pytest

from simclr_tf.config import DataConfig
from simclr_tf.data.array_source import from_arrays
from simclr_tf.data.sources import (
    UnlabeledSource,
    divide_split,
    open_source,
    require_single_label,
)
from simclr_tf.errors import InputError


def test_folder_by_data_dir_and_by_name(write_images):
    root = write_images(["a.png", "b.png"])
    for config in (
        DataConfig(dataset="folder", data_dir=str(root)),
        DataConfig(dataset=f"folder:{root}"),
    ):
        assert open_source(config).splits == {"train": 2}


def test_embedded(embedded_dir):
    source = open_source(DataConfig(dataset="digits", data_dir=str(embedded_dir)))
    assert source.always_cached and source.num_classes == 10


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (DataConfig(dataset="folder"), "data_dir"),
        (DataConfig(dataset="folder", data_dir="/does/not/exist"), "data_dir"),
        (DataConfig(dataset="folder:/does/not/exist"), "dataset"),
    ],
)
def test_absent_folder(config, name):
    with pytest.raises(InputError) as caught:
        open_source(config)
    assert caught.value.name == name


def _examples(source, split="train"):
    return list(source.examples(split).as_numpy_iterator())


def test_unlabeled(embedded_dir):
    base = open_source(DataConfig(dataset="digits", data_dir=str(embedded_dir)))
    source = UnlabeledSource(base)
    assert source.num_classes is None and source.class_names is None and not source.multi_label
    assert source.splits == base.splits and source.name == base.name
    assert source.num_examples("train[:7]") == 7
    for example, labeled in zip(
        _examples(source, "test[:5]"), _examples(base, "test[:5]"), strict=True
    ):
        assert example == {**labeled, "label": -1} and example["label"].dtype == "int64"


def test_unlabeled_folder(write_images):
    root = write_images(["a/0.png", "b/1.png"])
    base = open_source(DataConfig(dataset="folder", data_dir=str(root)))
    assert not base.multi_label
    found = _examples(UnlabeledSource(base))
    assert [e["label"] for e in found] == [-1, -1]
    assert {e["id"] for e in found} == {b"a/0.png", b"b/1.png"}
    assert all(e["image"].startswith(b"\x89PNG") for e in found)


def test_channels_are_those_of_the_wrapped_source():
    images = np.zeros((3, 8, 8, 6), np.uint8)
    assert UnlabeledSource(UnlabeledSource(from_arrays(images))).channels == 6
    assert UnlabeledSource(from_arrays(images[..., :4])).channels == 3


class _MultiLabel(UnlabeledSource):
    multi_label = True


def test_single_label_is_required(embedded_dir):
    base = open_source(DataConfig(dataset="digits", data_dir=str(embedded_dir)))
    require_single_label(base)
    with pytest.raises(InputError, match=r"one label per image.*digits") as caught:
        require_single_label(_MultiLabel(base), "eval_dataset")
    assert caught.value.name == "eval_dataset"


def test_divide_split(write_images):
    root = write_images([f"{name}/{i}.png" for name in ("train", "val") for i in range(10)])
    source = open_source(DataConfig(dataset="folder", data_dir=str(root)))
    kept, held_out = divide_split(source, "train+val", 0.2)
    ids = [[e["id"] for e in _examples(source, split)] for split in (kept, held_out)]
    assert [len(part) for part in ids] == [16, 4]
    assert sorted(ids[0] + ids[1]) == sorted(e["id"] for e in _examples(source, "train+val"))
    with pytest.raises(InputError) as caught:
        divide_split(source, "test", 0.2, "eval_split")
    assert caught.value.name == "eval_split"
