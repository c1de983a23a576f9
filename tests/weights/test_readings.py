"""What the variables do not tell: which layer a linear head reads, whether shortcuts pool.

Both are asked of what lies beside them; where that is silent nobody gets logits.
"""

from __future__ import annotations

import dataclasses
import re
import warnings

import numpy as np
import pytest

from simclr_tf import load_encoder
from simclr_tf.errors import InputError
from simclr_tf.evaluation.encoders import open_encoder
from simclr_tf.models.network import Network
from simclr_tf.weights import locate, network, readings
from simclr_tf.weights.load import load_model
from simclr_tf.weights.restore import restore_weights
from tests.weights import foreign_checkpoints, graphs, oracle

IMAGES = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
SLOT = "/.OPTIMIZER_SLOT/"


@pytest.fixture(scope="module")
def listing(fixtures_dir):
    """A listing of the reference with an eighth of the channels."""

    def read(name):
        entries = foreign_checkpoints.read_listing(fixtures_dir / "foreign" / f"{name}.json")
        for key, entry in entries.items():
            shape = entry["shape"] if isinstance(entry, dict) else entry
            narrow = [n if n <= 10 else n // 8 for n in shape]
            entries[key] = {**entry, "shape": narrow} if isinstance(entry, dict) else narrow
        return entries

    return read


def deviation(outputs, arrays, architecture):
    """Of every endpoint from the oracle's, relative to its largest value."""
    expected = oracle.endpoints(arrays, IMAGES, architecture)
    assert set(outputs) == set(expected)
    return max(
        float(np.abs(outputs[name] - value).max() / max(1.0, np.abs(value).max()))
        for name, value in expected.items()
    )


def read(path):
    """The readings of weights by setting: value and what told it."""
    found = network.open_network(locate.locate(path)).readings
    return {name: (reading.value, reading.told_by) for name, reading in found.items()}


@pytest.mark.parametrize(("pools", "selector"), [(False, 0), (True, 1), (False, 2)])
def test_the_graph_of_a_tf1_checkpoint_tells(tmp_path, listing, pools, selector):
    arrays = foreign_checkpoints.random_arrays(listing("tf1_variables_r18"), seed=1)
    architecture = oracle.Architecture(18, True, pools, False, selector)
    path = graphs.write_tf1_graph(str(tmp_path / "model.ckpt-20"), arrays, architecture)
    told = readings.GRAPH
    assert read(path) == {
        "ft_proj_selector": (selector, told), "sk_ratio": (0.0625 if pools else 0, told)
    }  # fmt: skip


def training_checkpoint(folder, listing, trained, zeros=False):
    """A TF2 checkpoint whose optimizer reached some layers of the projection head.

    Optimizers keep nothing for the scales of the others, or zeros.
    """
    entries = listing("tf2_training_checkpoint_variables_r18")
    arrays = foreign_checkpoints.random_arrays(entries, seed=1)
    for key in [key for key in entries if SLOT in key and "gamma" in key]:
        layer = re.search(r"linear_layers/(\d)/", key)
        if layer and int(layer[1]) >= trained:
            name = entries[key]["full_name"]
            if zeros:
                arrays[name] = np.zeros_like(arrays[name])
            else:
                del entries[key]
    return foreign_checkpoints.write_object_based(str(folder / "ckpt-20"), entries, arrays)


@pytest.mark.parametrize(("trained", "zeros"), [(0, False), (1, False), (2, True)])
def test_the_optimizers_variables_tell(tmp_path, listing, trained, zeros):
    path = training_checkpoint(tmp_path, listing, trained, zeros)
    told = {"ft_proj_selector": (trained, readings.SLOTS), "sk_ratio": (0, readings.KEYS)}
    assert read(path) == told
    with pytest.raises(InputError, match=f"must be {trained}, as the optimizer's variables show"):
        load_model(path, ft_proj_selector=(trained + 1) % 3)


def test_slots_of_later_optimizers_are_found(tmp_path, listing):
    """They lie below the optimizer, under the variable's name, and are zeros where unused."""
    entries = listing("tf2_training_checkpoint_variables_r18_sgd")
    arrays = foreign_checkpoints.random_arrays(entries, seed=1)
    for name in arrays:
        if re.match(r"SGD/m/projection_head/nl_[12]/.*gamma", name):
            arrays[name] = np.zeros_like(arrays[name])
    path = foreign_checkpoints.write_object_based(str(tmp_path / "ckpt-20"), entries, arrays)
    assert read(path)["ft_proj_selector"] == (1, readings.SLOTS)


def test_a_trained_projection_head_is_pretraining(tmp_path, listing):
    """Its linear head reads the encoder unless it was asked to read a layer: both are said."""
    path = training_checkpoint(tmp_path, listing, trained=3)
    opened = network.open_network(locate.locate(path))
    reading = opened.readings["ft_proj_selector"]
    assert (reading.value, reading.is_open) == (0, False)
    assert "the weights fit ft_proj_selector=1 or 2 as well" in reading.line(0)
    reading.check(2)  # may be asked for
    assert reading.settled(2, chosen=True) and not reading.settled(2, chosen=False)


@pytest.fixture(scope="module")
def silent(tmp_path_factory, listing):
    """A SavedModel whose graph can't be read, which tells nothing, and its values."""
    entries = listing("tf2_saved_model_variables_r18")
    arrays = foreign_checkpoints.random_arrays(entries, seed=1)
    folder = str(tmp_path_factory.mktemp("silent") / "7")
    return foreign_checkpoints.write_saved_model_folder(folder, entries, arrays), arrays


def test_options_settle_it(silent):
    path, arrays = silent
    encoder = load_encoder(path, ft_proj_selector=-2, sk_ratio=0.0625)  # counts from the end
    architecture = oracle.Architecture(18, True, True, False, ft_proj_selector=2)
    assert deviation(encoder(IMAGES), arrays, architecture) < 1e-5


def test_without_an_option_there_are_features_and_no_logits(silent):
    path, arrays = silent
    with pytest.warns(UserWarning) as warned:
        outputs = load_encoder(path)(IMAGES)
    expected = oracle.endpoints(arrays, IMAGES, oracle.Architecture(18))
    assert set(expected) - set(outputs) == {"logits_sup"}
    np.testing.assert_allclose(outputs["final_avg_pool"], expected["final_avg_pool"], rtol=1e-3)
    told = " ".join(str(warning.message) for warning in warned)
    assert "sk_ratio must be given" in told and "ft_proj_selector=0, 1 or 2 fits" in told
    with pytest.raises(InputError, match="ft_proj_selector must be given"):
        load_encoder(path, "logits_sup", sk_ratio=0)


def test_features_alone_warn_of_what_they_depend_on(silent):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_encoder(silent[0], "final_avg_pool", heads=False, sk_ratio=0)
    with pytest.warns(UserWarning, match="sk_ratio must be given") as warned:
        open_encoder(silent[0])
    assert len(warned) == 1


@pytest.mark.parametrize("given", [{"ft_proj_selector": 3}, {"ft_proj_selector": -5}])
def test_an_option_that_cannot_be_is_refused(silent, given):
    with pytest.raises(InputError, match="ft_proj_selector"):
        load_model(silent[0], **given)


def test_a_run_must_choose_where_nothing_tells(silent):
    path = silent[0]
    loaded = load_model(path, ft_proj_selector=0, sk_ratio=0)
    lines = load_model(path).report.lines()
    assert any(line.startswith("the linear head is left out: ft_proj_selector") for line in lines)
    assert any(line.startswith("assumed: the shortcuts are not pooled") for line in lines)
    report = restore_weights(loaded.model, path)
    assert {doubt.name for doubt in report.doubts} == {"ft_proj_selector", "sk_ratio"}
    assert restore_weights(loaded.model, path, ("ft_proj_selector", "sk_ratio")).doubts == ()


def test_the_graph_of_a_saved_model_tells_a_run_that_reads_otherwise(tmp_path, listing):
    names = foreign_checkpoints.full_names(listing("tf2_saved_model_variables_r18"))
    arrays = foreign_checkpoints.random_arrays(names, seed=1)
    architecture = oracle.Architecture(18, True, True, False, ft_proj_selector=1)
    folder = graphs.write_saved_model(str(tmp_path / "m"), arrays, architecture)
    loaded = load_model(folder)
    assert deviation(loaded.model(IMAGES), arrays, architecture) < 1e-5
    assert (loaded.report.unused, loaded.report.doubts) == ((), ())
    assert "ft_proj_selector=1), as the graph beside" in "\n".join(loaded.report.lines())
    with pytest.raises(InputError, match="ft_proj_selector must be 1, as the graph"):
        load_model(folder, ft_proj_selector=2)
    config = loaded.model.config
    pretraining = Network(dataclasses.replace(config, train_mode="pretrain"), 10)
    (doubt,) = restore_weights(pretraining, folder, ("ft_proj_selector",)).doubts
    assert "must be 1, as the graph" in str(doubt) and "train_mode=finetune" in str(doubt)
    plain = dataclasses.replace(config.encoder, sk_ratio=0.0)
    with pytest.raises(InputError, match=r"sk_ratio=0\.0625, the run asks for sk_ratio=0"):
        restore_weights(Network(dataclasses.replace(config, encoder=plain), 10), folder)


def test_shapes_that_fit_one_layer_decide(tmp_path, listing):
    """A linear head as wide as the output layer alone can read nothing else."""
    entries = listing("tf1_variables_r18")
    entries["head_supervised/linear_layer/dense/kernel"][0] = 16
    arrays = foreign_checkpoints.random_arrays(entries, seed=1)
    path = foreign_checkpoints.write_tf1(str(tmp_path / "model.ckpt-20"), arrays)
    reading = network.open_network(locate.locate(path)).readings["ft_proj_selector"]
    assert (reading.value, reading.others, reading.is_open) == (3, (), False)
