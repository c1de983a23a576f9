"""Roles cover every trainable variable and come from layer types."""

from __future__ import annotations

import pytest
import tensorflow as tf
import tf_keras as keras

from simclr_tf.config import EncoderConfig, ModelConfig
from simclr_tf.models.roles import Role, describe_roles, variable_roles
from simclr_tf.models.simclr import SimCLR

ENDINGS = {
    "gamma": Role.BATCH_NORM,
    "beta": Role.BATCH_NORM,
    "kernel": Role.KERNEL,
    "bias": Role.BIAS,
}


def _model(**settings) -> SimCLR:
    encoder = EncoderConfig(50, 1 / 16, sk_ratio=0.0625, se_ratio=0.25, stem="cifar")
    return SimCLR(ModelConfig(encoder=encoder, **settings), 3)


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


def test_unknown_layer_type_is_refused():
    model = keras.Sequential([keras.layers.LayerNormalization()])
    model(tf.zeros([1, 3]))
    with pytest.raises(ValueError, match="known layer type"):
        variable_roles(model)


def test_shared_names_are_refused():
    model = keras.Sequential([keras.layers.Dense(3, name="a"), keras.layers.Dense(3, name="b")])
    model.layers[1]._name = "a"
    model(tf.zeros([1, 3]))
    with pytest.raises(ValueError, match="unique"):
        variable_roles(model)
