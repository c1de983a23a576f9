import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.config import AugmentConfig, TrainConfig
from simclr_tf.protocols import supervised
from simclr_tf.protocols.fitting import Score, color_policy


def test_the_baseline_sees_as_many_images_as_the_encoder_saw_views(make_context, network):
    trained = dataclasses.replace(network, global_step=100)
    context = make_context(trained, train=TrainConfig(train_batch_size=32, train_steps=999))
    assert supervised.supervised_steps(context, 32) == 200
    assert supervised.supervised_steps(context, 64) == 100
    asked = make_context(trained, supervised_steps=7)
    assert supervised.supervised_steps(asked, 32) == 7


def test_without_a_step_in_the_weights_the_settings_count(make_context, network):
    by_steps = make_context(network, train=TrainConfig(train_batch_size=32, train_steps=5))
    assert supervised.pretraining_steps(by_steps) == 5
    by_epochs = make_context(network, train=TrainConfig(train_batch_size=32, train_epochs=2))
    assert supervised.pretraining_steps(by_epochs) == 2 * (300 // 32)


def test_policy_optimizer_and_score(make_context, network, monkeypatch):
    seen = {}

    def fit(context, model, source, split, plan, label, view):
        seen.update(plan=plan, model=model, view=view)

    found = Score(0.25, 0.75, 0.5, np.zeros((4, 10)), np.zeros(4, np.int64))
    monkeypatch.setattr(supervised, "fit", fit)
    monkeypatch.setattr(supervised, "score", lambda *args: found)
    context = make_context(network)
    section = supervised.run(context)
    assert seen["plan"].optimizer == context.optimizer and seen["plan"].steps == 4
    assert seen["model"].projection_head is None and not seen["model"].detach_linear_head
    assert section.metrics["top_1_accuracy"] == 0.25
    assert section.rows[0].result == "25.0 %"


def test_the_views_have_pretrainings_colours(make_context, network):
    gray = tf.fill((8, 8, 3), tf.constant(128, tf.uint8))
    colored = tf.concat([gray[..., :1], 2 * (gray[..., 1:] // 3)], axis=-1)
    seed = tf.constant([1, 2], tf.int64)
    plain = color_policy(make_context(network, augment=AugmentConfig(
        color_jitter_strength=0, use_blur=False)))(colored, seed)  # fmt: skip
    strong = color_policy(make_context(network, augment=AugmentConfig(
        color_jitter_strength=1, use_blur=False)))(colored, seed)  # fmt: skip
    assert plain.shape == strong.shape == (8, 8, 3)
    assert not np.allclose(plain, strong, atol=0.02)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(plain[0, 0], strong[0, 0], atol=0.02)
