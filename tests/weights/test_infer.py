"""Architectures from shapes: for networks of ours, and for the listings of the reference."""

import dataclasses
import itertools
import json
import re

import pytest

from simclr_tf.config import EncoderConfig
from simclr_tf.errors import InputError
from simclr_tf.weights import infer

CIFAR_18 = [(3, 3, 3, 64), *[(1, 1, 64, 64), (3, 3, 64, 64), (3, 3, 64, 64)]]


def kernels(listing, fixtures_dir):
    """Kernels of a TF1 listing sorted by the number in their name."""
    names = json.loads((fixtures_dir / "foreign" / listing).read_text())
    found = {}
    for name, shape in names.items():
        if match := re.fullmatch(r"base_model/conv2d(?:_(\d+))?/kernel", name):
            found[int(match[1] or 0)] = tuple(shape)
    return [found[number] for number in sorted(found)]


@pytest.mark.parametrize(
    ("listing", "settings"),
    [
        ("tf1_variables_r18.json", {"resnet_depth": 18, "stem": "cifar"}),
        ("tf1_variables_r50.json", {"resnet_depth": 50, "stem": "imagenet"}),
        ("tf1_variables_r50sk.json",
         {"resnet_depth": 50, "stem": "imagenet", "sk_ratio": 0.0625}),
    ],
)  # fmt: skip
def test_listings_of_the_reference(listing, settings, fixtures_dir):
    assert infer.infer_encoder(kernels(listing, fixtures_dir), [], "file") == EncoderConfig(
        **settings
    )


def shapes_of(config: EncoderConfig):
    """Kernel shapes written out from the papers' tables, independently of the library."""
    width = {k: int(64 * 2**k * config.width_multiplier) for k in range(4)}
    bottleneck = config.resnet_depth >= 50
    counts = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3),
              152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}[config.resnet_depth]  # fmt: skip
    c = width[0]
    if config.stem == "cifar":
        convs = [(3, 3, 3, c)]
    elif config.sk_ratio:
        convs = [(3, 3, 3, c // 2), (3, 3, c // 2, c // 2), (3, 3, c // 2, c)]
    else:
        convs = [(7, 7, 3, c)]
    gates = []
    channels = c
    for k, count in enumerate(counts):
        f = width[k]
        out = 4 * f if bottleneck else f
        for i in range(count):
            convs += [(1, 1, channels, out)] if i == 0 else []
            if not bottleneck:
                convs += [(3, 3, channels, f), (3, 3, f, f)]
            elif config.sk_ratio:
                hidden = max(int(f * config.sk_ratio), 32)
                convs += [(1, 1, channels, f), (3, 3, f, 2 * f), (1, 1, f, hidden),
                          (1, 1, hidden, 2 * f), (1, 1, f, out)]  # fmt: skip
            else:
                convs += [(1, 1, channels, f), (3, 3, f, f), (1, 1, f, out)]
            if config.se_ratio:
                hidden = max(1, int(f * config.se_ratio))
                gates += [(1, 1, out, hidden), (1, 1, hidden, out)]
            channels = out
    return convs, gates


@pytest.mark.parametrize(
    ("depth", "width", "stem"),
    itertools.product((18, 34, 50, 101, 152, 200), (1 / 16, 0.3, 1, 1.5, 2, 3), (
        "cifar", "imagenet")),
)  # fmt: skip
@pytest.mark.parametrize("ratios", [(0, 0), (0.0625, 0), (0.25, 0), (0, 0.25), (0.0625, 0.07)])
def test_every_architecture_comes_back(depth, width, stem, ratios):
    config = EncoderConfig(depth, width, ratios[0], ratios[1], stem)
    if depth < 50 and config.sk_ratio:  # leaves no trace, or no ratio, in the variables
        config = dataclasses.replace(config, sk_ratio=0.0625 if stem == "imagenet" else 0.0)
    found = infer.infer_encoder(*shapes_of(config), "file")
    assert (found.resnet_depth, found.stem) == (depth, stem)
    assert bool(found.sk_ratio) == bool(config.sk_ratio)
    assert shapes_of(found) == shapes_of(config)  # the ratios may differ where rounding hides it


@pytest.mark.parametrize(
    ("convs", "gates", "told"),
    [
        ([], [], "convolutions are not"),
        ([(3, 3, 64)], [], "not two-dimensional"),
        (CIFAR_18[:2], [], "it has 2 convolutions"),
        (CIFAR_18, [], "it has 3 convolutions after the stem"),
        (shapes_of(EncoderConfig(stem="cifar"))[0], [(1, 1, 256, 16), (1, 1, 16, 256),
         (1, 1, 2048, 3), (1, 1, 3, 2048)], "gates have the widths"),
    ],
)  # fmt: skip
def test_other_networks_are_refused(convs, gates, told):
    with pytest.raises(InputError, match=told):
        infer.infer_encoder(convs, gates, "file")


def test_uneven_widths_are_refused():
    convs, _ = shapes_of(EncoderConfig(18, 1.0, stem="cifar"))
    convs[-1] = (3, 3, 500, 500)
    with pytest.raises(InputError, match="its last 500"):
        infer.infer_encoder(convs, [], "file")


def test_uneven_selective_kernels_are_refused():
    convs, _ = shapes_of(EncoderConfig(50, 1.0, 0.0625, stem="imagenet"))
    changed = [(1, 1, 512, 48) if shape == (1, 1, 512, 32) else shape for shape in convs]
    changed = [(1, 1, 256, 64) if shape == (1, 1, 256, 32) else shape for shape in changed]
    with pytest.raises(InputError, match="selective kernels have the widths"):
        infer.infer_encoder(changed, [], "file")


@pytest.mark.parametrize(
    ("shapes", "mode", "depth", "width"),
    [
        ([], "none", 0, 128),
        ([(512, 64)], "linear", 1, 64),
        ([(512, 512), (512, 128)], "nonlinear", 2, 128),
        ([(512, 512), (512, 512), (512, 32)], "nonlinear", 3, 32),
    ],
)
def test_projection_heads(shapes, mode, depth, width):
    found = infer.infer_projection(shapes)
    assert (found.proj_head_mode, found.depth, found.proj_out_dim) == (mode, depth, width)
