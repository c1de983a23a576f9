"""What the folder of a run tells about a step."""

from __future__ import annotations

import json

import pytest
from simclr_tf.export.history import History, data_name, read_history


def _write(folder, **files) -> str:
    folder.mkdir(exist_ok=True)
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return str(folder)


def test_a_run_tells_settings_recipe_and_the_results_of_the_step(tmp_path):
    run = _write(
        tmp_path / "run",
        config={"dataset": "patterns", "eval_split": "test", "temperature": 0.2},
        flags={"recipe": "quickstart"},
        result_7={"eval/knn_20_accuracy": 0.5, "global_step": 7},
        result_9={"eval/knn_20_accuracy": 0.9, "global_step": 9},
    )
    history = read_history(run, History(image_size=32, global_step=7))
    assert history.settings["temperature"] == 0.2
    assert history.recipe == "quickstart"
    assert history.metrics == {"eval/knn_20_accuracy": 0.5}
    assert history.evaluated_on == "`patterns`, split `test`"
    assert history.image_size == 32


def test_results_may_lie_elsewhere_and_on_other_images(tmp_path):
    run = _write(tmp_path / "run", config={"dataset": "patterns"})
    results = _write(tmp_path / "results", result_7={"eval/label_top_1_accuracy": 0.25})
    known = History(global_step=7, evaluated_on="other images")
    history = read_history(run, known, results)
    assert history.metrics == {"eval/label_top_1_accuracy": 0.25}
    assert history.evaluated_on == "other images"


@pytest.mark.parametrize("content", ["", "[1]", "{broken"])
def test_unreadable_files_tell_nothing(tmp_path, content):
    for name in ("config.json", "flags.json", "result_0.json"):
        (tmp_path / name).write_text(content)
    assert read_history(str(tmp_path), History()) == History()
    assert read_history(str(tmp_path / "absent"), History()) == History()


def test_imported_weights_were_not_trained_with_the_recorded_settings(tmp_path):
    config = {"dataset": "imagenet2012", "imported_from": "TF1 checkpoint"}
    history = read_history(_write(tmp_path / "run", config=config), History())
    assert history.settings == {}
    assert history.source == "TF1 checkpoint"


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("cifar10", "`cifar10`"),
        ("imagenet2012_subset/1pct", "`imagenet2012_subset/1pct`"),
        ("folder:/home/me/birds/", "a folder of images (`birds`)"),
        ("folder", "a folder of images"),
    ],
)
def test_names_of_data_hide_paths(dataset, name):
    assert data_name(dataset) == name
