"""The callable object before it is saved: values of its arguments, traces, plain float32 copies."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from simclr_tf.export.module import build_module, plain_copy, trace_passes

from simclr_tf.models.network import Network


@pytest.fixture(scope="module")
def traced(live):
    """A copy of `live`, how often it was traced, and its module."""
    copy = plain_copy(live)
    calls = []
    original = copy.call

    def counted(images, training=False):
        calls.append(training)
        return original(images, training=training)

    copy.call = counted
    return copy, calls, build_module(trace_passes(copy))


def test_the_network_is_traced_once_for_inference_and_once_for_training(traced):
    _, calls, _ = traced
    assert calls == [False, True]


@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_either_argument_means_training(traced, images, trainable, training):
    copy, calls, module = traced
    before = [v.numpy() for v in copy.variables]
    module.__call__(images, trainable=trainable, training=training)  # `()` works once loaded
    moved = [v.name for old, v in zip(before, copy.variables, strict=True)
             if (old != v.numpy()).any()]  # fmt: skip
    statistics = [v.name for v in copy.variables if "moving_" in v.name]
    assert moved == (statistics if trainable or training else [])
    assert len(calls) == 2  # nothing is traced anew


def test_attributes_of_a_reusable_saved_model(traced):
    copy, _, module = traced
    assert [v.name for v in module.variables] == [v.name for v in copy.variables]
    assert [v.name for v in module.trainable_variables] == [
        v.name for v in copy.variables if "moving_" not in v.name
    ]
    assert list(module.regularization_losses) == []


def test_a_bfloat16_model_becomes_a_float32_network(make_live, images):
    low = make_live(precision="bfloat16")
    high = Network(plain_copy(low).config, 3)
    assert high.config.precision == "float32"
    for variable, source in zip(high.variables, low.variables, strict=True):
        variable.assign(source.numpy())
    outputs, expected = plain_copy(low)(images), high(images)
    for name in outputs:
        assert outputs[name].dtype == tf.float32
        np.testing.assert_array_equal(outputs[name], expected[name])


def test_a_frozen_model_becomes_trainable(live, make_live):
    frozen = make_live(train_mode="finetune", fine_tune_after_block=4, passes=1)
    copy = plain_copy(frozen)
    assert len(frozen.trainable_variables) == 2
    assert len(copy.trainable_variables) == len(live.encoder.trainable_variables) + 2


def test_the_linear_head_teaches_the_encoder(live, images):
    copy = plain_copy(live)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(copy(images)["logits_sup"] ** 2)
    assert all(g is not None for g in tape.gradient(loss, copy.encoder.trainable_variables))
