"""Batch norm against NumPy, frozen, in bfloat16 and over several replicas."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.config import BatchNormConfig
from simclr_tf.models.batch_norm import BatchNorm

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SHAPES = [(6, 5), (3, 4, 2, 5)]

# Two replicas get the halves of a batch; prints OK.
TWO_REPLICAS = """
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from simclr_tf.config import BatchNormConfig
from simclr_tf.models.batch_norm import BatchNorm

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
for shape in [(6, 5), (4, 3, 3, 5)]:
    for global_bn in [True, False]:
        config = BatchNormConfig(0.9, global_bn)
        x = np.random.default_rng(0).normal(1.0, 2.0, shape).astype(np.float32)
        halves = np.split(x, 2)
        with strategy.scope():
            layer = BatchNorm(config)
            layer.build(shape)
        parts = strategy.experimental_distribute_values_from_function(
            lambda c: tf.constant(halves[c.replica_id_in_sync_group]))
        out = strategy.run(tf.function(lambda v: layer(v, training=True)), args=(parts,))
        got = np.concatenate([v.numpy() for v in strategy.experimental_local_results(out)])
        axes = tuple(range(len(shape) - 1))
        groups = [x] if global_bn else halves
        want = np.concatenate(
            [(g - g.mean(axes)) / np.sqrt(g.var(axes) + 1e-5) for g in groups])
        np.testing.assert_allclose(got, want, atol=1e-4)
        variance = np.mean([g.var(axes) for g in groups], axis=0)
        np.testing.assert_allclose(
            layer.moving_variance.numpy(), 0.9 + 0.1 * variance, rtol=1e-5)
        np.testing.assert_allclose(
            layer.moving_mean.numpy(), 0.1 * x.mean(axes), rtol=1e-4, atol=1e-6)
print("OK")
"""


def _batch(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(1.5, 2.0, shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("in_graph", [False, True])
def test_training_uses_the_batch_and_moves_population_statistics(shape, in_graph):
    x = _batch(shape)
    axes = tuple(range(len(shape) - 1))
    layer = BatchNorm(BatchNormConfig(batch_norm_decay=0.8))
    layer.build(shape)
    call = tf.function(layer) if in_graph else layer
    outputs = call(tf.constant(x), training=True).numpy()
    expected = (x - x.mean(axes)) / np.sqrt(x.var(axes) + 1e-5)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean.numpy(), 0.2 * x.mean(axes), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance.numpy(), 0.8 + 0.2 * x.var(axes), rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_inference_uses_running_statistics(shape):
    x = _batch(shape)
    layer = BatchNorm(BatchNormConfig())
    layer.build(shape)
    layer.moving_mean.assign(np.arange(5, dtype=np.float32))
    layer.moving_variance.assign(np.full(5, 4.0, np.float32))
    expected = (x - np.arange(5)) / np.sqrt(4.0 + 1e-5)
    np.testing.assert_allclose(layer(x, training=False).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_frozen_layer_is_in_inference_mode(shape):
    x = _batch(shape)
    layer = BatchNorm(BatchNormConfig())
    layer.build(shape)
    layer.trainable = False
    before = [v.numpy() for v in layer.variables]
    np.testing.assert_array_equal(layer(x, training=True), layer(x, training=False))
    for variable, old in zip(layer.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), old)


def test_gradient_of_the_fused_path_equals_that_of_the_formula():
    x = tf.constant(_batch((3, 4, 2, 5)))
    weights = tf.constant(np.random.default_rng(1).normal(size=x.shape).astype(np.float32))
    layer = BatchNorm(BatchNormConfig())
    layer.build(x.shape)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        fused = tf.reduce_sum(weights * layer(x, training=True))
        mean, variance = tf.nn.moments(x, [0, 1, 2])
        plain = tf.reduce_sum(weights * (x - mean) / tf.sqrt(variance + 1e-5))
    np.testing.assert_allclose(tape.gradient(fused, x), tape.gradient(plain, x), atol=1e-5)


def test_options_and_float32_variables_under_bfloat16():
    layer = BatchNorm(BatchNormConfig(), zero_gamma=True, center=False, dtype="mixed_bfloat16")
    outputs = layer(tf.ones([2, 2, 2, 3]), training=True)
    assert outputs.dtype == tf.bfloat16
    assert layer.beta is None
    assert {v.dtype for v in layer.variables} == {tf.float32}
    np.testing.assert_array_equal(layer.gamma.numpy(), np.zeros(3))


def test_one_value_per_channel_does_not_give_nan():
    layer = BatchNorm(BatchNormConfig())
    outputs = layer(tf.ones([1, 1, 1, 3]), training=True)
    assert np.isfinite(outputs).all()
    assert np.isfinite(layer.moving_variance.numpy()).all()


@pytest.mark.slow
def test_two_replicas_agree_with_one():
    environment = dict(os.environ, PYTHONPATH=str(REPOSITORY), TF_CPP_MIN_LOG_LEVEL="3")
    done = subprocess.run([sys.executable, "-c", TWO_REPLICAS], env=environment, text=True,
                          capture_output=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith("OK")
