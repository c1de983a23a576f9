"""Files of figures over starts and stops, and the services in their local modes."""

import csv
import json
import math

import numpy as np
import pytest

from simclr_tf.errors import InputError
from simclr_tf.settings.report import LOGGERS, ReportConfig
from simclr_tf.training import loggers

GRID = np.zeros((4, 6, 3), np.uint8)


def quiet(text):
    raise AssertionError(text)


def opened(names, folder, step=0, kind="train", say=quiet):
    return loggers.open_loggers(names, str(folder), kind, {"seed": 3}, step, say)


def json_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_names_and_makers_agree():
    assert {"tensorboard", *loggers.MAKERS} == set(LOGGERS)
    assert ReportConfig(log_to="csv, jsonl").loggers == ("csv", "jsonl")
    with pytest.raises(InputError, match="log_to must be one of tensorboard.*mean csv"):
        ReportConfig(log_to="cvs")


def test_json_lines_of_a_run_that_goes_on(tmp_path):
    log = opened(["jsonl", "tensorboard"], tmp_path)
    for step in (10, 20, 30):
        log.scalars(step, {"loss": np.float32(step / 4)})
    log.picture(30, GRID)
    log.note(30, "a sentence")
    log.close()
    path = tmp_path / "metrics.jsonl"
    with path.open("a") as file:
        file.write('{"step": 31, "lo')  # killed
    log = opened(["jsonl"], tmp_path, step=20)
    log.scalars(30, {"loss": math.nan, "rate": 1})
    lines = json_lines(path)
    assert [line["step"] for line in lines] == [10, 20, 30]
    assert lines[1]["loss"] == 5 and lines[1]["time"] > 1.7e9
    assert lines[2]["loss"] is None and lines[2]["rate"] == 1
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.jsonl"}


def test_the_table_grows_columns_and_goes_on(tmp_path):
    log = opened(["csv"], tmp_path)
    log.scalars(10, {"loss": 1.5})
    log.scalars(20, {"loss": 1.25})
    log.scalars(30, {"loss": 1, "speed, per second": 7})
    log.close()
    log = opened(["csv"], tmp_path, step=30)
    log.scalars(40, {"speed, per second": 8})
    log = opened(["csv"], tmp_path, step=20)
    log.scalars(30, {"loss": 0.5, "other": 2})
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [(row["step"], row["loss"], row["other"]) for row in rows] == [
        ("10", "1.5", ""), ("20", "1.25", ""), ("30", "0.5", "2.0")]  # fmt: skip


def test_evaluations_have_files_of_their_own(tmp_path):
    opened(["csv", "jsonl"], tmp_path, 7, kind="eval").scalars(7, {"eval/top_1_accuracy": 0.5})
    assert json_lines(tmp_path / "eval_metrics.jsonl")[0]["eval/top_1_accuracy"] == 0.5
    assert (tmp_path / "eval_metrics.csv").read_text() == "step,eval/top_1_accuracy\n7,0.5\n"


def test_a_link_in_the_place_of_a_log_is_replaced(tmp_path):
    (tmp_path / "other").write_text("kept\n")
    (tmp_path / "metrics.csv").symlink_to(tmp_path / "other")
    opened(["csv"], tmp_path).scalars(1, {"loss": 1})
    assert (tmp_path / "other").read_text() == "kept\n"


def test_one_that_fails_is_said_once_and_the_others_go_on(tmp_path):
    lines = []
    log = opened(["csv", "jsonl"], tmp_path, say=lines.append)
    (tmp_path / "metrics.csv").unlink()
    (tmp_path / "metrics.csv").mkdir()
    for step in (1, 2):
        log.scalars(step, {"loss": 1})
    assert len(lines) == 1 and lines[0].startswith("note: nothing more goes to csv (")
    assert [line["step"] for line in json_lines(tmp_path / "metrics.jsonl")] == [1, 2]
    (tmp_path / "full" / "eval_metrics.csv").mkdir(parents=True)
    log = opened(["csv"], tmp_path / "full", kind="eval", say=lines.append)
    assert len(lines) == 2 and lines[1].startswith("note: nothing goes to csv (")
    log.scalars(1, {"loss": 1})


def test_one_that_can_not_work_is_refused_before_any_step(tmp_path):
    (tmp_path / "metrics.csv").mkdir()
    with pytest.raises(InputError, match="log_to must name loggers that work .*directory"):
        opened(["jsonl", "csv", "csv"], tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("csv", "name,score\nalice,1\n"),
        ("csv", "step,loss\n1,2,3\n"),
        ("jsonl", '{"name": "alice"}\n'),
        ("jsonl", "a text\n"),
    ],
)
def test_a_file_that_is_not_ours_is_kept(tmp_path, capsys, name, content):
    path = tmp_path / f"metrics.{name}"
    path.write_text(content)
    opened([name], tmp_path).scalars(1, {"loss": 2})
    (kept,) = set(tmp_path.iterdir()) - {path}
    assert kept.read_text() == content and str(kept) in capsys.readouterr().out
    assert "loss" in path.read_text() and "alice" not in path.read_text()


def test_a_package_that_is_absent_is_named_before_any_work(monkeypatch):
    loggers.require_installed(["tensorboard", "csv", "jsonl"])
    monkeypatch.setattr(loggers, "installed_version", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'simclr_tf\[wandb\]'"):
        loggers.require_installed(["csv", "wandb"])


def test_weights_and_biases_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for start in (0, 10):
        log = opened(["wandb"], tmp_path, start)
        log.scalars(start + 10, {"loss": 1.5})
        log.picture(start + 10, GRID)
        log.close()
    kept = list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    names = {path.name for path in kept}
    assert len(names) == 1  # one run goes on
    assert b"loss" in kept[0].read_bytes()
    assert json.loads((tmp_path / loggers.IDS).read_text())["wandb-train"] in names.pop()


def test_mlflow_in_files(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    place = f"file://{tmp_path}/tracking"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(place)
    folder = tmp_path / "run"
    folder.mkdir()
    for start in (0, 10):
        log = opened(["mlflow"], folder, start)
        log.scalars(start + 10, {"loss": start + 0.5})
        log.close()
    client = mlflow.MlflowClient(place)
    (experiment,) = [one for one in client.search_experiments() if one.name == "simclr_tf"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params == {"seed": "3"} and run.info.run_name == "run"
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(one.step, one.value) for one in history] == [(10, 0.5), (20, 10.5)]
