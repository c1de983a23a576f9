"""Models from files of ours: architecture, settings and heads come back; foreign ones in
test_network.py.
"""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf import capacity
from simclr_tf.config import DataConfig, EncoderConfig, ModelConfig, ProjectionConfig, RunConfig
from simclr_tf.errors import InputError
from simclr_tf.models.network import Network
from simclr_tf.settings import by_name
from simclr_tf.training.run_config import record_config
from simclr_tf.weights import load
from simclr_tf.weights.load import load_model
from simclr_tf.weights.network import open_network

NARROW = EncoderConfig(resnet_depth=18, width_multiplier=1 / 16, stem="cifar")
IMAGES = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)


def build(num_classes=3, **settings):
    encoder = settings.pop("encoder", NARROW)
    projection = settings.pop("projection", ProjectionConfig(proj_out_dim=5, num_proj_layers=2))
    model = Network(ModelConfig(encoder=encoder, projection=projection, **settings), num_classes)
    rng = np.random.default_rng(1)
    for variable in model.variables:
        variable.assign(rng.uniform(0.1, 0.5, variable.shape))
    return model


def save_run(model, folder, image_size=48, class_names=("a", "b", "c"), step=7):
    folder.mkdir(parents=True)
    run = RunConfig(str(folder), data=DataConfig(image_size=image_size), model=model.config)
    record_config(run, class_names)
    tf.train.Checkpoint(model=model).write(str(folder / f"ckpt-{step}"))
    return str(folder)


@pytest.fixture(scope="module")
def sound_run(tmp_path_factory):
    """A run that tests copy."""
    return save_run(build(), tmp_path_factory.mktemp("sound") / "run")


def assert_same(loaded, model):
    outputs, expected = loaded(IMAGES), model(IMAGES)
    assert set(outputs) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(outputs[name], value, err_msg=name)


def test_a_run_with_its_settings(tmp_path):
    model = build(precision="float32")
    loaded = load_model(save_run(model, tmp_path / "run"))
    assert loaded.model.config == model.config
    assert (loaded.image_size, loaded.class_names, loaded.global_step) == (48, ("a", "b", "c"), 7)
    assert (loaded.source, loaded.run_dir) == ("TF2 checkpoint", str(tmp_path / "run"))
    assert not loaded.model.detach_linear_head
    assert_same(loaded.model, model)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_classes": None},
        {"projection": ProjectionConfig(proj_head_mode="none")},
        {"projection": ProjectionConfig(proj_head_mode="linear", proj_out_dim=4)},
        {"encoder": dataclasses.replace(NARROW, se_ratio=0.25, stem="imagenet")},
        {"encoder": EncoderConfig(50, 1 / 16, 0.0625, 0.0, "imagenet")},
    ],
    ids=str,
)
def test_a_checkpoint_without_settings(tmp_path, settings):
    model = build(**settings)
    prefix = tf.train.Checkpoint(model=model).write(str(tmp_path / "weights"))
    loaded = load_model(prefix, sk_ratio=model.config.encoder.sk_ratio)
    assert loaded.model.config.encoder.stem == model.config.encoder.stem
    told = load.read_model_config(prefix)
    assert told.projection == loaded.model.config.projection
    assert dataclasses.replace(told.encoder, sk_ratio=0) == dataclasses.replace(
        loaded.model.config.encoder, sk_ratio=0
    )
    assert loaded.image_size == {"cifar": 32, "imagenet": 224}[model.config.encoder.stem]
    assert (loaded.class_names, loaded.global_step, loaded.run_dir) == (None, 0, None)
    assert_same(loaded.model, model)


def test_frozen_bfloat16_becomes_trainable_float32(tmp_path):
    model = build(train_mode="finetune", fine_tune_after_block=2, precision="bfloat16")
    loaded = load_model(save_run(model, tmp_path / "run")).model
    assert loaded.config.precision == "float32"
    assert len(loaded.trainable_variables) > len(model.trainable_variables)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(loaded(IMAGES, training=True)["logits_sup"] ** 2)
    assert all(g is not None for g in tape.gradient(loss, loaded.trainable_variables))


def test_the_linear_head_teaches_the_encoder(tmp_path):
    loaded = load_model(save_run(build(), tmp_path / "run")).model
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(loaded(IMAGES, training=True)["logits_sup"] ** 2)
    gradients = tape.gradient(loss, loaded.encoder.trainable_variables)
    assert all(gradient is not None for gradient in gradients)


def test_fine_tuned_from_a_layer_of_the_head(tmp_path):
    projection = ProjectionConfig(proj_out_dim=5, num_proj_layers=2, ft_proj_selector=1)
    model = build(train_mode="finetune", projection=projection)
    folder = save_run(model, tmp_path / "run")
    assert_same(load_model(folder).model, model)
    assert_same(load_model(folder, ft_proj_selector=1, sk_ratio=0).model, model)
    for other in (0, 2):
        with pytest.raises(InputError, match="ft_proj_selector must be 1, as recorded"):
            load_model(folder, ft_proj_selector=other)
    with pytest.raises(InputError, match="sk_ratio must be 0, as recorded"):
        load_model(folder, sk_ratio=0.0625)


def test_foreign_settings_of_a_later_version_are_passed_over(tmp_path):
    model = build()
    folder = save_run(model, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "some_later_setting": 3}))
    assert_same(load_model(folder).model, model)


@pytest.mark.parametrize(
    "change",
    [
        {"class_names": ["a"]},
        {"class_names": 5},
        {"class_names": ["a", "b", 5]},
        {"image_size": None},
        {"image_size": 10**6},
        {"image_size": "48"},
        {"width_multiplier": 1e5},
        {"width_multiplier": 8.0},
        {"resnet_depth": 152},
        {"stem": "imagenet"},
        {"num_proj_layers": 10**8},
        {"num_proj_layers": 90},
        {"proj_out_dim": 60_000},
        {"dataset": 5},
        {"temperature": None},
    ],
)
def test_a_record_that_cannot_be_right_is_refused(sound_run, tmp_path, change, monkeypatch):
    folder = shutil.copytree(sound_run, str(tmp_path / "run"))
    path = tmp_path / "run" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    said = "class_names must be|config.json must (be the record|have a list of texts)"
    monkeypatch.setattr(load, "Network", None)  # nothing is built before
    with pytest.raises(InputError, match=said):
        load_model(folder)


def test_weights_that_are_not_in_the_file_are_refused(tmp_path, monkeypatch):
    """An index may name any shapes; a model of them is not built before the data is there."""
    path = tf.train.Checkpoint(model=build()).write(str(tmp_path / "weights"))
    monkeypatch.setattr(load, "Network", None)

    def claim(location):
        network = open_network(location)
        return dataclasses.replace(
            network, shapes={**network.shapes, "linear_head/kernel": (32, 10**9)}
        )

    monkeypatch.setattr(load, "open_network", claim)
    with pytest.raises(InputError, match="checkpoint must hold its weights: .* in .* bytes"):
        load_model(path)


def test_weights_that_nobody_can_hold_are_refused(tmp_path, monkeypatch):
    path = tf.train.Checkpoint(model=build()).write(str(tmp_path / "weights"))
    monkeypatch.setattr(capacity, "physical_bytes", lambda: 100_000)
    monkeypatch.setattr(load, "Network", None)
    with pytest.raises(InputError, match="checkpoint must be smaller: the weights .* GiB"):
        load_model(path)


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_bad_record_is_named(tmp_path, text):
    folder = save_run(build(), tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text(text)
    with pytest.raises(InputError, match="config.json must"):
        load_model(folder)


def test_an_export_with_its_record(tmp_path):
    model = build()
    module = tf.train.Checkpoint()
    module.variables = list(model.variables)
    tf.saved_model.save(module, str(tmp_path / "module"))
    (tmp_path / "module" / "assets.extra").mkdir()
    record = {"format": 1, "model": by_name.flatten(model.config), "num_classes": 3,
              "class_names": ["a", "b", "c"], "image_size": 64, "global_step": 12}  # fmt: skip
    path = tmp_path / "module" / "assets.extra" / "simclr_tf.json"
    path.write_text(json.dumps(record))
    loaded = load_model(str(tmp_path / "module"))
    assert (loaded.image_size, loaded.global_step, loaded.source) == (64, 12, "SavedModel")
    assert loaded.class_names == ("a", "b", "c")
    assert_same(loaded.model, model)
    path.write_text("{}")
    with pytest.raises(InputError, match="simclr_tf.json must have a whole number as format"):
        load_model(str(tmp_path / "module"))


def test_another_image_size(tmp_path):
    folder = save_run(build(encoder=dataclasses.replace(NARROW, stem="imagenet")), tmp_path / "run")
    assert load_model(folder, image_size=64).image_size == 64
    with pytest.raises(InputError, match="image_size must be at least 32"):
        load_model(folder, image_size=16)


def test_half_a_head_is_refused(tmp_path):
    model = build()
    names = {v.name: v for v in model.variables if "layer_0/bn/gamma" not in v.name}
    module = tf.train.Checkpoint(variables=list(names.values()))
    with pytest.raises(InputError, match="must hold complete heads .projection_head/layer_0/bn/"):
        load_model(module.write(str(tmp_path / "weights")))
