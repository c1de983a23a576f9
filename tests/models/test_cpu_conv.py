"""Convolutions in other forms against sums written out in NumPy, and where they are taken."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.config import BatchNormConfig
from simclr_tf.models import cpu_conv
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


def _plain(x, kernel, dy, strides):
    """Outputs and the inputs' gradient of `tf.nn.conv2d`."""
    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = tf.nn.conv2d(inputs, kernel, strides, "SAME" if strides == 1 else "VALID")
    return outputs, tape.gradient(outputs, inputs, output_gradients=tf.constant(dy))


def _found(x, kernel, dy, strides):
    """Outputs and both gradients of the form under test."""
    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch([inputs, kernel])
        outputs = cpu_conv.convolve(inputs, kernel, strides)
    gradients = tape.gradient(outputs, [inputs, kernel], output_gradients=tf.constant(dy))
    return outputs, *gradients


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("shape", [(5, 4, 4), (3, 7, 7), (2, 3, 5), (4, 1, 1)])
def test_the_gradient_is_the_sum_over_all_positions(size, shape):
    x, dy = _numbers(*shape, 6), _numbers(*shape, 8, seed=1)
    kernel = tf.constant(_numbers(size, size, 6, 8, seed=2))
    outputs, dx, dk = _found(x, kernel, dy, 1)
    plain, plain_dx = _plain(x, kernel, dy, 1)
    np.testing.assert_allclose(outputs, plain, atol=1e-5)
    np.testing.assert_allclose(dk, _expected(x, dy, size), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(dx, plain_dx, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "strides", "shape", "outputs"),
    [(3, 2, (4, 10, 10), (4, 4)), (3, 2, (2, 9, 12), (4, 5)), (5, 2, (3, 8, 5), (2, 1)),
     (3, 3, (2, 8, 9), (2, 3))],
)  # fmt: skip
def test_strides_leave_out_positions(size, strides, shape, outputs):
    x, dy = _numbers(*shape, 6), _numbers(shape[0], *outputs, 8, seed=1)
    kernel = tf.constant(_numbers(size, size, 6, 8, seed=2))
    found, dx, dk = _found(x, kernel, dy, strides)
    plain, plain_dx = _plain(x, kernel, dy, strides)
    np.testing.assert_allclose(found, plain, atol=1e-4)
    np.testing.assert_allclose(dx, plain_dx, atol=1e-4)
    wanted = np.zeros(kernel.shape)
    for i, j in np.ndindex(size, size):
        rows = range(i, i + strides * outputs[0], strides)
        columns = range(j, j + strides * outputs[1], strides)
        wanted[i, j] = np.einsum("nhwc,nhwf->cf", x[:, rows][:, :, columns], dy)
    np.testing.assert_allclose(dk, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width", [3, 4, 7])
def test_images_side_by_side_do_not_see_each_other(width, monkeypatch):
    x = _numbers(16, 2, width, 256)
    dy = _numbers(16, 2, width, 6, seed=1)
    kernel = tf.constant(_numbers(3, 3, 256, 6, seed=2))
    monkeypatch.setattr(cpu_conv, "_abreast", lambda *_: 8)
    for one, other in zip(_found(x, kernel, dy, 1)[:2], _plain(x, kernel, dy, 1), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


@pytest.mark.parametrize(
    ("dtype", "shape", "abreast"),
    [("bfloat16", (16, 4, 4, 256), 8), ("bfloat16", (12, 4, 4, 256), 1),
     ("bfloat16", (16, 8, 8, 256), 1), ("bfloat16", (16, 4, 4, 128), 1),
     ("float32", (16, 4, 4, 256), 1)],
)  # fmt: skip
def test_which_images_lie_side_by_side(dtype, shape, abreast):
    inputs, kernel = tf.zeros(shape, dtype), tf.zeros([3, 3, shape[-1], 4], dtype)
    assert cpu_conv._abreast(inputs, kernel, 1) == abreast
    assert cpu_conv._abreast(inputs, kernel, 2) == 1


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
    np.testing.assert_allclose(slope(cpu_conv.convolve), plain, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("dtype", "wanted", "size", "side", "strides", "filters", "taken"),
    [
        ("float32", True, 3, 7, 1, 64, True), ("float32", True, 3, 8, 1, 64, False),
        ("float32", False, 3, 7, 1, 64, False), ("float32", True, 3, 4, 2, 64, False),
        ("float32", True, 3, 7, 1, 32, False), ("float32", True, 1, 8, 1, 64, False),
        ("bfloat16", True, 1, 32, 1, 64, True), ("bfloat16", True, 1, 32, 2, 64, True),
        ("bfloat16", True, 3, 8, 1, 64, False), ("bfloat16", True, 3, 8, 1, 256, True),
        ("bfloat16", True, 3, 9, 1, 256, False), ("bfloat16", True, 3, 16, 2, 64, True),
        ("bfloat16", True, 3, 18, 2, 256, False), ("bfloat16", False, 3, 8, 1, 256, False),
    ],
)  # fmt: skip
def test_where_products_are_taken(dtype, wanted, size, side, strides, filters, taken):
    policy = "float32" if dtype == "float32" else "mixed_bfloat16"
    layer = LayerFactory(BatchNormConfig(), policy).conv(filters, size, strides, name="conv")
    layer.build((None, side, side, 48))

    @tf.function
    def gradient(x):
        with cpu_conv.preferred(wanted), tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x) ** 2)
        return tape.gradient(loss, layer.kernel)

    traced = gradient.get_concrete_function(tf.TensorSpec((None, side, side, 48), dtype))
    assert ("Conv2DBackpropFilter" in _operations(traced)) is not taken
    assert ("MatMul" in _operations(traced)) is taken


def test_unknown_sizes_take_the_plain_gradient():
    layer = LAYERS.conv(4, 3, name="conv")
    layer.build((None, None, None, 2))

    @tf.function
    def outputs(x):
        with cpu_conv.preferred(True):
            return layer(x)

    outputs.get_concrete_function(tf.TensorSpec((None, None, None, 2)))


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_a_layer_has_the_same_gradient_with_and_without(dtype):
    strides = 1 if dtype == "float32" else 2
    layer = LayerFactory(BatchNormConfig(), dtype).conv(128, 3, strides, use_bias=True, name="conv")
    x = tf.constant(_numbers(6, 4, 4, 16))

    def gradients(wanted: bool, call):
        with cpu_conv.preferred(wanted):
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
