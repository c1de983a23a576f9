import base64
import io

import numpy as np
import pytest
from PIL import Image

import simclr_tf
from simclr_tf.config import DataConfig
from simclr_tf.data.sources import open_source
from simclr_tf.exploration import thumbnails

COLORS = {"red.png": (255, 0, 0), "a/green.jpg": (0, 255, 0), "blue.gif": (0, 0, 255)}


@pytest.fixture
def photos(tmp_path):
    for name, color in COLORS.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (300, 200), color).save(path)
    (tmp_path / "photos" / "bad.jpg").write_bytes(b"\xff\xd8\xff no image")
    (tmp_path / "outside.png").write_bytes((tmp_path / "photos" / "red.png").read_bytes())
    return tmp_path / "photos"


def colors(pixels):
    return [tuple((one.mean(axis=(0, 1)) > 127).astype(int) * 255) for one in pixels]


def test_pictures_of_a_folder(photos):
    ids = [*COLORS, "bad.jpg", "gone.png", "../outside.png", "x\0y"]
    found = thumbnails.load_thumbnails(
        {"dataset": f"folder:{photos}"}, ids, np.arange(len(ids)), 24
    )
    assert found.rows.tolist() == [0, 1, 2] and found.pixels.shape == (3, 24, 24, 3)
    assert found.pixels.dtype == np.uint8 and colors(found.pixels) == list(COLORS.values())


def test_only_those_that_are_wanted(photos):
    ids = list(COLORS)
    metadata = {"dataset": f"folder:{photos}"}
    found = thumbnails.load_thumbnails(metadata, ids, np.array([2]), 16)
    assert found.rows.tolist() == [2] and colors(found.pixels) == [(0, 0, 255)]
    none = thumbnails.load_thumbnails(metadata, ids, np.empty(0, np.int64), 16)
    assert none.pixels.shape == (0, 16, 16, 3)


@pytest.mark.parametrize("metadata", [{}, {"dataset": "folder:/nowhere"}, {"dataset": 5},
                                      {"dataset": "digits", "splits": ["nothing", 7]},
                                      {"dataset": "module:code"}])  # fmt: skip
def test_images_that_are_nowhere(metadata):
    found = thumbnails.load_thumbnails(metadata, ["a"], np.arange(1), 16)
    assert len(found.rows) == 0


def test_pictures_of_a_tfds_data_set():
    source = open_source(DataConfig(dataset="digits"))
    examples = list(source.examples("test[:9]").as_numpy_iterator())
    ids = [example["id"].decode() for example in examples][::-1]
    metadata = {"dataset": "digits", "data_dir": None, "splits": ["train", "test"]}
    found = thumbnails.load_thumbnails(metadata, ids, np.array([0, 4, 8]), 8)
    assert found.rows.tolist() == [0, 4, 8]
    shown = simclr_tf.load_images("digits", "test", image_size=8, say=str)
    for pixels, row in zip(found.pixels, found.rows, strict=True):
        expected = shown.images[shown.ids.index(ids[row])]
        np.testing.assert_allclose(pixels / 255, expected, atol=0.03)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_pictures_of_arrays(channels):
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, channels), np.uint8)
    source = simclr_tf.from_arrays(images, channels=channels)
    ids = [f"train/{row}" for row in range(20)]
    found = thumbnails.load_thumbnails((source, "train"), ids, np.arange(20), 8)
    expected = images[..., :3] if channels > 1 else images.repeat(3, axis=-1)
    np.testing.assert_allclose(found.pixels, expected, atol=1)


def test_sheets_hold_the_pictures_in_order():
    pixels = np.zeros((70, 16, 16, 3), np.uint8)
    pixels[:, :, :, 0] = np.arange(70)[:, None, None] * 3
    sheets = thumbnails.make_sheets(pixels)
    assert (sheets.side, sheets.columns, sheets.rows) == (16, 9, [8])
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheets.uris[0]))))
    assert sheet.shape == (8 * 16, 9 * 16, 3)
    for index in (0, 8, 9, 41, 69):
        row, column = divmod(index, 9)
        piece = sheet[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16, 0]
        assert piece.mean() == pytest.approx(3 * index, abs=4)


def test_many_pictures_take_several_sheets(monkeypatch):
    monkeypatch.setattr(thumbnails, "_SHEET_SIDE", 32)
    sheets = thumbnails.make_sheets(np.zeros((9, 16, 16, 3), np.uint8))
    assert (sheets.columns, sheets.rows, len(sheets.uris)) == (2, [2, 2, 1], 3)
    assert thumbnails.make_sheets(np.empty((0, 16, 16, 3), np.uint8)).uris == []


@pytest.mark.parametrize("splits", [None, 5, "test", {"a": 1}])
def test_splits_that_are_no_list(splits):
    metadata = {"dataset": "digits", "splits": splits}
    assert len(thumbnails.load_thumbnails(metadata, ["a"], np.arange(1), 8).rows) == 0
