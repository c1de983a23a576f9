import math

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.errors import InputError
from simclr_tf.evaluation.encoders import from_model, frozen_state
from simclr_tf.protocols import linear
from simclr_tf.protocols.fitting import plan_steps
from simclr_tf.settings import checks
from simclr_tf.training.step import Means


def test_learns_digits_from_pixels_and_chooses_a_rate(make_context, pixels):
    context = make_context(
        pixels, linear_epochs=15, linear_batch_size=64, linear_learning_rates="1e-6,1.0",
        train_split="train",
    )  # fmt: skip
    section = linear.run(context)
    assert section.metrics["learning_rate"] == 1.0
    assert section.metrics["top_1_accuracy"] > 0.8
    assert section.metrics["top_5_accuracy"] >= section.metrics["top_1_accuracy"]
    slow, fast = section.metrics["by_learning_rate"]
    assert slow["validation_top_1_accuracy"] < fast["validation_top_1_accuracy"]
    assert fast["test_top_1_accuracy"] == section.metrics["top_1_accuracy"]
    with np.load(context.path("predictions/linear.npz")) as stored:
        assert stored["labels"].shape == stored["predictions"].shape == (100,)
        accuracy = np.mean(stored["labels"] == stored["predictions"])
    assert accuracy == pytest.approx(section.metrics["top_1_accuracy"])


def test_encoder_and_statistics_are_bit_identical(make_context, network, eager):
    before = frozen_state(network)
    assert any("moving_variance" in name for name in before)
    linear.run(make_context(network, linear_epochs=1, linear_batch_size=64))
    assert frozen_state(network) == before


def test_an_encoder_that_changes_is_caught(make_context, eager):
    counter = tf.Variable(0.0)

    class Restless(tf.Module):
        def __init__(self):
            self.counter = counter

        def __call__(self, images):
            self.counter.assign_add(1.0)
            return tf.reduce_mean(images, axis=(1, 2))

    with pytest.raises(RuntimeError, match="must not change"):
        linear.run(make_context(from_model(Restless(), 8), linear_epochs=1, linear_batch_size=64))


def test_a_single_rate_uses_all_images_and_batches_are_cut_to_size(make_context, pixels, eager):
    section = linear.run(make_context(pixels, linear_epochs=2, linear_batch_size=4096))
    assert section.metrics["batch_size"] == 300
    assert section.metrics["steps"] == 2
    assert "validation_top_1_accuracy" not in section.metrics["by_learning_rate"][0]


def test_steps_are_nesterov_momentum_with_a_cosine(make_context):
    """Two steps of one head against the formulas, in NumPy."""
    encoder = from_model(lambda images: images[:, 0, 0, :], 8)  # (b, 3)
    rate, batch, steps = 0.5, 4, 2
    context = make_context(encoder, linear_learning_rates=str(rate))
    heads = linear._build_heads(context, plan_steps(steps, batch, None, 300))
    rng = np.random.default_rng(0)
    kernel, bias = heads.layers[0].kernel.numpy().astype(np.float64), np.zeros(10)
    velocity = [np.zeros_like(kernel), np.zeros_like(bias)]
    step = linear.build_heads_step(context, heads, Means(("train/total_loss",)))
    for index in range(steps):
        images = rng.random((batch, 8, 8, 3), np.float32)
        labels = rng.integers(0, 10, batch)
        step({"view_0": tf.constant(images), "label": tf.constant(labels)})
        features = images[:, 0, 0, :].astype(np.float64)
        logits = features @ kernel + bias
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        p[np.arange(batch), labels] -= 1
        gradients = [features.T @ p / batch, p.mean(axis=0)]
        learning_rate = rate * batch / 256 * 0.5 * (1 + np.cos(np.pi * index / steps))
        velocity = [0.9 * v - learning_rate * g for v, g in zip(velocity, gradients, strict=True)]
        moves = [0.9 * v - learning_rate * g for v, g in zip(velocity, gradients, strict=True)]
        kernel, bias = kernel + moves[0], bias + moves[1]
    np.testing.assert_allclose(heads.layers[0].kernel.numpy(), kernel, atol=1e-6)
    np.testing.assert_allclose(heads.layers[0].bias.numpy(), bias, atol=1e-6)


def test_lars_adapts_the_kernel_and_not_the_bias(make_context, pixels):
    context = make_context(pixels, linear_optimizer="lars")
    heads = linear._build_heads(context, plan_steps(2, 64, None, 300))
    assert heads.optimizers[0]._adapted == [True, False]


def test_an_unknown_endpoint_lists_those_there_are(make_context, pixels):
    with pytest.raises(InputError, match="endpoint must be one of final_avg_pool"):
        linear.run(make_context(pixels, endpoint="block_group9"))


def test_a_head_that_diverges_loses_and_the_others_go_on(make_context, pixels, eager, monkeypatch):
    # Features of another scale diverge at rates within the limits.
    monkeypatch.setattr(checks, "limits_of", lambda *setting: checks.Range(-1, 1e39))
    context = make_context(
        pixels, linear_epochs=15, linear_batch_size=64, linear_learning_rates="1e38,1.0"
    )
    section = linear.run(context)
    assert section.metrics["learning_rate"] == 1.0
    assert section.metrics["by_learning_rate"][0]["test_top_1_accuracy"] == 0.0
    assert section.metrics["top_1_accuracy"] > 0.5


def test_features_that_are_not_finite_are_refused_before_training(make_context):
    encoder = from_model(lambda images: tf.reduce_sum(images, axis=(1, 2)) * math.nan, 8)
    with pytest.raises(InputError, match="must be finite at example 0"):
        linear.run(make_context(encoder, linear_epochs=1))
