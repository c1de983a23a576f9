"""Signatures: encoded files become what evaluation makes of them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from simclr_tf.export.module import plain_copy, trace_passes
from simclr_tf.export.serving import build_functions, build_signatures, images_from_bytes

from simclr_tf.augment.policy import eval_view

PIXELS = np.random.default_rng(3).integers(0, 256, (48, 60, 3), np.uint8)


def _encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("size", [16, 40])
def test_lossless_files_become_their_evaluation_views(size):
    picture = Image.fromarray(PIXELS)
    gray = np.repeat(np.array(picture.convert("L"))[..., None], 3, axis=-1)
    files = {"PNG": PIXELS, "BMP": PIXELS}
    encoded = [_encoded(picture, kind) for kind in files]
    encoded += [
        _encoded(picture.convert("L"), "PNG"),
        _encoded(picture.crop((0, 0, 16, 16)), "PNG"),
    ]
    expected = [*files.values(), gray, PIXELS[:16, :16]]
    views = images_from_bytes(tf.constant(encoded), size)
    assert views.shape == (4, size, size, 3) and views.dtype == tf.float32
    for view, pixels in zip(views, expected, strict=True):
        np.testing.assert_allclose(view, eval_view(pixels, size), atol=1e-6)


def test_jpeg_and_gif_are_decoded():
    picture = Image.fromarray(np.full((30, 30, 3), 200, np.uint8))
    views = images_from_bytes(tf.constant([_encoded(picture, k) for k in ("JPEG", "GIF")]), 16)
    np.testing.assert_allclose(views, np.full((2, 16, 16, 3), 200 / 255), atol=0.01)


@pytest.fixture(scope="module")
def signatures(live):
    passes = trace_passes(plain_copy(live))
    return {**build_signatures(passes), **build_functions(passes, 40)}


def test_from_bytes_equals_the_live_model_on_evaluation_views(signatures, live):
    encoded = [_encoded(Image.fromarray(PIXELS), "PNG")] * 2
    outputs = signatures["from_bytes"](tf.constant(encoded))
    expected = live(tf.stack([eval_view(PIXELS, 40)] * 2))
    assert set(outputs) == {"embedding", "logits"}
    np.testing.assert_allclose(outputs["embedding"], expected["final_avg_pool"], atol=1e-5)
    np.testing.assert_allclose(outputs["logits"], expected["logits_sup"], atol=1e-5)


def test_what_is_no_image_is_refused(signatures):
    with pytest.raises(tf.errors.InvalidArgumentError):
        signatures["from_bytes"](tf.constant([b"not an image"]))


def test_training_default_moves_the_statistics(live, images):
    copy = plain_copy(live)
    passes = trace_passes(copy)
    signatures = {**build_signatures(passes), **build_functions(passes, 16)}
    before = copy.encoder.stem.bn.moving_mean.numpy()
    signatures["serving_default"](images)
    np.testing.assert_array_equal(before, copy.encoder.stem.bn.moving_mean)
    signatures["training_default"](images)
    assert (before != copy.encoder.stem.bn.moving_mean.numpy()).any()


def test_without_a_linear_head_there_is_only_the_embedding(make_live, images):
    headless = plain_copy(make_live(num_classes=None, passes=1))
    outputs = build_signatures(trace_passes(headless))["serving_default"](images)
    assert set(outputs) == {"embedding"}
