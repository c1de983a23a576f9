"""The `.keras` file: the same function in stock layers, for tf_keras and for Keras 3."""

from __future__ import annotations

import json
import pathlib
import re
import sys
import zipfile

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from simclr_tf.export.keras_file import portable_config, stock_model, write_keras_file

from simclr_tf.config import BatchNormConfig, EncoderConfig, ModelConfig, ProjectionConfig
from simclr_tf.errors import InputError
from simclr_tf.export import keras_file
from simclr_tf.models import resnet
from simclr_tf.models.network import Network
from tests import warm

PROGRAM = pathlib.Path(__file__).with_name("keras_file_program.py")
MAPS = ["initial_conv", "initial_max_pool", *(f"block_group{k}" for k in (1, 2, 3, 4))]
STOCK = {
    "Activation", "Add", "AveragePooling2D", "BatchNormalization", "Conv2D", "Dense",
    "GlobalAveragePooling2D", "InputLayer", "MaxPooling2D", "Multiply", "Normalization", "Subtract",
    "ZeroPadding2D",
}  # fmt: skip
ARCHITECTURES = {
    "basic": {"resnet_depth": 18, "stem": "cifar"},
    "basic_imagenet": {"resnet_depth": 18, "stem": "imagenet", "se_ratio": 0.5},
    "torchvision": {
        "resnet_depth": 18, "stem": "imagenet", "resnet_variant": "torchvision",
        "input_norm": "imagenet",
    },
    "solo_learn": {
        "resnet_depth": 18, "stem": "cifar", "resnet_variant": "solo_learn",
        "input_norm": "0.5/0.25",
    },
    "basic_resnet_d": {"resnet_depth": 18, "stem": "imagenet", "sk_ratio": 0.0625},
    "bottleneck": {"resnet_depth": 50, "stem": "imagenet"},
    "bottleneck_wide": {"resnet_depth": 50, "stem": "cifar", "width_multiplier": 0.1},
    "selective": {"resnet_depth": 50, "stem": "cifar", "sk_ratio": 0.25},
    "selective_imagenet": {
        "resnet_depth": 50, "stem": "imagenet", "sk_ratio": 0.0625, "se_ratio": 0.25
    },
}  # fmt: skip


def _encoder(name: str) -> EncoderConfig:
    return EncoderConfig(**{"width_multiplier": 1 / 16, **ARCHITECTURES[name]})


def _randomize(model: Network) -> Network:
    """Nothing stays at its initial value: a zero scale would hide its block."""
    rng = np.random.default_rng(1)
    for variable in model.variables:
        shape, kind = variable.shape.as_list(), variable.name.split("/")[-1]
        if kind.startswith("kernel"):
            value = rng.normal(0, 1 / np.sqrt(np.prod(shape[:-1])), shape)
        elif kind.startswith(("gamma", "moving_variance")):
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = rng.normal(0, 0.3, shape)
        variable.assign(value.astype(np.float32))
    return model


def _model(name: str = "basic", num_classes: int | None = 3, **settings) -> Network:
    projection = {"proj_out_dim": 5, "num_proj_layers": 2, **settings.pop("projection", {})}
    config = ModelConfig(_encoder(name), ProjectionConfig(**projection), **settings)
    return _randomize(Network(config, num_classes))


# With AVX-512, TensorFlow 2.21's gradient of narrow 1x1 convolutions of stride 2 reads past the end
# of three images and aborts; see docs/performance.md.
FOUR = 4


def _images(batch: int = 3, height: int = 32, width: int = 32) -> np.ndarray:
    return np.random.default_rng(0).random((batch, height, width, 3), np.float32)


def _check_equal(outputs, expected) -> None:
    assert list(outputs) == list(expected)
    for name, value in expected.items():
        scale = np.abs(value).max()
        assert scale > 1e-3, name
        np.testing.assert_allclose(outputs[name], value, atol=1e-5 * scale, rtol=0, err_msg=name)


@pytest.fixture(scope="module")
def shallow():
    """ResNet-50 with the kinds of blocks it has, but not as many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.BLOCKS_PER_GROUP, 50, (2, 1, 1, 1))
        yield


# The network of stock layers.


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_equals_the_live_model(shallow, name):
    live = _model(name)
    stock = stock_model(live)
    for images in (_images(), _images(2, 45, 38)):
        _check_equal(stock(images, training=False), live(images))
    assert {type(layer).__name__ for layer in stock.layers} <= STOCK
    assert all(type(layer).__module__.startswith("tf_keras.") for layer in stock.layers)
    assert stock.count_params() == live.count_params()


@pytest.mark.parametrize(
    ("settings", "heads"),
    [
        ({}, ["proj_head_input", "proj_head_output", "logits_sup"]),
        ({"num_classes": None}, ["proj_head_input", "proj_head_output"]),
        ({"projection": {"proj_head_mode": "linear"}},
         ["proj_head_input", "proj_head_output", "logits_sup"]),
        ({"projection": {"proj_head_mode": "none"}},
         ["proj_head_input", "proj_head_output", "logits_sup"]),
        ({"train_mode": "finetune"}, ["logits_sup"]),
        ({"train_mode": "finetune", "projection": {"ft_proj_selector": 1}}, ["logits_sup"]),
        ({"train_mode": "finetune", "projection": {"ft_proj_selector": 2}}, ["logits_sup"]),
    ],
)  # fmt: skip
def test_heads(settings, heads):
    live = _model(**settings)
    outputs = stock_model(live)(_images(), training=False)
    assert list(outputs) == [*MAPS, "final_avg_pool", *heads]
    _check_equal(outputs, live(_images()))


@pytest.mark.parametrize("name", ["basic_imagenet", "selective_imagenet"])
def test_layers_are_named_after_our_variables(shallow, name):
    live = _model(name)
    stock = stock_model(live)
    paths = {re.sub(r":0$", "", v.name.replace("__", "/")) for v in stock.variables}
    halves = r"(selective_kernel/(?:streams|streams_bn|expand))_[01]/"
    joined = {re.sub(halves, r"\1/", path) for path in paths}
    assert joined == {re.sub(r":0$", "", v.name) for v in live.variables}
    assert len(paths) == len(stock.variables)
    assert not [layer.name for layer in stock.layers if "/" in layer.name]


def test_input_accepts_any_size_in_float32():
    stock = stock_model(_model())
    (layer,) = (layer for layer in stock.layers if isinstance(layer, keras.layers.InputLayer))
    assert (layer.name, layer.dtype) == ("images", "float32")
    assert stock.input_shape == (None, None, None, 3)


def test_batch_norms_keep_their_settings():
    stock = stock_model(_model(batch_norm=BatchNormConfig(batch_norm_decay=0.8)))
    norms = [x for x in stock.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert {(norm.momentum, norm.epsilon) for norm in norms} == {(0.8, 1e-5)}
    assert [norm.name for norm in norms if not norm.center] == ["projection_head__layer_1__bn"]


def test_training_uses_and_moves_batch_statistics():
    live = _model()
    stock = stock_model(live)
    outputs, expected = stock(_images(), training=True), live(_images(), training=True)
    scale = np.abs(expected["logits_sup"]).max()
    np.testing.assert_allclose(outputs["logits_sup"], expected["logits_sup"], atol=1e-4 * scale)
    norm, ours = stock.get_layer("encoder__stem__bn"), live.encoder.stem.bn
    np.testing.assert_allclose(norm.moving_mean, ours.moving_mean, rtol=1e-4, atol=1e-6)
    # N against N - 1, N = 3 x 32 x 32: the difference that the module's docstring names
    np.testing.assert_allclose(norm.moving_variance, ours.moving_variance, rtol=1e-3)


def test_frozen_model_becomes_trainable():
    live = _model(train_mode="finetune", fine_tune_after_block=4)
    stock = stock_model(live)
    assert len(live.trainable_variables) == 2
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(stock(_images(FOUR), training=True)["logits_sup"] ** 2)
    gradients = tape.gradient(loss, stock.trainable_variables)
    assert len(gradients) == sum("moving_" not in variable.name for variable in live.variables)
    assert all(gradient is not None for gradient in gradients)


def test_linear_head_teaches_the_encoder():
    stock = stock_model(_model())  # in pretraining, a stop-gradient stands before the head
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(stock(_images(FOUR), training=True)["logits_sup"] ** 2)
    kernel = stock.get_layer("encoder__stem__conv").kernel
    assert np.abs(tape.gradient(loss, kernel)).max() > 0


def test_bfloat16_model_becomes_a_float32_network():
    stock = stock_model(_model(precision="bfloat16"))
    assert {layer.dtype for layer in stock.layers} == {"float32"}
    _check_equal(stock(_images()), _model()(_images()))


def test_a_policy_of_the_process_changes_nothing():
    live = _model()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        stock = stock_model(live)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    _check_equal(stock(_images()), live(_images()))


def test_a_strategy_scope_is_refused():
    live = _model()
    with (
        tf.distribute.OneDeviceStrategy("CPU:0").scope(),
        pytest.raises(InputError, match="scope"),
    ):
        stock_model(live)


# The file.


def test_portable_config():
    norm = {"class_name": "BatchNormalization", "config": {"name": "bn", "axis": [3]}, "name": "bn"}
    dense = {"class_name": "Dense", "config": {"name": "dense"}, "name": "dense"}
    written = {
        "module": "tf_keras.src.engine.functional",
        "class_name": "Functional",
        "registered_name": "Functional",
        "build_config": {"input_shape": [None, 4]},
        "config": {"name": "net", "layers": [norm, dense], "input_layers": [["images", 0, 0]]},
    }
    before = json.dumps(written)
    assert portable_config(written) == {
        "module": "keras",
        "class_name": "Model",
        "registered_name": None,
        "config": {
            "name": "net",
            "layers": [{**norm, "config": {"name": "bn", "axis": 3}}, dense],
            "input_layers": ["images", 0, 0],
        },
    }
    assert json.dumps(written) == before  # the argument is left alone


def test_file_opens_in_tf_keras_and_names_no_private_module(tmp_path):
    live = _model("basic_resnet_d")
    path = tmp_path / "new" / "encoder.keras"
    write_keras_file(live, str(path))
    assert [p.name for p in path.parent.iterdir()] == ["encoder.keras"]
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        config = archive.read("config.json").decode()
    modules = set(re.findall(r'"module": "([^"]*)"', config))
    assert modules == {"keras", "keras.layers", "keras.initializers"}
    loaded = keras.models.load_model(path)
    _check_equal(loaded(_images(), training=False), live(_images()))
    assert all(layer.trainable for layer in loaded.layers)


@pytest.mark.parametrize("name", ["encoder", "encoder.h5", "encoder.keras/"])
def test_a_path_without_the_suffix_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="must end in .keras"):
        write_keras_file(_model(), f"{tmp_path}/{name}")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_refused(tmp_path):
    (tmp_path / "encoder.keras").mkdir()
    with pytest.raises(InputError, match="not a folder"):
        write_keras_file(_model(), str(tmp_path / "encoder.keras"))


def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "encoder.keras"
    path.write_text("old")

    def fail(source, target, overwrite=False):
        assert pathlib.Path(source).stat().st_size > 1000  # complete before it gets the name
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(keras_file.tf.io.gfile, "rename", fail)
        with pytest.raises(OSError, match="disk full"):
            write_keras_file(_model(), str(path))
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["encoder.keras"]
    write_keras_file(_model(), str(path))
    assert zipfile.is_zipfile(path)


# Other processes.


def _run(folder: pathlib.Path, *words: str) -> dict:
    command = [sys.executable, str(PROGRAM), *words]
    done = warm.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "doesn't match the expected structure" not in done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def written(shallow, tmp_path_factory) -> tuple[pathlib.Path, dict[str, int]]:
    """Files of three architectures, each with images and the live model's endpoints beside it.

    Between them they have every kind of layer. The number of running statistics is in `counts`.
    """
    folder, counts = tmp_path_factory.mktemp("files"), {}
    for name in ("basic_imagenet", "selective", "torchvision"):
        live = _model(name)
        images = _images(2, 45, 38)
        write_keras_file(live, str(folder / f"{name}.keras"))
        outputs = {key: value.numpy() for key, value in live(images).items()}
        np.savez(folder / f"{name}.npz", images=images, **outputs)
        counts[name] = sum("moving_" in variable.name for variable in live.encoder.variables)
    return folder, counts


@pytest.mark.parametrize("library", ["tf_keras", "keras"])
def test_file_loads_and_fine_tunes_without_this_package(written, tmp_path, library):
    folder, counts = written
    reports = _run(tmp_path, "load", library, str(folder))
    assert set(reports) == set(counts)
    assert STOCK - {"InputLayer"} <= {
        one for report in reports.values() for one in report["classes"]
    }
    for name, report in reports.items():
        print(library, name, report["deviation"], report["losses"])
        heads = ["proj_head_input", "proj_head_output", "logits_sup"]
        assert report["endpoints"] == [*MAPS, "final_avg_pool", *heads]
        assert report["deviation"] < 1e-5
        assert set(report["classes"]) <= STOCK
        assert report["losses"][-1] < 0.8 * report["losses"][0]
        assert report["statistics"] >= counts[name] > 10
        assert report["still"] == []
        assert report["inference_keeps_weights"]


def test_model_on_several_replicas_becomes_one(tmp_path):
    deviations = _run(tmp_path, "replicas")
    assert set(deviations) >= {*MAPS, "final_avg_pool", "logits_sup"}
    assert max(deviations.values()) < 1e-5
