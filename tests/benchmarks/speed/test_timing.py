from __future__ import annotations

import itertools

import pytest

from benchmarks.speed import timing
from benchmarks.speed.protocol import UnavailableError, one_line


def test_a_stream_is_opened_anew_and_warmed_up_before_it_is_timed(monkeypatch):
    clock = itertools.count(0, 2.0)  # every look at the clock is 2 s after the last
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    opened: list[itertools.count] = []

    def open_stream() -> itertools.count:
        opened.append(itertools.count())
        return opened[-1]

    rates = timing.stream_rates(open_stream, amount=8, warm_up=5, batches=3, samples=2)
    assert rates == [12.0, 12.0]
    assert len(opened) == 1 and next(opened[0]) == 5 + 2 * 3


def test_too_little_memory_is_no_fault():
    timing.require_memory(1)
    with pytest.raises(UnavailableError, match="takes about 1048576 GiB"):
        timing.require_memory(2**50)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("first\nsecond"), "ValueError: first"),
        (ValueError(""), "ValueError: "),
        (ValueError("in user code:\n  File x\n\n    TypeError: what it is\n"),
         "TypeError: what it is"),
        (UnavailableError("not here"), "not here"),
        (ValueError("x" * 1000), "ValueError: " + "x" * 288),
    ],
)  # fmt: skip
def test_an_error_becomes_one_line(error, text):
    assert one_line(error) == text
