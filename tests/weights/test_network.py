"""Published formats, written from the reference's listings and compared with an oracle.

`foreign_checkpoints.py` writes the files, `oracle.py` computes the network from TensorFlow ops;
neither knows the library.
"""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.config import EncoderConfig
from simclr_tf.errors import InputError
from simclr_tf.weights import locate, network
from simclr_tf.weights.load import load_model
from tests.weights import foreign_checkpoints, oracle

IMAGES = np.random.default_rng(0).random((2, 48, 40, 3), np.float32)
R18 = EncoderConfig(resnet_depth=18, stem="cifar")
R18_SE = EncoderConfig(resnet_depth=18, se_ratio=0.25, stem="cifar")
R18_SK = EncoderConfig(resnet_depth=18, sk_ratio=0.0625, stem="imagenet")
R50 = EncoderConfig(resnet_depth=50, stem="imagenet")
R50_SE = EncoderConfig(resnet_depth=50, se_ratio=0.25, stem="imagenet")
R50_SK = EncoderConfig(resnet_depth=50, sk_ratio=0.0625, stem="imagenet")


@pytest.fixture(scope="module")
def listing(fixtures_dir):
    folder = fixtures_dir / "foreign"
    return lambda name: dict(foreign_checkpoints.read_listing(str(folder / f"{name}.json")))


def architecture(config: EncoderConfig, ft_proj_selector: int = 0) -> oracle.Architecture:
    return oracle.Architecture(config.resnet_depth, config.stem == "cifar", config.sk_ratio > 0,
                               config.se_ratio > 0, ft_proj_selector)  # fmt: skip


def small(entries: dict) -> dict:
    """A listing with an eighth of the channels."""

    def shrink(shape):
        return [n if n <= 10 else n // 8 for n in shape]

    return {name: {**entry, "shape": shrink(entry["shape"])} if isinstance(entry, dict)
            else shrink(entry) for name, entry in entries.items()}  # fmt: skip


def write(folder, kind: str, entries: dict, arrays: dict) -> str:
    if kind == "TF1 checkpoint":
        return foreign_checkpoints.write_tf1(str(folder / "model.ckpt-20"), arrays)
    if kind == "TF2 checkpoint":
        return foreign_checkpoints.write_object_based(str(folder / "ckpt-20"), entries, arrays)
    return foreign_checkpoints.write_saved_model_folder(str(folder / "module"), entries, arrays)


def deviation(outputs: dict, expected: dict) -> float:
    """Largest deviation of any endpoint, relative to its largest value."""
    assert set(outputs) == set(expected)
    return max(
        float(np.abs(outputs[name] - value).max() / max(1.0, np.abs(value).max()))
        for name, value in expected.items()
    )


CASES = [
    ("TF1 checkpoint", "tf1_variables_r18", R18),
    ("TF1 checkpoint", "tf1_variables_r50", R50),
    ("TF1 checkpoint", "tf1_variables_r50sk", R50_SK),
    ("TF2 checkpoint", "tf2_training_checkpoint_variables_r18", R18),
    ("SavedModel", "tf2_saved_model_variables_r18", R18),
    ("TF1 checkpoint", "tf1_variables_r18se", R18_SE),
    ("TF2 checkpoint", "tf2_training_checkpoint_variables_r18se", R18_SE),
    ("TF2 checkpoint", "tf2_training_checkpoint_variables_r18_sgd", R18),
    ("TF2 checkpoint", "tf2_training_checkpoint_variables_r18se_adam", R18_SE),
    ("TF2 checkpoint", "tf2_checkpoint_variables_r18sk_no_linear", R18_SK),
    ("SavedModel", "tf2_saved_model_variables_r18se", R18_SE),
    ("SavedModel", "tf2_saved_model_variables_r18se_frozen", R18_SE),
    ("SavedModel", "tf2_saved_model_variables_r50se", R50_SE),
    ("SavedModel", "tf2_saved_model_variables_r50sk", R50_SK),
]


@pytest.mark.parametrize(("kind", "name", "config"), CASES, ids=[case[1] for case in CASES])
def test_published_weights_give_the_oracles_endpoints(tmp_path, listing, kind, name, config):
    entries = listing(name)
    if not config.sk_ratio and (name, config) != ("tf1_variables_r18", R18):
        # Selective kernels have 32 channels at least.
        entries, config = small(entries), dataclasses.replace(config, width_multiplier=1 / 8)
    arrays = foreign_checkpoints.random_arrays(entries, seed=1)
    path = write(tmp_path, kind, entries, arrays)
    loaded = load_model(path, ft_proj_selector=0, sk_ratio=config.sk_ratio)
    assert loaded.model.config.encoder == config
    assert loaded.source == f"{kind} of the reference implementation"
    assert loaded.global_step == (0 if kind == "SavedModel" else 20)
    found = deviation(loaded.model(IMAGES), oracle.endpoints(arrays, IMAGES, architecture(config)))
    print(f"{kind}, {name}: largest deviation {found:.1e}")
    assert found < 1e-4
    report = loaded.report
    assert (report.new, report.unused) == ((), ())
    assert len(report.restored) == len(loaded.model.variables)
    assert len(report.restored) + len(report.others) == len(entries)


@pytest.mark.parametrize("name", ["tf2_checkpoint_r18"])
def test_the_references_own_checkpoint(shared_dir, name):
    folder = shared_dir / "fixtures" / name
    expected = dict(np.load(folder / "endpoints.npz"))
    loaded = load_model(str(folder), ft_proj_selector=0)
    found = deviation(loaded.model(expected.pop("images")), expected)
    print(f"TF2 checkpoint of the reference, 20 steps: largest deviation {found:.1e}")
    assert found < 1e-4


def test_fine_tuned_from_a_layer_of_the_head(tmp_path, listing):
    entries = small(listing("tf2_saved_model_variables_r18"))
    arrays = foreign_checkpoints.random_arrays(entries, seed=2)
    path = write(tmp_path, "SavedModel", entries, arrays)
    loaded = load_model(path, ft_proj_selector=1, sk_ratio=0)
    expected = oracle.endpoints(arrays, IMAGES, architecture(R18, ft_proj_selector=1))
    assert deviation(loaded.model(IMAGES), expected) < 1e-4
    assert loaded.report.unused == ()  # the whole head is kept, as the reference exports it


def test_numbers_may_start_anywhere(tmp_path, listing):
    entries = small(listing("tf1_variables_r18"))
    arrays = foreign_checkpoints.random_arrays(entries, seed=3)

    def later(name):
        def count(match):
            return f"{match[1]}_{int(match[2] or 0) + 53}/"

        return re.sub(r"(conv2d|batch_normalization)(?:_(\d+))?/", count, name)

    renamed = {later(name): value for name, value in arrays.items()}
    path = write(tmp_path, "TF1 checkpoint", {}, renamed)
    loaded = load_model(path, ft_proj_selector=0, sk_ratio=0)
    expected = oracle.endpoints(arrays, IMAGES, architecture(R18))
    assert deviation(loaded.model(IMAGES), expected) < 1e-4


def test_slots_of_tf1_optimizers_are_left_aside(tmp_path, listing):
    entries = small(listing("tf1_variables_r18"))
    arrays = foreign_checkpoints.random_arrays(entries, seed=3)
    slots = {f"{name}/Momentum": value for name, value in arrays.items()}
    path = write(tmp_path, "TF1 checkpoint", {}, {**arrays, **slots, "global_step": np.int64(7)})
    opened = network.open_network(locate.locate(path))
    assert set(opened.others) == {*slots, "global_step"}
    assert len(opened.shapes) == len(arrays)


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("base_model/conv2d_9/kernel", "convolutions after the stem"),
        ("base_model/batch_normalization_9", "must be complete: a ResNet of its kind has 21"),
        (
            "base_model/batch_normalization_9/beta",
            "block_group2/block_1/bn_1/beta .*absent from the checkpoint",
        ),
        ("head_contrastive/nl_1/dense", "must hold complete heads"),
    ],
)
def test_missing_variables_are_named(tmp_path, listing, missing, told):
    entries = small(listing("tf1_variables_r18"))
    arrays = foreign_checkpoints.random_arrays(entries, seed=3)
    left = {n: v for n, v in arrays.items() if n != missing and not n.startswith(f"{missing}/")}
    with pytest.raises(InputError, match=told):
        load_model(write(tmp_path, "TF1 checkpoint", {}, left))


def test_names_that_contradict_their_numbers_are_refused(tmp_path, listing):
    entries = listing("tf2_saved_model_variables_r18")
    groups = {"1": "2", "2": "1", "3": "3", "4": "4"}  # the first two change places
    for entry in entries.values():
        before, scope, after = entry["full_name"].partition("block_group")
        if scope:
            entry["full_name"] = f"{before}{scope}{groups[after[0]]}{after[1:]}"
        entry["shape"] = [n if n <= 10 else n // 8 for n in entry["shape"]]
    arrays = foreign_checkpoints.random_arrays(entries, seed=3)
    with pytest.raises(InputError, match="must number its layers in order of creation"):
        load_model(write(tmp_path, "SavedModel", entries, arrays))


def test_pooled_shortcuts_are_seen_in_the_keys(tmp_path, listing):
    """With basic blocks and the CIFAR stem nothing else tells."""
    entries = {}
    for key, entry in listing("tf2_training_checkpoint_variables_r18").items():
        later = re.sub(r"(shortcut_layers)/(\d)/", lambda m: f"{m[1]}/{int(m[2]) + 1}/", key)
        shape = [n if n <= 10 else n // 8 for n in entry["shape"]]
        entries[later] = {**entry, "shape": shape}
    arrays = foreign_checkpoints.random_arrays(entries, seed=3)
    loaded = load_model(write(tmp_path, "TF2 checkpoint", entries, arrays), ft_proj_selector=0)
    expected = oracle.endpoints(arrays, IMAGES, oracle.Architecture(18, True, True))
    assert loaded.model.config.encoder.sk_ratio == 0.0625
    assert deviation(loaded.model(IMAGES), expected) < 1e-4


def test_the_step_of_an_export_is_the_name_of_its_folder(tmp_path, listing):
    entries = small(listing("tf2_saved_model_variables_r18"))
    arrays = foreign_checkpoints.random_arrays(entries, seed=3)
    folder = foreign_checkpoints.write_saved_model_folder(str(tmp_path / "250"), entries, arrays)
    assert load_model(folder).global_step == 250


def test_other_checkpoints_are_refused(tmp_path):
    prefix = tf.train.Checkpoint(x=tf.Variable(1.0)).write(str(tmp_path / "other"))
    with pytest.raises(InputError, match="must hold a SimCLR encoder"):
        load_model(prefix)
