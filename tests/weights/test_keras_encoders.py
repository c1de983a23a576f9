"""Where encoders that are no ResNet come from, and what a run keeps of them."""

import sys

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from simclr_tf import run_folder
from simclr_tf.errors import InputError
from simclr_tf.settings.model import EncoderConfig
from simclr_tf.weights import keras_encoders
from simclr_tf.weights.keras_encoders import body_maker

SHAPE = (32, 32, 3)
IMAGES = np.random.default_rng(0).random((2, *SHAPE), np.float32)
layers = keras.layers


class Scaled(layers.Layer):
    """A layer of the user's, which is not registered."""

    def build(self, shape):
        self.factor = self.add_weight("factor", shape[-1:], initializer="ones")

    def call(self, x):
        return x * self.factor


class Closed(keras.Model):
    """A model of the user's whose configuration would be code."""

    def __init__(self, make):
        super().__init__()
        self.dense = make()

    def call(self, images):
        return self.dense(tf.reduce_mean(images, [1, 2]))


def small(*extra):
    images = x = keras.Input(SHAPE)
    for layer in (layers.Conv2D(4, 3, strides=2), layers.BatchNormalization(), *extra):
        x = layer(x)
    return keras.Model(images, layers.GlobalAveragePooling2D()(x), name="small")


def named(name, size=32, channels=3, **settings):
    return body_maker(EncoderConfig(encoder=name, channels=channels), size, **settings)()


def test_a_network_of_keras_by_its_name():
    body = named("applications/MobileNetV3Small", channels=4)
    assert body.input_shape == (None, 32, 32, 4)
    assert body.output_shape == (None, 576)


def test_statistics_of_keras_networks_follow_as_fast_as_those_of_a_resnet():
    body = named("applications/MobileNetV3Small", batch_norm_decay=0.9)
    norms = [one for one in body.layers if isinstance(one, layers.BatchNormalization)]
    assert norms and all(norm.momentum == 0.9 for norm in norms)
    assert keras_encoders.copy_of(body, SHAPE).get_layer(norms[0].name).momentum == 0.9


def test_low_precision_is_that_of_what_is_made_and_of_nothing_else():
    body = named("applications/MobileNetV3Small", precision="bfloat16")
    assert body.layers[-2].compute_dtype == "bfloat16"
    assert keras.mixed_precision.global_policy().name == "float32"


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "my_nets.py").write_text(
        "import tf_keras as keras\n"
        "def tiny(image_size):\n"
        "    return keras.Sequential([keras.layers.InputLayer((image_size, image_size, 3)),\n"
        "                             keras.layers.Conv2D(3, 3)])\n"
        "def gray(size, channels):\n"
        "    return keras.Sequential([keras.layers.InputLayer((size, size, channels))])\n"
        "def broken(size):\n    raise ValueError('no such size')\n"
        "number = 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("my_nets", None)


@pytest.mark.usefixtures("own_module")
def test_a_function_gets_the_size_and_if_it_takes_them_the_channels():
    assert named("my_nets:tiny", 16).input_shape == (None, 16, 16, 3)
    assert named("my_nets:gray", 16, channels=2).input_shape == (None, 16, 16, 2)


@pytest.mark.usefixtures("own_module")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("applications/MobileNetV9", "encoder must be one of .*mean.* 'applications/MobileNetV"),
        ("applications/VGG16", "encoder must be a network for images of 16 px"),
        ("my_nets:none", r"a function that can be imported \(AttributeError"),
        ("no_nets:tiny", r"a function that can be imported \(ModuleNotFoundError"),
        ("my_nets:number", "encoder must be a function"),
        ("my_nets:broken", "must return a model .* no such size"),
        ("nowhere.keras", "checkpoint must exist"),
        ("keras:mine", "must be a model, or lie as encoder.keras"),
    ],
)
def test_a_name_of_nothing_is_refused_in_one_line(name, text):
    with pytest.raises(InputError, match=text) as caught:
        named(name, 16)
    assert "\n" not in str(caught.value)


def test_the_settings_know_what_may_be_a_name():
    for name in ("resnet", "applications/X", "a.b:c.d", "x.keras", "keras:mine"):
        assert EncoderConfig(encoder=name).is_function == (name == "a.b:c.d")
    for name in ("resnet50", "", "a b:c", "a:", "mobilenet"):
        with pytest.raises(InputError, match="encoder must be resnet, applications/NAME"):
            EncoderConfig(encoder=name)


def test_a_copy_has_the_same_weights_or_others():
    body = small(Scaled(), layers.LayerNormalization())
    body.layers[2].moving_mean.assign([1, 2, 3, 4])
    copy = keras_encoders.copy_of(body, SHAPE)
    np.testing.assert_array_equal(copy(IMAGES), body(IMAGES))
    assert not {id(v) for v in copy.weights} & {id(v) for v in body.weights}
    fresh = keras_encoders.copy_of(body, SHAPE, with_weights=False)
    assert np.abs(fresh(IMAGES) - body(IMAGES)).max() > 1e-3


def test_weights_are_copied_between_frozen_and_trainable_models():
    """Keras lists the weights of a frozen model in another order."""
    source, target = small(), small()
    source.layers[2].moving_variance.assign([1, 2, 3, 4])
    source.trainable = False
    assert [v.shape for v in source.weights] == [v.shape for v in small().weights]
    keras_encoders.copy_weights(source, target)
    np.testing.assert_array_equal(source(IMAGES), target(IMAGES))


def test_another_architecture_is_refused_before_anything_changes():
    target = keras.Sequential([layers.InputLayer(SHAPE), layers.Conv2D(4, 3), layers.Conv2D(4, 1)])
    before = target.get_weights()
    with pytest.raises(InputError, match=r"must have the weights of small: 6 of 128 numbers"):
        keras_encoders.copy_weights(small(), target)
    for value, now in zip(before, target.get_weights(), strict=True):
        np.testing.assert_array_equal(value, now)


def test_the_file_of_a_run(tmp_path):
    body = small(Scaled())
    keras_encoders.write_body(body, str(tmp_path / run_folder.ENCODER))
    found = keras_encoders.run_body(str(tmp_path), keras_encoders.own_classes(body))
    np.testing.assert_array_equal(found(IMAGES), body(IMAGES))
    with pytest.raises(InputError, match="encoder must be a .keras file of known layers .*Scaled"):
        keras_encoders.run_body(str(tmp_path))
    assert keras_encoders.run_body(str(tmp_path / "elsewhere")) is None


def test_a_constant_among_the_inputs_of_a_layer_is_refused():
    """Keras saves such a model, and can't open it again."""
    images = keras.Input((8, 8, 3))
    x = layers.Reshape((64, 3))(images)
    x = layers.Add()([x, layers.Embedding(64, 3)(tf.range(64)[None])])
    with pytest.raises(InputError, match="encoder must be a model that Keras saves"):
        keras_encoders.check_saves(keras.Model(images, x))


def test_a_compiled_model_leaves_its_optimizer_behind(tmp_path):
    body = small()
    body.compile(keras.optimizers.Adam(), "mse")
    keras_encoders.write_body(body, str(tmp_path / run_folder.ENCODER))
    assert keras_encoders.run_body(str(tmp_path)).optimizer is None


def test_models_that_no_run_could_keep_are_refused():
    keras_encoders.check_saves(small(Scaled()))
    closed = Closed(lambda: layers.Dense(3))
    closed(IMAGES)
    with pytest.raises(InputError, match="encoder must be a model that Keras saves") as caught:
        keras_encoders.check_saves(closed)
    assert "\n" not in str(caught.value)


def test_a_configuration_of_others_runs_no_code():
    body = small(layers.Lambda(lambda x: x + 1))
    config = keras_encoders.config_of(body)
    with pytest.raises(InputError, match="x.json must describe a model of known layers .*Lambda"):
        keras_encoders.from_config(config, "x.json")
    found = keras_encoders.from_config(keras_encoders.config_of(small()), "x.json")
    assert found.count_params() == small().count_params()
