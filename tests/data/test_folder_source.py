"""Layouts of image folders."""

from __future__ import annotations

import pathlib
import shutil

import numpy as np
import pytest

from simclr_tf.data import folder_source
from simclr_tf.errors import InputError


def _open(root):
    return folder_source.open_folder(str(root), "data_dir")


def _examples(source, split):
    found = source.examples(split).as_numpy_iterator()
    return sorted((e["id"].decode(), int(e["label"])) for e in found)


def test_splits_and_classes(write_images):
    source = _open(write_images([
        "train/dog/2.png", "train/cat/1.JPG", "train/cat/0.png", "test/dog/0.bmp",
        "val/cat/9.gif",
    ]))  # fmt: skip
    assert source.splits == {"train": 3, "test": 1, "validation": 1}
    assert source.class_names == ("cat", "dog") and source.num_classes == 2
    assert _examples(source, "train") == [
        ("train/cat/0.png", 0), ("train/cat/1.JPG", 0), ("train/dog/2.png", 1)]  # fmt: skip
    assert _examples(source, "test") == [("test/dog/0.bmp", 1)]
    assert _examples(source, "val") == _examples(source, "validation") == [("val/cat/9.gif", 0)]


def test_classes_without_splits(write_images):
    source = _open(write_images(["b/0.png", "a/0.png", "a/1.png"]))
    assert source.splits == {"train": 3} and source.class_names == ("a", "b")
    everything = [("a/0.png", 0), ("a/1.png", 0), ("b/0.png", 1)]
    parts = _examples(source, "train[:1]") + _examples(source, "train[1:]")
    assert sorted(parts) == _examples(source, "train") == everything
    assert source.num_examples("train[:67%]") == 2


def test_a_class_may_be_called_train(write_images):
    assert _open(write_images(["train/0.png", "car/0.png"])).class_names == ("car", "train")


@pytest.mark.parametrize(
    "names",
    [
        ["1.png", "0.png"],
        ["2020/01/0.png", "2021/1.png"],
        ["0.png", "a/0.png", "b/0.png"],
        ["photos/0.png", "photos/1.png"],
        ["train/0.png", "train/1.png"],
    ],
)
def test_unlabeled(write_images, names):
    source = _open(write_images(names))
    assert source.class_names is None and source.num_classes is None
    assert _examples(source, "train") == [(name, -1) for name in sorted(names)]


def test_unlabeled_test_split(write_images):
    source = _open(write_images(["train/a/0.png", "train/b/0.png", "test/0.png"]))
    assert source.num_classes == 2
    assert _examples(source, "test") == [("test/0.png", -1)]


def test_hidden_and_other_files_are_ignored(write_images):
    root = write_images(["train/a/0.png", "train/b/1.png", ".cache/x.png", "train/a/._0.png"])
    (root / "README.txt").write_text("x")
    (root / "metadata").mkdir()
    assert _open(root).splits == {"train": 2}


def test_link_to_a_parent_does_not_loop(write_images):
    root = write_images(["a/0.png", "b/0.png"])
    (root / "a" / "again").symlink_to(root, target_is_directory=True)
    assert _open(root).splits == {"train": 2}


def test_bytes_and_location(write_images):
    source = _open(write_images(["ü/a b.png", "c/0.png"]))
    (first, second) = source.examples("train").as_numpy_iterator()
    for example in (first, second):
        path = pathlib.Path(source.location(example["id"].decode()))
        assert path.read_bytes() == example["image"]
        assert example["label"].dtype == np.int64


@pytest.mark.parametrize(
    ("names", "constraint"),
    [
        (["train/a/0.png", "train/b/0.png", "test/c/0.png"],
         "same classes in every split; test has classes that train lacks"),
        (["test/a/0.png", "test/b/0.png", "val/c/0.png"], "validation has classes that test lacks"),
        (["train/a/0.png", "val/a/0.png", "valid/a/0.png"], "one validation folder"),
    ],
)  # fmt: skip
def test_refused(write_images, names, constraint):
    with pytest.raises(InputError, match=constraint) as caught:
        _open(write_images(names))
    assert caught.value.name == "data_dir"


def test_no_images(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="folder with images") as caught:
        _open(tmp_path)
    assert caught.value.received == str(tmp_path)


def test_missing_split_names_the_setting(write_images):
    source = _open(write_images(["a/0.png", "b/0.png"]))
    with pytest.raises(InputError, match=r"train \(2\)") as caught:
        source.num_examples("validation", "eval_split")
    assert caught.value.name == "eval_split"


def test_an_image_beside_labelled_splits_is_refused(write_images):
    with pytest.raises(InputError, match=r"cover\.png"):
        _open(write_images(["cover.png", "train/a/0.png", "train/b/0.png", "test/a/0.png"]))


def test_a_slice_holds_all_classes(write_images):
    names = [f"{label}/{index:02d}.png" for label in "ab" for index in range(30)]
    source = _open(write_images(names))
    labels = [label for _, label in _examples(source, "train[:50%]")]
    assert 8 <= sum(labels) <= 22


def test_ranges(write_images):
    source = _open(write_images(["train/0.png", "train/1.png", "valid/2.png"]))
    assert source.ranges("valid+train[1:]") == [("validation", 0, 1), ("train", 1, 2)]
    assert source.multi_label is False


def test_many_folders_of_one_image_are_no_classes(write_images, capsys):
    names = [f"{number}/x.png" for number in range(12)]
    assert _open(write_images(names)).class_names is None
    said = "train has no labels: every folder of a class holds one image"
    assert said in capsys.readouterr().out
    assert _open(write_images([*names, "3/y.png"])).num_classes == 12
    assert said not in capsys.readouterr().out


def test_what_is_said_of_a_folder_is_said_once_of_each(write_images, tmp_path, capsys):
    first = write_images([f"{number}/x.png" for number in range(12)])
    second = shutil.copytree(first, tmp_path / "others")
    for folder in (first, first, second, second):
        _open(folder)
    assert capsys.readouterr().out.count("train has no labels") == 2
