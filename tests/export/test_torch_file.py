"""Weights for PyTorch: torchvision's names, and a record that brings the network back."""

from __future__ import annotations

import ast
import json

import numpy as np
import pytest
from simclr_tf.export.history import History
from simclr_tf.export.saved_model import describe

from simclr_tf.config import EncoderConfig
from simclr_tf.export import torch_file
from simclr_tf.weights.load import load_model

safetensors = pytest.importorskip("safetensors", reason="pip install 'simclr_tf[safetensors]'")
HISTORY = History(image_size=40, class_names=("cat", "dog", "owl"), global_step=7)


@pytest.fixture(scope="module")
def written(live, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("torch") / "encoder.safetensors")
    torch_file.write_safetensors_file(live, path, HISTORY)
    return path


def test_it_comes_back_whole(written, live):
    loaded = load_model(written)
    assert loaded.model.config == live.config and loaded.report.assumptions == ()
    assert (loaded.image_size, loaded.global_step) == (40, 7)
    assert loaded.class_names == ("cat", "dog", "owl") and loaded.prefix is None
    for ours, theirs in zip(loaded.model.variables, live.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.name)


@pytest.mark.parametrize(
    "settings",
    [{"resnet_variant": "torchvision", "input_norm": "imagenet", "stem": "imagenet"},
     {"resnet_variant": "solo_learn", "input_norm": "0.5/0.25", "stem": "cifar"},
     {"sk_ratio": 0.0625, "se_ratio": 0.25, "stem": "cifar"}],
)  # fmt: skip
def test_every_kind_of_network_comes_back(make_live, tmp_path, settings):
    encoder = EncoderConfig(18, 1 / 16, **settings)
    live = make_live(encoder, num_classes=None, passes=1)
    path = str(tmp_path / "x.safetensors")
    torch_file.write_safetensors_file(live, path, History())
    loaded = load_model(path)
    assert loaded.model.config.encoder == encoder
    images = np.random.default_rng(0).random((2, 33, 40, 3), np.float32)
    np.testing.assert_array_equal(
        loaded.model(images)["final_avg_pool"], live(images)["final_avg_pool"]
    )


def test_kernels_have_pytorchs_axes(written, live):
    with safetensors.safe_open(written, "numpy") as file:
        kernel = file.get_tensor("layer2.0.conv1.weight")
        assert json.loads(file.metadata()["simclr_tf"])["model"]["stem"] == "cifar"
    ours = live.encoder.groups[1].blocks[0].conv_1.kernel.numpy()
    assert kernel.shape == (8, 4, 3, 3)
    np.testing.assert_array_equal(kernel[5, 2, 0, 1], ours[0, 1, 2, 5])


@pytest.mark.parametrize(
    ("settings", "fits"),
    [({"resnet_depth": 50}, True), ({"resnet_depth": 152}, True), ({"resnet_depth": 18}, False),
     ({"resnet_depth": 18, "resnet_variant": "torchvision"}, True),
     ({"width_multiplier": 2.0}, False), ({"sk_ratio": 0.0625}, False), ({"stem": "cifar"}, False),
     ({"resnet_depth": 200}, False), ({"channels": 1}, False)],
)  # fmt: skip
def test_which_networks_torchvision_has(settings, fits):
    assert torch_file.fits_torchvision(EncoderConfig(**{"stem": "imagenet", **settings})) == fits


def test_the_module_is_python_that_needs_nothing_of_ours():
    tree = ast.parse(torch_file.module_source())
    roots = {alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import)
             for alias in node.names}  # fmt: skip
    roots |= {n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert roots == {"json", "safetensors", "torch"}


def test_the_card_tells_how_torchvision_takes_it(live):
    record = describe(live, History())
    assert "torchvision" not in torch_file.usage(record)
    for variant, shown in (("simclr", True), ("torchvision", False)):
        model = {**record["model"], "resnet_depth": 50, "stem": "imagenet", "width_multiplier": 1.0,
                 "resnet_variant": variant}  # fmt: skip
        text = torch_file.usage({**record, "model": model})
        assert "torchvision.models.resnet50()" in text and ("MaxPool2d" in text) == shown
