"""Checkpoints for the reference's program: what it wrote itself comes back from ours unchanged."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import tensorflow as tf
from simclr_tf.export.bundle import export_checkpoint

from simclr_tf.config import (
    EncoderConfig,
    ModelConfig,
    OptimizerConfig,
    ProjectionConfig,
    RunConfig,
    TrainConfig,
)
from simclr_tf.errors import InputError
from simclr_tf.export import __main__ as command_line
from simclr_tf.export import reference
from simclr_tf.models.network import Network
from simclr_tf.models.roles import variable_roles
from simclr_tf.optimizers.factory import build_optimizer
from simclr_tf.settings import by_name
from simclr_tf.training import run_config
from simclr_tf.training.checkpoints import CheckpointStore
from simclr_tf.weights import reference_run
from simclr_tf.weights.load import load_model
from tests.weights import foreign_checkpoints, reference_training

pytestmark = pytest.mark.whole  # as the reference's networks are

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
ENCODER = EncoderConfig(resnet_depth=18, width_multiplier=reference_training.WIDTH, stem="cifar")


def quiet(text):
    pass


def our_run(folder, kind: str, encoder=ENCODER, classes=reference_training.CLASSES, **settings):
    """A run with a checkpoint of its first weights, or one that went on with what is there."""
    projection = ProjectionConfig(proj_out_dim=reference_training.PROJECTION)
    config = ModelConfig(encoder=encoder, projection=settings.pop("projection", projection),
                         **settings)  # fmt: skip
    optimizer_config = OptimizerConfig(optimizer=kind, momentum=0.8)
    model = Network(config, classes)
    optimizer = build_optimizer(optimizer_config, 0.1, variable_roles(model))
    optimizer.build(model.trainable_variables)
    store = CheckpointStore(str(folder), model, optimizer, say=quiet)
    if store.restore_latest():
        optimizer.iterations.assign_add(1)
    store.save()
    run = RunConfig(str(folder), model=config, optimizer=optimizer_config,
                    train=TrainConfig(train_batch_size=8))  # fmt: skip
    run_config.record_config(run)


def contents(prefix: str) -> dict[str, tuple[str, np.ndarray]]:
    """Full name and value by key."""
    graph = foreign_checkpoints.object_graph({})
    reader = tf.train.load_checkpoint(prefix)
    graph.ParseFromString(reader.get_tensor(foreign_checkpoints.OBJECT_GRAPH))
    return {entry.checkpoint_key: (entry.full_name, reader.get_tensor(entry.checkpoint_key))
            for node in graph.nodes for entry in node.attributes}  # fmt: skip


@pytest.mark.parametrize("kind", ["lars", "momentum", "adam"])
def test_a_run_of_the_reference_comes_back_as_it_was(tmp_path, kind):
    """Into a run of ours and out again: keys, full names, values, slots, the links to them."""
    entries = reference_training.listing(kind)
    (tmp_path / "run").mkdir()
    theirs = reference_training.write(tmp_path / "run", entries)
    our_run(tmp_path / "run", kind)
    loaded = load_model(str(tmp_path / "run"))
    reference.write_checkpoint(loaded.model, str(tmp_path), 21, reference.read_state(loaded))
    written = contents(str(tmp_path / "ckpt-21"))
    numbers = {"lars": {}, "momentum": {"momentum": 0.8, "decay": 0},
               "adam": {"beta_1": 0.9, "beta_2": 0.999, "decay": 0}}[kind]  # fmt: skip
    for name, number in numbers.items():
        np.testing.assert_allclose(written.pop(f"optimizer/{name}{VALUE}")[1], number, rtol=1e-6)
    title = {"lars": "LARSOptimizer", "momentum": "SGD", "adam": "Adam"}[kind]
    expected = contents(theirs)
    assert set(written) == set(expected)
    for key, (full_name, value) in written.items():
        assert full_name == expected[key][0].replace(f"{kind.title()}/", f"{title}/"), key
        if key not in (f"global_step{VALUE}", f"save_counter{VALUE}"):
            np.testing.assert_array_equal(value, expected[key][1], err_msg=key)
    assert written[f"global_step{VALUE}"][1] == 21
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "ckpt-21")
    assert reference_run.is_reference(str(tmp_path / "ckpt-21"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> str:
    """A run of ours with a network that the reference can have."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    our_run(folder, "lars", EncoderConfig(resnet_depth=18, stem="cifar"), 3)
    return str(folder)


def test_the_command_writes_a_model_dir_and_says_with_which_flags(whole, tmp_path, capsys):
    out = tmp_path / "out"
    line = ["--format=reference", f"--checkpoint={whole}", f"--output={out}"]
    assert command_line.main(line) == 0
    said = capsys.readouterr().out
    assert f"--model_dir={out} and --train_mode=pretrain --resnet_depth=18" in said
    assert "--image_size=32 " in said and "--optimizer=lars" in said and "note" not in said
    assert f"wrote {out}/ckpt-0" in said
    assert "with the state of its lars optimizer, " in said and "left aside" not in said
    assert sorted(os.listdir(out)) == ["checkpoint", "ckpt-0.data-00000-of-00001", "ckpt-0.index",
                                       "simclr_tf.json"]  # fmt: skip
    assert json.loads((out / "simclr_tf.json").read_text())["flags"] in said
    assert command_line.main(line) == 2
    assert command_line.main([*line, "--overwrite"]) == 0
    (out / "events.out.tfevents.1").write_text("the reference went on here")
    assert command_line.main([*line, "--overwrite"]) == 2
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    # Nothing was trained yet, so that nothing tells what the linear head reads.
    again = load_model(str(out), ft_proj_selector=0).model(images)
    before = load_model(whole).model(images)
    for name, value in before.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "must have a whole width_multiplier.*it has 0.125"),
        (
            {"encoder": EncoderConfig(resnet_depth=18, stem="cifar"),
             "projection": ProjectionConfig(proj_head_mode="linear")},
            "must have a nonlinear projection head",
        ),
    ],
)  # fmt: skip
def test_what_the_reference_cannot_have_is_refused(tmp_path, settings, told):
    folder = tmp_path / "run"
    our_run(folder, "lars", **settings)
    with pytest.raises(InputError, match=told):
        export_checkpoint(str(folder), str(tmp_path / "out"), ["reference"], say=quiet)
    assert not (tmp_path / "out").exists()


def test_it_stands_by_itself(tmp_path):
    with pytest.raises(InputError, match="must be reference alone"):
        export_checkpoint("a", str(tmp_path / "out"), ["reference", "hub"])


def test_what_the_reference_starts_anew_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "check_possible", lambda config, path: None)
    tuned = ProjectionConfig(proj_out_dim=reference_training.PROJECTION, ft_proj_selector=1)
    our_run(tmp_path / "tuned", "lars", train_mode="finetune", projection=tuned)
    said = []
    (prefix,) = export_checkpoint(
        str(tmp_path / "tuned"), str(tmp_path / "a"), ["reference"], say=said.append
    )
    assert any("the last 2 of 3 layers of the projection head are not in" in line for line in said)
    assert not any("optimizer's state" in line for line in said)
    assert "--train_mode=finetune" in said[-1] and "--ft_proj_selector=1" in said[-1]
    assert not any("linear_layers/1" in key for key in contents(prefix))

    entries = reference_training.listing("")  # weights alone
    source = foreign_checkpoints.write_object_based(
        str(tmp_path / "weights" / "model.ckpt-20"), entries, reference_training.arrays(entries)
    )
    said.clear()
    export_checkpoint(source, str(tmp_path / "b"), ["reference"], say=said.append)
    assert "note: there is no optimizer's state: the reference starts with none" in said
    settings = by_name.flatten(load_model(str(tmp_path / "b")).model.config)
    assert settings["num_proj_layers"] == 3
