"""The oracle of the import tests against outputs of the reference implementation itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.weights import foreign_checkpoints, oracle
from tests.weights.oracle import Architecture


@pytest.fixture(scope="module")
def outputs(fixtures_dir):
    return np.load(fixtures_dir / "foreign" / "reference_endpoints.npz")


def images(size: int) -> np.ndarray:
    return np.random.RandomState(7).uniform(size=(2, size, size, 3)).astype(np.float32)


def deviation(found: tf.Tensor, expected: np.ndarray) -> float:
    """Largest difference, relative to the largest value."""
    if expected.ndim == 1:  # maps are stored as their mean per image
        found = tf.reduce_mean(found, [1, 2, 3])
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_a_checkpoint_of_the_reference(shared_dir):
    folder = shared_dir / "fixtures" / "tf2_checkpoint_r18"
    reader = tf.train.load_checkpoint(str(folder / "model.ckpt-20"))
    entries = json.loads((folder / "variables.json").read_text())
    arrays = {entry["full_name"]: reader.get_tensor(key) for key, entry in entries.items()}
    with np.load(folder / "endpoints.npz") as expected:
        found = oracle.endpoints(arrays, expected["images"], Architecture(18))
        assert set(found) == set(expected) - {"images"}
        for name, value in found.items():
            np.testing.assert_allclose(value, expected[name], atol=1e-5, err_msg=name)


CASES = {
    "r18se": ("tf2_saved_model_variables_r18se", 32, Architecture(18, squeeze=True)),
    "tf1_r18se": ("tf1_variables_r18se", 32, Architecture(18, squeeze=True)),
    "r18_imagenet": ("tf2_saved_model_variables_r18", 64, Architecture(18, cifar_stem=False)),
    "r50se": ("tf2_saved_model_variables_r50se", 64, Architecture(50, False, squeeze=True)),
    # Maps of odd side: 65, 33, 17, 9, 5, 3.
    "r50sk": ("tf2_saved_model_variables_r50sk", 65, Architecture(50, False, True)),
    "r50sk_ft": (
        "tf2_saved_model_variables_r50sk",
        65,
        Architecture(50, False, True, ft_proj_selector=1),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_outputs_of_the_reference(case, outputs, fixtures_dir):
    listing, size, architecture = CASES[case]
    entries = foreign_checkpoints.read_listing(fixtures_dir / "foreign" / f"{listing}.json")
    if case == "r18_imagenet":  # the listing of the CIFAR stem but for one shape
        stem = next(entry for entry in entries.values() if entry["shape"] == [3, 3, 3, 64])
        stem["shape"] = [7, 7, 3, 64]
    arrays = foreign_checkpoints.random_arrays(entries, seed=3)
    found = oracle.endpoints(arrays, images(size), architecture)
    stored = {name.split("/")[1]: outputs[name] for name in outputs if name.split("/")[0] == case}
    assert stored
    deviations = {name: deviation(found[name], value) for name, value in stored.items()}
    assert max(deviations.values()) < 1e-5, deviations


@pytest.mark.parametrize("listing", ["tf1_variables_r18", "tf2_saved_model_variables_r18"])
def test_another_depth_does_not_fit(listing, fixtures_dir):
    entries = foreign_checkpoints.read_listing(fixtures_dir / "foreign" / f"{listing}.json")
    arrays = foreign_checkpoints.random_arrays(entries, seed=0)
    with pytest.raises((StopIteration, tf.errors.InvalidArgumentError)):
        oracle.endpoints(arrays, images(32), Architecture(34))


def test_layers_that_are_left_over_are_an_error(fixtures_dir):
    entries = foreign_checkpoints.read_listing(fixtures_dir / "foreign" / "tf1_variables_r18.json")
    arrays = foreign_checkpoints.random_arrays(entries, seed=0)
    arrays["base_model/conv2d_99/kernel"] = np.ones((1, 1, 4, 4), np.float32)
    with pytest.raises(ValueError, match="1 layers are left over"):
        oracle.endpoints(arrays, images(32), Architecture(18))


def test_optimizer_slots_are_no_layers(fixtures_dir):
    path = fixtures_dir / "foreign" / "tf2_training_checkpoint_variables_r18.json"
    arrays = foreign_checkpoints.random_arrays(foreign_checkpoints.read_listing(path), seed=0)
    slots = {name for name in arrays if name.startswith("LARSOptimizer/")}
    assert slots
    weights = {name: value for name, value in arrays.items() if name not in slots}
    with_slots = oracle.endpoints(arrays, images(32), Architecture(18))
    without = oracle.endpoints(weights, images(32), Architecture(18))
    for name, value in without.items():
        np.testing.assert_array_equal(value, with_slots[name])
