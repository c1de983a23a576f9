"""Any Keras model as the encoder."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from simclr_tf.errors import InputError
from simclr_tf.models.keras_encoder import KerasEncoder

IMAGES = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
layers = keras.layers


def small(*extra, channels=3, size=8):
    images = keras.Input((size, size, channels))
    x = images
    for layer in (*extra, layers.Conv2D(4, 3)):
        x = layer(x)
    return keras.Model(images, x)


class OwnModel(keras.Model):
    """A class of the user's, whose call does not know of training."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(5)

    def call(self, images):
        return {"embedding": self.dense(tf.reshape(images, [-1, 192])), "raw": images}


@pytest.mark.parametrize(
    "make",
    [small, lambda: keras.Sequential([layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()])],
    ids=["functional with a map", "sequential, not built"],
)
def test_a_model_is_an_encoder(make):
    body = make()
    encoder = KerasEncoder(body, 8)
    expected = body(IMAGES).numpy()
    expected = expected.mean(axis=(1, 2)) if expected.ndim == 4 else expected
    np.testing.assert_allclose(encoder(IMAGES)["final_avg_pool"], expected, rtol=1e-6)
    assert encoder.example_shape == (8, 8, 3)


def test_a_class_without_training_keeps_the_names_of_its_endpoints():
    found = KerasEncoder(OwnModel(), 8)(IMAGES, training=True)
    assert set(found) == {"embedding", "raw", "final_avg_pool"}


def test_training_reaches_the_layers():
    encoder = KerasEncoder(small(layers.BatchNormalization()), 8)
    norm = encoder.body.layers[1]
    encoder(IMAGES, training=False)
    assert not norm.moving_mean.numpy().any()
    encoder(IMAGES, training=True)
    assert norm.moving_mean.numpy().all()


def test_networks_that_divide_bytes_get_bytes():
    first = layers.Rescaling(1 / 127.5, offset=-1)
    body = small(first)
    encoder = KerasEncoder(body, 8)
    assert encoder.image_scale == 255
    expected = body(IMAGES * 255).numpy().mean(axis=(1, 2))
    np.testing.assert_allclose(encoder(IMAGES)["final_avg_pool"], expected, rtol=1e-5)
    assert KerasEncoder(small(layers.Rescaling(2.0)), 8).image_scale == 1


def test_a_frozen_encoder_gets_no_gradient_and_keeps_its_statistics():
    encoder = KerasEncoder(small(layers.BatchNormalization()), 8)
    variables = list(encoder.body.weights)
    before = [variable.numpy() for variable in variables]
    encoder.freeze(4)
    with tf.GradientTape() as tape:
        tape.watch(variables)
        total = tf.reduce_sum(encoder(IMAGES, training=True)["final_avg_pool"])
    assert tape.gradient(total, variables) == [None] * len(variables)
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert not encoder.trainable_variables


def two_inputs():
    inputs = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
    return keras.Model(inputs, layers.Add()([layers.Conv2D(2, 3)(one) for one in inputs]))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (two_inputs, "encoder must have one input, the images"),
        (lambda: small(channels=4), "encoder must take the images of this run, 8 x 8 x 3"),
        (lambda: small(size=16), r"of this run, 8 x 8 x 3 .*for 16 x 16 x 3"),
        (lambda: keras.Sequential([layers.Flatten()]), "encoder must have trainable variables"),
        (lambda: keras.Sequential([layers.Conv2D(2, 9)]), r"must map images \(N, 8, 8, 3\) to"),
        (
            lambda: keras.Sequential(
                [layers.Conv2D(2, 3), layers.Lambda(lambda x: tf.argmax(x, -1))]
            ),
            "gives int64",
        ),
        (
            lambda: keras.Sequential([layers.Dense(2), layers.Lambda(lambda x: x[:1])]),
            "must give features .D,. for each of 2 images",
        ),
        (
            lambda: keras.Sequential([layers.Dense(2), layers.Lambda(lambda x: x / 0.0)]),
            "must give finite features",
        ),
        (lambda: layers.Conv2D(2, 3), "encoder must be a tf_keras model"),
        (lambda: "resnet50", "encoder must be a tf_keras model"),
    ],
)
def test_what_can_be_no_encoder_is_refused_in_one_line(make, text):
    with pytest.raises(InputError, match=text) as caught:
        KerasEncoder(make(), 8)
    assert "\n" not in str(caught.value)


def test_images_are_floats():
    with pytest.raises(ValueError, match="images must be floats"):
        KerasEncoder(small(), 8)(tf.zeros([1, 8, 8, 3], tf.uint8))


def _with_a_dead_end():
    images = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, name="reached")(images)
    cut = layers.Lambda(tf.stop_gradient)(layers.Conv2D(4, 3, name="cut")(images))
    return keras.Model(images, layers.GlobalAveragePooling2D()(layers.Add()([x, cut])))


def test_variables_without_a_gradient_are_found_and_nothing_changes():
    encoder = KerasEncoder(_with_a_dead_end(), 16)
    before = [variable.numpy() for variable in encoder.variables]
    assert encoder.unreached() == ["cut/kernel:0", "cut/bias:0"]
    norm = keras.Sequential([layers.Conv2D(4, 3), layers.BatchNormalization()])
    statistics = KerasEncoder(norm, 16)
    kept = [variable.numpy() for variable in statistics.variables]
    assert statistics.unreached() == []
    for model, values in ((encoder, before), (statistics, kept)):
        for variable, value in zip(model.variables, values, strict=True):
            np.testing.assert_array_equal(variable, value)
