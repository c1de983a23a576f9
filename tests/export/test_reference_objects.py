"""Places and names of the reference's objects, against listings of its own checkpoints."""

from __future__ import annotations

import dataclasses

import pytest
from simclr_tf.export.reference_objects import find_places

from simclr_tf.config import BatchNormConfig, EncoderConfig, ModelConfig, ProjectionConfig
from simclr_tf.models.network import Network
from simclr_tf.weights.layout import encoder_layers
from tests.weights import foreign_checkpoints

pytestmark = pytest.mark.whole  # as the reference's networks are

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def config(depth: int, stem: str = "cifar", layers: int = 3, **settings) -> ModelConfig:
    encoder = EncoderConfig(resnet_depth=depth, stem=stem, **settings)
    return ModelConfig(encoder=encoder, projection=ProjectionConfig(num_proj_layers=layers))


R18, R18_SE = config(18), config(18, se_ratio=0.25)
R18_SK = config(18, "imagenet", layers=2, sk_ratio=0.0625)
R50_SK = config(50, "imagenet", sk_ratio=0.0625)
R50_SE = config(50, "imagenet", se_ratio=0.25)


@pytest.fixture(scope="module")
def listing(fixtures_dir):
    folder = fixtures_dir / "foreign"
    return lambda name: foreign_checkpoints.read_listing(folder / f"{name}.json")


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("tf2_training_checkpoint_variables_r18", R18),
        ("tf2_training_checkpoint_variables_r18se", R18_SE),
        ("tf2_checkpoint_variables_r18sk_no_linear", R18_SK),
        ("tf2_checkpoint_variables_r50sk", R50_SK),
    ],
)
def test_keys_and_full_names_are_those_of_its_checkpoints(listing, name, network):
    theirs = {key.removesuffix(VALUE): entry["full_name"] for key, entry in listing(name).items()
              if key.startswith("model/") and "/.OPTIMIZER_SLOT" not in key}  # fmt: skip
    places = find_places(network, linear_head="no_linear" not in name)
    assert dict(places.variables.values()) == theirs


def test_full_names_of_gates_in_bottlenecks(listing):
    theirs = set(foreign_checkpoints.full_names(listing("tf2_saved_model_variables_r50se")))
    names = {place.full_name for place in find_places(R50_SE, True).variables.values()}
    assert names <= theirs and all(n.split("/")[0] == "Variable" for n in theirs - names)


@pytest.mark.parametrize(
    ("network", "linear_head", "count"),
    [
        (R18, True, 290),
        (config(50, "imagenet"), True, 700),
        (config(50, "imagenet", sk_ratio=0.0625, se_ratio=0.25), True, 1028),
        (config(18, layers=2, sk_ratio=0.0625, se_ratio=0.25), False, 335),
    ],
)
def test_there_are_as_many_objects_as_in_its_checkpoints(network, linear_head, count):
    """Counted in the graphs of objects that its program wrote on TensorFlow 2.21."""
    places = find_places(network, linear_head)
    paths = [place.path for place in places.variables.values()] + places.bare
    objects = {path[:at] for path in (f"{path}/" for path in paths)
               for at, letter in enumerate(path) if letter == "/"}  # fmt: skip
    assert len(objects) == count


def test_objects_without_variables():
    """What stands in a block that strides, and in one that does not."""
    bare = find_places(config(18, sk_ratio=0.0625), True).bare
    group = "model/resnet_model/block_groups/1/layers"
    found = {path.removeprefix(f"{group}/") for path in bare if path.startswith(group)}
    assert {path for path in found if not path.endswith("/axis")} == {
        "0/shortcut_layers/0", "0/shortcut_layers/1", "0/conv2d_bn_layers/0/fixed_padding",
        "1/shortcut_layers",
    }  # fmt: skip


@pytest.mark.parametrize("settings", [{}, {"sk_ratio": 0.0625, "se_ratio": 0.25}])
def test_every_layer_of_ours_has_a_place(settings):
    network = config(50, "imagenet", **settings)
    places = find_places(network, linear_head=True).variables
    found = {name.rpartition("/")[0] for name in places if name.startswith("encoder/")}
    assert found == {layer for kind in encoder_layers(network.encoder) for layer in kind}
    ours = Network(config(18, width_multiplier=1 / 16), 3).variables
    heads = {v.name.split(":")[0] for v in ours if not v.name.startswith("encoder/")}
    assert heads == {name for name in places if not name.startswith("encoder/")}


def test_statistics_of_one_replica_have_another_name():
    local = dataclasses.replace(R18, batch_norm=BatchNormConfig(global_bn=False))
    names = [place.full_name for place in find_places(local, linear_head=True).variables.values()]
    assert "resnet/batch_norm_relu/batch_normalization/gamma" in names
    assert not any("sync" in name for name in names)
