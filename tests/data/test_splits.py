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


@pytest.mark.parametrize(
    ("split", "fraction", "kept", "held_out"),
    [
        ("train", 0.1, [("train", 0, 45)], [("train", 45, 50)]),
        ("train[10:20]", 0.25, [("train", 10, 18)], [("train", 18, 20)]),  # round(2.5) is 2
        ("train+test", 0.5, [("train", 0, 25), ("test", 0, 4)],
         [("train", 25, 50), ("test", 4, 8)]),
        ("train", 1e-6, [("train", 0, 49)], [("train", 49, 50)]),
        ("train", 0.999, [("train", 0, 1)], [("train", 1, 50)]),
        ("train[:1]+test", 0.5, [("train", 0, 1), ("test", 0, 4)], [("test", 4, 8)]),
    ],
)  # fmt: skip
def test_divide(split, fraction, kept, held_out):
    infos = splits.split_infos(SIZES)
    parts = splits.divide(split, infos, fraction, "train_split")
    found = [splits.ranges(part, infos, "train_split") for part in parts]
    assert found == [kept, held_out]
    assert not splits.overlap(found[0] + found[1])
    whole = splits.count(splits.ranges(split, infos, "train_split"))
    assert splits.count(found[0]) + splits.count(found[1]) == whole


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.1, float("nan")])
def test_divide_refuses_the_fraction(fraction):
    with pytest.raises(InputError) as caught:
        splits.divide("train", splits.split_infos(SIZES), fraction, "train_split")
    assert caught.value.name == "fraction"


@pytest.mark.parametrize("split", ["train[:1]", "train[:1]+test[:1]", "validation"])
def test_divide_refuses_the_split(split):
    with pytest.raises(InputError) as caught:
        splits.divide(split, splits.split_infos(SIZES), 0.5, "train_split")
    assert caught.value.name == "train_split" and caught.value.received == split


@pytest.mark.parametrize("split", ["train", "train[10:33]+test", "test[:1]+train[:5]+test[3:8]"])
@pytest.mark.parametrize("parts", [1, 2, 3, 5, 11])
def test_equal_parts(split, parts):
    infos = splits.split_infos(SIZES)
    whole = splits.ranges(split, infos, "train_split")
    images = [(name, i) for name, first, end in whole for i in range(first, end)]
    size = len(images) // parts
    for index in range(parts):
        part = splits.equal_part(whole, index, parts)
        found = splits.ranges(part, infos, "train_split")
        held = [(name, i) for name, first, end in found for i in range(first, end)]
        assert held == images[index * size : (index + 1) * size]
