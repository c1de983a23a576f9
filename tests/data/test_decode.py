"""Image formats, and finding the file that cannot be decoded."""

from __future__ import annotations

import functools
import io
import pathlib
import re
import shutil
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from simclr_tf.data import (
    decode,
    embedded,
    excluding,
    folder_source,
    labels,
    limits,
    retry,
    tfds_source,
)
from simclr_tf.data.views import function_views
from simclr_tf.errors import InputError
from tests.data import streams

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
OVER_WHITE = ((COLORS.astype(int) * 128 + 255 * 127 + 127) // 255).astype(np.uint8)
LOSSLESS = {
    "png": (_encode(_pillow(COLORS), "PNG"), COLORS),
    "png_gray": (_encode(_pillow(GRAY), "PNG"), GRAY_AS_RGB),
    "png_gray_alpha": (_encode(_pillow(GRAY, "LA"), "PNG"), GRAY_AS_RGB),
    "png_rgba": (_encode(_rgba(), "PNG"), OVER_WHITE),
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


def _pipeline_of(images):
    dataset = tf.data.Dataset.from_tensor_slices([encoded for encoded, _ in images.values()])
    dataset = dataset.map(decode.decode_image)
    assert dataset.element_spec.shape.as_list() == [None, None, 3]
    return zip(images, dataset.as_numpy_iterator(), strict=True)


def test_lossless_in_a_pipeline():
    for name, decoded in _pipeline_of(LOSSLESS):
        assert decoded.dtype == np.uint8, name
        np.testing.assert_array_equal(decoded, LOSSLESS[name][1], err_msg=name)


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless(name):
    encoded, expected = LOSSLESS[name]
    decoded = decode.decode_image(tf.constant(encoded)).numpy()
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize("name", [name for name in LOSSLESS if name.startswith("png")])
def test_what_tfds_stores_needs_no_look_at_the_format(name):
    encoded, expected = LOSSLESS[name]
    expected = COLORS if name == "png_rgba" else expected  # as TFDS does, without alpha
    np.testing.assert_array_equal(decode.decode_stored(tf.constant(encoded)), expected)


def test_lossy_in_a_pipeline():
    for name, decoded in _pipeline_of(LOSSY):
        assert np.abs(decoded.astype(int) - LOSSY[name][1]).mean() < 6, name


def _patched(encoded, *changes):
    """With other bytes at some places."""
    content = bytearray(encoded)
    for place, value in changes:
        content[place : place + len(value)] = value
    return bytes(content)


def _declares(name, height, width):
    """An image of the table above whose header declares other lengths."""
    encoded = {**LOSSLESS, **LOSSY}[name][0]
    big = struct.pack(">HH", height, width) if name.startswith("jpeg") else b""
    if name.startswith("png"):
        return _patched(encoded, (16, struct.pack(">II", width, height)))
    if name.startswith("bmp"):
        return _patched(encoded, (18, struct.pack("<ii", width, height)))
    if name.startswith("gif"):
        frame = encoded.index(b",\0\0\0\0\n\0\6\0")  # at (0, 0), 10 wide, 6 high
        return _patched(encoded, (frame + 5, struct.pack("<HH", width, height)))
    frame = re.search(rb"\xff[\xc0\xc2]..\x08\x00\x06\x00\x0a", encoded, re.DOTALL).start()
    return _patched(encoded, (frame + 5, big))


BOMBS = {
    "png": (13_000, 13_000),
    "png_1_bit": (2**31 - 1, 2**31 - 1),  # their product overflows 32 bits
    "png_palette": (2**32 - 1, 1),
    "jpeg": (65_500, 65_500),
    "jpeg_progressive": (65_500, 2_100),
    "gif": (65_535, 65_535),
}


@pytest.mark.parametrize("how", ["image", "stored", "boxes"])
def test_declared_pixels_are_looked_at_first(how):
    def stored(content):
        return decode.decode_stored(limits.replace_large_pngs(content[None])[0])

    def boxes(content):
        whole = lambda lengths: (tf.zeros((1, 2), tf.int32), lengths[None])  # noqa: E731
        return decode.decode_boxes(content, whole)[0]

    one = {"image": decode.decode_image, "stored": stored, "boxes": boxes}[how]
    one = tf.function(one, input_signature=[tf.TensorSpec((), tf.string)])
    refusal = "declares more than|Unknown image"
    for name in BOMBS:
        if how == "stored" and name == "gif":  # TFDS stores none
            continue
        small = _declares(name, 6, 10)
        assert small == {**LOSSLESS, **LOSSY}[name][0], name  # the right bytes were changed
        assert one(tf.constant(small)).shape == (6, 10, 3), name
        with pytest.raises(tf.errors.InvalidArgumentError, match=refusal):
            pytest.fail(f"{name}: {one(tf.constant(_declares(name, *BOMBS[name])))}")


def test_a_bmp_must_hold_the_pixels_it_declares():
    with pytest.raises(tf.errors.InvalidArgumentError, match="differ by"):
        decode.decode_image(tf.constant(_declares("bmp_24_bit", 9_000, 9_000)))


def test_the_file_that_declares_too_much_is_named(write_images):
    root = write_images([f"{i}.png" for i in range(3)])
    (root / "bomb.png").write_bytes(_declares("png", 13_000, 13_000))
    source = folder_source.open_folder(str(root), "data_dir")
    images = source.examples("train").map(lambda e: decode.decode_image(e["image"]))
    with pytest.raises(InputError) as caught, decode.naming_bad_image(source, "train"):
        list(images)
    assert caught.value.name == str(root / "bomb.png")
    assert caught.value.received == "it declares more than 134,217,728 pixels"
    assert [name for name, _ in decode.bad_examples(source, "train")] == ["bomb.png"]


def test_a_file_that_vanished_is_named(write_images):
    root = write_images([f"{i}.png" for i in range(3)])
    source = folder_source.open_folder(str(root), "data_dir")
    (root / "1.png").unlink()
    with (
        pytest.raises(InputError, match="--skip_bad_images") as caught,
        decode.naming_bad_image(source, "train"),
    ):
        list(source.examples("train"))
    assert caught.value.name == str(root / "1.png")


def _folder_with_truncated(write_images):
    root = write_images([f"{i}.png" for i in range(6)])
    jpeg = _encode(_pillow(np.tile(COLORS, (8, 8, 1))), "JPEG")
    (root / "2.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (root / "4b.png").write_bytes(b"")
    return folder_source.open_folder(str(root), "data_dir")


def test_bad_examples_can_not_be_decoded_or_not_be_read(write_images):
    source = _folder_with_truncated(write_images)
    (source.root / "5.png").unlink()
    found = dict(decode.bad_examples(source, "train"))
    assert set(found) == {"2.jpg", "4b.png", "5.png"}
    assert found["2.jpg"].startswith("jpeg::Uncompress") and found["4b.png"] == "it is empty"
    assert found["5.png"].endswith("No such file or directory")
    sound = excluding.ExcludingSource(source)
    assert not list(decode.bad_examples(sound, "train"))


def test_a_storage_that_fails_for_a_while_makes_no_image_bad(write_images, monkeypatch):
    source = folder_source.open_folder(str(write_images(["0.png"])), "data_dir")
    failures = [tf.errors.UnavailableError(None, None, "away")] * 2
    read = type(source).read

    def unreliable(self, record):
        if failures:
            raise failures.pop()
        return read(self, record)

    monkeypatch.setattr(type(source), "read", unreliable)
    monkeypatch.setattr(
        decode, "Backoff", functools.partial(retry.Backoff, sleep=lambda seconds: None)
    )
    assert not list(decode.bad_examples(source, "train"))
    failures += [tf.errors.UnavailableError(None, None, "away")] * 9
    with pytest.raises(tf.errors.UnavailableError):
        list(decode.bad_examples(source, "train"))


def test_failure_names_the_file(write_images):
    source = _folder_with_truncated(write_images)
    images = source.examples("train").map(lambda e: decode.decode_image(e["image"]))
    with pytest.raises(InputError) as caught, decode.naming_bad_image(source, "train"):
        list(images)
    assert caught.value.name in {str(source.root / name) for name in ("2.jpg", "4b.png")}
    assert "\n" not in str(caught.value)
    # The sentence itself: what is wrong.
    assert re.match("jpeg::Uncompress|it is empty", caught.value.received)


def test_a_function_of_the_views_is_named_without_a_search(monkeypatch):
    """Looking at all images would take long, and find nothing."""
    monkeypatch.setattr(decode, "bad_examples", None)
    text = "{{node x}} The function my.module:stain of the views must return finite values. : NaN"
    with pytest.raises(InputError) as caught, decode.naming_bad_image(None, "train"):
        raise tf.errors.InvalidArgumentError(None, None, text)
    assert caught.value.name == "my.module:stain"
    assert caught.value.constraint == "must return finite values"


def test_other_failures_pass(write_images):
    source = folder_source.open_folder(str(write_images(["0.png"])), "data_dir")
    with (
        pytest.raises(tf.errors.InvalidArgumentError),
        decode.naming_bad_image(source, "train"),
    ):
        tf.reshape(tf.zeros(3), (2,))


@pytest.fixture
def damage(embedded_dir, tmp_path):
    """A copy of `digits` whose training file is changed by a function of its bytes."""

    def copy(change):
        embedded.prepare("digits", embedded_dir)
        shutil.copytree(embedded_dir / "digits", tmp_path / "digits")
        (path,) = (tmp_path / "digits").rglob("digits-train.tfrecord*")
        path.write_bytes(change(path.read_bytes()))
        return tfds_source.open_tfds("digits", str(tmp_path)), str(path)

    return copy


def _starts(content):
    """Where each record starts: length (8 bytes), its checksum (4), data, checksum (4)."""
    starts = [0]
    while starts[-1] < len(content):
        (length,) = struct.unpack("<Q", content[starts[-1] : starts[-1] + 8])
        starts.append(starts[-1] + 16 + length)
    return starts


def _record(data, folder):
    """One record as a file holds it, with its checksums."""
    path = str(folder / "one.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(data)
    return pathlib.Path(path).read_bytes()


def _flip(content, record, offset):
    at = _starts(content)[record] + offset
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


DAMAGES = {
    "a bit of the data": (lambda content: _flip(content, 17, 40), 17, "corrupted record"),
    "a bit of the length": (lambda content: _flip(content, 3, 0), 3, "corrupted record"),
    "the end": (lambda content: content[: _starts(content)[900] + 30], 900, "truncated record"),
    "whole records": (lambda content: content[: _starts(content)[900]], 900,
                      "900 records instead of 1442"),
    "everything": (lambda content: b"", 0, "0 records instead of 1442"),
    "another format": (lambda content: b"label,image" * 100, 0, "corrupted record"),
}  # fmt: skip


def _train(source):
    batches = streams.training(
        source,
        "train",
        batch_size=100,
        views=function_views([lambda image, seed: image[:1]]),
        seed=0,
    )
    return list(batches.take(15))


def _evaluate(source):
    return list(
        streams.evaluation(
            source, "train", batch_size=100, image_size=8,
            view_fn=lambda image, size: tf.cast(image, tf.float32),
        )
    )  # fmt: skip


@pytest.mark.parametrize("use", [_train, _evaluate])
@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_file_is_named(damage, name, use):
    change, record, reason = DAMAGES[name]
    source, path = damage(change)
    with pytest.raises(InputError) as caught, decode.naming_bad_image(source, "train"):
        use(source)
    assert caught.value.name == path and f"record {record} " in caught.value.constraint
    assert reason in caught.value.received
    assert "\n" not in str(caught.value) and "{{" not in str(caught.value)


def test_damaged_file_behind_a_wrapper_is_named(damage):
    source, path = damage(DAMAGES["a bit of the data"][0])
    # Reads the labels of the test split, which is sound.
    chosen = labels.limit_labels(source, "test", "1_per_class", 0, "pretrain").training
    with pytest.raises(InputError) as caught, decode.naming_bad_image(chosen, "train"):
        _train(chosen)
    assert caught.value.name == path


def test_record_of_another_kind_is_named(damage, tmp_path):
    """A sound record, but without an image."""

    def replace(content):
        starts = _starts(content)
        example = tf.train.Example(
            features=tf.train.Features(
                feature={"label": tf.train.Feature(int64_list=tf.train.Int64List(value=[1]))}
            )
        )
        data = _record(example.SerializeToString(), tmp_path)
        return content[: starts[5]] + data + content[starts[6] :]

    source, path = damage(replace)
    with pytest.raises(InputError) as caught, decode.naming_bad_image(source, "train"):
        _evaluate(source)
    assert caught.value.name == path and "record 5 " in caught.value.constraint


def test_failures_that_are_not_of_the_data_pass(damage):
    source, _ = damage(lambda content: content)
    for kind in (tf.errors.DataLossError, tf.errors.FailedPreconditionError):
        error = kind(None, None, "something else")
        with pytest.raises(kind) as caught, decode.naming_bad_image(source, "train"):
            raise error
        assert caught.value is error


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"progressive": True}],
                         ids=["4:2:0", "4:4:4", "progressive"])  # fmt: skip
@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_boxes_decode_to_the_pixels_of_the_whole(file_format, options):
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).resize((121, 90))
    encoded = _encode(noise, file_format, **(options if file_format == "JPEG" else {}))
    whole = decode.decode_image(encoded).numpy()
    for _ in range(20):
        sides = rng.integers(1, (40, 60), (2, 2))
        corners = np.stack([rng.integers(0, (91, 122) - side) for side in sides])
        seen = []

        def choose(lengths, corners=corners, sides=sides, seen=seen):
            seen.append(lengths.numpy().tolist())
            return tf.constant(corners, tf.int32), tf.constant(sides, tf.int32)

        image, at, found_sides = decode.decode_boxes(encoded, choose)
        assert seen == [[90, 121]]
        np.testing.assert_array_equal(found_sides, sides)
        for (y, x), (h, w), (in_y, in_x) in zip(corners, sides, at.numpy(), strict=True):
            np.testing.assert_array_equal(
                image[in_y : in_y + h, in_x : in_x + w], whole[y : y + h, x : x + w]
            )
