import os

import pytest
import tensorflow as tf

from simclr_tf.config import DataConfig
from simclr_tf.data import sources
from simclr_tf.data.fingerprint import fingerprint
from simclr_tf.data.folder_source import open_folder
from simclr_tf.data.subset import SubsetSource
from simclr_tf.errors import InputError


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(
            tf.io.encode_png(tf.zeros((4, 4, 3), tf.uint8)).numpy()
        )
    return tmp_path


def of(folder, split="train"):
    return fingerprint(open_folder(str(folder), "data_dir"), split)


def test_it_is_stable_and_knows_the_split():
    source = sources.open_source(DataConfig(dataset="digits", image_size=8))
    again = sources.open_source(DataConfig(dataset="digits", image_size=8))
    assert fingerprint(source, "train") == fingerprint(again, "train")
    parts = {fingerprint(source, split) for split in ("train", "test", "train[:10]", "train[:11]")}
    assert len(parts) == 4


def test_a_changed_file_changes_it(folder):
    before = of(folder)
    assert of(folder) == before
    os.utime(folder / "a.png", ns=(1, 1))
    assert of(folder) != before


def test_a_new_file_changes_it(folder):
    before = of(folder)
    (folder / "c.png").write_bytes((folder / "a.png").read_bytes())
    assert of(folder) != before


def test_a_subset_is_not_the_whole():
    source = sources.open_source(DataConfig(dataset="digits", image_size=8))
    ids = [r["id"].decode() for r in source.records("train").take(4).as_numpy_iterator()]
    some = {fingerprint(SubsetSource(source, "train", tuple(chosen)), "train")
            for chosen in (ids, ids[:3])}  # fmt: skip
    assert len(some | {fingerprint(source, "train")}) == 3


def test_an_unknown_split_is_named(folder):
    with pytest.raises(InputError, match="eval_split"):
        fingerprint(open_folder(str(folder), "data_dir"), "nothing", "eval_split")
