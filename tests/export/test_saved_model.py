"""The exported SavedModel: contract, gradients, independence of this package, atomic writing."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from export import saved_model
from export.saved_model import export_encoder, plain_copy, prune_exports
from simclr_tf.config import EncoderConfig, ModelConfig, ProjectionConfig
from simclr_tf.errors import InputError
from simclr_tf.models.simclr import SimCLR

ENCODER = EncoderConfig(resnet_depth=18, width_multiplier=1 / 16, stem="cifar")
MAPS = ["initial_conv", "initial_max_pool", *(f"block_group{k}" for k in (1, 2, 3, 4))]
HEADS = ["proj_head_input", "proj_head_output"]

# Run where neither this package nor Keras can be imported: loads, calls, takes gradients.
ELSEWHERE = """
import sys
for name in ["simclr_tf", "export", "tf_keras"]:
    sys.modules[name] = None
import numpy as np, tensorflow as tf
module = tf.saved_model.load(sys.argv[1])
data = np.load(sys.argv[2])
outputs = module(tf.constant(data["images"]))
for name in outputs:
    scale = np.abs(data[name]).max()
    np.testing.assert_allclose(outputs[name], data[name], atol=1e-5 * scale, err_msg=name)
with tf.GradientTape() as tape:
    loss = tf.reduce_sum(module(tf.constant(data["images"]), trainable=True)["logits_sup"] ** 2)
gradients = tape.gradient(loss, module.trainable_variables)
assert sum(g is not None for g in gradients) > 40
print("OK")
"""


def _images(batch: int = 3, size: int = 16) -> np.ndarray:
    return np.random.default_rng(0).random((batch, size, size, 3), np.float32)


def _model(**settings) -> SimCLR:
    projection = ProjectionConfig(proj_out_dim=5, num_proj_layers=2)
    model = SimCLR(ModelConfig(encoder=ENCODER, projection=projection, **settings), 3)
    rng = np.random.default_rng(1)
    for variable in model.variables:  # nothing at its initial value
        variable.assign(rng.uniform(0.1, 0.5, variable.shape).astype(np.float32) - 0.2 * (
            "kernel" in variable.name))  # fmt: skip
    return model


@pytest.fixture(scope="module")
def live() -> SimCLR:
    return _model()


@pytest.fixture(scope="module")
def folder(live, tmp_path_factory) -> str:
    return export_encoder(live, str(tmp_path_factory.mktemp("export") / "module"))


def test_loaded_module_equals_the_live_model(live, folder):
    module = tf.saved_model.load(folder)
    for batch, size in [(3, 16), (1, 33)]:
        images = _images(batch, size)
        outputs, expected = module(images), live(images)
        assert set(outputs) == {*MAPS, "final_avg_pool", *HEADS, "logits_sup"}
        for name in outputs:
            scale = np.abs(expected[name]).max()
            np.testing.assert_allclose(outputs[name], expected[name], atol=1e-5 * scale)
        np.testing.assert_array_equal(
            module(images, trainable=False)["final_avg_pool"], outputs["final_avg_pool"]
        )


def test_trainable_uses_and_moves_batch_statistics(live, folder):
    module = tf.saved_model.load(folder)
    moving = [v for v in module.variables if "moving" in v.name]
    before = [v.numpy() for v in moving]
    module(_images())
    assert all(np.array_equal(a, v.numpy()) for a, v in zip(before, moving, strict=True))
    outputs = module(_images(), trainable=True)
    assert not any(np.array_equal(a, v.numpy()) for a, v in zip(before, moving, strict=True))
    expected = _model()(_images(), training=True)
    scale = np.abs(expected["logits_sup"]).max()
    np.testing.assert_allclose(outputs["logits_sup"], expected["logits_sup"], atol=1e-4 * scale)


def test_gradients_reach_every_trainable_variable(live, folder):
    module = tf.saved_model.load(folder)
    assert len(module.trainable_variables) == len(live.trainable_variables)
    assert len(module.variables) == len(live.variables)
    assert list(module.regularization_losses) == []
    with tf.GradientTape() as tape:
        outputs = module(_images(), trainable=True)
        loss = tf.reduce_sum(outputs["logits_sup"]) + tf.reduce_sum(outputs["proj_head_output"])
    assert all(g is not None for g in tape.gradient(loss, module.trainable_variables))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(module(_images(), trainable=True)["logits_sup"])
    encoder = [v for v in module.trainable_variables if v.name.startswith("encoder/")]
    assert all(g is not None for g in tape.gradient(loss, encoder))


def test_graph_is_deterministic_and_has_one_device(folder):
    module = tf.saved_model.load(folder)
    for trainable in (False, True):
        function = module.__call__.get_concrete_function(
            tf.TensorSpec([None, None, None, 3]), trainable=trainable
        )
        definition = function.graph.as_graph_def()
        nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
        ops = {node.op for node in nodes}
        assert not [op for op in ops if "Random" in op or "Collective" in op or "Nccl" in op]
    np.testing.assert_array_equal(
        module(_images())["final_avg_pool"], module(_images())["final_avg_pool"]
    )


@pytest.mark.slow
def test_loads_in_a_process_without_the_package(live, folder, tmp_path):
    images = _images()
    outputs = {name: value.numpy() for name, value in live(images).items()}
    np.savez(tmp_path / "data.npz", images=images, **outputs)
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, folder, str(tmp_path / "data.npz")],
        cwd=tmp_path, text=True, capture_output=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.strip().endswith("OK")


def test_bfloat16_model_becomes_a_float32_network():
    outputs, expected = plain_copy(_model(precision="bfloat16"))(_images()), _model()(_images())
    for name in outputs:
        assert outputs[name].dtype == tf.float32
        np.testing.assert_array_equal(outputs[name], expected[name])


@pytest.mark.slow
def test_fine_tuned_frozen_model_exports_trainable_without_projection(tmp_path):
    model = _model(train_mode="finetune", fine_tune_after_block=4)
    module = tf.saved_model.load(export_encoder(model, str(tmp_path / "module")))
    assert set(module(_images())) == {*MAPS, "final_avg_pool", "logits_sup"}
    assert len(module.trainable_variables) > len(model.trainable_variables)


def test_existing_target_needs_overwrite(live, tmp_path, monkeypatch):
    def save(module, path):
        with open(os.path.join(path, "saved_model.pb"), "w") as file:
            file.write("network")

    monkeypatch.setattr(saved_model.tf.saved_model, "save", save)
    target = tmp_path / "module"
    target.mkdir()
    (target / "note.txt").write_text("kept")
    with pytest.raises(InputError, match="overwrite"):
        export_encoder(live, str(target))
    assert [p.name for p in target.iterdir()] == ["note.txt"]
    assert export_encoder(live, str(target) + "/", overwrite=True) == str(target)
    assert [p.name for p in target.iterdir()] == ["saved_model.pb"]
    assert [p.name for p in tmp_path.iterdir()] == ["module"]


def test_a_failure_leaves_nothing(live, tmp_path, monkeypatch):
    def fail(module, path):
        (tmp_path / os.path.basename(path) / "half").write_text("written")
        raise OSError("disk full")

    monkeypatch.setattr(saved_model.tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        export_encoder(live, str(tmp_path / "module"))
    assert list(tmp_path.iterdir()) == []


def test_a_strategy_scope_is_refused(live, tmp_path):
    with (
        tf.distribute.OneDeviceStrategy("CPU:0").scope(),
        pytest.raises(InputError, match="scope"),
    ):
        export_encoder(live, str(tmp_path / "module"))


def test_prune_keeps_the_newest(tmp_path):
    for name in ["9", "100", "20", "notes"]:
        (tmp_path / name).mkdir()
    removed = prune_exports(str(tmp_path), 2)
    assert removed == [str(tmp_path / "9")]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["100", "20", "notes"]
    assert prune_exports(str(tmp_path / "absent"), 1) == []
    with pytest.raises(InputError, match="keep_hub_module_max"):
        prune_exports(str(tmp_path), 0)
