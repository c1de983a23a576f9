import dataclasses

import numpy as np
import tensorflow as tf

from simclr_tf.config import AugmentConfig, TrainConfig
from simclr_tf.data.views import ViewRecipe
from simclr_tf.protocols import supervised
from simclr_tf.protocols.fitting import Score
from simclr_tf.training.tasks import Classify


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

    def fit(context, model, images, plan, label, task):
        seen.update(plan=plan, model=model, task=task)

    found = Score(0.25, 0.75, 0.5, np.zeros((4, 10)), np.zeros(4, np.int64))
    monkeypatch.setattr(supervised, "fit", fit)
    monkeypatch.setattr(supervised, "score", lambda *args: found)
    context = make_context(network)
    section = supervised.run(context)
    assert seen["task"] == Classify(distorted=True)
    assert seen["plan"].optimizer == context.optimizer and seen["plan"].steps == 4
    assert seen["model"].projection_head is None and not seen["model"].detach_linear_head
    assert section.metrics["top_1_accuracy"] == 0.25
    assert section.rows[0].result == "25.0 %"


def test_the_views_have_pretrainings_colours():
    gray = np.full((8, 8, 3), 128, np.uint8)
    gray[..., 1:] = 84
    encoded, seeds = tf.io.encode_png(gray), tf.constant([[1, 2]], tf.int64)

    def view(**settings):
        views = ViewRecipe(AugmentConfig(**settings), 8, distorted=True).maker()
        made = views.of_image(encoded, seeds)
        return views.of_batch(tf.nest.map_structure(lambda x: x[tf.newaxis], made))["view_0"][0]

    plain = view(color_jitter_strength=0, use_blur=False)
    strong = view(color_jitter_strength=1, use_blur=False)
    assert plain.shape == strong.shape == (8, 8, 3)
    np.testing.assert_allclose(plain, gray / 255, atol=1e-5)
    assert np.abs(plain - strong).max() > 0.02
