"""Names in PyTorch: one for each of ours, torchvision's where it has the layer."""

from __future__ import annotations

import numpy as np
import pytest

from simclr_tf.config import EncoderConfig, ModelConfig
from simclr_tf.models.network import Network
from simclr_tf.weights import torch_names
from tests.weights import torch_oracle

TORCHVISION = {  # read off `torchvision.models.resnet50().state_dict()`
    "encoder/stem/conv/kernel": "conv1.weight",
    "encoder/stem/bn/moving_variance": "bn1.running_var",
    "encoder/block_group1/block_0/shortcut/conv/kernel": "layer1.0.downsample.0.weight",
    "encoder/block_group1/block_0/shortcut/bn/beta": "layer1.0.downsample.1.bias",
    "encoder/block_group3/block_5/conv_3/kernel": "layer3.5.conv3.weight",
    "encoder/block_group4/block_2/bn_2/gamma": "layer4.2.bn2.weight",
    "encoder/block_group4/block_2/bn_2/moving_mean": "layer4.2.bn2.running_mean",
}


@pytest.mark.parametrize(("ours", "theirs"), TORCHVISION.items())
def test_names_are_torchvisions(ours, theirs):
    assert torch_names.torch_name(ours) == theirs and torch_names.our_name(theirs) == ours


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_every_variable_has_one_name(stem):
    encoder = EncoderConfig(50, 1 / 16, sk_ratio=0.0625, se_ratio=0.25, stem=stem)
    names = [variable.name[:-2] for variable in Network(ModelConfig(encoder), 3).variables]
    theirs = [torch_names.torch_name(name) for name in names]
    assert len(set(theirs)) == len(names)
    assert [torch_names.our_name(name) for name in theirs] == names


@pytest.mark.parametrize(
    "name",
    ["fc.weight", "layer5.0.conv1.weight", "layer1.0.conv9.weight", "conv1.scale", "", "weight",
     "bn1.num_batches_tracked"],
)  # fmt: skip
def test_other_names_are_not_ours(name):
    assert torch_names.our_name(name) is None


@pytest.mark.parametrize("shape", [(3, 3, 4, 8), (5, 7), (6,)])
def test_axes_are_turned_and_turned_back(shape):
    value = np.random.default_rng(0).random(shape)
    theirs = torch_names.to_torch(value)
    assert theirs.shape == {4: (8, 4, 3, 3), 2: (7, 5), 1: (6,)}[len(shape)]
    assert torch_names.our_shape(theirs.shape) == shape
    np.testing.assert_array_equal(torch_names.from_torch(theirs), value)


def test_the_encoder_that_is_trained_is_taken():
    names = torch_oracle.renamed(torch_oracle.state_dict(18, 7), "moco")
    found = torch_names.encoders_in(names)
    assert set(found) == {"module.encoder_q.", "module.encoder_k."}
    assert set(torch_names.without_followers(found)) == {"module.encoder_q."}
    followers = {"teacher.": {}}
    assert torch_names.without_followers(followers) == followers
