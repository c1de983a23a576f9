"""ResNets of PyTorch libraries, against an oracle that shares no code with the library."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.config import EncoderConfig, ModelConfig
from simclr_tf.encoder import load_encoder
from simclr_tf.errors import InputError
from simclr_tf.models.network import Network
from simclr_tf.weights.load import load_model
from simclr_tf.weights.restore import restore_weights
from tests.weights import torch_oracle as oracle

numpy_files = pytest.importorskip(
    "safetensors.numpy", reason="pip install 'simclr_tf[safetensors]'"
)
IMAGENET_STEM, CIFAR_STEM = (7, 3, 66), (3, 1, 32)  # kernel, padding, side of the images
CASES = [
    ("torchvision", 18, IMAGENET_STEM, "imagenet"), ("torchvision", 50, IMAGENET_STEM, "imagenet"),
    ("lightly", 18, IMAGENET_STEM, "imagenet"), ("lightly", 50, IMAGENET_STEM, "imagenet"),
    ("lightly's own", 18, CIFAR_STEM, "imagenet"), ("moco", 18, IMAGENET_STEM, "imagenet"),
    ("VISSL", 50, IMAGENET_STEM, "imagenet"), ("solo-learn", 18, IMAGENET_STEM, "imagenet"),
    ("solo-learn", 18, (3, 2, 32), "cifar10"),
]  # fmt: skip


def _images(side: int) -> np.ndarray:
    return np.random.default_rng(1).random((2, side, side + 3, 3), np.float32)


def _write(folder: pathlib.Path, library: str, depth: int, kernel: int):
    values = oracle.state_dict(depth, kernel)
    path = folder / "weights.safetensors"
    numpy_files.save_file(oracle.renamed(values, library), path)
    return values, str(path)


@pytest.mark.parametrize(("library", "depth", "stem", "norm"), CASES)
def test_a_network_computes_what_its_library_does(tmp_path, library, depth, stem, norm):
    kernel, padding, side = stem
    values, path = _write(tmp_path, library, depth, kernel)
    loaded = load_model(path)
    images = _images(side)
    statistics = {"imagenet": oracle.IMAGENET, "cifar10": oracle.CIFAR10}[norm]
    expected = oracle.features(values, images, statistics, padding)
    found = loaded.model(images)["final_avg_pool"].numpy()
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    assert loaded.model.config.encoder.input_norm == norm
    named = {"moco": "torchvision", "lightly's own": "lightly"}.get(library, library)
    assert loaded.source == f"safetensors file with the names of {named}"
    assert any(f"input_norm={norm}" in text for text in loaded.report.assumptions)


def test_only_torchvisions_own_classifier_is_read(tmp_path):
    _, path = _write(tmp_path, "torchvision", 18, 7)
    loaded = load_model(path)
    outputs = loaded.model(_images(66))
    expected = outputs["final_avg_pool"].numpy()[:, :7] + np.arange(7)
    np.testing.assert_allclose(outputs["logits_sup"], expected, rtol=1e-5)
    _, path = _write(tmp_path, "VISSL", 50, 7)
    loaded = load_model(path)
    assert loaded.model.num_classes is None
    assert any("not read: 1 other tensors" in note for note in loaded.report.notes)


@pytest.mark.parametrize(
    ("settings", "statistics", "padding"),
    [({"input_norm": "none"}, (0, 1), 2),
     ({"input_norm": "0.5/0.25", "resnet_variant": "torchvision"}, (0.5, 0.25), 1)],
)  # fmt: skip
def test_what_nothing_tells_can_be_said(tmp_path, settings, statistics, padding):
    values, path = _write(tmp_path, "solo-learn", 18, 3)
    images = _images(32)
    with pytest.warns(UserWarning, match="assumed") if len(settings) == 1 else _no_warning():
        encoder = load_encoder(path, "final_avg_pool", **settings)
    expected = oracle.features(values, images, statistics, padding)
    np.testing.assert_allclose(encoder(images), expected, atol=1e-5 * np.abs(expected).max())


def _no_warning():
    import warnings

    context = warnings.catch_warnings()
    warnings.simplefilter("error")
    return context


def test_what_the_weights_tell_is_not_chosen(tmp_path):
    _, path = _write(tmp_path, "torchvision", 18, 7)
    with pytest.raises(InputError, match="resnet_variant must be torchvision"):
        load_model(path, resnet_variant="simclr")


@pytest.mark.parametrize(
    ("change", "message"),
    [(lambda v: {f"a.{n}": x for n, x in v.items()} | {f"b.{n}": x for n, x in v.items()},
      r"one ResNet .*found: a\.\*, b\.\*"),
     (lambda v: {n: x for n, x in v.items() if not n.startswith("layer1")}, "found: none"),
     (lambda v: {**v, "layer1.0.attention.weight": v["bn1.bias"]}, "not understood: layer1.0.att"),
     (lambda v: {n: x for n, x in v.items() if n != "layer3.1.bn2.running_var"}, "absent"),
     (lambda v: {**v, "layer2.0.conv2.weight": v["layer2.0.conv2.weight"][..., :1]},
      r"layer|block_group2/block_0/conv_2/kernel \[3, 3")],
)  # fmt: skip
def test_other_networks_are_refused_in_one_line(tmp_path, change, message):
    path = tmp_path / "x.safetensors"
    numpy_files.save_file(
        {name: np.ascontiguousarray(x) for name, x in change(oracle.state_dict(18, 7)).items()},
        path,
    )
    with pytest.raises(InputError, match=message):
        load_model(path)


def test_a_folder_with_one_file_is_read(tmp_path):
    _write(tmp_path, "torchvision", 18, 7)
    (tmp_path / "config.json").write_text('{"model_type": "resnet"}')
    assert load_model(tmp_path).model.config.encoder.resnet_depth == 18


def test_a_missing_package_is_one_line(tmp_path, monkeypatch):
    _, path = _write(tmp_path, "torchvision", 18, 7)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(InputError, match=r"pip install 'simclr_tf\[safetensors\]'"):
        load_model(path)


def _model(**settings):
    encoder = EncoderConfig(18, 1 / 16, stem="imagenet", **settings)
    return Network(ModelConfig(encoder), None)


def test_a_run_must_pad_and_scale_as_the_weights(tmp_path):
    _, path = _write(tmp_path, "torchvision", 18, 7)
    fitting = {"resnet_variant": "torchvision", "input_norm": "imagenet"}
    assert restore_weights(_model(**fitting), path).restored
    for other in ({}, {"resnet_variant": "torchvision"}, {**fitting, "input_norm": "0.5/0.25"}):
        with pytest.raises(InputError, match="input_norm=imagenet"):
            restore_weights(_model(**other), path)
    chosen = _model(**{**fitting, "input_norm": "0.5/0.25"})
    assert restore_weights(chosen, path, {"input_norm"}).assumptions == ()


def test_a_checkpoint_of_a_variant_is_read_where_its_record_is_lost(tmp_path):
    model = _model(resnet_variant="torchvision", input_norm="imagenet")
    tf.train.Checkpoint(model=model).write(str(tmp_path / "ckpt-1"))
    assert restore_weights(
        _model(resnet_variant="torchvision", input_norm="none"), str(tmp_path / "ckpt-1")
    ).restored
