"""Gradients of kernels by products against sums written out in NumPy, and where they are taken."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.config import BatchNormConfig
from simclr_tf.models import kernel_gradient
from simclr_tf.models.conv import LayerFactory
from simclr_tf.models.remat import recomputed

LAYERS = LayerFactory(BatchNormConfig())


def _numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _expected(x: np.ndarray, dy: np.ndarray, size: int) -> np.ndarray:
    """dL/dK[i, j] = sum over images and positions of x[h + i - half, w + j - half] dy[h, w]."""
    half, (_, height, width, channels) = size // 2, x.shape
    padded = np.pad(x, [(0, 0), (half, half), (half, half), (0, 0)]).astype(np.float64)
    gradient = np.zeros((size, size, channels, dy.shape[-1]))
    for i in range(size):
        for j in range(size):
            shifted = padded[:, i : i + height, j : j + width]
            gradient[i, j] = np.einsum("nhwc,nhwf->cf", shifted, dy.astype(np.float64))
    return gradient


def _operations(function: tf.types.experimental.ConcreteFunction) -> set[str]:
    return {operation.type for operation in function.graph.get_operations()}


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("shape", [(5, 4, 4), (3, 7, 7), (2, 3, 5), (4, 1, 1)])
def test_the_gradient_is_the_sum_over_all_positions(size, shape):
    x, dy = _numbers(*shape, 6), _numbers(*shape, 8, seed=1)
    kernel = tf.constant(_numbers(size, size, 6, 8, seed=2))
    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch([inputs, kernel])
        outputs = kernel_gradient.convolve(inputs, kernel)
    dx, dk = tape.gradient(outputs, [inputs, kernel], output_gradients=tf.constant(dy))
    np.testing.assert_allclose(outputs, tf.nn.conv2d(x, kernel, 1, "SAME"), atol=1e-5)
    np.testing.assert_allclose(dk, _expected(x, dy, size), rtol=1e-4, atol=1e-4)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = tf.nn.conv2d(inputs, kernel, 1, "SAME")
    plain = tape.gradient(outputs, inputs, output_gradients=tf.constant(dy))
    np.testing.assert_allclose(dx, plain, atol=1e-4)


def test_the_gradient_has_a_gradient():
    inputs, kernel = tf.constant(_numbers(1, 2, 2, 2)), tf.constant(_numbers(3, 3, 2, 2, seed=1))

    def slope(convolve):
        with tf.GradientTape() as outer:
            outer.watch(kernel)
            with tf.GradientTape() as inner:
                inner.watch(kernel)
                loss = tf.reduce_sum(convolve(inputs, kernel) ** 3)
            gradient = inner.gradient(loss, kernel)
        return outer.gradient(gradient, kernel)

    plain = slope(lambda x, k: tf.nn.conv2d(x, k, 1, "SAME"))
    np.testing.assert_allclose(slope(kernel_gradient.convolve), plain, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("wanted", "side", "strides", "taken"),
    [(True, 7, 1, True), (True, 8, 1, False), (False, 7, 1, False), (True, 4, 2, False)],
)
def test_only_small_maps_inside_the_context_take_products(wanted, side, strides, taken):
    layer = LAYERS.conv(4, 3, strides, name="conv")
    layer.build((None, side, side, 2))

    @tf.function
    def gradient(x):
        with kernel_gradient.by_products(wanted), tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x) ** 2)
        return tape.gradient(loss, layer.kernel)

    traced = gradient.get_concrete_function(tf.TensorSpec((None, side, side, 2)))
    assert ("Conv2DBackpropFilter" in _operations(traced)) is not taken
    assert ("MatMul" in _operations(traced)) is taken


def test_unknown_sizes_take_the_plain_gradient():
    layer = LAYERS.conv(4, 3, name="conv")
    layer.build((None, None, None, 2))

    @tf.function
    def outputs(x):
        with kernel_gradient.by_products(True):
            return layer(x)

    outputs.get_concrete_function(tf.TensorSpec((None, None, None, 2)))


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_a_layer_has_the_same_gradient_with_and_without(dtype):
    layer = LayerFactory(BatchNormConfig(), dtype).conv(8, 3, use_bias=True, name="conv")
    x = tf.constant(_numbers(6, 4, 4, 16))

    def gradients(wanted: bool, call):
        with kernel_gradient.by_products(wanted):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.cast(call(x), tf.float32) ** 2)
            return tape.gradient(loss, layer.trainable_variables)

    layer(x)
    plain = gradients(False, layer)
    tolerance = 1e-6 if dtype == "float32" else 0.02
    for call in (layer, lambda x: recomputed(lambda x, training: layer(x), x, True)):
        for one, other in zip(gradients(True, call), plain, strict=True):
            assert one.dtype == tf.float32
            scale = np.abs(other).max()
            np.testing.assert_allclose(one, other, atol=tolerance * scale)
