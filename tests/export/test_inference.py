"""What converters get, and what compares their files with the network."""

from __future__ import annotations

import types

import numpy as np
import pytest

from simclr_tf.errors import InputError
from simclr_tf.export import inference


def test_the_function_is_the_network(live, images):
    module = inference.inference_module(live)
    outputs, expected = module.infer(images), live(images)
    np.testing.assert_allclose(outputs["embedding"], expected["final_avg_pool"], atol=1e-5)
    np.testing.assert_allclose(outputs["logits"], expected["logits_sup"], atol=1e-5)
    assert module.infer.input_signature[0].shape.as_list() == [None, None, None, 3]
    assert inference.inference_module(live, 40).infer.input_signature[0].shape[1] == 40


def test_the_deviation_is_that_of_the_worst_output(live, images):
    outputs = live(images)
    expected = {
        "embedding": outputs["final_avg_pool"].numpy(), "logits": outputs["logits_sup"].numpy(),
    }  # fmt: skip
    assert inference.deviation(live, images, lambda _: expected) == 0
    moved = {**expected, "logits": expected["logits"] + 0.5 * np.abs(expected["logits"]).max()}
    assert inference.deviation(live, images, lambda _: moved) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("found", [1.0, float("nan")])
def test_a_file_that_computes_something_else_is_a_fault(found):
    inference.check_deviation(1e-6, "x.onnx")
    with pytest.raises(RuntimeError, match=r"x\.onnx deviates"):
        inference.check_deviation(found, "x.onnx")


def test_networks_beyond_two_gib_are_refused():
    model = types.SimpleNamespace(count_params=lambda: 878_000_000)  # ResNet-152 3x SK
    with pytest.raises(InputError, match=r"format must be another one than onnx.*2 GiB"):
        inference.check_file_size(model, "onnx")


def test_sample_images_have_the_networks_shape(live):
    shown = inference.sample_images(live, 2, 24)
    assert shown.shape == (2, 24, 24, 3) and 0 <= shown.min() < shown.max() <= 1
