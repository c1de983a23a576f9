"""The exports of a run: newest kept, card renewed after the evaluation."""

from __future__ import annotations

import json
import os
import pathlib

import pytest
from simclr_tf.export.runs import RunExport, export_steps, prune_exports

from simclr_tf.errors import InputError
from simclr_tf.export import runs


@pytest.fixture
def written(monkeypatch):
    """Stands in for the slow writing; collects what would have been written."""
    calls = []

    def export_encoder(model, directory, overwrite, history):
        pathlib.Path(directory).mkdir(parents=True, exist_ok=True)
        calls.append((directory, overwrite, history))
        return directory

    monkeypatch.setattr(runs, "export_encoder", export_encoder)
    return calls


def test_a_step_is_written_with_what_the_run_knows(tmp_path, written, live):
    (tmp_path / "config.json").write_text(json.dumps({"dataset": "digits"}))
    export = RunExport(str(tmp_path), 1, 40)
    assert export.write(live, 7, ("cat", "dog", "owl")) == str(tmp_path / "saved_model" / "7")
    (_, overwrite, history) = written[0]
    assert overwrite
    assert (history.image_size, history.global_step) == (40, 7)
    assert history.class_names == ("cat", "dog", "owl")
    assert history.settings == {"dataset": "digits"}


def test_the_newest_stay_and_old_steps_are_not_written(tmp_path, written, live):
    export = RunExport(str(tmp_path), 2, 40)
    for step in (5, 20, 100):
        assert export.write(live, step, None) is not None
    assert export_steps(str(tmp_path / "saved_model")) == [20, 100]
    assert export.write(live, 9, None) is None
    assert export.write(live, 20, None) is not None
    assert len(written) == 4


def test_the_card_tells_the_accuracy_after_the_evaluation(tmp_path, live):
    export = RunExport(str(tmp_path), 1, 40, eval_name="again")
    folder = pathlib.Path(export.write(live, 7, ("cat", "dog", "owl")))
    card = folder / "assets.extra" / "README.md"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert "No accuracy" in card.read_text()
    (tmp_path / "again").mkdir()
    result = {"eval/label_top_1_accuracy": 0.625, "global_step": 7}
    (tmp_path / "again" / "result_7.json").write_text(json.dumps(result))
    export.describe(7, "folder:/home/me/birds", "test")
    assert "62.5 %" in card.read_text() and "/home" not in card.read_text()
    assert "Measured on a folder of images (`birds`), split `test`." in card.read_text()
    assert "Classes: 0 cat, 1 dog, 2 owl." in card.read_text()
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {path for path in after if after[path] != before[path]} == {card}
    assert before.keys() == after.keys()


def test_a_step_without_an_export_has_no_card(tmp_path):
    RunExport(str(tmp_path), 1, 40).describe(7, "digits", "test")
    assert list(tmp_path.iterdir()) == []


def test_settings_come_from_the_run_that_trained_the_weights(tmp_path, written, live):
    for name, dataset in (("trained", "cifar10"), ("here", "digits")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"dataset": dataset}))
    export = RunExport(str(tmp_path / "here"), 1, 40, trained_in=str(tmp_path / "trained"))
    export.write(live, 7, None)
    assert written[0][2].settings == {"dataset": "cifar10"}


def saved_model(folder, *more, of="assets.extra/simclr_tf.json"):
    """A SavedModel of ours, or, without our record, of another program."""
    for name in ("saved_model.pb", "variables/variables.index", of, *more):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    return folder


def test_prune_keeps_the_newest_and_whatever_is_not_ours(tmp_path):
    parent, documents = tmp_path / "saved_model", saved_model(tmp_path / "documents")
    for step in (2, 10, 9):
        saved_model(parent / str(step))
    saved_model(parent / "1", of="keras_metadata.pb")  # of the reference's program
    saved_model(parent / "3", "notes.txt")
    (parent / "4").symlink_to(documents)
    (parent / "5").write_text("a file")
    saved_model(parent / "6").joinpath("assets").symlink_to(documents)
    saved_model(parent / "1.simclr_tf")
    saved_model(parent / "best")
    assert export_steps(str(parent)) == [1, 2, 9, 10]
    removed = [str(parent / name) for name in ("1.simclr_tf", "2", "9")]
    assert prune_exports(str(parent), 1) == removed
    assert sorted(path.name for path in parent.iterdir()) == ["1", "10", "3", "4", "5", "6", "best"]
    assert (documents / "saved_model.pb").exists()


@pytest.mark.parametrize("taken", ["foreign", "link", "file", "with notes"])
def test_ours_goes_beside_what_is_not(tmp_path, written, live, taken):
    place = tmp_path / "saved_model" / "7"
    place.parent.mkdir()
    if taken == "foreign":
        saved_model(place, of="keras_metadata.pb")
    elif taken == "with notes":
        saved_model(place, "notes.txt")
    elif taken == "link":
        place.symlink_to(saved_model(tmp_path / "elsewhere"))
    else:
        place.write_text("mine")
    assert RunExport(str(tmp_path), 1, 40).write(live, 7, None) == f"{place}.simclr_tf"
    assert os.path.lexists(place)


def test_nothing_to_prune(tmp_path):
    assert prune_exports(str(tmp_path / "absent"), 1) == []
    with pytest.raises(InputError, match="keep_hub_module_max"):
        prune_exports(str(tmp_path), -1)


def test_zero_keeps_all_exports(tmp_path, live, written):
    for step in ("9", "100"):
        saved_model(tmp_path / "saved_model" / step)
    export = RunExport(str(tmp_path), 0, 40)
    assert export.write(live, 7, None) is not None  # older than both
    assert {path.name for path in (tmp_path / "saved_model").iterdir()} == {"7", "9", "100"}
