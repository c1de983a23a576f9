from __future__ import annotations

from benchmarks import convolutions
from benchmarks.convolutions import Layer


def test_both_ways_are_timed_where_they_differ():
    found = convolutions.measure(Layer(8, 4, 64, 64, 3, 2), "bfloat16", rounds=2)
    assert {name: len(times) for name, times in found.items()} == {"oneDNN": 2, "here": 2}
    assert min(map(min, found.values())) > 0
    assert list(convolutions.measure(Layer(2, 16, 8, 8, 3, 1), "float32", 1)) == ["oneDNN"]
