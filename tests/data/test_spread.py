"""Examples lie all over a split where that is cheap."""

import dataclasses

import numpy as np

from simclr_tf.config import DataConfig
from simclr_tf.data import sources
from simclr_tf.data.spread import SpreadSource, spread


def _labels(source, split):
    return [int(example["label"]) for example in source.examples(split)]


def test_every_nth_image_in_order():
    digits = sources.open_source(DataConfig(dataset="digits"))
    total = digits.num_examples("test")
    found = spread(digits, "test", 50)
    assert isinstance(found, SpreadSource) and found.stride == total // 50
    every = _labels(digits, "test")[:: found.stride]
    assert _labels(found, "test") == every
    assert found.num_examples("test") == len(every) >= 50


def test_more_are_asked_for_than_there_are():
    digits = sources.open_source(DataConfig(dataset="digits"))
    assert spread(digits, "test", 10**6).num_examples("test") == digits.num_examples("test")


def test_large_data_is_not_read_through():
    digits = sources.open_source(DataConfig(dataset="digits"))

    @dataclasses.dataclass(frozen=True)
    class Large(sources.WrappedSource):
        record_bytes: int = 2**20

    large = Large(digits)
    assert spread(large, "test", 3) is large
    assert np.array_equal(_labels(large, "test"), _labels(digits, "test"))
