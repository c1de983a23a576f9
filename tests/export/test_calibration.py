"""Images that scale an 8-bit network."""

from __future__ import annotations

import json
import types

import numpy as np
import pytest

from simclr_tf.data.array_source import from_arrays
from simclr_tf.errors import InputError
from simclr_tf.export import bundle, calibration

PIXELS = np.random.default_rng(0).integers(0, 256, (300, 16, 16, 3), np.uint8)


def _known(images: np.ndarray) -> set[bytes]:
    return {np.round(255 * image).astype(np.uint8).tobytes() for image in images}


@pytest.fixture
def loaded(live):
    return types.SimpleNamespace(model=live, run_dir=None, image_size=16)


def test_images_lie_all_over_the_data(loaded):
    said = []
    source = from_arrays({"train": PIXELS, "test": PIXELS[:5]})
    found = calibration.calibration_images(loaded, source, said.append)
    assert found.shape == (200, 16, 16, 3) and found.dtype == np.float32
    assert len(_known(found) & _known(PIXELS / 255)) == 200
    few = calibration.calibration_images(loaded, from_arrays({"test": PIXELS[:7]}), said.append)
    assert _known(few) == _known(PIXELS[:7] / 255)
    assert "200 images" in said[0] and "split test" in said[1]


def test_they_are_spread_over_larger_sets(loaded):
    pixels = np.repeat(np.arange(250, dtype=np.uint8), 4)[:, None, None, None]
    source = from_arrays(np.broadcast_to(pixels, (1000, 16, 16, 3)).copy())
    found = calibration.calibration_images(loaded, source, lambda text: None)
    assert len(found) == 200 and found.max() > 240 / 255


@pytest.mark.parametrize("dataset", [None, "arrays:1234"])
def test_without_images_it_says_how_to_name_them(loaded, tmp_path, dataset):
    if dataset is not None:
        (tmp_path / "config.json").write_text(json.dumps({"dataset": dataset}))
        loaded.run_dir = str(tmp_path)
    with pytest.raises(InputError, match="calibration must name images"):
        calibration.calibration_images(loaded)


def test_other_channels_are_refused(loaded):
    source = from_arrays(PIXELS[..., :1], channels=1)
    with pytest.raises(InputError, match="calibration must be images of 3 channels"):
        calibration.calibration_images(loaded, source)


def test_images_without_their_format_are_refused(tmp_path):
    with pytest.raises(InputError, match="calibration needs format=tflite_int8"):
        bundle.export_checkpoint("x", str(tmp_path / "y"), ["tflite"], calibration="patterns")
