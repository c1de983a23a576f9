"""Folders of small images that several tests of this package read."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

WriteImages = Callable[..., pathlib.Path]


@pytest.fixture(scope="session")
def embedded_dir(tmp_path_factory) -> pathlib.Path:
    """Where the embedded sets are prepared, once for all tests."""
    return tmp_path_factory.mktemp("tfds")


@pytest.fixture
def write_images(tmp_path) -> WriteImages:
    """Writes gray PNGs; the value of all pixels of an image is its number in the list."""

    def write(names: list[str], size: int = 8) -> pathlib.Path:
        for value, name in enumerate(names):
            path = tmp_path / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((size, size), value, np.uint8)).save(path)
        return tmp_path / "images"

    return write


@pytest.fixture
def source(write_images):
    """A folder of N images in two classes; image i holds the value i everywhere."""
    from simclr_tf.data import folder_source
    from tests.data.numbered import N

    names = [f"{'ab'[i % 2]}/{i:02d}.png" for i in range(N)]
    return folder_source.open_folder(str(write_images(names)), "data_dir")
