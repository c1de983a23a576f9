"""A small encoder and a small data set for every protocol."""

from __future__ import annotations

import dataclasses

import pytest
import tensorflow as tf

from simclr_tf.config import AugmentConfig, DataConfig, OptimizerConfig, TrainConfig
from simclr_tf.console import silent
from simclr_tf.data import sources
from simclr_tf.data.images import Images
from simclr_tf.evaluation.encoders import from_model
from simclr_tf.job import Job
from simclr_tf.protocols import logreg
from simclr_tf.protocols.context import Context
from simclr_tf.settings.protocols import ProtocolConfig


@pytest.fixture
def make_context(tmp_path):
    """`make_context(encoder, **fields)`: digits at 8 px; settings are given by name."""
    setting_names = {field.name for field in dataclasses.fields(ProtocolConfig)}

    def make(encoder, **fields):
        settings = {name: fields.pop(name) for name in list(fields) if name in setting_names}
        data = DataConfig(dataset="digits", image_size=8)
        known = {
            "train_split": "train[:300]",
            "test_split": "test[:100]",
            "settings": ProtocolConfig(**settings),
            "folder": str(tmp_path / "evaluation"),
            "augment": AugmentConfig(crop_area_min=0.8, use_blur=False),
            "optimizer": OptimizerConfig(warmup_epochs=0),
            "train": TrainConfig(train_batch_size=32, train_steps=2),
        }
        job = Job(fields.pop("strategy", tf.distribute.get_strategy()), fields.pop("say", silent))
        source = fields.pop("source", None) or sources.open_source(data)
        batch = fields.pop("eval_batch_size", 64)
        known["images"] = Images(source, encoder.image_size, batch, job)
        return Context(encoder=encoder, **{**known, **fields})

    return make


@pytest.fixture(scope="package")
def pixels():
    """Raw pixels as features: digits are nearly linearly separable in them."""
    return from_model(lambda images: tf.reshape(images, (tf.shape(images)[0], 8 * 8 * 3)), 8)


@pytest.fixture(scope="package")
def network(tiny_model):
    """A SimCLR network with random weights that takes 8 px images; tests only read it."""
    return from_model(tiny_model(num_classes=None), 8, "tiny")


@pytest.fixture
def no_pictures(monkeypatch):
    """Logistic regression without its four pictures, most of its cost here."""
    monkeypatch.setattr(logreg, "_write_pictures", lambda *_: None)
