"""Helpers that the tests of the augmentations share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest


def _assert_uniform(values: np.ndarray, low: float, high: float, slack: float = 0.0) -> None:
    """Kolmogorov-Smirnov test at p = 0.001; `slack` allows for rounding of the values."""
    values = np.sort(np.asarray(values, np.float64))
    count = len(values)
    expected = (values - low) / (high - low)
    steps = np.arange(count + 1) / count
    distance = max(np.abs(steps[1:] - expected).max(), np.abs(expected - steps[:-1]).max())
    assert distance < 1.95 / np.sqrt(count) + slack, (distance, low, high)


@pytest.fixture
def uniformity() -> Callable[..., None]:
    """Asserts that values are uniform in [low, high]."""
    return _assert_uniform


@pytest.fixture(scope="session")
def random_image() -> Callable[..., np.ndarray]:
    """float32 images in [0, 1] of any shape, from a seed."""

    def make(height: int = 12, width: int = 16, seed: int = 0) -> np.ndarray:
        random = np.random.default_rng(seed)
        return random.uniform(0, 1, (height, width, 3)).astype(np.float32)

    return make
