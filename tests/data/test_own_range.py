"""The range that a set of 16-bit images uses."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from simclr_tf.data import decode, folder_source, own_range
from simclr_tf.data.reading import Reading
from tests.data import files


def _write(tmp_path, top, kind="png", count=3):
    values = np.linspace(0, top, files.HEIGHT * files.WIDTH).astype(np.uint16)
    values = values.reshape(files.HEIGHT, files.WIDTH)
    for i in range(count):
        if kind == "rgb":
            (tmp_path / f"{i}.png").write_bytes(files.deep_png(np.stack([values] * 3, -1)))
        elif kind == "alpha":
            full = np.full_like(values, 65_535)
            (tmp_path / f"{i}.png").write_bytes(files.deep_png(np.stack([values, full], -1)))
        else:
            Image.fromarray(values).save(tmp_path / f"{i}.{kind}")
    return values


@pytest.mark.parametrize(
    ("top", "expected"), [(4095, 4095), (4096, 8191), (1000, 1023), (100, 255), (16_383, 16_383),
                          (65_535, None), (40_000, None)],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["png", "tiff", "rgb", "alpha"])
def test_bits_that_are_used(tmp_path, kind, top, expected):
    _write(tmp_path, top, kind)
    found = own_range.own_range(sorted(str(path) for path in tmp_path.iterdir()))
    assert found == (None if expected is None else (0, expected))


def test_images_of_8_bits_have_none(tmp_path, write_images):
    root = write_images(["0.png", "1.tif", "2.jpg"])
    (root / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert own_range.own_range(str(path) for path in sorted(root.iterdir())) is None
    assert own_range.own_range([str(tmp_path / "absent.png")]) is None


def test_a_folder_of_12_bits_is_not_black(tmp_path, capsys):
    values = _write(tmp_path, 4095)
    source = folder_source.open_folder(str(tmp_path), "data_dir")
    assert source.reading.value_range == (0, 4095)
    assert "value_range=0:4095" in capsys.readouterr().out
    expected = np.repeat(np.rint(values / 4095 * 255)[..., None], 3, -1)
    for example in source.examples("train"):
        np.testing.assert_array_equal(
            decode.decode_image(example["image"], source.reading), expected
        )
    chosen = Reading((0.0, 65_535.0))
    source = folder_source.open_folder(str(tmp_path), "data_dir", chosen)
    assert source.reading.record() == chosen.record()
