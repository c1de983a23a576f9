"""The page that a training leaves, and that it changes nothing of the training."""

from __future__ import annotations

import json
import os
import shlex

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf import experiment as experiment_lib
from simclr_tf.errors import InputError
from simclr_tf.evaluation import verdict
from simclr_tf.flags import parsing
from simclr_tf.modes import evaluation, reporting, training
from simclr_tf.report import command, curves, kept, run_page
from simclr_tf.settings import by_name, commands
from simclr_tf.weights import stored
from tests.eager import eagerly

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, module_settings):
    """A run of two steps with its page brought up to date at every checkpoint."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch, eagerly():
        patch.setattr(reporting, "_LOOKING", (1e9, 3.0))
        looks = []
        look = reporting.Reporter._look
        patch.setattr(reporting.Reporter, "_look",
                      lambda self, step: (looks.append(step), look(self, step)))  # fmt: skip
        said = []
        run = module_settings(folder, report_examples=40, report=True, train_steps=2)
        training.train(run, None, {"mode": "train"}, said.append)
    return folder, looks, said


def test_it_is_written_at_checkpoints_and_at_the_end(trained):
    folder, looks, said = trained
    assert looks == [1, 2]
    page = (folder / "report.html").read_text()
    assert "finished, 2 steps" in page and "--mode=train" in page
    assert not any("could not be written" in line for line in said)
    about = json.loads((folder / "report" / "about.json").read_text())
    assert about["step"] == about["total_steps"] == 2
    assert [start["step"] for start in about["starts"]] == [0]
    assert about["starts"][0]["devices"] == "one CPU"
    assert (folder / "projector_config.pbtxt").is_file()


def test_the_command_of_the_page_can_be_typed(trained):
    """What a run records beside its settings is no flag."""
    folder, _, _ = trained
    config = json.loads((folder / "config.json").read_text())
    words = shlex.split(command.command_line(config, {"mode": "train"}))[2:]
    again = by_name.flatten(parsing.parse_command_line(words).config)
    counts = commands.reads("train") - commands.idle("train", config).keys()
    assert {name: again[name] for name in counts if name in again}.items() <= config.items()


def test_examples_are_of_the_untrained_and_the_trained_encoder(trained, module_settings):
    folder, _, _ = trained
    examples = kept.read_examples(str(folder))
    assert examples.images.shape[1:] == (8, 8, 3) and examples.step == 2
    assert 40 <= len(examples.images) < 60  # the stride is a whole number
    experiment = experiment_lib.prepare(module_settings(folder, train_steps=2), trains=True)
    model = experiment_lib.make_model(experiment)
    images = examples.images.astype(np.float32) / 255
    untrained = model(images, training=False)["final_avg_pool"].numpy()
    np.testing.assert_allclose(examples.before, untrained, rtol=2e-2, atol=2e-2)
    assert np.abs(examples.now - examples.before).max() > 0.05
    assert len(np.unique(examples.labels)) > 5


def test_figures_without_labels_are_kept_at_every_look(trained):
    folder, _, said = trained
    result = json.loads((folder / "result.json").read_text())
    events = {(one.tag, one.folder): one for one in curves.read_scalars(folder)}
    for name in ("h_retrieval", "z_retrieval", "h_effective_rank", "untrained_retrieval"):
        series = events[f"quality/{name}", "."]
        assert series.steps.tolist() == [1, 2]
        assert series.values[-1] == pytest.approx(result[f"quality/{name}"])
    assert result["global_step"] == 2
    judged = verdict.of_metrics(result)
    assert f"without labels: {judged}" in said
    page = (folder / "report.html").read_text()
    assert judged.kind in page and "Finds the other view among " in page


def test_views_tell_what_was_done(trained):
    views = kept.read_views(str(trained[0]))
    assert views.views.shape == (2, 8, 8, 8, 3)
    assert all(image[0].startswith("crop") for view in views.operations for image in view)


def test_the_report_changes_no_weight(trained, tmp_path, module_settings):
    run = module_settings(tmp_path, report=False, train_steps=2)
    training.train(run, None, None, lambda line: None)
    assert not (tmp_path / "report.html").exists() and not (tmp_path / "report").exists()
    with_page, without = (
        stored.open_variables(os.path.join(folder, "ckpt-2")) for folder in (trained[0], tmp_path)
    )
    assert with_page.shapes == without.shapes
    for name in without.shapes:
        np.testing.assert_array_equal(with_page.read(name), without.read(name))


def test_an_evaluation_adds_its_classes(trained, module_settings):
    folder, _, _ = trained
    evaluation.evaluate(
        module_settings(folder, linear_probe=True, report=True, train_steps=2),
        None,
        lambda line: None,
    )
    predictions = kept.read_predictions(str(folder))
    result = json.loads((folder / "result.json").read_text())
    assert set(predictions.classes) == {
        "eval/label_top_1_accuracy", "eval/linear_probe_accuracy"
    }  # fmt: skip
    for name, classes in predictions.classes.items():
        assert np.mean(classes == predictions.labels) == pytest.approx(result[name])
    assert "Confusion" in (folder / "report.html").read_text()


def test_what_fails_for_the_page_stops_nothing(tmp_path, module_settings, monkeypatch):
    """Such as a test image that can't be decoded, which training never reads, and a full disk."""

    def fail_to_look(*args, **options):
        raise InputError("eval_split", "must hold\nimages", "x.png")

    def fail_to_write(folder):
        raise OSError("no space left")

    monkeypatch.setattr(reporting, "example_batches", fail_to_look)
    monkeypatch.setattr(reporting, "_LOOKING", (1e9, 3.0))
    said = []
    with monkeypatch.context() as patch:
        patch.setattr(run_page, "write_report", fail_to_write)
        done = training.train(
            module_settings(tmp_path, report=True, train_steps=1), None, None, said.append
        )
    assert done.global_step == 1
    assert [line for line in said if "report.html could not be written: OSError: no space" in line]
    told = [line for line in said if "what the encoder makes of test images could not" in line]
    assert len(told) == 1 and r"eval_split must hold\nimages" in told[0]
    assert not (tmp_path / "report.html").exists()
    reporting.write_page(str(tmp_path), pytest.fail)
    page = (tmp_path / "report.html").read_text()
    assert "finished, 1 step" in page and "There is no report/examples.npz" in page


def test_a_checkpoint_only_counts_where_it_is_cheap(trained, module_settings, monkeypatch):
    experiment = experiment_lib.prepare(
        module_settings(trained[0], report=True, train_steps=2), trains=True
    )
    report = reporting.Reporter(experiment, None, lambda: None)
    monkeypatch.setattr(reporting.Reporter, "_last_step", 1000)
    looks, pages = [], []
    now = report._started
    monkeypatch.setattr(reporting.time, "monotonic", lambda: now)

    def takes(seconds, done):
        def act(*args):
            nonlocal now
            now += seconds
            done.append(step)

        return act

    monkeypatch.setattr(report, "_look", takes(10, looks))
    monkeypatch.setattr(reporting, "write_page", takes(2, pages))
    for step, passed in enumerate((50, 101, 150, 201, 320, 650, 1400), start=1):
        now = report._started + passed
        report.checkpoint(step)
    # Guesses of 3 and 1 s against 1.5 and 1 %: after 200 and 100 s. Then 10 and 2 s each time.
    assert looks == [4, 7]
    assert pages == [2, 4, 6, 7]


def test_a_remote_folder_has_a_page_too(module_settings):
    folder = "ram://bucket/a run"
    run = module_settings(folder, report=True, report_examples=4, quality_images=0, train_steps=1)
    said = []
    training.train(run, None, {"mode": "train"}, said.append)
    reporting.draw_curves(folder, said.append)
    assert not any("could not be" in line for line in said)
    with tf.io.gfile.GFile(f"{folder}/report.html") as file:
        page = file.read()
    assert "finished, 1 step" in page and 'id="curves"' in page and "crop" in page
    assert "can&#39;t be read" not in page
    assert page.count("(yet)") == 2  # no predictions, no figures without labels
    with tf.io.gfile.GFile(f"{folder}/curves.png", "rb") as file:
        assert file.read(4) == b"\x89PNG"
    assert not os.path.exists("ram:")
