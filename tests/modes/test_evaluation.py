"""Evaluation of a run's checkpoints."""

import json

import numpy as np
import pytest

from simclr_tf import experiment
from simclr_tf.data import sources
from simclr_tf.data.array_source import from_arrays
from simclr_tf.errors import InputError, RunError
from simclr_tf.evaluation import unlabelled
from simclr_tf.modes import evaluation, training
from simclr_tf.weights.load import load_model
from tests.eager import eagerly
from tests.weights import foreign_checkpoints

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, module_settings):
    """The folder of a run of three checkpoints."""
    folder = tmp_path_factory.mktemp("run")
    with eagerly():
        training.train(module_settings(folder, knn=False), None, say=lambda text: None)
    return folder


def test_eval_follows_every_checkpoint(trained, settings, fake_export):
    said = []
    evaluation.evaluate(settings(trained), fake_export, said.append)
    evaluated = [line.split(" in ")[0] for line in said if line.startswith("evaluated")]
    assert evaluated == ["evaluated step 1", "evaluated step 2", "evaluated step 3"]
    assert (trained / "result_1.json").is_file()


def test_eval_gives_up_when_training_has_died(tmp_path, settings, fake_export):
    said = []
    with pytest.raises(RunError, match="no checkpoint came"):
        evaluation.evaluate(settings(tmp_path, eval_timeout_secs=0), fake_export, said.append)
    assert "no new checkpoint" in said[-1]


def test_eval_of_a_folder_that_is_not_there_is_refused_at_once(tmp_path, settings, fake_export):
    with pytest.raises(InputError, match="model_dir must be an existing folder"):
        evaluation.evaluate(settings(tmp_path / "typo"), fake_export)
    assert not (tmp_path / "typo").exists()


def test_eval_of_another_architecture_is_refused(trained, settings, fake_export, quiet):
    with pytest.raises(InputError, match="resnet_depth=18 there, 34 here"):
        evaluation.evaluate(settings(trained, resnet_depth=34), fake_export, quiet)


@pytest.mark.whole
def test_foreign_weights_that_fit_several_networks_need_flags(
    tmp_path, settings, fake_export, quiet, fixtures_dir
):
    listing = foreign_checkpoints.read_listing(fixtures_dir / "foreign" / "tf1_variables_r18.json")
    narrow = {name: [n if n <= 10 else n // 8 for n in shape] for name, shape in listing.items()}
    arrays = foreign_checkpoints.random_arrays(narrow, seed=1)
    prefix = foreign_checkpoints.write_tf1(str(tmp_path / "model.ckpt-20"), arrays)
    run = settings(tmp_path / "run", checkpoint=prefix, width_multiplier=1 / 8, proj_out_dim=16)
    for given, told in (((), "sk_ratio must be given"),
                        (("sk_ratio",), "ft_proj_selector must be given")):  # fmt: skip
        with pytest.raises(InputError, match=told):
            evaluation.evaluate(run, fake_export, quiet, given)
    assert not fake_export.written and not list((tmp_path / "run").glob("result*"))


def test_checkpoints_without_labels_get_the_figures_that_need_none(
    tmp_path, settings, fake_export, quiet, monkeypatch
):
    pixels = np.random.default_rng(0).integers(0, 256, (70, 8, 8, 3), np.uint8)
    source = from_arrays(pixels)
    monkeypatch.setattr(sources, "open_source", lambda *_: source)
    run = settings(tmp_path / "run", eval_split=None, train_steps=1, color_jitter_strength=1.0)
    training.train(run, None, say=quiet)
    said = []
    fake_export.write = lambda *given: None
    evaluation.evaluate(run, fake_export, said.append)
    result = json.loads((tmp_path / "run" / "result_1.json").read_text())
    assert result["quality/h_num_images"] >= 64 and result["quality/untrained_retrieval"] <= 1
    assert said[-1] == f"without labels: {result['quality/verdict']}"
    # The same figures as by the function, of the same weights.
    network = load_model(str(tmp_path / "run")).model
    prepared = experiment.prepare(run, trains=False, say=quiet)
    wanted = unlabelled.measure(
        evaluation.inference(prepared, network), unlabelled.Shown(prepared.images, "train", 70)
    )["h"]
    assert result["quality/h_effective_rank"] == pytest.approx(wanted.effective_rank, rel=1e-4)
    assert result["quality/h_retrieval"] == pytest.approx(wanted.retrieval)
    assert result["quality/h_crop_retrieval"] == pytest.approx(wanted.crop_retrieval)
