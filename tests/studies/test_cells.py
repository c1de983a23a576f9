"""What is measured of a cell, and what a killed one still knows."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from simclr_tf import experiment as experiment_lib
from simclr_tf.flags import parsing
from simclr_tf.studies import cells
from simclr_tf.studies.grid import PROBE, PROBE_Z
from simclr_tf.training.summaries import Summaries
from tests.eager import eagerly
from tests.studies.conftest import TRAINED, tiny


def test_a_network_is_measured_on_h_and_z(tmp_path):
    experiment = experiment_lib.prepare(tiny(tmp_path).run, trains=True)
    model = experiment_lib.make_model(experiment)
    with eagerly():
        found = cells.measure(experiment, model).metrics
    assert set(found) == {PROBE, PROBE_Z, "eval/knn_20_accuracy", "eval/label_top_1_accuracy",
                          "eval/label_top_5_accuracy"}  # fmt: skip
    assert all(0 <= value <= 1 for value in found.values())
    assert cells.test_images(experiment) == 64


@pytest.mark.parametrize("settings", [{"proj_head_mode": "none"}, {"train_mode": "supervised"}])
def test_without_a_head_there_is_no_z(settings, tmp_path):
    experiment = experiment_lib.prepare(tiny(tmp_path, **settings).run, trains=True)
    model = experiment_lib.make_model(experiment)
    with eagerly():
        assert PROBE_Z not in cells.measure(experiment, model).metrics


def test_evaluation_steps_limit_the_test_images(tmp_path):
    experiment = experiment_lib.prepare(
        tiny(tmp_path, eval_steps=1, eval_batch_size=16).run, trains=True
    )
    assert cells.test_images(experiment) == 16


def test_figures_of_the_training_are_means_over_its_end(tmp_path):
    summaries = Summaries(str(tmp_path))
    for step in range(1, 101):
        summaries.scalars(step, {"train/contrast_acc": step / 100, "train/total_loss": 1.0})
    summaries.close()
    found = cells.training_figures(tmp_path)
    assert found == {"train/contrast_acc": pytest.approx(np.mean(np.arange(91, 101)) / 100)}


def test_a_cell_is_an_ordinary_run(finished):
    base, _, _ = finished
    folder = os.path.join(base.run.model_dir, "cells", TRAINED[1])
    names = set(os.listdir(folder))
    assert {"ckpt-2.index", "config.json", "flags.json", "views.png"} <= names
    assert "saved_model" not in names
    with open(os.path.join(folder, "result.json")) as file:
        result = json.load(file)
    kept_results = os.path.join(base.run.model_dir, "results", os.path.basename(folder) + ".json")
    with open(kept_results) as file:
        metrics = json.load(file)["metrics"]
    assert result["global_step"] == 2 and PROBE_Z in result
    assert {name: metrics[name] for name in result if name in metrics} == {
        name: value for name, value in result.items() if name.startswith("eval/")
    }
    command = parsing.parse_command_line(["--mode=eval", f"--model_dir={folder}"])
    assert command.config.train.train_steps == 2
