"""Projection head modes against NumPy, and the linear head."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from simclr_tf.config import ProjectionConfig
from simclr_tf.errors import InputError
from simclr_tf.models.heads import LinearHead, ProjectionHead


def _features() -> np.ndarray:
    return np.random.default_rng(0).random((4, 6), np.float32)


@pytest.mark.parametrize(
    ("mode", "widths"), [("none", [6]), ("linear", [6, 3]), ("nonlinear", [6, 6, 6, 3])]
)
def test_modes_have_their_layers(mode, widths):
    head = ProjectionHead(ProjectionConfig(proj_head_mode=mode, proj_out_dim=3))
    hiddens = head(_features(), training=True)
    assert [h.shape[1] for h in hiddens] == widths
    betas = [v for v in head.variables if "beta" in v.name]
    assert len(betas) == max(len(widths) - 2, 0)  # the last layer has none
    assert not [v for v in head.variables if "bias" in v.name]


def test_nonlinear_head_against_numpy():
    head = ProjectionHead(ProjectionConfig(num_proj_layers=2, proj_out_dim=3))
    x = _features()
    hiddens = head(x, training=True)
    expected = x
    for k, layer in enumerate(head.projection_layers):
        dense = expected @ layer.dense.kernel.numpy()
        expected = (dense - dense.mean(0)) / np.sqrt(dense.var(0) + 1e-5)
        expected = np.maximum(expected, 0) if k == 0 else expected
        np.testing.assert_allclose(hiddens[k + 1], expected, atol=2e-4)


def test_only_the_used_layers_are_built():
    head = ProjectionHead(ProjectionConfig(proj_out_dim=3), num_layers_used=1)
    hiddens = head(_features())
    assert [h.shape[1] for h in hiddens] == [6, 6]
    assert [v.name for v in head.trainable_variables] == [
        "projection_head/layer_0/dense/kernel:0",
        "projection_head/layer_0/bn/gamma:0",
        "projection_head/layer_0/bn/beta:0",
    ]
    with pytest.raises(InputError, match="ft_proj_selector"):
        ProjectionHead(ProjectionConfig(), num_layers_used=4)


def test_linear_head_initialisation_and_dtype():
    wide = LinearHead(500)
    assert wide(tf.ones([1, 200], tf.bfloat16)).dtype == tf.float32
    assert wide.kernel.numpy().std() == pytest.approx(0.01, rel=0.02)
    zero = LinearHead(5, zero_init=True)
    np.testing.assert_array_equal(zero(tf.ones([2, 6])), np.zeros([2, 5]))
    assert [v.name for v in zero.variables] == ["linear_head/kernel:0", "linear_head/bias:0"]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_the_linear_head_keeps_all_digits(policy):
    """Of features in float32, also where the process computes everything else in bfloat16."""
    x = _features()
    keras.mixed_precision.set_global_policy(policy)
    try:
        head = LinearHead(500)
        logits = head(x).numpy()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    expected = x.astype(np.float64) @ head.kernel.numpy().astype(np.float64)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-7)
