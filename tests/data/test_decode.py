"""Image formats, and finding the file that cannot be decoded."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from simclr_tf.data import decode, folder_source
from simclr_tf.errors import InputError

COLORS = np.zeros((6, 10, 3), np.uint8)
COLORS[:, :5] = (200, 40, 90)
COLORS[:, 5:] = (20, 160, 250)
GRAY = COLORS[..., 0]


def _encode(image: Image.Image, file_format: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def _pillow(array, mode=None) -> Image.Image:
    image = Image.fromarray(array)
    return image.convert(mode) if mode else image


def _rgba() -> Image.Image:
    return Image.fromarray(np.dstack([COLORS, np.full((6, 10), 128, np.uint8)]))


GRAY_AS_RGB = np.repeat(GRAY[..., None], 3, axis=-1)
LOSSLESS = {
    "png": (_encode(_pillow(COLORS), "PNG"), COLORS),
    "png_gray": (_encode(_pillow(GRAY), "PNG"), GRAY_AS_RGB),
    "png_gray_alpha": (_encode(_pillow(GRAY, "LA"), "PNG"), GRAY_AS_RGB),
    "png_rgba": (_encode(_rgba(), "PNG"), COLORS),
    "png_palette": (_encode(_pillow(COLORS).quantize(4), "PNG"), COLORS),
    "png_16_bit": (_encode(_pillow(GRAY.astype(np.uint16) * 257), "PNG"), GRAY_AS_RGB),
    "png_1_bit": (
        _encode(_pillow(GRAY > 100, "1"), "PNG"),
        np.where(GRAY_AS_RGB > 100, 255, 0),
    ),
    "gif": (_encode(_pillow(COLORS).quantize(4), "GIF"), COLORS),
    "gif_animated": (
        _encode(
            _pillow(COLORS).quantize(4), "GIF", save_all=True,
            append_images=[_pillow(255 - COLORS).quantize(4)],
        ),
        COLORS,
    ),
    "bmp_24_bit": (_encode(_pillow(COLORS), "BMP"), COLORS),
    "bmp_32_bit": (_encode(_rgba(), "BMP"), COLORS),
    "bmp_gray": (_encode(_pillow(GRAY), "BMP"), GRAY_AS_RGB),
}  # fmt: skip
LOSSY = {
    "jpeg": (_encode(_pillow(COLORS), "JPEG", quality=98, subsampling=0), COLORS),
    "jpeg_gray": (_encode(_pillow(GRAY), "JPEG", quality=98), GRAY_AS_RGB),
    "jpeg_cmyk": (_encode(_pillow(COLORS, "CMYK"), "JPEG", quality=98, subsampling=0), COLORS),
    "jpeg_progressive": (
        _encode(_pillow(COLORS), "JPEG", quality=98, subsampling=0, progressive=True), COLORS),
}  # fmt: skip


def _decode(encoded, in_pipeline):
    if not in_pipeline:
        return decode.decode_image(tf.constant(encoded)).numpy()
    dataset = tf.data.Dataset.from_tensors(encoded).map(decode.decode_image)
    assert dataset.element_spec.shape.as_list() == [None, None, 3]
    return next(dataset.as_numpy_iterator())


@pytest.mark.parametrize("in_pipeline", [False, True])
@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless(name, in_pipeline):
    encoded, expected = LOSSLESS[name]
    decoded = _decode(encoded, in_pipeline)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize("name", LOSSY)
def test_lossy(name):
    encoded, expected = LOSSY[name]
    decoded = _decode(encoded, True).astype(int)
    assert np.abs(decoded - expected).mean() < 6


def _folder_with_truncated(write_images):
    root = write_images([f"{i}.png" for i in range(6)])
    jpeg = _encode(_pillow(np.tile(COLORS, (8, 8, 1))), "JPEG")
    (root / "2.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (root / "4b.png").write_bytes(b"")
    return folder_source.open_folder(str(root), "data_dir")


def test_find_bad_examples(write_images):
    source = _folder_with_truncated(write_images)
    examples = source.examples("train")
    bad = ["2.jpg", "4b.png"]
    assert sorted(decode.find_bad_examples(examples)) == bad
    (first,) = decode.find_bad_examples(examples, stop_at_first=True)
    assert first in bad
    sound = examples.filter(lambda e: (e["id"] != bad[0]) & (e["id"] != bad[1]))
    assert decode.find_bad_examples(sound) == []


def test_failure_names_the_file(write_images):
    source = _folder_with_truncated(write_images)
    images = source.examples("train").map(lambda e: decode.decode_image(e["image"]))
    with pytest.raises(InputError) as caught, decode.naming_bad_image(source, "train"):
        list(images)
    assert caught.value.name in {str(source.root / name) for name in ("2.jpg", "4b.png")}
    assert "\n" not in str(caught.value)
    assert "{{function_node" not in str(caught.value)
    assert re.match("[A-Z]", caught.value.received)  # the sentence itself: what is wrong


def test_other_failures_pass(write_images):
    source = folder_source.open_folder(str(write_images(["0.png"])), "data_dir")
    with (
        pytest.raises(tf.errors.InvalidArgumentError),
        decode.naming_bad_image(source, "train"),
    ):
        tf.reshape(tf.zeros(3), (2,))
