import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.config import TrainConfig
from simclr_tf.errors import InputError
from simclr_tf.evaluation.encoders import from_model, frozen_state
from simclr_tf.protocols import fitting


def names(model):
    return {variable.name for variable in model.variables}


def test_a_classifier_starts_from_the_encoder_or_from_random_weights(make_context, network):
    context = make_context(network, train=TrainConfig(seed=5))  # the encoder has seed 0
    before = frozen_state(network)
    copy = fitting.build_classifier(context, pretrained=True)
    fresh = fitting.build_classifier(context, pretrained=False)
    images = tf.random.stateless_uniform((4, 8, 8, 3), seed=(0, 1))
    features = [m(images)["final_avg_pool"] for m in (network.model, copy, fresh)]
    np.testing.assert_allclose(features[0], features[1], atol=1e-6)
    assert not np.allclose(features[0], features[2], atol=1e-3)
    assert copy.linear_head.kernel.shape[-1] == 10
    assert not copy.linear_head.kernel.numpy().any() and fresh.linear_head.kernel.numpy().any()
    copy.encoder.variables[0].assign_add(tf.ones_like(copy.encoder.variables[0]))
    assert frozen_state(network) == before, "the copy shares no variable with the encoder"


def test_layers_of_the_projection_head_are_kept_on_demand(make_context, network):
    model = fitting.build_classifier(make_context(network), pretrained=True, ft_proj_selector=1)
    assert "projection_head/layer_0/dense/kernel:0" in names(model)
    source = {v.name: v.numpy() for v in network.model.variables}
    kernel = model.projection_head.projection_layers[0].dense.kernel
    np.testing.assert_array_equal(kernel.numpy(), source[kernel.name])


def test_width_freezing_and_batch_norm(make_context, network):
    half = fitting.build_classifier(make_context(network), pretrained=False, width_share=2.0)
    ours, theirs = (m.encoder.variables[0].shape[-1] for m in (network.model, half))
    assert theirs == 2 * ours
    model = fitting.build_classifier(
        make_context(network), pretrained=True, after_block=4, batch_norm_decay=0.95
    )
    trainable = {variable.name for variable in model.trainable_variables}
    assert trainable == {"linear_head/kernel:0", "linear_head/bias:0"}
    assert model.config.batch_norm.batch_norm_decay == 0.95


def test_a_foreign_encoder_cannot_be_fine_tuned(make_context, pixels):
    with pytest.raises(InputError, match="must be a SimCLR network for fine-tuning"):
        fitting.build_classifier(make_context(pixels), pretrained=True)


def test_missing_layers_of_the_head_are_named(make_context, tiny_model):
    finetuned = from_model(tiny_model(num_classes=3, train_mode="finetune"), 8)
    with pytest.raises(InputError, match="ft_proj_selector must not exceed"):
        fitting.build_classifier(make_context(finetuned), pretrained=True, ft_proj_selector=1)


def test_training_learns_and_scoring_counts_every_image_once(make_context, network):
    context = make_context(network, eval_batch_size=48)
    model = fitting.build_classifier(context, pretrained=True)
    images = fitting.TrainImages(context.source, "train[:300]")
    plan = fitting.plan_steps(30, 64, fitting.momentum_optimizer(0.4), images.num_images)
    fitting.fit(context, model, images, plan, "test")
    found = fitting.score(context, model, "test[:100]")
    assert found.logits.shape == (100, 10) and found.labels.shape == (100,)
    assert found.top_1 == pytest.approx(np.mean(found.logits.argmax(axis=1) == found.labels))
    assert found.top_1 > 0.25, "chance is 10 %"
    assert 0 <= found.top_1 <= found.top_5 <= 1


def test_scores_by_hand():
    logits = np.array([[3, 2, 1], [1, 2, 3], [3, 2, 1], [0, 1, 0]], np.float32)
    found = fitting.score_logits(logits, np.array([0, 2, 1, 1]))
    assert (found.top_1, found.top_5) == (0.75, 1.0)
    assert found.mean_per_class == pytest.approx((1 + 0.5 + 1) / 3)


def test_peak_learning_rates():
    assert fitting.momentum_optimizer(0.05).peak_learning_rate(4096) == pytest.approx(0.8)  # B.5
    assert fitting.momentum_optimizer(0.03, 64).peak_learning_rate(64) == pytest.approx(0.03)
