"""Runs of the reference implementation that go on: recognised, taken over, refused.

The steps that follow are computed by NumPy from the formulas, and by the names in the file.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from simclr_tf.config import EncoderConfig, ModelConfig, OptimizerConfig, ProjectionConfig
from simclr_tf.errors import InputError
from simclr_tf.models.network import Network
from simclr_tf.models.roles import variable_roles
from simclr_tf.optimizers.factory import build_optimizer
from simclr_tf.optimizers.schedule import WarmupCosine
from simclr_tf.weights import reference_run
from tests.weights import foreign_checkpoints, reference_training
from tests.weights.reference_training import STEP

DECAY = 1e-2
ENCODER = EncoderConfig(resnet_depth=18, width_multiplier=reference_training.WIDTH, stem="cifar")


def network(num_classes=reference_training.CLASSES, encoder=ENCODER, **settings) -> Network:
    projection = ProjectionConfig(proj_out_dim=reference_training.PROJECTION)
    return Network(ModelConfig(encoder=encoder, projection=projection, **settings), num_classes)


def optimizer_for(model: Network, kind: str) -> keras.optimizers.Optimizer:
    config = OptimizerConfig(optimizer=kind, weight_decay=DECAY)
    optimizer = build_optimizer(config, WarmupCosine(1.0, 10, 100), variable_roles(model))
    optimizer.build(model.trainable_variables)
    return optimizer


def learning_rate(step: int) -> float:
    """Peak 1 at step 10, half a cosine to step 100."""
    return 0.5 * (1 + np.cos(np.pi * (step - 10) / 90))


def steps(kind: str, name: str, weight: np.ndarray, slots: dict, gradients: list) -> np.ndarray:
    """The weight after the gradients, in float64; `slots` are changed."""
    weight = weight.astype(np.float64)
    plain = re.search("batch_normalization|bias|head_supervised", name)
    for step, gradient in enumerate(gradients, start=STEP):
        rate = learning_rate(step)
        if kind == "lars":
            direction = gradient + (0 if plain else DECAY * weight)
            ratio = 0.001 * np.linalg.norm(weight) / np.linalg.norm(direction)
            slots["Momentum"] = 0.9 * slots["Momentum"] + rate * (1 if plain else ratio) * direction
            weight = weight - slots["Momentum"]
        elif kind == "momentum":
            slots["momentum"] = 0.9 * slots["momentum"] - rate * gradient
            weight = weight + 0.9 * slots["momentum"] - rate * gradient
        else:
            slots["m"] = 0.9 * slots["m"] + 0.1 * gradient
            slots["v"] = 0.999 * slots["v"] + 0.001 * gradient**2
            corrected = rate * np.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
            weight = weight - corrected * slots["m"] / (np.sqrt(slots["v"]) + 1e-7)
    return weight


def slots_of(kind: str, name: str, arrays: dict) -> dict[str, np.ndarray]:
    found = {}
    for slot in ("Momentum", "momentum", "m", "v"):
        for full_name in (f"{kind.title()}/{name}/{slot}", f"{kind.title()}/{slot}/{name}"):
            if full_name in arrays:
                found[slot] = arrays[full_name].astype(np.float64)
    return found


@pytest.mark.parametrize(
    ("kind", "late"), [("lars", False), ("momentum", False), ("adam", False), ("adam", True)]
)
def test_three_further_steps_are_those_of_the_formula(tmp_path, kind, late):
    entries = reference_training.listing(kind, late)
    arrays = reference_training.arrays(entries)
    prefix = reference_training.write(tmp_path, entries)
    model = network()
    optimizer = optimizer_for(model, kind)
    said = reference_run.take_over(prefix, model, optimizer)
    slots = [name for name in arrays if re.search(r"(/Momentum|/momentum|/m|/v)$|/[mv]/", name)]
    assert re.search(rf"{len(model.variables)} variables and {len(slots)} of its {kind}", said[0])
    assert int(optimizer.iterations.numpy()) == STEP

    # Which variable is which follows from the values alone: no two are the same.
    names = {array.tobytes(): name for name, array in arrays.items()}
    paired = {names[variable.numpy().tobytes()]: variable for variable in model.variables}
    assert len(paired) == len(model.variables) == len(arrays) - len(slots) - 2  # two counters
    trained = {name: paired[name] for name in paired if "/moving_" not in name}
    rng = np.random.default_rng(0)
    gradients = {name: rng.normal(0, 0.1, (3, *v.shape)) for name, v in trained.items()}
    for step in range(3):
        optimizer.apply_gradients([(tf.constant(gradients[name][step], tf.float32), variable)
                                   for name, variable in trained.items()])  # fmt: skip
    for name, variable in trained.items():
        kept = slots_of(kind, name, arrays)
        expected = steps(kind, name, arrays[name], kept, gradients[name])
        np.testing.assert_allclose(variable, expected, rtol=1e-5, atol=1e-5, err_msg=name)


def test_only_what_a_fine_tuning_keeps_is_needed(tmp_path):
    """The reference's network has the whole projection head; slots are of what was trained."""
    entries = {
        key: entry
        for key, entry in reference_training.listing().items()
        if "/.OPTIMIZER_SLOT" not in key or re.search("linear_layers/0/|supervised_head", key)
    }
    selected = ProjectionConfig(proj_out_dim=reference_training.PROJECTION, ft_proj_selector=1)
    config = ModelConfig(encoder=ENCODER, projection=selected, train_mode="finetune",
                         fine_tune_after_block=4)  # fmt: skip
    model = Network(config, reference_training.CLASSES)
    prefix = reference_training.write(tmp_path, entries)
    said = reference_run.take_over(prefix, model, optimizer_for(model, "lars"))
    assert "5 of its lars optimizer" in said[0]
    assert "projection_head/layer_1/dense/kernel" in said[1] and "layer_0" not in said[1]


def without(part: str) -> dict:
    entries = reference_training.listing()
    return {key: entry for key, entry in entries.items() if part not in key}


@pytest.mark.parametrize(
    ("entries", "settings", "kind", "told"),
    [
        (None, {}, "adam", "must be of the same optimizer: lars there, adam here"),
        ("", {}, "lars", "must hold the state of its optimizer"),
        ("global_step", {}, "lars", "must hold its global step"),
        ("block_groups/2/layers/0/conv2d_bn_layers/0/conv2d/kernel/.OPTIMIZER_SLOT", {}, "lars",
         r"state of all that is trained \(not velocity/encoder/block_group3/block_0/conv_1/kernel"),
        (None, {"train_mode": "finetune"}, "lars",
         r"trained what is trained here \(there also projection_head/layer_0/bn/beta"),
        (None, {"train_mode": "finetune", "fine_tune_after_block": 4}, "lars",
         r"there also encoder/block_group1/block_0/bn_1/beta; .* more: train_mode, fine_tune"),
        (None, {"num_classes": 3}, "lars", r"of its heads \(linear_head/kernel \[64, 3\], \[64"),
        (None, {"encoder": EncoderConfig(resnet_depth=34, width_multiplier=1 / 8, stem="cifar")},
         "lars", "holds one with resnet_depth=18, the run asks for resnet_depth=34"),
    ],
    ids=["optimizer", "no optimizer", "no step", "a slot", "mode", "frozen", "classes", "depth"],
)  # fmt: skip
def test_what_cannot_go_on_is_refused_with_the_way_out(tmp_path, entries, settings, kind, told):
    if entries is None:
        prefix = reference_training.write(tmp_path)
    elif not entries:
        prefix = reference_training.write(tmp_path, reference_training.listing(""))
    else:
        prefix = reference_training.write(tmp_path, without(entries))
    model = network(**settings)
    before = [variable.numpy() for variable in model.variables]
    with pytest.raises(InputError, match=told) as caught:
        reference_run.take_over(prefix, model, optimizer_for(model, kind))
    text = str(caught.value)
    assert text.startswith("model_dir must hold a run that can go on") and "\n" not in text
    assert f"--checkpoint={tmp_path} --model_dir=NEW" in text
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable)


def test_recognised_by_the_objects(tmp_path, tiny_model):
    assert not reference_run.goes_on_from_reference(str(tmp_path))
    reference = reference_training.write(tmp_path)
    assert reference_run.is_reference(reference)
    assert reference_run.goes_on_from_reference(str(tmp_path))
    ours = tf.train.Checkpoint(model=tiny_model()).write(str(tmp_path / "ckpt-30"))
    assert not reference_run.is_reference(ours)
    assert not reference_run.goes_on_from_reference(str(tmp_path))
    tf1 = foreign_checkpoints.write_tf1(
        str(tmp_path / "tf1"), {"base_model/conv2d/kernel": np.ones(3)}
    )
    (tmp_path / "damaged.index").write_bytes(b"nothing")
    for prefix in (tf1, str(tmp_path / "damaged"), str(tmp_path / "absent")):
        assert not reference_run.is_reference(prefix)
