"""A study from its first cell to its verdicts: resumed, shared, and refused."""

from __future__ import annotations

import csv
import json
import math
import os
import pathlib
import shutil
import sys

import pytest
import tensorflow as tf

from simclr_tf.errors import InputError
from simclr_tf.studies import catalogue, cells, plan, study
from simclr_tf.training.loop import NonFiniteLossError
from simclr_tf.training.run_lock import lock_run
from tests import warm
from tests.eager import eagerly
from tests.studies.conftest import TRAINED, tiny


def _forbidden(*args, **options):
    raise AssertionError("no cell may run")


def test_every_cell_has_a_result_and_the_study_its_files(finished):
    base, results, said = finished
    folder = pathlib.Path(base.run.model_dir)
    names = {path.name for path in folder.iterdir() if path.is_file()}
    assert names >= {
        "study.json", "verdicts.json", "head_eigenvalues.png", "maps_of_h_and_z.svg",
        *(f"projection_head.{kind}" for kind in ("csv", "json", "png", "svg", "md")),
    }  # fmt: skip
    with open(folder / "projection_head.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(results.cells) == 7
    for row, cell in zip(rows, results.cells, strict=True):
        assert row["head"] == cell.factors["head"]
        assert float(row["eval/linear_probe_accuracy"]) == results.estimate(cell).value
        assert row["steps"] == "2"
        assert (row["eval/linear_probe_accuracy_z"] == "") is (row["head"] == "none")
        assert float(row["train/contrast_loss"]) > 0
    verdicts = json.loads((folder / "verdicts.json").read_text())
    assert [one["conclusion"][:1] for one in verdicts] == ["a", "a", "h"]
    assert any(line.startswith("This study ") for line in said)
    assert any(line.startswith("7 of 7: head nonlinear, dimension 512, seed 0") for line in said)


def test_a_finished_study_runs_nothing_again(finished, undrawn, monkeypatch):
    base, results, _ = finished
    monkeypatch.setattr(study, "run_cell", _forbidden)
    again = study.run_study(base, lambda line: None)
    for cell in results.cells:
        assert again.estimate(cell) == results.estimate(cell)


def test_results_are_enough_for_tables_and_page(finished, tmp_path, monkeypatch):
    """Cells may be removed to make room; what needs their weights is left out."""
    base, _, _ = finished
    copy = tiny(tmp_path / "heads")
    shutil.copytree(base.run.model_dir, copy.run.model_dir)
    folder = pathlib.Path(copy.run.model_dir)
    shutil.rmtree(folder / "cells")
    for path in [*folder.glob("*.png"), *folder.glob("*.svg"), folder / "report.html"]:
        path.unlink()
    monkeypatch.setattr(study, "run_cell", _forbidden)
    study.run_study(copy, lambda line: None)
    assert {path.name for path in folder.glob("*.png")} == {"projection_head.png"}
    page, whole = ((one / "report.html").read_text() for one in (folder,
                   pathlib.Path(base.run.model_dir)))  # fmt: skip
    assert page.count("<svg") == 1 and whole.count("<svg") == 3


def test_a_killed_study_runs_only_what_is_left(finished, undrawn, tmp_path, monkeypatch):
    """One cell has no result, as after a kill between training and measuring."""
    base, results, _ = finished
    copy = tiny(tmp_path / "heads")
    shutil.copytree(base.run.model_dir, copy.run.model_dir)
    lost = results.cells[5]
    name = f"{lost.key}.seed-0"
    assert name in TRAINED
    os.remove(os.path.join(copy.run.model_dir, "results", f"{name}.json"))
    ran = []

    def run_cell(run, say):
        ran.append(os.path.basename(run.model_dir))
        with eagerly():
            return cells.run_cell(run, say)

    monkeypatch.setattr(study, "run_cell", run_cell)
    said = []
    again = study.run_study(copy, said.append)
    assert ran == [name] and "6 of 7 runs are there already" in said
    what = ", ".join(f"{factor} {value}" for factor, value in lost.factors.items())
    assert f"{what}, seed 0, from its last checkpoint ..." in said
    assert again.estimate(lost) == results.estimate(lost)  # measured on the trained weights


def test_a_cell_that_another_process_holds_is_left_to_it(finished, undrawn, tmp_path, monkeypatch):
    """It is waited for; once its result is there, it is taken over as it is."""
    base, results, _ = finished
    copy = tiny(tmp_path / "heads")
    shutil.copytree(base.run.model_dir, copy.run.model_dir)
    name = f"{results.cells[2].key}.seed-0"
    path = os.path.join(copy.run.model_dir, "results", f"{name}.json")
    os.rename(path, path + ".aside")
    monkeypatch.setattr(study, "run_cell", _forbidden)
    said, pauses = [], []

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            os.rename(path + ".aside", path)

    monkeypatch.setattr(study.time, "sleep", sleep)
    with lock_run(os.path.join(copy.run.model_dir, "claims", name), said.append):
        study.run_study(copy, said.append)
    assert len(pauses) == 2
    assert said.count("waiting for 1 run(s) of other processes") == 1


_SHARING = """
import os, pathlib, sys, time
from simclr_tf.studies import study
from tests.studies.conftest import tiny

beside = pathlib.Path(sys.argv[1]).parent

def run_cell(run, say):
    # The first one waits for the other process, which may be slow to start.
    (beside / f"started.{os.getpid()}").touch()
    while len(list(beside.glob("started.*"))) < 2:
        time.sleep(0.1)
    return {"metrics": {"eval/linear_probe_accuracy": 0.5}, "steps": 2, "seconds": 0.2}

study.run_cell = run_cell
study._WAIT_SECONDS = 0.1
print("ready", flush=True)
sys.stdin.read()
study.run_study(tiny(sys.argv[1], study="broader"))
"""


def test_two_processes_share_a_study(tmp_path):
    """Every cell is run once, by one of the two, and both end with all of them."""
    command = [sys.executable, "-c", _SHARING, str(tmp_path / "shared")]
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1"}
    both = [
        warm.Program(command, env=environment, stdin=warm.PIPE, stdout=warm.PIPE, text=True,
                     stderr=warm.PIPE)
        for _ in range(2)
    ]  # fmt: skip
    assert [process.stdout.readline() for process in both] == ["ready\n"] * 2
    for process in both:
        process.stdin.close()
    said = [process.communicate(timeout=900) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    done = [[line for line in output.splitlines() if " of 6: " in line] for output, _ in said]
    assert all(done), "one of the two ran nothing"
    cells_run = sorted(line.partition(": ")[2].partition(",")[0] for line in sum(done, []))
    assert len(cells_run) == 6 == len(set(cells_run)), said
    assert all("This study" in output for output, _ in said)


@pytest.mark.parametrize(
    "error",
    [NonFiniteLossError("the loss must stay finite"),
     tf.errors.ResourceExhaustedError(None, None, "the loss must stay\nfinite")],
)  # fmt: skip
def test_a_cell_that_fails_is_named_and_the_rest_goes_on(error, tmp_path, monkeypatch):
    def run_cell(run, say):
        if run.objective.temperature < 0.1:
            raise error
        return {"metrics": {"eval/linear_probe_accuracy": 0.5}, "steps": 3, "seconds": 1.0}

    monkeypatch.setattr(study, "run_cell", run_cell)
    said = []
    study.run_study(tiny(tmp_path, study="temperature"), said.append)
    assert any("has no figures: the loss must stay finite" in line for line in said)
    with open(tmp_path / "temperature.csv") as file:
        failed = [row["failed"] for row in csv.DictReader(file)]
    assert failed == ["the loss must stay finite"] + [""] * 5


def test_a_cell_without_its_figure_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "run_cell", lambda run, say: {"metrics": {"eval/other": 0.5}})
    with pytest.raises(InputError, match="eval_split must have labels"):
        study.run_study(tiny(tmp_path), lambda line: None)
    assert not list((tmp_path / "results").glob("*"))


def test_fewer_seeds_take_nothing_away(tmp_path, monkeypatch):
    def run_cell(run, say):
        found = 0.5 + 0.01 * run.train.seed
        return {"metrics": {"eval/linear_probe_accuracy": found}, "steps": 3, "seconds": 1.0}

    monkeypatch.setattr(study, "run_cell", run_cell)
    study.run_study(tiny(tmp_path, study="broader", study_seeds=3), lambda line: None)
    monkeypatch.setattr(study, "run_cell", _forbidden)
    results = study.run_study(tiny(tmp_path, study="broader"), lambda line: None)
    assert results.estimate(results.cells[0]).holds_chance
    with open(tmp_path / "broader.csv") as file:
        assert len(list(csv.DictReader(file))) == 3 * len(results.cells)
    assert "3 seed(s)" in (tmp_path / "broader.md").read_text()


def test_damaged_cells_cost_further_figures_only(finished, tmp_path, monkeypatch):
    base, _, _ = finished
    copy = tiny(tmp_path / "heads")
    shutil.copytree(base.run.model_dir, copy.run.model_dir)
    folder = pathlib.Path(copy.run.model_dir)
    for path in folder.glob("cells/*/ckpt-*.data*"):
        path.write_bytes(b"damaged")
    (folder / "report.html").unlink()
    monkeypatch.setattr(study, "run_cell", _forbidden)
    said = []
    study.run_study(copy, said.append)
    assert any(line.startswith("note: the study's further figures") for line in said)
    assert (folder / "report.html").read_text().count("<svg") == 1


def test_a_damaged_result_is_named(finished, tmp_path):
    base, results, _ = finished
    copy = tiny(tmp_path / "heads")
    shutil.copytree(base.run.model_dir, copy.run.model_dir)
    path = os.path.join(copy.run.model_dir, "results", f"{results.cells[0].key}.seed-0.json")
    record = json.loads(pathlib.Path(path).read_text())
    probe = "eval/linear_probe_accuracy"
    damaged = [{**record, "metrics": {**record["metrics"], probe: value}}
               for value in (True, [1], "abc", None, 5.0, -1, math.nan)]  # fmt: skip
    damaged += [{**record, "metrics": {}}, {**record, "failed": [1]}, [record]]
    settled = plan.settle(catalogue.study("projection_head"), copy, lambda line: None)
    assert study.read_results(settled).cells == results.cells
    for text in ("{", *map(json.dumps, damaged)):
        pathlib.Path(path).write_text(text)
        with pytest.raises(InputError, match="must be the result of a cell") as caught:
            study.read_results(settled)
        assert caught.value.name == path
    with pytest.raises(InputError, match="must be the result of a cell"):
        study.run_study(copy, lambda line: None)


def test_a_damaged_checkpoint_of_a_cell_is_named(finished, tmp_path):
    base, *_ = finished
    copy = tiny(tmp_path / "heads")
    shutil.copytree(base.run.model_dir, copy.run.model_dir)
    name = TRAINED[0]
    os.remove(os.path.join(copy.run.model_dir, "results", f"{name}.json"))
    cell = pathlib.Path(copy.run.model_dir, "cells", name)
    for path in cell.glob("ckpt-*.data*"):
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="or be removed to begin anew") as caught:
        study.run_study(copy, lambda line: None)
    assert caught.value.name == str(cell)


def test_a_study_of_the_resnet_needs_one(tmp_path):
    changes = {"encoder": "applications/MobileNetV3Small", "study": "width_depth"}
    changes["width_multiplier"] = 1.0
    with pytest.raises(InputError, match="encoder must be resnet, whose resnet_depth the study"):
        study.run_study(tiny(tmp_path, **changes), lambda line: None)
    assert not (tmp_path / "study.json").exists()


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"study": None}, "study"), ({"model_dir": "gs://bucket/study"}, "model_dir")],
)
def test_what_can_not_be_a_study_is_refused(settings, name, tmp_path):
    with pytest.raises(InputError) as caught:
        study.run_study(tiny(**{"model_dir": tmp_path, **settings}), lambda line: None)
    assert caught.value.name == name
