import hashlib

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.data import holdout
from simclr_tf.data.array_source import from_arrays
from simclr_tf.data.excluding import ExcludingSource
from simclr_tf.data.fingerprint import fingerprint
from simclr_tf.data.sources import open_source
from simclr_tf.errors import InputError
from simclr_tf.settings.data import DataConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("holdout") / "photos"
    for number in range(240):
        path = root / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((4, 4, 3), number, np.uint8)
        path.write_bytes(tf.io.encode_png(pixels).numpy())
    return root


@pytest.fixture(scope="module")
def whole(folder):
    return open_source(DataConfig(dataset=f"folder:{folder}"))


def ids(source, split):
    return [
        one.decode() for one in source.records(split).map(lambda r: r["id"]).as_numpy_iterator()
    ]


def is_held(name):
    """By the rule in words: the first 64 bits of SHA-256 of `holdout:` and the id."""
    return int(hashlib.sha256(f"holdout:{name}".encode()).hexdigest()[:16], 16) < 2**64 / 10


def test_parts_are_those_of_the_rule_and_keep_the_order(whole):
    held = holdout.hold_out(whole, 0.1)
    everything = ids(whole, "train")
    assert ids(held, "holdout") == [one for one in everything if is_held(one)]
    assert ids(held, "train") == [one for one in everything if not is_held(one)]
    assert held.splits == {"train": len(ids(held, "train")), "holdout": len(ids(held, "holdout"))}
    assert 0 < held.splits["holdout"] < 60


def test_an_image_stays_on_its_side_when_others_come(whole):
    few = from_arrays(np.zeros((60, 4, 4, 3), np.uint8))
    more = from_arrays(np.zeros((600, 4, 4, 3), np.uint8))
    before, after = (holdout.hold_out(one, 0.1) for one in (few, more))
    for name in ("train", "holdout"):
        assert set(ids(before, name)) <= set(ids(after, name))
    larger = holdout.hold_out(whole, 0.3)
    assert set(ids(holdout.hold_out(whole, 0.1), "holdout")) < set(ids(larger, "holdout"))


@pytest.mark.parametrize(
    "split", ["train[10:30]", "train[-7:]", "holdout[:3]+train[:5]", "training", "train[:50%]"]
)
def test_split_expressions_cut_what_is_left(whole, split):
    held = holdout.hold_out(whole, 0.1)
    kept, tests = ids(held, "train"), ids(held, "holdout")
    wanted = {
        "train[10:30]": kept[10:30],
        "train[-7:]": kept[-7:],
        "holdout[:3]+train[:5]": tests[:3] + kept[:5],
        "training": kept,
        "train[:50%]": kept[: len(kept) // 2],
    }[split]
    assert abs(len(wanted) - held.num_examples(split)) <= (1 if "%" in split else 0)
    assert ids(held, split)[: len(wanted)] == wanted
    assert held.files(split)[: len(wanted)] == [whole.location(one) for one in wanted]
    pixels = [int(tf.io.decode_png(one["image"])[0, 0, 0]) for one in held.examples(split)]
    assert pixels[: len(wanted)] == [int(one.split("/")[1][:-4]) for one in wanted]


def test_arrays_keep_ids_and_pixels():
    images = np.arange(80, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    held = holdout.hold_out(from_arrays(images, np.arange(80) % 2), 0.2)
    for split in ("train", "holdout"):
        for one in held.examples(split).as_numpy_iterator():
            number = int(one["id"].decode().split("/")[1])
            assert (one["image"] == number).all() and one["label"] == number % 2


def test_what_can_not_be_decoded_is_left_out_on_either_side(folder, tmp_path):
    import shutil

    copy = shutil.copytree(folder, tmp_path / "copy")
    plain = open_source(DataConfig(dataset=f"folder:{copy}"))
    held = holdout.hold_out(plain, 0.1)
    bad = [ids(held, "train")[4], ids(held, "holdout")[1]]
    for name in bad:
        (copy / name).write_bytes(b"\x89PNG\r\n\x1a\nno more")
    without = holdout.hold_out(ExcludingSource(plain), 0.1)
    for split, name in zip(("train", "holdout"), bad, strict=True):
        assert ids(without, split) == [one for one in ids(held, split) if one != name]
        assert without.num_examples(split) == held.splits[split] - 1


def test_the_share_where_nobody_says_it(whole):
    assert holdout.share_of(whole) == 0.25  # 60 of 240
    assert holdout.share_of(whole, DataConfig(eval_split="train[:10]")) == 0
    assert holdout.share_of(whole, DataConfig(holdout=0.5)) == 0.5
    assert holdout.share_of(whole, DataConfig(holdout=0)) == 0
    zeros = np.zeros((200, 4, 4, 3), np.uint8)
    assert holdout.share_of(from_arrays(zeros)) == 0.3
    sizes = {250: 0.24, 400: 0.15, 600: 0.1, 5000: 0.1}
    for count, share in sizes.items():
        many = from_arrays(np.zeros((count, 1, 1, 3), np.uint8))
        assert holdout.share_of(many) == share
    assert holdout.share_of(from_arrays(zeros[:199])) == 0
    assert holdout.share_of(from_arrays({"train": zeros, "test": zeros})) == 0
    assert holdout.share_of(open_source(DataConfig(dataset="digits"))) == 0


@pytest.mark.parametrize(
    ("source", "share", "says"),
    [
        (lambda: open_source(DataConfig(dataset="digits")), 0.1, "must be 0 with digits"),
        (lambda: from_arrays(np.zeros((3, 4, 4, 3), np.uint8)), 1e-6, "both sides of the 3"),
        (lambda: from_arrays({"a": np.zeros((9, 4, 4, 3), np.uint8)}), 0.5, "no split train"),
    ],
)
def test_refused(source, share, says):
    with pytest.raises(InputError, match=says):
        holdout.hold_out(source(), share)


def test_the_identity_of_images_follows_what_is_held_out(whole):
    tenth, third = holdout.hold_out(whole, 0.1), holdout.hold_out(whole, 0.3)
    found = [fingerprint(whole, "train")]
    found += [fingerprint(one, split) for one in (tenth, third) for split in ("train", "holdout")]
    assert len(set(found)) == 5
    assert fingerprint(holdout.hold_out(whole, 0.1), "holdout") == found[2]
