from __future__ import annotations

import collections

import pytest
import tensorflow as tf

from benchmarks.speed.flops import (
    convolutions,
    dense,
    forward_flops,
    pair_flops,
    training_flops,
)
from simclr_tf.config import BatchNormConfig, EncoderConfig
from simclr_tf.models.resnet import ResNet


# Multiply-adds at 224 px in billions, as torchvision's documentation lists them with its models.
@pytest.mark.parametrize(
    ("depth", "published"), [(18, 1.81), (34, 3.66), (50, 4.09), (101, 7.80), (152, 11.51)]
)
def test_resnets_take_the_published_operations(depth, published):
    # Here, as in the reference, the first group projects its shortcut in every depth.
    projected = 56 * 56 * 64 * 64 / 1e9 if depth < 50 else 0
    counted = forward_flops(depth, 224, head=(1000,)) / 2e9
    assert counted == pytest.approx(published + projected, abs=0.006)


def _profiled(graph: tf.Graph) -> tuple[dict[str, int], dict[str, int]]:
    """TensorFlow's own count of operations, and of nodes, by type of convolution."""
    profiler = tf.compat.v1.profiler
    builder = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation())
    options = builder.with_empty_output().build()
    nodes, counted = [profiler.profile(graph, cmd="op", options=options)], {}
    while nodes:
        node = nodes.pop()
        nodes += node.children
        if node.name.startswith("Conv2D"):
            counted[node.name] = node.float_ops
    found = collections.Counter(one.type for one in graph.get_operations())
    return counted, {name: found[name] for name in counted}


# 0.3: the widths of later groups are not the first one's doubled.
@pytest.mark.parametrize(("depth", "size", "width"), [(18, 32, 0.3), (50, 224, 1.0)])
def test_tensorflows_profiler_counts_the_same_in_the_built_model(depth, size, width):
    stem = "cifar" if size <= 32 else "imagenet"
    config = EncoderConfig(resnet_depth=depth, width_multiplier=width, stem=stem)
    with tf.Graph().as_default() as graph:
        model = ResNet(config, BatchNormConfig())
        built, built_nodes = _profiled(graph)  # to create its variables, a ResNet embeds an image
        features = model(tf.zeros([1, size, size, 3]), training=True)["final_avg_pool"]
        forward, _ = _profiled(graph)
        tf.gradients(features, [one for one in model.trainable_variables if "kernel" in one.name])
        step, nodes = _profiled(graph)
    layers = convolutions(depth, size, width)
    assert sum(layer.flops for layer in layers) == forward["Conv2D"] - built["Conv2D"] > 1e7
    kinds = ("Conv2D", "Conv2DBackpropFilter", "Conv2DBackpropInput")
    nodes["Conv2D"] -= built_nodes["Conv2D"]
    assert nodes == dict.fromkeys(kinds, len(layers))
    # The graph holds the images' gradient too, which no step computes. For gradients the profiler
    # takes the pixels of the padded input, of which strided layers have more.
    whole = training_flops(layers) + layers[0].flops
    assert whole < sum(step.values()) - built["Conv2D"] < 1.04 * whole


def test_a_step_is_three_passes_less_the_images_gradient():
    layers = convolutions(50, 224)
    stem = 2 * 112 * 112 * 7 * 7 * 3 * 64
    assert layers[0].flops == stem
    assert training_flops(layers) == 3 * forward_flops(50, 224) - stem
    assert training_flops(layers) == pytest.approx(3 * 8.18e9, rel=0.02)


def test_the_cifar_stem_keeps_the_resolution():
    # By hand: stem, 4 + 3 x (1 strided + 3) convolutions of equal cost but for the strided ones.
    stem = 32 * 32 * 27 * 64
    equal = 32 * 32 * 9 * 64 * 64
    first, other = 32 * 32 * 64 * 64, 16 * 16 * 64 * 128  # shortcuts
    assert forward_flops(18, 32) == 2 * (
        stem + 4 * equal + first + 3 * (equal // 2 + 3 * equal + other)
    )


def test_halving_the_width_quarters_all_but_the_stem():
    stem = 2 * 32 * 32 * 27 * 64
    rest = forward_flops(18, 32) - stem
    assert forward_flops(18, 32, width=0.5) == stem // 2 + rest // 4


def test_sizes_of_the_maps():
    stem = convolutions(50, 224)[0]
    assert (stem.input_size, stem.output_size) == (224 * 224 * 3, 112 * 112 * 64)
    assert stem.weights == 7 * 7 * 3 * 64
    last = [layer for layer in convolutions(50, 224) if layer.role == "last"][-1]
    assert (last.input_size, last.output_size) == (7 * 7 * 512, 7 * 7 * 2048)
    assert len([one for one in convolutions(50, 224) if one.role == "shortcut"]) == 4


def test_dense_layers_are_matrix_products():
    (hidden, last) = dense((2048, 512, 128))
    assert (hidden.flops, last.flops) == (2 * 2048 * 512, 2 * 512 * 128)
    assert dense((2048,)) == []


def test_a_pair_is_two_images_forward_and_twice_backward():
    head = 2 * (512 * 512 + 512 * 512 + 512 * 128)
    assert pair_flops(18, 32) == 6 * (forward_flops(18, 32) + head)
