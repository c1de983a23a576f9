"""The rules behind the reference's names against its own listings."""

from __future__ import annotations

import math

import pytest

from tests.weights import foreign_checkpoints, published_names
from tests.weights.oracle import Architecture
from tests.weights.published_names import Size

R18, R50, R50_SK = Architecture(18), Architecture(50, False), Architecture(50, False, True)
TEN, THOUSAND = Size(num_classes=10), Size()


@pytest.fixture
def listing(fixtures_dir):
    folder = fixtures_dir / "foreign"
    return lambda name: foreign_checkpoints.read_listing(folder / f"{name}.json")


@pytest.mark.parametrize(
    ("name", "architecture", "size"),
    [
        ("tf1_variables_r18", R18, TEN),
        ("tf1_variables_r50", R50, THOUSAND),
        ("tf1_variables_r50sk", R50_SK, THOUSAND),
    ],
)
def test_names_of_tf1(name, architecture, size, listing):
    assert published_names.tf1_listing(architecture, size) == listing(name)


@pytest.mark.parametrize(
    ("name", "architecture"),
    [("tf2_training_checkpoint_variables_r18", R18), ("tf2_checkpoint_variables_r50sk", R50_SK)],
)
def test_keys_and_full_names_of_checkpoints(name, architecture, listing):
    weights = {key: entry for key, entry in listing(name).items()
               if key.startswith("model/") and "OPTIMIZER_SLOT" not in key}  # fmt: skip
    assert published_names.checkpoint_listing(architecture, TEN) == weights


@pytest.mark.parametrize(
    ("name", "architecture"),
    [("tf2_saved_model_variables_r18", R18), ("tf2_saved_model_variables_r50sk", R50_SK)],
)
def test_full_names_of_exports(name, architecture, listing):
    shapes = foreign_checkpoints.full_names
    written = published_names.saved_model_listing(architecture, TEN)
    assert shapes(written) == shapes(listing(name))


def test_the_largest_published_network():
    listing = published_names.tf1_listing(Architecture(152, False, True), Size(width=3))
    trained = {name: shape for name, shape in listing.items() if "/moving_" not in name}
    # 877,157,768: the shared fixture `architectures.json`, r152_3x_sk.
    assert sum(math.prod(shape) for shape in trained.values()) == 877_157_768
