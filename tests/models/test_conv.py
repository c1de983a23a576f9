"""Fixed padding, selective kernels and squeeze-excitation against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.config import BatchNormConfig
from simclr_tf.models.conv import LayerFactory, SelectiveKernelConv, SqueezeExcite

LAYERS = LayerFactory(BatchNormConfig())


def _images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("kernel_size", [1, 3, 7])
@pytest.mark.parametrize("size", [8, 9])
def test_strided_convolution_samples_the_unstrided_one(kernel_size, size):
    x = _images(2, size, size, 3)
    strided = LAYERS.conv(4, kernel_size, 2, name="strided")
    plain = LAYERS.conv(4, kernel_size, 1, name="plain")
    strided.build(x.shape)
    plain.build(x.shape)
    plain.set_weights(strided.get_weights())
    np.testing.assert_allclose(strided(x), plain(x)[:, ::2, ::2], atol=1e-5)


def test_kernel_initialiser_has_fan_in_variance():
    layer = LAYERS.conv(64, 3, name="conv")
    layer.build((1, 8, 8, 64))
    kernel = layer.kernel.numpy()
    assert kernel.std() == pytest.approx(np.sqrt(1 / (9 * 64)), rel=0.02)
    assert np.abs(kernel).max() < 2.3 * np.sqrt(1 / (9 * 64))  # truncated


@pytest.mark.parametrize("strides", [1, 2])
def test_selective_kernel_mixes_two_streams(strides):
    layer = SelectiveKernelConv(4, strides, 0.0625, LAYERS, name="sk")
    x = _images(3, 6, 6, 5)
    outputs = layer(x).numpy()
    both = np.maximum(layer.streams(x).numpy() / np.sqrt(1 + 1e-5), 0)  # fresh batch norm
    first, second = both[..., :4], both[..., 4:]
    for n in range(3):
        pooled = (first[n] + second[n]).mean((0, 1))
        hidden = pooled @ layer.reduce.kernel.numpy()[0, 0] / np.sqrt(1 + 1e-5)
        logits = np.maximum(hidden, 0) @ layer.expand.kernel.numpy()[0, 0]
        share = 1 / (1 + np.exp(logits[4:] - logits[:4]))  # softmax over two
        expected = share * first[n] + (1 - share) * second[n]
        np.testing.assert_allclose(outputs[n], expected, atol=1e-5)
    assert layer.reduce.kernel.shape[-1] == 32


def test_squeeze_excite_gates_channels():
    layer = SqueezeExcite(8, 4, 0.25, LAYERS, name="se")
    x = _images(2, 3, 3, 8)
    outputs = layer(x).numpy()
    for n in range(2):
        hidden = x[n].mean((0, 1)) @ layer.reduce.kernel.numpy()[0, 0]
        logits = np.maximum(hidden, 0) @ layer.expand.kernel.numpy()[0, 0]
        np.testing.assert_allclose(outputs[n], x[n] / (1 + np.exp(-logits)), atol=1e-5)
    assert layer.reduce.bias.shape == (1,)
    assert layer.expand.bias.shape == (8,)


def test_bfloat16_computes_in_bfloat16_with_float32_variables():
    layer = LayerFactory(BatchNormConfig(), "mixed_bfloat16").conv(4, 3, 2, name="conv")
    assert layer(tf.ones([1, 4, 4, 3])).dtype == tf.bfloat16
    assert {v.dtype for v in layer.variables} == {tf.float32}


@pytest.mark.parametrize(("channels", "filters"), [(4, 8), (8, 16), (16, 32), (64, 128)])
@pytest.mark.parametrize(("size", "images"), [(8, 8), (7, 3)])
def test_pixels_convolved_at_a_stride_have_the_right_gradients(channels, filters, size, images):
    """Against NumPy; oneDNN's own gradient of such a kernel was off by its size with AVX2."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(images, size, size, channels)).astype(np.float32)
    layer = LAYERS.conv(filters, 1, 2, name="strided")
    inputs = tf.constant(x)

    @tf.function
    def gradients(inputs, towards):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs)
        return outputs, tape.gradient(outputs, [layer.kernel, inputs], towards)

    half = -(-size // 2)
    towards = rng.normal(size=(images, half, half, filters)).astype(np.float32)
    layer(inputs)
    outputs, (of_kernel, of_inputs) = gradients(inputs, tf.constant(towards))
    kernel = layer.kernel.numpy()[0, 0]
    np.testing.assert_allclose(outputs, x[:, ::2, ::2] @ kernel, rtol=1e-4, atol=1e-4)
    expected = np.einsum("nhwc,nhwf->cf", x[:, ::2, ::2], towards, dtype=np.float64)
    np.testing.assert_allclose(of_kernel[0, 0], expected, rtol=1e-4, atol=1e-3)
    expected = np.zeros_like(x)
    expected[:, ::2, ::2] = towards @ kernel.T
    np.testing.assert_allclose(of_inputs, expected, rtol=1e-4, atol=1e-4)
