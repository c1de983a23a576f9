"""Numbers as people read them."""

import math

import pytest

from simclr_tf.units import (
    format_bytes,
    format_count,
    format_duration,
    format_percent,
    format_rate,
)


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (65, "1 min 05 s"),
        (3599.6, "1 h 00 min"),
        (7620, "2 h 07 min"),
        (7199, "2 h 00 min"),
        (200_000, "55 h 33 min"),
        (math.nan, "?"),
        (math.inf, "?"),
        (-1, "?"),
    ],
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    "rate, text",
    [(0, "0.00"), (3.417, "3.42"), (9.996, "10.0"), (81.52, "81.5"), (99.96, "100"),
     (1239.6, "1240"), (math.nan, "?")],
)  # fmt: skip
def test_rates(rate, text):
    assert format_rate(rate) == text


@pytest.mark.parametrize(
    "count, text",
    [(0, "0.00 MB"), (123_456, "0.12 MB"), (996_000, "1.0 MB"), (9_960_000, "10 MB"),
     (15_360_000, "15 MB"), (999_600_000, "1.0 GB"), (2_340_000_000, "2.3 GB")],
)  # fmt: skip
def test_bytes(count, text):
    assert format_bytes(count) == text


def test_percent():
    assert format_percent(0.5624) == "56.2 %"
    assert format_percent(1) == "100.0 %"


@pytest.mark.parametrize(
    "number, text", [(0, "0 images"), (1, "1 image"), (2, "2 images"), (20_000, "20,000 images")]
)
def test_counts(number, text):
    assert format_count(number, "image") == text
