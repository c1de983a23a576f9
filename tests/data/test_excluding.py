import os

import pytest
import tensorflow as tf

from simclr_tf.data import excluding, subset
from simclr_tf.data.fingerprint import fingerprint
from simclr_tf.data.folder_source import open_folder


@pytest.fixture
def folder(tmp_path):
    """Twelve images of two classes, of which two are no images."""
    for split, count in (("train", 8), ("test", 4)):
        for index in range(count):
            place = tmp_path / split / ("cat" if index % 2 else "dog")
            place.mkdir(parents=True, exist_ok=True)
            image = tf.io.encode_png(tf.zeros((4, 4, 3), tf.uint8)).numpy()
            bad = index == 3
            (place / f"{index}.png").write_bytes(image[:20] if bad else image)
    return open_folder(str(tmp_path), "data_dir")


def ids(source, split):
    return [os.fsdecode(r["id"]) for r in source.records(split).as_numpy_iterator()]


def test_counts_and_records_agree_for_every_expression(folder):
    source = excluding.without_bad_images(folder)
    assert source.ids == ("train/cat/3.png", "test/cat/3.png")
    for split in ("train", "test", "train[:4]", "train[4:]", "train[2:7]+test"):
        assert source.num_examples(split) == len(ids(source, split))
    assert source.num_examples("train") == 7 and source.num_examples("test") == 3
    assert not set(source.ids) & set(ids(source, "train+test"))
    everything = ids(folder, "train")
    for at in range(1, 8):  # also where a part begins or ends with what is left out
        for part, there in ((f"train[:{at}]", everything[:at]), (f"train[{at}:]", everything[at:])):
            assert source.num_examples(part) == len(set(there) - set(source.ids)), part


def test_subsets_are_chosen_among_what_is_left(folder):
    source = excluding.without_bad_images(folder)
    chosen = subset.open_subset(source, "train", "100%", 0)
    assert sorted(chosen.ids) == sorted(ids(source, "train"))
    assert chosen.num_examples("train") == 7


def test_a_sound_data_set_stays_itself(folder):
    sound = open_folder(str(folder.root / "train" / "dog"), "data_dir")
    assert excluding.without_bad_images(sound) is sound


def test_the_fingerprint_changes(folder):
    assert fingerprint(excluding.without_bad_images(folder), "train") != fingerprint(
        folder, "train"
    )
