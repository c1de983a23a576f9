"""The encoder: sizes, endpoints, order and names of its variables, parameter counts."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from simclr_tf.config import BLOCKS_PER_GROUP, BatchNormConfig, EncoderConfig, ModelConfig
from simclr_tf.errors import InputError
from simclr_tf.models.batch_norm import BatchNorm
from simclr_tf.models.conv import LayerFactory
from simclr_tf.models.network import Network
from simclr_tf.models.resnet import BlockGroup, ResNet, Stem
from tests import shallow

TINY = 1 / 16
ARCHITECTURES = [
    "r18_cifar",
    "r34_imagenet",
    "r50_1x_se",
    "r101_1x",
    "r152_3x_sk",
]


@pytest.fixture
def few_blocks(monkeypatch):
    """Networks with every kind of block, but not as many."""
    for depth in (18, 50):
        monkeypatch.setitem(BLOCKS_PER_GROUP, depth, shallow.ALL_GROUPS)


def _encoder(depth: int = 18, stem: str = "cifar", **settings) -> ResNet:
    settings = {"width_multiplier": TINY, **settings}
    return ResNet(EncoderConfig(resnet_depth=depth, stem=stem, **settings))


def _images(size: int, batch: int = 2) -> np.ndarray:
    return np.random.default_rng(0).random((batch, size, size, 3), np.float32)


def _count(variables) -> int:
    return sum(v.shape.num_elements() for v in variables)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parameter_counts(fixtures_dir, name):
    entry = json.loads((fixtures_dir / "architectures.json").read_text())[name]
    settings = dict(entry["flags"])
    image_size = settings.pop("image_size", 224)
    num_classes = settings.pop("num_classes", 1000)
    config = ModelConfig(encoder=EncoderConfig(**settings).resolve_stem(image_size))
    with tf.Graph().as_default():  # a graph's variables take no memory
        model = Network(config, num_classes)
    assert _count(model.encoder.trainable_variables) == entry["encoder_trainable"]
    assert _count(model.encoder.non_trainable_variables) == entry["encoder_non_trainable"]
    assert _count(model.projection_head.trainable_variables) == entry["projection_trainable"]
    assert _count(model.trainable_variables) == entry["total_trainable"]


@pytest.mark.parametrize(
    ("listing", "settings"),
    [
        ("r18", {"resnet_depth": 18, "stem": "cifar"}),
        ("r50", {"resnet_depth": 50, "stem": "imagenet"}),
        ("r50sk", {"resnet_depth": 50, "sk_ratio": 0.0625, "stem": "imagenet"}),
    ],
)
def test_variables_are_created_in_the_reference_order(fixtures_dir, listing, settings):
    shapes = json.loads((fixtures_dir / f"tf1_variables_{listing}.json").read_text())
    numbered: dict[str, dict[int, list[int]]] = {"kernel": {}, "gamma": {}}
    for name, shape in shapes.items():
        match = re.fullmatch(r"base_model/\w+?(?:_(\d+))?/(kernel|gamma)", name)
        if match:
            numbered[match[2]][int(match[1] or 0)] = shape
    with tf.Graph().as_default():
        encoder = ResNet(EncoderConfig(**settings))
        encoder(tf.zeros([1, 32, 32, 3]))
    for kind, expected in numbered.items():
        variables = [v for v in encoder.trainable_variables if v.name.endswith(f"/{kind}:0")]
        ours = [v.shape.as_list() for v in variables]
        assert ours == [expected[i] for i in sorted(expected)]


@pytest.mark.parametrize(
    ("depth", "stem", "sk_ratio", "widest"),
    [(18, "cifar", 0.0, 32), (18, "imagenet", 0.0625, 32), (50, "cifar", 0.0625, 128),
     (50, "imagenet", 0.0, 128)],
)  # fmt: skip
def test_endpoint_shapes(few_blocks, depth, stem, sk_ratio, widest):
    size, sizes = {"cifar": (32, [32, 32, 32, 16, 8, 4]),
                   "imagenet": (64, [32, 16, 16, 8, 4, 2])}[stem]  # fmt: skip
    endpoints = _encoder(depth, stem, sk_ratio=sk_ratio, se_ratio=0.25)(_images(size))
    names = ["initial_conv", "initial_max_pool", *(f"block_group{k}" for k in (1, 2, 3, 4))]
    assert list(endpoints) == [*names, "final_avg_pool"]
    assert [endpoints[name].shape[1] for name in names] == sizes
    assert endpoints["final_avg_pool"].shape == (2, widest)
    assert endpoints["final_avg_pool"].dtype == tf.float32


def test_initial_conv_is_raw_and_blocks_start_as_shortcuts():
    encoder = _encoder()
    endpoints = encoder(_images(32))
    assert endpoints["initial_conv"].numpy().min() < 0
    block = encoder.groups[1].blocks[0]
    x = endpoints["block_group1"]
    expected = np.maximum(block.shortcut(x).numpy(), 0)
    np.testing.assert_array_equal(block(x).numpy(), expected)
    last = encoder.groups[1].blocks[1]  # no projection: the identity on positive maps
    np.testing.assert_array_equal(last(block(x)).numpy(), block(x).numpy())


KINDS = {
    "basic": {"resnet_depth": 18},
    "bottleneck": {"resnet_depth": 50},
    "selective": {"resnet_depth": 50, "sk_ratio": 0.1},
}


def _group(kind: str) -> BlockGroup:
    config = EncoderConfig(stem="cifar", **KINDS[kind])
    return BlockGroup(4, 2, 2, config, LayerFactory(BatchNormConfig()), name="group")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_block_starts_as_its_shortcut(kind):
    group = _group(kind)
    x = group(_images(8)).numpy()
    assert x.min() >= 0 and x.max() > 0
    np.testing.assert_array_equal(group.blocks[1](x), x)


def _stem(**settings) -> Stem:
    config = EncoderConfig(stem="imagenet", width_multiplier=TINY, **settings)
    return Stem(config, LayerFactory(BatchNormConfig()))


@pytest.mark.parametrize("kind", [*KINDS, "deep stem"])
def test_every_batch_norm_sees_the_batch_in_training_and_only_then(kind):
    layer = _group(kind) if kind in KINDS else _stem(sk_ratio=0.1)
    images = _images(8, batch=4)
    layer(images, training=False)
    norms = [part for part in layer.submodules if isinstance(part, BatchNorm)]
    assert len(norms) >= 3 and not any(norm.moving_mean.numpy().any() for norm in norms)
    layer(images, training=True)
    assert [norm.name for norm in norms if not norm.moving_mean.numpy().any()] == []


def test_the_stem_pools_as_same_padding_does():
    """Of an even number of rows the last window is cut off at the end, none at the beginning."""
    raw, pooled = _stem()(_images(16, batch=1))
    x = np.maximum(raw[0].numpy(), 0) / np.sqrt(1 + 1e-5)
    assert x.shape == (8, 8, 4)
    expected = [[x[i : i + 3, j : j + 3].max((0, 1)) for j in (0, 2, 4, 6)] for i in (0, 2, 4, 6)]
    np.testing.assert_allclose(pooled[0], expected, rtol=1e-5)


def test_no_gradient_passes_a_frozen_stem():
    keras.utils.set_random_seed(0)  # by chance no unit of so few is alive
    encoder, images = _encoder(), tf.constant(_images(8, batch=1))
    encoder.freeze(0)
    with tf.GradientTape() as tape:
        tape.watch(images)
        embedded = encoder(images)["final_avg_pool"]
    first = encoder.groups[0].blocks[0].shortcut.conv.kernel
    of_images, of_first = tape.gradient(embedded, [images, first])
    assert of_images is None and np.abs(of_first).max() > 0


def test_resnet_d_shortcut_pools_before_projecting():
    block = _encoder(sk_ratio=0.0625).groups[1].blocks[0]
    x = np.random.default_rng(0).random((1, 4, 4, 4), np.float32)
    block(x)
    padded = np.pad(x, [(0, 0), (0, 1), (0, 1), (0, 0)])
    pooled = padded[:, :4, :4].reshape(1, 2, 2, 2, 2, 4).mean((2, 4))
    expected = pooled @ block.shortcut.conv.kernel.numpy()[0, 0] / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(block.shortcut(x), expected, atol=1e-5)


def test_names_are_unique_and_equal_in_every_instance(few_blocks):
    names = []
    for _ in range(2):
        encoder = _encoder(50, "imagenet", sk_ratio=0.0625, se_ratio=0.25)
        encoder(_images(32))
        names.append([v.name for v in encoder.variables])
    assert names[0] == names[1]
    assert len(set(names[0])) == len(names[0])
    assert "encoder/block_group1/block_0/conv_1/kernel:0" in names[0]


def test_any_image_size_and_batch_in_one_graph():
    encoder = _encoder()
    call = tf.function(encoder, input_signature=[tf.TensorSpec([None, None, None, 3])])
    for size, batch in [(8, 1), (33, 3), (40, 2)]:
        assert call(_images(size, batch))["final_avg_pool"].shape == (batch, 32)


def test_bfloat16_is_close_to_float32(few_blocks):
    config = EncoderConfig(resnet_depth=18, width_multiplier=TINY, stem="cifar")
    exact = ResNet(config)
    rounded = ResNet(config, BatchNormConfig(), dtype="mixed_bfloat16")
    images = _images(32)
    exact(images)
    rounded(images)
    rounded.set_weights(exact.get_weights())
    ours, theirs = rounded(images, training=True), exact(images, training=True)
    assert {v.dtype for v in rounded.variables} == {tf.float32}
    assert ours["block_group4"].dtype == tf.bfloat16
    assert ours["final_avg_pool"].dtype == tf.float32
    whole = tf.cast(ours["block_group4"], tf.float64).numpy().mean((1, 2))
    np.testing.assert_allclose(ours["final_avg_pool"], whole, rtol=1e-5)  # not rounded on the way
    np.testing.assert_allclose(ours["final_avg_pool"], theirs["final_avg_pool"], atol=0.05)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="stem"):
        _encoder(stem="auto")
    with pytest.raises(ValueError, match=r"floats in \[0, 1\]"):
        _encoder()(tf.zeros([1, 32, 32, 3], tf.uint8))


def test_a_variant_has_no_projection_where_shapes_agree(few_blocks):
    names = {kind: {v.name for v in _encoder(resnet_variant=kind).variables}
             for kind in ("simclr", "torchvision")}  # fmt: skip
    first = "encoder/block_group1/block_0/shortcut/"
    assert names["torchvision"] == {n for n in names["simclr"] if not n.startswith(first)}
    deep = [{v.name for v in _encoder(50, resnet_variant=k).variables} for k in names]
    assert deep[0] == deep[1]


@pytest.mark.parametrize(("variant", "before"), [("simclr", 0), ("torchvision", 1)])
@pytest.mark.parametrize("size", [16, 18, 22])
def test_max_pooling_pads_as_the_variant_does(variant, before, size):
    """By a loop over windows; `simclr` pads in front only where the side is odd, as TensorFlow."""
    stem = _stem(resnet_variant=variant)
    raw, found = stem(_images(size, 1))
    x = np.maximum(stem.bn(raw).numpy(), 0)
    side = x.shape[1]
    first = -1 if before or side % 2 else 0
    assert found.shape[1] == -(-side // 2)
    for i in range(found.shape[1]):
        rows = slice(max(0, 2 * i + first), 2 * i + first + 3)
        for j in range(found.shape[2]):
            columns = slice(max(0, 2 * j + first), 2 * j + first + 3)
            expected = x[0, rows, columns].max((0, 1))
            np.testing.assert_allclose(found[0, i, j], expected, rtol=1e-6)


def test_the_stem_of_solo_learn_pads_by_two():
    encoder = _encoder(resnet_variant="solo_learn")
    images = _images(8, 1)
    padded = np.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)])
    kernel = encoder.stem.conv.kernel
    expected = tf.nn.conv2d(padded, kernel, 1, "VALID")
    found = encoder(images)["initial_conv"]
    assert found.shape[1:3] == (10, 10)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(("dtype", "atol"), [("float32", 1e-5), ("mixed_bfloat16", 5e-3)])
def test_images_are_normalised_first(few_blocks, dtype, atol):
    config = EncoderConfig(18, TINY, stem="cifar", input_norm="0.1,0.2,0.3/0.5,0.25,2")
    encoder = ResNet(config, dtype=dtype)
    plain = ResNet(EncoderConfig(18, TINY, stem="cifar"), dtype=dtype)
    plain.set_weights(encoder.get_weights())
    images = _images(8)
    scaled = (images - np.float32([0.1, 0.2, 0.3])) / np.float32([0.5, 0.25, 2])
    np.testing.assert_allclose(
        encoder(images)["final_avg_pool"], plain(scaled)["final_avg_pool"], atol=atol
    )
    again = ResNet.from_config(encoder.get_config())
    assert again.pixel_statistics == encoder.pixel_statistics
