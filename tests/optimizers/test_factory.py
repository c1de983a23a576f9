"""Settings to optimizers, and the L2 term of the loss."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from simclr_tf.config import OptimizerConfig
from simclr_tf.optimizers.factory import build_optimizer, weight_decay_loss
from simclr_tf.optimizers.lars import LARS
from simclr_tf.optimizers.schedule import WarmupCosine

ROLES = {
    "conv/kernel": "kernel",
    "dense/bias": "bias",
    "bn/gamma": "batch_norm",
    "head/kernel": "linear_head_kernel",
    "head/bias": "linear_head_bias",
}


def create_variables():
    rng = np.random.default_rng(0)
    shapes = [(2, 3), (3,), (3,), (3, 4), (4,)]
    return [
        tf.Variable(rng.normal(size=shape).astype(np.float32), name=name)
        for name, shape in zip(ROLES, shapes, strict=True)
    ]


def half_squares(variables):
    return sum(0.5 * (variable.numpy().astype(np.float64) ** 2).sum() for variable in variables)


def test_lars():
    config = OptimizerConfig(optimizer="lars", momentum=0.7, weight_decay=0.01)
    optimizer = build_optimizer(config, WarmupCosine(1.0, 0, 5), ROLES)
    assert isinstance(optimizer, LARS)
    settings = optimizer.get_config()
    assert settings["momentum"] == 0.7
    assert settings["weight_decay"] == 0.01
    assert settings["trust_coefficient"] == 0.001
    assert settings["classic_momentum"] and not settings["use_nesterov"]
    assert settings["roles"] == ROLES


def test_momentum_is_nesterov():
    config = OptimizerConfig(optimizer="momentum", momentum=0.7, weight_decay=0.01)
    optimizer = build_optimizer(config, 0.5, ROLES)
    weight, velocity, expected = tf.Variable([1.0, -2.0], name="conv/kernel"), 0.0, [1.0, -2.0]
    for gradient in (np.array([0.3, 0.1]), np.array([-0.2, 0.4]), np.array([0.1, 0.1])):
        optimizer.apply_gradients([(tf.constant(gradient, tf.float32), weight)])
        velocity = 0.7 * velocity - 0.5 * gradient
        expected = expected + 0.7 * velocity - 0.5 * gradient
    np.testing.assert_allclose(weight, expected, rtol=1e-6)


def test_adam():
    config = OptimizerConfig(optimizer="adam", weight_decay=0.01)
    optimizer = build_optimizer(config, 0.5, ROLES)
    assert isinstance(optimizer, keras.optimizers.Adam)
    weight = tf.Variable([1.0, -2.0])
    optimizer.apply_gradients([(tf.constant([3.0, -0.1]), weight)])
    np.testing.assert_allclose(weight, [0.5, -1.5], rtol=1e-4)  # the first step has length lr


@pytest.mark.parametrize("name", ["lars", "momentum", "adam"])
def test_neither_xla_nor_decoupled_decay(monkeypatch, name):
    config = tf.compat.v2.config  # the one that Keras asks
    monkeypatch.setattr(config, "list_physical_devices", lambda kind=None: ["a GPU"])
    assert keras.optimizers.Adam().jit_compile
    optimizer = build_optimizer(OptimizerConfig(optimizer=name, weight_decay=0.01), 0.5, ROLES)
    assert not optimizer.jit_compile
    assert optimizer.weight_decay is None


def test_lars_puts_only_the_linear_head_into_the_loss():
    variables = create_variables()
    config = OptimizerConfig(optimizer="lars", weight_decay=0.1)
    loss = weight_decay_loss(variables, ROLES, config)
    assert float(loss) == pytest.approx(0.1 * half_squares(variables[3:4]), rel=1e-6)
    assert float(weight_decay_loss(variables[:3], ROLES, config)) == 0


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_others_put_all_but_batch_norm_into_the_loss(name):
    variables = create_variables()
    config = OptimizerConfig(optimizer=name, weight_decay=0.1)
    decayed = [variable for i, variable in enumerate(variables) if i != 2]
    with tf.GradientTape() as tape:
        loss = weight_decay_loss(variables, ROLES, config)
    assert float(loss) == pytest.approx(0.1 * half_squares(decayed), rel=1e-6)
    gradients = tape.gradient(loss, variables)
    assert gradients[2] is None
    np.testing.assert_allclose(gradients[0], 0.1 * variables[0], rtol=1e-6)


def test_no_decay_is_a_zero_scalar():
    loss = weight_decay_loss(create_variables(), ROLES, OptimizerConfig(weight_decay=0))
    assert loss.shape == () and loss.dtype == tf.float32 and float(loss) == 0


def test_every_variable_needs_a_role():
    with pytest.raises(ValueError, match="must have a role"):
        weight_decay_loss(create_variables(), {"bn/gamma": "batch_norm"}, OptimizerConfig())
