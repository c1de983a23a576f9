"""Split expressions."""

from __future__ import annotations

import pytest

from simclr_tf.data import splits
from simclr_tf.errors import InputError

SIZES = {"train": 50, "test": 8}


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", [("train", 0, 50)]),
        ("train[:10%]", [("train", 0, 5)]),
        ("train[-10:]", [("train", 40, 50)]),
        ("train[20%:40%]", [("train", 10, 20)]),
        ("test+train[:3]", [("test", 0, 8), ("train", 0, 3)]),
        ("train[:5]+train[5:9]", [("train", 0, 5), ("train", 5, 9)]),
    ],
)
def test_ranges(split, expected):
    assert splits.ranges(split, splits.split_infos(SIZES), "train_split") == expected
    assert splits.count(expected) == sum(end - first for _, first, end in expected)


@pytest.mark.parametrize(
    ("split", "constraint"),
    [
        ("validation", "train (50), test (8)"),
        ("train[:x]", "split expression"),
        ("train[:51]", "split expression"),
        ("train[:0]", "at least one image"),
        ("train[:0]+test", "at least one image"),
        ("train+train[:1]", "same image twice"),
    ],
)
def test_refused(split, constraint):
    with pytest.raises(InputError) as caught:
        splits.ranges(split, splits.split_infos(SIZES), "eval_split")
    assert caught.value.name == "eval_split"
    assert caught.value.received == split
    assert constraint in str(caught.value)
    assert "\n" not in str(caught.value)
