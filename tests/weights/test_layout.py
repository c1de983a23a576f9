"""Names of layers: our own order of creation against the built networks, and foreign names."""

import pytest

from simclr_tf.config import EncoderConfig
from simclr_tf.errors import InputError
from simclr_tf.models.resnet import ResNet
from simclr_tf.weights import layout

NARROW = {"width_multiplier": 1 / 16}
KINDS = [
    {"resnet_depth": 18, "stem": "cifar"},
    {"resnet_depth": 34, "stem": "imagenet", "se_ratio": 0.25},
    {"resnet_depth": 18, "stem": "imagenet", "sk_ratio": 0.0625},
    {"resnet_depth": 50, "stem": "imagenet"},
    {"resnet_depth": 50, "stem": "imagenet", "sk_ratio": 0.0625, "se_ratio": 0.25},
    {"resnet_depth": 50, "stem": "cifar", "sk_ratio": 0.0625},
]


def variable_names(kind):
    import tensorflow as tf

    encoder = ResNet(EncoderConfig(**kind, **NARROW))
    encoder(tf.zeros([1, 32, 32, 3]))
    return {variable.name.removesuffix(":0") for variable in encoder.variables}


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_variable_of_the_network_is_in_the_layers(kind):
    config = EncoderConfig(**kind, **NARROW)
    convs, gates, norms = layout.encoder_layers(config)
    expected = {f"{name}/kernel" for name in [*convs, *gates]}
    expected |= {f"{name}/bias" for name in gates}
    leaves = ("gamma", "beta", "moving_mean", "moving_variance")
    expected |= {f"{name}/{leaf}" for name in norms for leaf in leaves}
    names = variable_names(kind)
    assert names == expected
    # The same order comes back when our names are read from a file.
    read = layout.read_layout(names, "file")
    assert read.style == layout.OURS
    assert [leaves["kernel"] for leaves in read.convs] == [f"{name}/kernel" for name in convs]
    assert [leaves["kernel"] for leaves in read.gates] == [f"{name}/kernel" for name in gates]
    assert [leaves["gamma"] for leaves in read.norms] == [f"{name}/gamma" for name in norms]


def test_numbers_count_in_order_of_creation_from_anything_on():
    numbers = [7, 8, 9, 10, 11]
    names = [f"base_model/conv2d_{n}/kernel" for n in numbers]
    names += [f"base_model/batch_normalization_{n}/gamma" for n in numbers]
    read = layout.read_layout(names, "file")
    assert read.style == layout.REFERENCE_TF1
    assert [leaves["kernel"] for leaves in read.convs] == names[:5]
    assert [leaves["gamma"] for leaves in read.norms] == names[5:]


def test_the_first_layer_of_a_kind_has_no_number():
    names = ["base_model/conv2d_1/kernel", "base_model/conv2d/kernel"]
    read = layout.read_layout(names, "file")
    assert [leaves["kernel"] for leaves in read.convs] == names[::-1]


def test_gates_are_told_by_their_bias():
    scope = "resnet/block_group1/residual_block"
    names = [f"{scope}/conv2d_fixed_padding_1/conv2d_1/kernel"]
    names += [f"{scope}/se__layer/conv2d_{n}/{leaf}" for n in (2, 3) for leaf in ("kernel", "bias")]
    read = layout.read_layout(names, "file")
    assert read.style == layout.REFERENCE_TF2
    assert len(read.convs) == 1
    assert [sorted(leaves) for leaves in read.gates] == [["bias", "kernel"]] * 2


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("head_contrastive/nl_0/dense/kernel", "projection_head/layer_0/dense/kernel"),
        ("head_contrastive/l_0/dense/kernel", "projection_head/layer_0/dense/kernel"),
        ("head_contrastive/nl_2/batch_normalization/gamma", "projection_head/layer_2/bn/gamma"),
        ("projection_head/nl_1/dense_1/kernel", "projection_head/layer_1/dense/kernel"),
        (
            "projection_head/nl_1/batch_norm_relu_22/sync_batch_normalization_22/moving_mean",
            "projection_head/layer_1/bn/moving_mean",
        ),
        ("head_supervised/linear_layer/dense_3/bias", "linear_head/bias"),
        ("linear_head/bias", "linear_head/bias"),
    ],
)
def test_heads(name, ours):
    names = [name, "base_model/conv2d/kernel"]
    assert layout.read_layout(names, "file").heads == {ours: name}


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["linear_head/kernel"], "must hold a SimCLR encoder"),
        ([], "must hold a SimCLR encoder"),
        (["base_model/conv2d/kernel", "base_model/lstm/kernel"], "base_model/lstm/kernel"),
        (["encoder/stem/conv/kernel", "encoder/stem/odd/kernel"], "encoder/stem/odd/kernel"),
        (["encoder/stem/conv/kernel", "head_supervised/other/kernel"], "head_supervised/other"),
    ],
)
def test_what_is_not_understood_is_named(names, told):
    with pytest.raises(InputError, match=told):
        layout.read_layout(names, "file")
