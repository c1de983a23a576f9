"""Folders that people make, and what they mean."""

from __future__ import annotations

import pytest

from simclr_tf.data import folder_source, layout
from simclr_tf.errors import InputError


@pytest.mark.parametrize(
    ("name", "split"),
    [("train", "train"), ("Training", "train"), ("TRAIN", "train"), ("train_set", "train"),
     ("Training Set", "train"), ("test", "test"), ("Testing", "test"), ("TEST", "test"),
     ("test-data", "test"), ("val", "validation"), ("Valid", "validation"), ("eval", "validation"),
     ("Validation", "validation"), ("dev", "validation"), ("trains", None), ("cat", None),
     ("contest", None), ("", None), ("crash_test", None)],
)  # fmt: skip
def test_names_of_splits(name, split):
    assert layout.split_of(name) == split


def _open(write_images, names):
    return folder_source.open_folder(str(write_images(names)), "data_dir")


@pytest.mark.parametrize(
    ("train", "test"), [("Training", "Testing"), ("Train", "Test"), ("TRAIN", "TEST"),
                        ("train", "eval"), ("training_set", "test_set"), ("Train", "Val")],
)  # fmt: skip
def test_splits_as_people_write_them(write_images, train, test):
    source = _open(write_images, [f"{train}/a/0.png", f"{train}/b/1.png", f"{test}/a/2.png"])
    other = layout.split_of(test)
    assert source.splits == {"train": 2, other: 1} and source.class_names == ("a", "b")
    assert source.num_examples(test) == source.num_examples(f"{test}+{train}[:1]") - 1 == 1


@pytest.mark.parametrize(
    ("names", "splits", "classes"),
    [
        (["pets/train/a/0.png", "pets/train/b/1.png", "pets/test/a/2.png"],
         {"train": 2, "test": 1}, ("a", "b")),
        (["x/y/z/cat/0.png", "x/y/z/dog/1.png"], {"train": 2}, ("cat", "dog")),
        (["train/train/a/0.png", "train/train/b/1.png", "test/test/b/2.png"],
         {"train": 2, "test": 1}, ("a", "b")),
        (["Train/a/0.png", "Train/b/0.png"], {"train": 2}, ("a", "b")),
        (["photos/0.png", "photos/1.png"], {"train": 2}, None),
        (["dev/0.png", "ops/0.png"], {"train": 2}, ("dev", "ops")),
    ],
)  # fmt: skip
def test_folders_unpacked_into_folders(write_images, names, splits, classes):
    source = _open(write_images, names)
    assert source.splits == splits and source.class_names == classes
    found = {e["id"].decode() for split in splits for e in
             source.examples(split).as_numpy_iterator()}  # fmt: skip
    assert found == set(names)  # ids are paths below the folder that was named


@pytest.mark.parametrize(
    ("names", "path"),
    [
        (["cover.png", "train/a/0.png", "train/b/0.png", "test/a/0.png"], "cover.png"),
        (["a/0.png", "b/1.png", "Test/2.png"], "a/0.png"),
        (["test/a/0.png", "b/1.png"], "b/1.png"),
        (["cat/0.png", "TESTING/x/1.png"], "cat/0.png"),
    ],
)
def test_nothing_called_a_test_is_trained_on(write_images, names, path):
    with pytest.raises(InputError, match="testing.*are taken for one") as caught:
        _open(write_images, names)
    assert caught.value.received.endswith(path)


@pytest.mark.parametrize("names", [["Train/a/0.png", "training/a/1.png"],
                                   ["train/a/0.png", "val/a/1.png", "Valid/a/2.png"]])  # fmt: skip
def test_two_folders_of_one_split(write_images, names):
    with pytest.raises(InputError, match="must hold one (train|validation) folder only, not"):
        _open(write_images, names)


@pytest.mark.parametrize("stray", ["cover.png", "a/more/x.png"])
def test_what_stands_in_the_way_of_labels_is_named(write_images, stray, capsys):
    names = [f"{label}/{i}.png" for label in "ab" for i in range(6)]
    assert _open(write_images, [*names, stray]).class_names is None
    said = capsys.readouterr().out
    assert "note: train has no labels: " in said and f"{stray} does not lie in" in said


def test_folders_that_mean_nothing_are_no_fault(write_images, capsys):
    assert _open(write_images, ["2020/01/0.png", "2021/1.png"]).class_names is None
    assert "note" not in capsys.readouterr().out


def test_classes_without_images():
    used = [("a", "0.png"), ("b", "1.png")]
    folders = [("a",), ("b",), ("owl",), ("deep", "er"), ("x\x1b",)]
    assert layout.lost_classes(used, folders) == ["owl", "x\\x1b"]
