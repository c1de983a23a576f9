import os

import pytest
import tensorflow as tf

from simclr_tf.data import decode, excluding, subset
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


LEFT_OUT = ("train/cat/3.png", "test/cat/3.png")


def ids(source, split):
    return [os.fsdecode(r["id"]) for r in source.records(split).as_numpy_iterator()]


def test_counts_and_records_agree_for_every_expression(folder):
    source = excluding.ExcludingSource(folder)
    assert source.left_out("train+test") == ["train/cat/3.png", "test/cat/3.png"]
    for split in ("train", "test", "train[:4]", "train[4:]", "train[2:7]+test"):
        assert source.num_examples(split) == len(ids(source, split))
    assert source.num_examples("train") == 7 and source.num_examples("test") == 3
    assert not set(LEFT_OUT) & set(ids(source, "train+test"))
    everything = ids(folder, "train")
    for at in range(1, 8):  # also where a part begins or ends with what is left out
        for part, there in ((f"train[:{at}]", everything[:at]), (f"train[{at}:]", everything[at:])):
            assert source.num_examples(part) == len(set(there) - set(LEFT_OUT)), part


def test_subsets_are_chosen_among_what_is_left(folder):
    source = excluding.ExcludingSource(folder)
    chosen = subset.open_subset(source, "train", "100%", 0)
    assert sorted(chosen.ids) == sorted(ids(source, "train"))
    assert chosen.num_examples("train") == 7


def test_a_sound_data_set_stays_itself(folder):
    sound = open_folder(str(folder.root / "train" / "dog"), "data_dir")
    looked = excluding.ExcludingSource(sound)
    assert not looked.changes("train") and fingerprint(looked, "train") == fingerprint(
        sound, "train"
    )


def test_every_image_is_looked_at_once_and_only_when_it_is_asked_for(folder, monkeypatch):
    looked, said = [], []
    find = decode.bad_examples

    def counting(source, split, on_count):
        looked.append(source.num_examples(split))
        return find(source, split, on_count=on_count)

    monkeypatch.setattr(decode, "bad_examples", counting)
    source = excluding.ExcludingSource(folder, said.append)
    for split in ("train[2:5]", "train[3:5]", "test", "test[1:]", "test"):
        source.num_examples(split)
    assert looked == [3, 4]
    assert said[-1].startswith("note: 1 undecodable image is left out: ")
    assert said[-1].endswith("test/cat/3.png")


def test_the_fingerprint_changes(folder):
    assert fingerprint(excluding.ExcludingSource(folder), "train") != fingerprint(folder, "train")
