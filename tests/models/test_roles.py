"""Roles cover every trainable variable and come from layer types."""

from __future__ import annotations

import pytest
import tensorflow as tf
import tf_keras as keras

from simclr_tf.config import EncoderConfig, ModelConfig
from simclr_tf.models.network import Network
from simclr_tf.models.roles import Role, describe_roles, variable_roles

ENDINGS = {
    "gamma": Role.BATCH_NORM,
    "beta": Role.BATCH_NORM,
    "kernel": Role.KERNEL,
    "bias": Role.BIAS,
}


def _model(**settings) -> Network:
    encoder = EncoderConfig(50, 1 / 16, sk_ratio=0.0625, se_ratio=0.25, stem="cifar")
    return Network(ModelConfig(encoder=encoder, **settings), 3)


def test_every_trainable_variable_has_one_role():
    model = _model()
    roles = variable_roles(model)
    assert set(roles) == {v.name for v in model.trainable_variables}
    for name, role in roles.items():
        ending = name.split("/")[-1].removesuffix(":0")
        if name.startswith("linear_head"):
            assert (
                role is {"kernel": Role.LINEAR_HEAD_KERNEL, "bias": Role.LINEAR_HEAD_BIAS}[ending]
            )
        else:
            assert role is ENDINGS[ending]


def test_frozen_variables_have_no_role():
    model = _model(train_mode="finetune", fine_tune_after_block=4)
    assert set(variable_roles(model).values()) == {Role.LINEAR_HEAD_KERNEL, Role.LINEAR_HEAD_BIAS}


def test_description_counts_parameters():
    text = describe_roles(_model())
    assert "linear head kernel 1 variables (384 parameters)" in text  # 128 x 3
    assert "linear head bias 1 variables (3 parameters)" in text


def roles_of(*layers, shape=(1, 4, 4, 3)):
    """Role by the last part of each variable's name."""
    model = keras.Sequential(layers)
    model(tf.zeros(shape))
    return {
        name.split("/")[-1].removesuffix(":0"): role.value
        for name, role in variable_roles(model).items()
    }


@pytest.mark.parametrize(("layer", "shape", "expected"), [
    (keras.layers.DepthwiseConv2D(3), (1, 4, 4, 3), {"depthwise_kernel": "kernel", "bias": "bias"}),
    (keras.layers.SeparableConv2D(2, 3), (1, 4, 4, 3),
     {"depthwise_kernel": "kernel", "pointwise_kernel": "kernel", "bias": "bias"}),
    (keras.layers.Conv2DTranspose(2, 3), (1, 4, 4, 3), {"kernel": "kernel", "bias": "bias"}),
    (keras.layers.EinsumDense("abc,cd->abd", (4, 6), bias_axes="bd"), (1, 4, 3),
     {"kernel": "kernel", "bias": "bias"}),  # a bias long in two axes
    (keras.layers.experimental.SyncBatchNormalization(), (1, 4, 4, 3),
     {"gamma": "batch_norm", "beta": "batch_norm"}),
    (keras.layers.LayerNormalization(axis=[1, 2]), (1, 4, 4, 3),
     {"gamma": "normalization", "beta": "normalization"}),
    (keras.layers.GroupNormalization(3), (1, 4, 4, 3),
     {"gamma": "normalization", "beta": "normalization"}),
    (keras.layers.Embedding(5, 3), (1, 4), {"embeddings": "embedding"}),
    (keras.layers.PReLU(), (1, 4, 4, 3), {"alpha": "scale"}),
    (keras.layers.LSTM(2), (1, 4, 3),
     {"kernel": "kernel", "recurrent_kernel": "kernel", "bias": "bias"}),
])  # fmt: skip
def test_layers_of_keras_say_what_their_variables_are_for(layer, shape, expected):
    assert roles_of(layer, shape=shape) == expected


def test_attention():
    queries = keras.Input((9, 8))
    model = keras.Model(queries, keras.layers.MultiHeadAttention(2, 4)(queries, queries))
    by_role = {Role.KERNEL: 0, Role.BIAS: 0}
    for name, role in variable_roles(model).items():
        assert (role is Role.KERNEL) == name.endswith("kernel:0")
        by_role[role] += 1
    assert by_role == {Role.KERNEL: 4, Role.BIAS: 4}


class Tokens(keras.layers.Layer):
    """A layer of a user's own."""

    def build(self, shape):
        self.grid = self.add_weight("grid", (1, *shape[1:]))
        self.first = self.add_weight("first", (1, 1, shape[-1]))
        self.gain = self.add_weight("gain", ())

    def call(self, inputs):
        return (inputs + self.grid + self.first) * self.gain


def test_variables_of_other_layers_are_judged_by_their_shape_and_named():
    assert roles_of(Tokens(), shape=(1, 4, 3)) == {
        "grid": "kernel", "first": "scale", "gain": "scale",
    }  # fmt: skip
    model = keras.Sequential([keras.layers.Dense(3), Tokens(name="tokens")])
    model(tf.zeros((1, 4, 3)))
    said = describe_roles(model)
    assert said.endswith(
        "; by their shape: tokens/grid as kernel, tokens/first as scale, tokens/gain as scale"
    )
    assert "by their shape" not in describe_roles(_model())


def test_a_variable_outside_layers_is_refused():
    class Owner(tf.Module):
        def __init__(self):
            self.kernel = tf.Variable([[1.0]])

    class Holder(keras.Model):
        def __init__(self):
            super().__init__()
            self.owner = Owner()

        def call(self, inputs):
            return inputs @ self.owner.kernel

    model = Holder()
    model(tf.zeros((1, 1)))
    with pytest.raises(ValueError, match="belong to a layer"):
        variable_roles(model)


@pytest.mark.parametrize("name", ["MobileNetV2", "EfficientNetB0", "ConvNeXtTiny"])
def test_networks_of_keras_have_roles(name):
    network = getattr(keras.applications, name)
    model = network(include_top=False, weights=None, input_shape=(32, 32, 3))
    roles = variable_roles(model)
    assert set(roles) == {variable.name for variable in model.trainable_variables}
    kernels = [name for name, role in roles.items() if role is Role.KERNEL]
    assert kernels and all(name.endswith("kernel:0") for name in kernels)


def test_shared_names_are_refused():
    model = keras.Sequential([keras.layers.Dense(3, name="a"), keras.layers.Dense(3, name="b")])
    model.layers[1]._name = "a"
    model(tf.zeros([1, 3]))
    with pytest.raises(ValueError, match="unique"):
        variable_roles(model)
