"""`load_encoder`: endpoints, use inside Keras models, fine-tuning, and the warning."""

import warnings

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import simclr_tf
from simclr_tf.errors import InputError

IMAGES = np.random.default_rng(0).random((4, 32, 32, 3), np.float32)
MAPS = {"initial_conv", "initial_max_pool", *(f"block_group{k}" for k in (1, 2, 3, 4))}
HEADS = {"proj_head_input", "proj_head_output", "logits_sup"}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A checkpoint with random weights and the model that wrote it."""
    from simclr_tf.config import EncoderConfig, ModelConfig

    encoder = EncoderConfig(resnet_depth=18, width_multiplier=1 / 16, stem="cifar")
    model = simclr_tf.build_model(ModelConfig(encoder=encoder), 3, image_size=32)
    rng = np.random.default_rng(1)
    for variable in model.variables:
        variable.assign(rng.uniform(0.1, 0.5, variable.shape))
    prefix = tf.train.Checkpoint(model=model).write(
        str(tmp_path_factory.mktemp("source") / "ckpt-1")
    )
    return model, prefix


def test_all_endpoints_equal_the_live_model(source):
    model, prefix = source
    encoder = simclr_tf.load_encoder(prefix, sk_ratio=0)
    outputs, expected = encoder(IMAGES), model(IMAGES)
    assert set(outputs) == MAPS | HEADS | {"final_avg_pool"}
    for name, value in expected.items():
        np.testing.assert_array_equal(outputs[name], value)
    assert isinstance(encoder, keras.Model)
    assert encoder.image_size == 32


def test_without_heads_there_are_no_variables_of_heads(source):
    model, prefix = source
    encoder = simclr_tf.load_encoder(prefix, heads=False, sk_ratio=0)
    assert set(encoder(IMAGES)) == MAPS | {"final_avg_pool"}
    names = [variable.name for variable in encoder.variables]
    assert names == [variable.name for variable in model.encoder.variables]


def test_an_unknown_endpoint_is_refused(source):
    with pytest.raises(InputError, match="endpoint must be one of initial_conv, .* 'z'"):
        simclr_tf.load_encoder(source[1], "z", sk_ratio=0)
    with pytest.raises(InputError, match="endpoint must be one of"):
        simclr_tf.load_encoder(source[1], "logits_sup", heads=False, sk_ratio=0)


def classifier(encoder, functional):
    head = keras.layers.Dense(2)
    if not functional:
        return keras.Sequential([encoder, head])
    images = keras.Input((None, None, 3))
    return keras.Model(images, head(encoder(images)))


@pytest.mark.parametrize("functional", [False, True])
def test_fit_trains_every_variable(source, functional, eager):
    encoder = simclr_tf.load_encoder(source[1], "final_avg_pool", heads=False, sk_ratio=0)
    before = [variable.numpy() for variable in encoder.variables]
    model = classifier(encoder, functional)
    model.compile(
        keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    labels = np.array([0, 1, 0, 1])
    losses = model.fit(IMAGES, labels, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    for old, variable in zip(before, encoder.variables, strict=True):
        assert not np.array_equal(old, variable.numpy()), variable.name


def test_a_frozen_encoder_keeps_everything(source):
    encoder = simclr_tf.load_encoder(source[1], "final_avg_pool", heads=False, sk_ratio=0)
    encoder.trainable = False
    before = [variable.numpy() for variable in encoder.variables]
    model = classifier(encoder, functional=True)
    model.compile(
        keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(IMAGES, np.array([0, 1, 0, 1]), epochs=2, verbose=0)
    for old, variable in zip(before, encoder.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


def test_images_out_of_range_are_warned_about(source, capfd):
    encoder = simclr_tf.load_encoder(source[1], sk_ratio=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder(IMAGES)
    for images in (IMAGES * 255, IMAGES * 2 - 1):
        with pytest.warns(UserWarning, match=r"must be floats in \[0, 1\]"):
            encoder(images)
    tf.function(encoder)(tf.constant(IMAGES))
    assert "[0, 1]" not in capfd.readouterr().err
    tf.function(encoder)(tf.constant(IMAGES * 255))
    assert "images must be floats in [0, 1]" in capfd.readouterr().err


def test_bytes_are_refused(source):
    encoder = simclr_tf.load_encoder(source[1], sk_ratio=0)
    with pytest.raises(ValueError, match="images must be floats in"):
        encoder((IMAGES * 255).astype(np.uint8))


def test_any_size_and_batch(source):
    encoder = simclr_tf.load_encoder(source[1], "final_avg_pool", sk_ratio=0)
    assert encoder(np.zeros((1, 40, 24, 3), np.float32)).shape == (1, 32)


def test_a_classifier_on_top_is_saved(source, tmp_path):
    encoder = simclr_tf.load_encoder(source[1], "final_avg_pool", heads=False, sk_ratio=0)
    model = keras.Sequential([encoder, keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    model.fit(IMAGES, np.zeros((4, 3)), verbose=0)
    path = tmp_path / "classifier.keras"
    model.save(path)
    loaded = keras.models.load_model(path, custom_objects=simclr_tf.custom_objects())
    np.testing.assert_array_equal(loaded(IMAGES), model(IMAGES))
    assert loaded.layers[0].image_size == encoder.image_size
