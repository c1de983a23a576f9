"""A batch in chunks has the gradient of the whole batch."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest

from tests import warm

ROOT = pathlib.Path(__file__).resolve().parents[2]


def measure(replicas, folder):
    """What each setting came to: name -> array."""
    path = folder / f"found_{replicas}.npz"
    command = [sys.executable, "-m", "tests.training.gradient_cache_program", str(replicas),
               str(path)]  # fmt: skip
    done = warm.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    settings: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path) as stored:
        for key in stored.files:
            setting, name = key.split(": ", 1)
            settings.setdefault(setting, {})[name] = stored[key]
    return settings


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return measure(1, tmp_path_factory.mktemp("cache"))


def deviation(one, other, kind):
    """The largest, relative to the largest value of each array where that is above 1."""
    names = [name for name in one if name.startswith(kind)]
    assert names and set(one) == set(other)
    return max(
        np.abs(one[name] - other[name]).max() / max(1.0, np.abs(one[name]).max()) for name in names
    )


def assert_same(whole, chunks):
    """With running statistics nothing but the loss looks beyond an image."""
    assert deviation(whole, chunks, "gradient") < 1e-5
    assert deviation(whole, chunks, "mean") < 1e-5
    assert deviation(whole, chunks, "weight") < 1e-5
    assert deviation(whole, chunks, "statistics") == 0
    largest = max(np.abs(v).max() for n, v in whole.items() if n.startswith("gradient"))
    assert largest > 0.1  # there is something to agree on


def test_chunks_have_the_gradient_of_the_whole_batch(found):
    assert_same(found["whole frozen"], found["chunks of 4 frozen"])


def test_chunks_work_without_a_projection_head(found):
    assert_same(found["whole without head"], found["chunks without head"])


def test_chunks_work_on_several_replicas(found, tmp_path):
    on_two = measure(2, tmp_path)
    assert_same(found["whole frozen"], on_two["chunks of 4 frozen"])


def test_one_chunk_is_the_ordinary_step(found):
    assert deviation(found["whole"], found["one chunk"], "gradient") < 1e-3
    assert deviation(found["whole"], found["one chunk"], "statistics") < 1e-5
    assert deviation(found["whole"], found["one chunk"], "mean") < 1e-3


def test_batch_norm_of_chunks_sees_the_chunk(found):
    """The documented difference: other gradients, and running statistics of the same age."""
    assert deviation(found["whole"], found["chunks of 8"], "gradient") > 1e-3
    name = "statistics encoder/stem/bn/moving_mean:0"
    # The stem's mean is linear in the images: that of two chunks, nearly evenly weighted.
    one, two = found["whole"][name], found["chunks of 8"][name]
    assert np.abs(two - one).max() < 0.05 * np.abs(one).max()
