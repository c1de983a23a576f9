"""The whole model: what is built, where gradients go, what freezing keeps, strategies."""

from __future__ import annotations

import os
import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from simclr_tf import precision
from simclr_tf.config import EncoderConfig, ModelConfig, ProjectionConfig
from simclr_tf.errors import InputError
from simclr_tf.models.network import Network, build_model
from tests import warm

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
ENCODER = EncoderConfig(resnet_depth=18, width_multiplier=1 / 16, stem="cifar")

TWO_REPLICAS = """
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from simclr_tf.config import EncoderConfig, ModelConfig
from simclr_tf.models.network import build_model
from tests import shallow

shallow.install(shallow.EVERY_KIND)
config = ModelConfig(encoder=EncoderConfig(resnet_depth=18, width_multiplier=1 / 16))
images = np.random.default_rng(0).random((4, 16, 16, 3), np.float32)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    model = build_model(config, 3, 16)
single = build_model(config, 3, 16)
assert [v.name for v in model.variables] == [v.name for v in single.variables]
for ours, theirs in zip(single.variables, model.variables):
    ours.assign(theirs.numpy())

halves = np.split(images, 2)
parts = strategy.experimental_distribute_values_from_function(
    lambda c: tf.constant(halves[c.replica_id_in_sync_group]))
out = strategy.run(tf.function(lambda v: model(v, training=True)["proj_head_output"]), (parts,))
got = np.concatenate([v.numpy() for v in strategy.experimental_local_results(out)])
want = single(images, training=True)["proj_head_output"].numpy()
np.testing.assert_allclose(got, want, atol=1e-3)
for ours, theirs in zip(single.variables, model.variables):
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-4, err_msg=ours.name)
print("OK")
"""


def _images(batch: int = 4, size: int = 8) -> np.ndarray:
    return np.random.default_rng(0).random((batch, size, size, 3), np.float32)


def _config(mode: str = "nonlinear", selector: int = 0, **settings) -> ModelConfig:
    projection = ProjectionConfig(
        proj_head_mode=mode, proj_out_dim=5, num_proj_layers=2, ft_proj_selector=selector
    )
    return ModelConfig(encoder=ENCODER, projection=projection, **settings)


def _scalar(outputs: dict[str, tf.Tensor], names: list[str]) -> tf.Tensor:
    """A loss whose gradient vanishes nowhere by symmetry."""
    rng = np.random.default_rng(1)
    return sum(tf.reduce_sum(outputs[n] * rng.normal(size=outputs[n].shape)) for n in names)


def _missing(model: Network, names: list[str]) -> list[str]:
    with tf.GradientTape() as tape:
        loss = _scalar(model(_images(), training=True), names)
    gradients = tape.gradient(loss, model.trainable_variables)
    pairs = zip(gradients, model.trainable_variables, strict=True)
    return [v.name for gradient, v in pairs if gradient is None]


@pytest.mark.parametrize("mode", ["none", "linear", "nonlinear"])
@pytest.mark.parametrize("num_classes", [None, 3])
def test_pretraining_reaches_every_variable(mode, num_classes):
    model = Network(_config(mode), num_classes)
    outputs = model(_images())
    assert (model.projection_head is None) == (mode == "none")
    assert outputs["proj_head_output"].shape == (4, 32 if mode == "none" else 5)
    assert ("logits_sup" in outputs) == (num_classes is not None)
    losses = ["proj_head_output"] + (["logits_sup"] if num_classes else [])
    assert _missing(model, losses) == []


def test_linear_head_in_pretraining_does_not_teach_the_encoder():
    model = Network(_config(), 3)
    unreached = _missing(model, ["logits_sup"])
    reached = {v.name for v in model.trainable_variables} - set(unreached)
    assert reached == {"linear_head/kernel:0", "linear_head/bias:0"}


def test_no_linear_head_when_not_asked_for():
    assert Network(_config(lineareval_while_pretraining=False), 3).linear_head is None


@pytest.mark.parametrize(
    ("mode", "selector", "width"),
    [("none", 0, 32), ("linear", 0, 32), ("linear", 1, 5), ("nonlinear", 0, 32),
     ("nonlinear", 1, 32), ("nonlinear", 2, 5)],
)  # fmt: skip
def test_finetuning_reaches_every_variable(mode, selector, width):
    model = Network(_config(mode, selector, train_mode="finetune"), 3)
    assert model.linear_head.kernel.shape == (width, 3)
    assert (model.projection_head is None) == (selector == 0)
    outputs = model(_images())
    assert "proj_head_output" not in outputs
    assert _missing(model, ["logits_sup"]) == []


@pytest.mark.parametrize("train_mode", ["supervised", "distill"])
def test_supervised_networks_and_students_are_encoder_and_linear_head(train_mode):
    model = Network(_config(train_mode=train_mode, lineareval_while_pretraining=False), 3)
    assert model.projection_head is None and not model.detach_linear_head
    assert {v.name.split("/")[0] for v in model.variables} == {"encoder", "linear_head"}
    outputs = model(_images(), training=True)
    assert "proj_head_output" not in outputs
    assert _missing(model, ["logits_sup"]) == []
    head = model.linear_head
    expected = outputs["final_avg_pool"].numpy() @ head.kernel.numpy() + head.bias.numpy()
    np.testing.assert_allclose(outputs["logits_sup"], expected, atol=1e-5)


def test_logits_are_the_linear_head_of_the_selected_layer():
    model = Network(_config(selector=1, train_mode="finetune"), 3)
    outputs = model(_images())
    features = outputs["final_avg_pool"].numpy()
    hidden = features @ model.projection_head.projection_layers[0].dense.kernel.numpy()
    hidden = np.maximum(hidden / np.sqrt(1 + 1e-5), 0)
    expected = hidden @ model.linear_head.kernel.numpy()
    np.testing.assert_allclose(outputs["logits_sup"], expected, atol=1e-6)


@pytest.mark.parametrize("after_block", [-1, 0, 1, 2, 3, 4])
def test_what_is_frozen_stays_bit_identical(after_block):
    keras.utils.set_random_seed(0)  # a network this small may be born with a dead layer
    config = _config(selector=1, train_mode="finetune", fine_tune_after_block=after_block)
    model = Network(config, 3)
    before = {v.name: v.numpy() for v in model.variables}
    with tf.GradientTape() as tape:
        loss = _scalar(model(_images(), training=True), ["logits_sup"])
    gradients = tape.gradient(loss, model.trainable_variables)
    for gradient, variable in zip(gradients, model.trainable_variables, strict=True):
        variable.assign_sub(gradient + 1e-3)
    parts = ["stem", *(f"block_group{k}" for k in (1, 2, 3, 4))]
    frozen = {f"encoder/{part}/" for part in parts[: after_block + 1]}
    for variable in model.variables:
        same = np.array_equal(variable.numpy(), before[variable.name])
        assert same == variable.name.startswith(tuple(frozen)), variable.name


def test_a_kept_projection_layer_trains_on_a_frozen_encoder():
    """As in the reference: its batch norm takes the batch's statistics, and moves its own."""
    config = _config(selector=1, train_mode="finetune", fine_tune_after_block=4)
    model = Network(config, 3)
    layer = model.projection_head.projection_layers[0]
    before = layer.bn.moving_mean.numpy()
    with tf.GradientTape() as tape:
        outputs = model(_images(), training=True)
        loss = _scalar(outputs, ["logits_sup"])
    dense = outputs["final_avg_pool"].numpy() @ layer.dense.kernel.numpy()
    standard = (dense - dense.mean(0)) / np.sqrt(dense.var(0) + 1e-5)
    expected = np.maximum(standard, 0) @ model.linear_head.kernel.numpy()
    np.testing.assert_allclose(outputs["logits_sup"], expected, atol=1e-4)
    np.testing.assert_allclose(layer.bn.moving_mean, 0.9 * before + 0.1 * dense.mean(0), atol=1e-6)
    variables = model.trainable_variables
    assert {v.name.split(":")[0] for v in variables} == {
        "projection_head/layer_0/dense/kernel", "projection_head/layer_0/bn/gamma",
        "projection_head/layer_0/bn/beta", "linear_head/kernel", "linear_head/bias",
    }  # fmt: skip
    assert None not in tape.gradient(loss, variables)


def test_zero_init_logits_layer():
    model = Network(_config(train_mode="finetune", zero_init_logits_layer=True), 3)
    np.testing.assert_array_equal(model(_images())["logits_sup"], np.zeros([4, 3]))


def test_bfloat16_heads_are_float32():
    model = Network(_config(precision="bfloat16"), 3)
    outputs = model(_images(), training=True)
    assert outputs["block_group1"].dtype == tf.bfloat16
    for name in ["final_avg_pool", "proj_head_input", "proj_head_output", "logits_sup"]:
        assert outputs[name].dtype == tf.float32
    assert {v.dtype for v in model.variables} == {tf.float32}


def test_names_do_not_depend_on_the_model_or_on_earlier_ones():
    first = Network(_config(), 3)
    second = Network(_config(), 3, name="another")
    assert [v.name for v in first.variables] == [v.name for v in second.variables]
    assert len({v.name for v in first.variables}) == len(first.variables)
    prefixes = {v.name.split("/")[0] for v in first.variables}
    assert prefixes == {"encoder", "projection_head", "linear_head"}


def test_build_model_resolves_the_stem_and_makes_no_later_variables():
    auto = EncoderConfig(resnet_depth=18, width_multiplier=1 / 16)
    model = build_model(ModelConfig(encoder=auto), 3, 64)
    assert model.config.encoder.stem == "imagenet"
    count = len(model.variables)
    tf.function(model)(_images(2, 64), training=True)
    assert model.built
    assert len(model.variables) == count


def test_bad_input_is_refused():
    for mode in ("finetune", "supervised", "distill"):
        with pytest.raises(InputError, match=f"dataset must have labels for train_mode={mode}"):
            Network(_config(train_mode=mode), None)
    with pytest.raises(InputError, match="num_classes"):
        Network(_config(), 0)
    with pytest.raises(InputError, match="image_size"):
        build_model(_config(), 3, 4)


def test_two_replicas_are_one_network():
    """Its export: tests/export/test_saved_model.py."""
    environment = dict(os.environ, PYTHONPATH=str(REPOSITORY), TF_CPP_MIN_LOG_LEVEL="3")
    done = warm.run([sys.executable, "-c", TWO_REPLICAS], env=environment, text=True,
                    capture_output=True)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith("OK")


def test_auto_precision_is_that_of_the_hardware_and_never_a_networks(monkeypatch):
    with pytest.raises(InputError, match="precision must be resolved"):
        Network(_config(precision="auto"), 3)
    monkeypatch.setattr(precision, "choose", lambda _: precision.Chosen("bfloat16", "a test"))
    assert build_model(_config(precision="auto"), 3, 32).config.precision == "bfloat16"
