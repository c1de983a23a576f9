"""A small encoder and a small data set for every protocol."""

from __future__ import annotations

import dataclasses

import pytest
import tensorflow as tf
import tf_keras as keras

from simclr_tf.config import (
    AugmentConfig,
    DataConfig,
    EncoderConfig,
    ModelConfig,
    OptimizerConfig,
    ProjectionConfig,
    TrainConfig,
)
from simclr_tf.data import sources
from simclr_tf.evaluation.encoders import from_model
from simclr_tf.models.simclr import build_model
from simclr_tf.protocols import logreg
from simclr_tf.protocols.context import Context
from simclr_tf.protocols.settings import ProtocolConfig
from tests.eager import eagerly


@pytest.fixture
def make_context(tmp_path):
    """`make_context(encoder, **fields)`: digits at 8 px; settings are given by name."""
    setting_names = {field.name for field in dataclasses.fields(ProtocolConfig)}

    def make(encoder, **fields):
        settings = {name: fields.pop(name) for name in list(fields) if name in setting_names}
        data = DataConfig(dataset="digits", image_size=8)
        known = {
            "source": sources.open_source(data),
            "train_split": "train[:300]",
            "test_split": "test[:100]",
            "settings": ProtocolConfig(**settings),
            "folder": str(tmp_path / "evaluation"),
            "augment": AugmentConfig(crop_area_min=0.8, use_blur=False),
            "optimizer": OptimizerConfig(warmup_epochs=0),
            "train": TrainConfig(train_batch_size=32, train_steps=2),
            "eval_batch_size": 64,
            "say": lambda text: None,
        }
        return Context(encoder=encoder, **{**known, **fields})

    return make


@pytest.fixture(scope="package")
def pixels():
    """Raw pixels as features: digits are nearly linearly separable in them."""
    return from_model(lambda images: tf.reshape(images, (tf.shape(images)[0], 8 * 8 * 3)), 8)


@pytest.fixture(scope="package")
def network():
    """A SimCLR network with random weights that takes 8 px images; tests only read it."""
    keras.utils.set_random_seed(0)
    encoder = EncoderConfig(resnet_depth=18, width_multiplier=1 / 16, stem="cifar")
    projection = ProjectionConfig(num_proj_layers=2, proj_out_dim=8)
    config = ModelConfig(encoder=encoder, projection=projection)
    return from_model(build_model(config, None, image_size=8), 8, "tiny")


@pytest.fixture
def eager():
    """Without graphs, which cost more than the few steps that are taken."""
    with eagerly():
        yield


@pytest.fixture
def no_pictures(monkeypatch):
    """Logistic regression without its four pictures, most of its cost here."""
    monkeypatch.setattr(logreg, "_write_pictures", lambda *_: None)
