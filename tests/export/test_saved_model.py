"""The exported SavedModel: contract, graph, record; `test_loaders.py` has the ways to load it."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf
from simclr_tf.export.keras_file import stock_model
from simclr_tf.export.saved_model import export_encoder
from tensorflow.core.protobuf import saved_model_pb2

from simclr_tf.config import BLOCKS_PER_GROUP, EncoderConfig
from simclr_tf.errors import InputError
from simclr_tf.export import saved_model
from simclr_tf.models.network import Network
from simclr_tf.weights.load import load_model
from tests import shallow, warm

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
MAPS = ["initial_conv", "initial_max_pool", *(f"block_group{k}" for k in (1, 2, 3, 4))]
HEADS = ["proj_head_input", "proj_head_output"]
CALLS = {"PartitionedCall", "StatefulPartitionedCall"}


@pytest.fixture(scope="module")
def module(exported):
    return tf.saved_model.load(exported)


def _nodes(folder: str) -> list:
    """Every node of every function in the file."""
    content = saved_model_pb2.SavedModel()
    content.ParseFromString(pathlib.Path(folder, "saved_model.pb").read_bytes())
    (graph,) = (meta.graph_def for meta in content.meta_graphs)
    return [*graph.node, *(node for f in graph.library.function for node in f.node_def)]


@pytest.mark.parametrize(("batch", "height", "width"), [(12, 16, 16), (1, 33, 33), (2, 20, 48)])
def test_any_batch_and_size_equals_the_live_model(module, live, images, batch, height, width):
    images = tf.image.resize(images[:batch], (height, width))
    outputs, expected = module(images), live(images)
    assert set(outputs) == {*MAPS, "final_avg_pool", *HEADS, "logits_sup"}
    for name in outputs:
        np.testing.assert_allclose(outputs[name], expected[name], atol=1e-5, err_msg=name)


def test_code_for_the_published_modules_runs(exported, images):
    """The calls of notebooks for the reference's TF2 SavedModels and its TF1 hub modules."""
    module = tf.saved_model.load(exported)
    names = [variable.name for variable in module.trainable_variables]
    assert [variable.name for variable in module.trainable_variables_list] == names
    expected = module(images)
    for outputs in (module(inputs=images, trainable=False), module(images, False),
                    module(inputs=images), module(images=images)):  # fmt: skip
        for name, value in expected.items():
            np.testing.assert_array_equal(outputs[name], value)
    for outputs in (module.signatures["default"](images=tf.constant(images)),
                    module.signatures["default"](tf.constant(images))):  # fmt: skip
        assert set(outputs) == {*expected, "default"}
        np.testing.assert_array_equal(outputs["default"], expected["final_avg_pool"])
        np.testing.assert_allclose(outputs["logits_sup"], expected["logits_sup"], atol=1e-6)
    means = [v for v in module.variables if "moving_mean" in v.name]
    before = means[0].numpy()
    module(inputs=images, trainable=True)
    assert (before != means[0].numpy()).any()


def test_training_mode_equals_the_live_model(exported, make_live, images):
    module, live = tf.saved_model.load(exported), make_live(passes=0)
    for ours, theirs in zip(live.variables, module.variables, strict=True):
        ours.assign(theirs)
    outputs, expected = module(images, trainable=True), live(images, training=True)
    for name in outputs:
        np.testing.assert_allclose(outputs[name], expected[name], atol=1e-4, err_msg=name)
    moved = {v.name: v.numpy() for v in live.variables}
    for variable in module.variables:
        np.testing.assert_allclose(variable, moved[variable.name], atol=1e-5)


def test_gradients_reach_everything_that_an_output_depends_on(module, images):
    with tf.GradientTape() as tape:
        outputs = module(images, training=True)
        loss = tf.reduce_sum(outputs["logits_sup"] ** 2) + tf.reduce_sum(
            outputs["proj_head_output"] ** 3
        )
    gradients = tape.gradient(loss, module.trainable_variables)
    assert all(np.any(g.numpy() != 0) for g in gradients)


def test_the_graph_holds_the_network_and_nothing_else(exported):
    nodes = _nodes(exported)
    unwanted = ("Random", "Stateless", "Collective", "Nccl", "PyFunc", "Adjust", "HSV")
    allowed = {"StatelessIf", "StatelessWhile"}
    ops = {node.op for node in nodes} - allowed
    assert not [op for op in ops if any(word in op for word in unwanted)]
    custom = [n.name for n in nodes if "_gradient_op_type" in n.attr and n.op not in CALLS]
    assert not custom
    types = {n.attr["T"].type for n in nodes if n.op in ("Conv2D", "MatMul", "FusedBatchNormV3")}
    assert types == {tf.float32.as_datatype_enum}
    assert not {n.device for n in nodes if "replica" in n.device or ":1" in n.device}


def test_the_file_names_no_folder_of_the_writer(exported):
    content = pathlib.Path(exported, "saved_model.pb").read_bytes()
    assert str(REPOSITORY).encode() not in content


def test_record_and_card_lie_beside_the_graph(exported):
    record = json.loads(pathlib.Path(exported, "assets.extra", "simclr_tf.json").read_text())
    assert record["format"] == 1 and record["model"]["resnet_depth"] == 18
    assert record["class_names"] == ["cat", "dog", "owl"] and record["num_classes"] == 3
    assert (record["image_size"], record["global_step"]) == (40, 7)
    assert record["endpoints"]["final_avg_pool"] == 32
    card = pathlib.Path(exported, "assets.extra", "README.md").read_text()
    assert card.startswith("# SimCLR ResNet-18, 0.0625x wide, CIFAR stem\n")


@pytest.mark.parametrize(("stem", "size"), [("cifar", 32), ("imagenet", 224)])
def test_without_a_history_the_stem_decides_the_size(make_live, stem, size):
    model = make_live(EncoderConfig(resnet_depth=18, width_multiplier=1 / 16, stem=stem), passes=1)
    record = saved_model.describe(model, saved_model.History())
    assert (record["image_size"], record["class_names"]) == (size, None)


def test_a_fine_tuned_model_exports_without_projection(make_live, images, tmp_path):
    """Its run has dropped what the linear head does not read; foreign weights keep it."""
    shallow.install(shallow.EVERY_KIND)
    model = make_live(passes=1, train_mode="finetune", fine_tune_after_block=4)
    module = tf.saved_model.load(export_encoder(model, str(tmp_path / "module")))
    assert set(module(images)) == {*MAPS, "final_avg_pool", "logits_sup"}
    assert len(module.trainable_variables) > len(model.trainable_variables)


def test_a_fine_tuned_model_with_its_whole_head_comes_back(live, images, tmp_path):
    """As foreign weights have it, whose linear head reads a layer within."""
    config = live.config
    config = dataclasses.replace(
        config, train_mode="finetune",
        projection=dataclasses.replace(config.projection, ft_proj_selector=1),
    )  # fmt: skip
    model = Network(config, 3, whole_head=True)
    expected = model(images)
    assert set(expected) == {*MAPS, "final_avg_pool", *HEADS, "logits_sup"}
    folder = export_encoder(model, str(tmp_path / "module"))
    for outputs in (tf.saved_model.load(folder)(images), load_model(folder).model(images),
                    stock_model(model)(images)):  # fmt: skip
        assert set(outputs) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(outputs[name], value, atol=1e-4, err_msg=name)


def test_bottlenecks_with_gates_are_exported_alike(make_live, tmp_path, monkeypatch):
    monkeypatch.setitem(BLOCKS_PER_GROUP, 50, shallow.EVERY_KIND)
    encoder = EncoderConfig(
        resnet_depth=50, width_multiplier=1 / 16, stem="imagenet", sk_ratio=0.0625, se_ratio=0.25
    )
    model = make_live(encoder, num_classes=None, passes=3)
    images = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)
    folder = export_encoder(model, str(tmp_path / "module"))
    outputs, expected = tf.saved_model.load(folder)(images), model(images)
    assert set(outputs) == set(expected) and "logits_sup" not in outputs
    for name in outputs:
        scale = max(1, np.abs(expected[name]).max())
        np.testing.assert_allclose(outputs[name], expected[name], atol=1e-5 * scale)
    assert not [n for n in _nodes(folder) if "_gradient_op_type" in n.attr and n.op not in CALLS]


def test_bfloat16_on_two_replicas_becomes_float32_on_one(tmp_path):
    done = warm.run(
        [sys.executable, str(pathlib.Path(__file__).with_name("replicas_program.py")),
         str(tmp_path)],
        env=dict(os.environ, PYTHONPATH=str(REPOSITORY)), text=True, capture_output=True,
        check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.strip().endswith("OK")
    nodes = _nodes(str(tmp_path / "saved_model" / "1"))
    assert not [n.op for n in nodes if "Collective" in n.op or "Nccl" in n.op]
    assert not [n for n in nodes if n.attr["T"].type == tf.bfloat16.as_datatype_enum]


def test_an_existing_target_needs_overwrite(live, exported, tmp_path):
    (tmp_path / "note.txt").write_text("kept")
    for target, told in ((exported, "overwrite"), (str(tmp_path), "overwrite")):
        with pytest.raises(InputError, match=told):
            export_encoder(live, target)
    with pytest.raises(InputError, match="must be an earlier export and nothing else"):
        export_encoder(live, str(tmp_path), overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["note.txt"]


def test_a_failure_leaves_nothing(live, tmp_path, monkeypatch):
    def fail(module, path, **_):
        (tmp_path / os.path.basename(path) / "half").write_text("written")
        raise OSError("disk full")

    monkeypatch.setattr(saved_model.tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        export_encoder(live, str(tmp_path / "module"))
    assert list(tmp_path.iterdir()) == []
