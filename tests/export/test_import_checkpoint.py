"""Conversion of foreign weights to a checkpoint of ours."""

import json

import numpy as np
import pytest
import tensorflow as tf
from simclr_tf.export.import_checkpoint import convert

from simclr_tf.errors import InputError
from simclr_tf.weights.load import load_model
from tests.weights import foreign_checkpoints, oracle

pytestmark = pytest.mark.whole  # as the reference's networks are

READ = {"ft_proj_selector": 0, "sk_ratio": 0}  # a TF1 checkpoint without its graph tells neither
IMAGES = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)


@pytest.fixture(scope="module")
def arrays(fixtures_dir):
    listing = json.loads((fixtures_dir / "foreign" / "tf1_variables_r18.json").read_text())
    narrow = {name: [n if n <= 10 else n // 8 for n in shape] for name, shape in listing.items()}
    return foreign_checkpoints.random_arrays(narrow, seed=1)


@pytest.fixture
def source(arrays, tmp_path):
    return foreign_checkpoints.write_tf1(str(tmp_path / "source" / "model.ckpt-20"), arrays)


def encoder_parameters(reader):
    """As notebooks for the published TF1 checkpoints count them: heads, slots and counters aside.

    Those of TF2 have one entry more, the graph of objects, which is a scalar.
    """
    excluded = ("global_step", "Momentum", "ema", "memory", "head", "OBJECT_GRAPH")
    shapes = reader.get_variable_to_shape_map()
    return sum(int(np.prod(shape)) for name, shape in shapes.items()
               if not any(word in name for word in excluded))  # fmt: skip


def test_the_converted_checkpoint_gives_the_same_endpoints(source, arrays, tmp_path):
    said = []
    prefix = convert(source, str(tmp_path / "ours"), say=said.append, **READ)
    assert prefix == str(tmp_path / "ours" / "ckpt-20")
    assert "TF1 checkpoint of the reference implementation, step 20" in said[0]
    loaded = load_model(str(tmp_path / "ours"))
    assert (loaded.source, loaded.global_step, loaded.image_size) == ("TF2 checkpoint", 20, 32)
    expected = oracle.endpoints(arrays, IMAGES, oracle.Architecture(18))
    for name, value in loaded.model(IMAGES).items():
        scale = max(1.0, float(tf.reduce_max(tf.abs(expected[name]))))
        np.testing.assert_allclose(value, expected[name], atol=1e-5 * scale, err_msg=name)
    assert encoder_parameters(tf.train.load_checkpoint(str(tmp_path / "ours"))) == (
        encoder_parameters(tf.train.load_checkpoint(source))
    )
    record = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert record["imported_from"] == "TF1 checkpoint of the reference implementation"
    assert record["model_dir"] == str(tmp_path / "ours")


def test_the_layer_of_the_head_is_kept(source, tmp_path):
    convert(source, str(tmp_path / "ours"), ft_proj_selector=1, sk_ratio=0, say=lambda line: None)
    model = load_model(str(tmp_path / "ours")).model
    assert model.config.projection.ft_proj_selector == 1
    assert model.config.train_mode == "finetune"
    assert model.whole_head and len(model.projection_head.projection_layers) == 3


def test_what_may_be_read_in_several_ways_needs_to_be_told(source, tmp_path):
    for given in ({"sk_ratio": 0}, {"ft_proj_selector": 1}):
        missing = ({"ft_proj_selector", "sk_ratio"} - set(given)).pop()
        with pytest.raises(InputError, match=f"{missing} must be given"):
            convert(source, str(tmp_path / "ours"), say=lambda line: None, **given)
    assert not (tmp_path / "ours").exists()


def test_an_existing_target_needs_overwrite_and_must_be_a_conversion(source, tmp_path):
    target = tmp_path / "ours"
    convert(source, str(target), say=lambda line: None, **READ)
    with pytest.raises(InputError, match="output must not exist yet"):
        convert(source, str(target))
    convert(source, str(target) + "/", overwrite=True, say=lambda line: None, **READ)
    (target / "notes.txt").write_text("kept")
    with pytest.raises(InputError, match="it holds notes.txt"):
        convert(source, str(target), overwrite=True)


def test_a_bad_source_leaves_nothing(tmp_path):
    (tmp_path / "bad.index").write_bytes(b"nothing")
    with pytest.raises(InputError, match="must be a readable checkpoint"):
        convert(str(tmp_path / "bad"), str(tmp_path / "ours"))
    assert [path.name for path in tmp_path.iterdir()] == ["bad.index"]
