"""Published TF2 checkpoint: every endpoint, and refusal without changes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from export.published import load_published_checkpoint, published_key
from simclr_tf.config import EncoderConfig, ModelConfig, ProjectionConfig
from simclr_tf.errors import InputError
from simclr_tf.models.simclr import SimCLR


@pytest.fixture(scope="module")
def checkpoint(shared_dir):
    return shared_dir / "fixtures" / "tf2_checkpoint_r18"


def _model(depth: int = 18, num_classes: int = 10, **projection) -> SimCLR:
    encoder = EncoderConfig(resnet_depth=depth, stem="cifar")
    config = ModelConfig(encoder=encoder, projection=ProjectionConfig(**projection))
    return SimCLR(config, num_classes)


def test_endpoints_equal_the_reference(checkpoint, record_property):
    model = _model()
    load_published_checkpoint(model, str(checkpoint / "model.ckpt-20"))
    expected = dict(np.load(checkpoint / "endpoints.npz"))
    outputs = model(expected.pop("images"))
    assert set(outputs) == set(expected)
    deviations = {n: float(np.abs(outputs[n] - expected[n]).max()) for n in expected}
    record_property("largest_deviation", max(deviations.values()))
    print(deviations)
    assert max(deviations.values()) < 1e-4


def test_all_published_variables_are_mapped(checkpoint):
    keys = set(json.loads((checkpoint / "variables.json").read_text()))
    ours = {published_key(v.name.removesuffix(":0")) for v in _model().variables}
    assert ours == {key for key in keys if key.startswith("model/")}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"num_classes": 7},
            r"linear_head/kernel has shape \(512, 7\), the checkpoint \(512, 10\)",
        ),
        ({"num_proj_layers": 4}, "projection_head/layer_3/dense/kernel .* is missing"),
        ({"proj_out_dim": 64}, "projection_head/layer_2/dense/kernel has shape"),
        ({"depth": 34}, "encoder/block_group1/block_2/conv_1/kernel .* is missing"),
    ],
)
def test_a_mismatch_is_named_and_changes_nothing(checkpoint, settings, told):
    model = _model(**settings)
    before = model.get_weights()
    with pytest.raises(InputError, match=told):
        load_published_checkpoint(model, str(checkpoint / "model.ckpt-20"))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_deeper_checkpoint_is_refused(tmp_path):
    keys = [published_key(v.name.removesuffix(":0")) for v in _model(34).encoder.variables]
    root = tf.train.Checkpoint()
    for key in keys:  # objects along the key's path, one scalar at its end
        *path, leaf = key.split("/.ATTRIBUTES")[0].split("/")
        node = root
        for part in path:
            if not hasattr(node, part):
                setattr(node, part, tf.train.Checkpoint())
            node = getattr(node, part)
        setattr(node, leaf, tf.Variable(0.0))
    prefix = root.write(str(tmp_path / "ckpt"))
    with pytest.raises(InputError, match=r"block_groups/3/layers/2/.* has no place in the model"):
        load_published_checkpoint(_model(), prefix)


def test_an_absent_checkpoint_is_refused(tmp_path):
    with pytest.raises(InputError, match="checkpoint must exist"):
        load_published_checkpoint(_model(), str(tmp_path / "nothing"))
