"""How the files of a data set become pixels."""

import json

import pytest

from simclr_tf.data.reading import EXPORTED, FILES, STORED, Reading, recorded_reading
from simclr_tf.errors import InputError
from simclr_tf.settings.data import parse_range


def test_what_is_plain_for_tensorflow():
    assert STORED.is_plain and FILES.is_plain
    assert Reading(as_stored=True, channels=1).is_plain
    assert not Reading(as_stored=True, channels=4).is_plain
    assert not Reading(as_stored=True, dtype="uint16").is_plain
    assert STORED.is_published and Reading(as_stored=True, channels=1).is_published
    assert not FILES.is_published and not Reading(as_stored=True, antialias=True).is_published
    assert FILES.with_python and not EXPORTED.with_python


@pytest.mark.parametrize(
    ("text", "expected"), [(None, None), ("0:4095", (0, 4095)), ("-1:1", (-1, 1)),
                           ("1e-3:2.5", (0.001, 2.5))],
)  # fmt: skip
def test_ranges(text, expected):
    assert parse_range(text) == expected


@pytest.mark.parametrize("text", ["", "4095", "a:b", "1:1", "2:1", "0:inf", "nan:1", "0:1:2", ":"])
def test_no_ranges(text):
    with pytest.raises(InputError, match="value_range must be LOW:HIGH"):
        parse_range(text)


@pytest.mark.parametrize("reading", [FILES, Reading(antialias=True), Reading((0.0, 4095.0))])
def test_a_record_gives_the_same_reading(reading):
    assert recorded_reading(json.loads(json.dumps(reading.record()))) == reading


def test_what_is_no_record():
    assert recorded_reading(None) == FILES
    sound = {"value_range": [0, 1], "antialias": True}
    for wrong in (
        7, {}, {"value_range": None}, {**sound, "antialias": 1}, {**sound, "value_range": [1, 0]},
        {**sound, "value_range": [0, float("inf")]}, {**sound, "value_range": ["0", "1"]},
        {**sound, "value_range": [0, 1, 2]}, {**sound, "value_range": [False, True]},
    ):  # fmt: skip
        assert recorded_reading(wrong) is None, wrong
