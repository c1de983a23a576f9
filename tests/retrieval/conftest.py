"""Embeddings and photos that several tests of this package use."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def vectors() -> np.ndarray:
    """(7, 5) float32."""
    return np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)


@pytest.fixture
def ids() -> list[str]:
    """Seven file names, not all of them plain."""
    return [
        "a.jpg",
        "b c.jpg",
        "nested/deeper/d.png",
        "ünïcode/写真.jpg",
        "$x_1$.png",
        "e",
        "f.gif",
    ]


@pytest.fixture
def photos(tmp_path) -> pathlib.Path:
    """A folder of drawn images of several sizes and colour types, one of them damaged."""
    root = tmp_path / "photos"
    rng = np.random.default_rng(1)

    def write(name: str, pixels: np.ndarray) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(root / name)

    write("wide.png", rng.integers(0, 256, (20, 60, 3)))
    write("nested folder/tall grün.png", rng.integers(0, 256, (400, 100, 3)))
    write("gray.png", rng.integers(0, 256, (16, 16)))
    write("alpha.png", rng.integers(0, 256, (16, 16, 4)))
    (root / "damaged.jpg").write_bytes(b"\xff\xd8\xff no image")
    return root
