"""Layers and models of ours as Keras saves, loads and clones them."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import simclr_tf
from simclr_tf.config import BatchNormConfig, EncoderConfig, ModelConfig, ProjectionConfig
from simclr_tf.encoder import Encoder
from simclr_tf.models import saving
from simclr_tf.models.batch_norm import BatchNorm
from simclr_tf.models.heads import LinearHead, ProjectionHead
from simclr_tf.models.keras_encoder import KerasEncoder
from simclr_tf.models.network import Network
from simclr_tf.models.resnet import ResNet

RESNET = EncoderConfig(resnet_depth=18, width_multiplier=1 / 16, stem="cifar")
IMAGES = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)


def body():
    return keras.Sequential(
        [
            keras.layers.Conv2D(4, 3, 2, input_shape=(16, 16, 3)),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )


def network(**settings):
    config = ModelConfig(RESNET, ProjectionConfig(proj_out_dim=5), **settings)
    return Network(config, 3, "mine")


def of_keras(**settings):
    config = ModelConfig(EncoderConfig(encoder="keras:body"), **settings)
    return Network(config, 3, encoder=KerasEncoder(body(), 16))


def heads():
    features = keras.Input((8,))
    hidden = ProjectionHead(ProjectionConfig(proj_out_dim=4), BatchNormConfig(0.7))(features)[2]
    normed = BatchNorm(BatchNormConfig(0.6, global_bn=False), zero_gamma=True)(hidden)
    return keras.Model(features, LinearHead(3, zero_init=True)(normed))


MAKE = {
    "network": network,
    "fine-tuned": lambda: network(train_mode="finetune", fine_tune_after_block=1),
    "of Keras": of_keras,
    "ResNet": lambda: ResNet(RESNET, BatchNormConfig(0.8), name="other"),
    "KerasEncoder": lambda: KerasEncoder(body(), 16, name="other"),
    "encoder": lambda: Encoder(network(), 32, "final_avg_pool", heads=False),
    "encoder with heads": lambda: Encoder(of_keras(), 16),
    "heads": heads,
}


def randomized(model, seed=1):
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(0.1, 0.5, weight.shape) for weight in model.get_weights()])
    return model


def outputs(model):
    wide = model.inputs and len(model.inputs[0].shape) == 2
    found = model(IMAGES[:, 0, 0, :1] * np.ones(8, np.float32) if wide else IMAGES)
    return found if isinstance(found, dict) else {"output": found}


def assert_same(model, other, names=True):
    assert type(other) is type(model)
    expected, found = outputs(model), outputs(other)
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    for kind in ("variables", "trainable_variables"):
        ours, theirs = getattr(model, kind), getattr(other, kind)
        assert [v.shape for v in theirs] == [v.shape for v in ours]
        if names:
            assert [v.name for v in theirs] == [v.name for v in ours]


@pytest.mark.parametrize("kind", MAKE)
def test_a_keras_file_holds_all_of_it(kind, tmp_path):
    model = randomized(MAKE[kind]())
    if kind == "encoder":
        model.trainable = False
    assert model.built
    model.summary(print_fn=lambda line: None)
    model.save(tmp_path / "a.keras")
    assert_same(model, keras.models.load_model(tmp_path / "a.keras"))


@pytest.mark.parametrize("kind", [kind for kind in MAKE if kind != "heads"])
def test_a_configuration_is_json_and_makes_the_same_model(kind):
    model = randomized(MAKE[kind]())
    config = model.get_config()
    copy = type(model).from_config(json.loads(json.dumps(config)))
    assert copy.get_config() == config
    copy.set_weights(model.get_weights())
    assert_same(model, copy)


def test_settings_of_layers_come_back():
    _, head, norm, linear = heads().layers
    norm = BatchNorm.from_config(json.loads(json.dumps(norm.get_config())))
    assert norm.momentum == 0.6
    assert norm.epsilon == 1e-5
    norm.build((None, 2))
    np.testing.assert_array_equal(norm.gamma, [0.0, 0.0])
    assert norm.get_config()["config"] == {"batch_norm_decay": 0.6, "global_bn": False}
    assert LinearHead.from_config(linear.get_config()).kernel_initializer(shape=(2, 2))[0, 0] == 0
    again = ProjectionHead.from_config(head.get_config())
    assert again.projection_layers[0].bn.momentum == 0.7
    assert not ProjectionHead.from_config({**head.get_config(), "width": None}).built


def test_what_is_frozen_stays_frozen():
    model = network(train_mode="finetune", fine_tune_after_block=1)
    model.encoder.groups[3].trainable = False
    copy = Network.from_config(model.get_config())
    expected = [part.trainable for part in model._flatten_layers()]
    assert [part.trainable for part in copy._flatten_layers()] == expected
    assert copy.encoder.frozen_after_block == 1
    assert len(copy.trainable_variables) == len(model.trainable_variables)
    encoder = KerasEncoder(body(), 16)
    encoder.freeze(4)
    assert not KerasEncoder.from_config(encoder.get_config()).trainable_variables


def test_a_stop_gradient_before_the_linear_head_comes_back():
    model = network()
    model.detach_linear_head = False
    assert not Network.from_config(model.get_config()).detach_linear_head


def test_synchronized_batch_norm_comes_back():
    encoder = KerasEncoder(body(), 16)
    encoder.synchronize_batch_norm()
    norm = KerasEncoder.from_config(encoder.get_config()).body.layers[1]
    assert norm.synchronized
    assert not norm.fused


def test_functional_models_are_cloned():
    images = keras.Input((16, 16, 3))
    model = keras.Model(images, MAKE["encoder"]()(images))
    copy = keras.models.clone_model(model)
    copy.set_weights(randomized(model).get_weights())
    assert_same(model, copy)


@keras.saving.register_keras_serializable(package="test_saving")
class Own(keras.Model):
    """A class of a user's."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.conv = keras.layers.Conv2D(width, 3, 2, name="conv")

    def call(self, images):
        return tf.reduce_mean(self.conv(images), [1, 2])

    def get_config(self):
        return {"name": self.name, "width": self.width}


def test_encoders_of_classes_of_the_users(tmp_path):
    encoder = randomized(KerasEncoder(Own(5), 16))
    encoder.save(tmp_path / "own.keras")
    assert_same(encoder, keras.models.load_model(tmp_path / "own.keras"))


def test_the_list_of_classes_is_complete():
    listed = saving.custom_objects()
    names = keras.saving.get_custom_objects()
    ours = {name.removeprefix("simclr_tf>") for name in names if name.startswith("simclr_tf>")}
    assert set(listed) == ours
    assert {name: kind.__module__ for name, kind in listed.items()} == saving.MODULES
    assert simclr_tf.custom_objects() == listed


READER = """
import sys
import numpy as np, tf_keras as keras, simclr_tf
folder = sys.argv[1]
images = np.load(f"{folder}/images.npy")
load = keras.models.load_model
found = load(f"{folder}/model.keras")(images)["proj_head_output"]
objects = simclr_tf.custom_objects()
classified = load(f"{folder}/classifier.keras", custom_objects=objects)(images)
np.savez(f"{folder}/found.npz", found=found, classified=classified)
"""


@pytest.mark.whole  # as the other process has it
def test_another_process_reads_them(tmp_path):
    """Keras imports the class of a model by itself, and gets those of layers handed over."""
    model = randomized(network())
    encoder = Encoder(of_keras(), 16, "final_avg_pool", heads=False)
    classifier = keras.Sequential([encoder, keras.layers.Dense(3)])
    classifier.compile("adam", "mse")
    classifier.fit(IMAGES, np.zeros((2, 3)), verbose=0)
    model.save(tmp_path / "model.keras")
    classifier.save(tmp_path / "classifier.keras")
    np.save(tmp_path / "images.npy", IMAGES)
    root = os.path.dirname(os.path.dirname(simclr_tf.__file__))
    subprocess.run([sys.executable, "-c", READER, str(tmp_path)], check=True, cwd=root)
    with np.load(tmp_path / "found.npz") as read:
        expected = model(IMAGES)["proj_head_output"]
        np.testing.assert_array_equal(read["found"], expected)
        np.testing.assert_array_equal(read["classified"], classifier(IMAGES))
