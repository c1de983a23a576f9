"""A folder is read as far as it can be."""

import json

import pytest
import tensorflow as tf

from simclr_tf.errors import InputError
from simclr_tf.report.run_record import read_run


def test_a_whole_run(run_folder):
    run = read_run(run_folder("a run"))
    assert run.name == "a run" and run.notes == []
    assert run.metrics["eval/knn_20_accuracy"] == 0.5
    assert run.class_names == ["cat", "dog", "<b>owl</b>"]
    assert run.examples.step == run.predictions.step == 60
    assert len(run.views.operations) == 2
    assert ("SavedModel", "saved_model/60", "saved_model/60") in run.links
    assert ("checkpoint", "ckpt-60", "ckpt-60.index") in run.links


PARTS = ("config.json", "result.json", "report/about.json", "report/examples.npz",
         "report/views.npz", "report/predictions.npz")  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "other"])
def test_damage_becomes_a_note(run_folder, name, damage):
    folder = run_folder()
    path = folder / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "cut": content[: len(content) // 2],
                          "other": b'["not what it should be"]'}[damage])  # fmt: skip
    run = read_run(folder)
    assert len(run.notes) == 1 and name in run.notes[0]


@pytest.mark.parametrize("value", ['"abc"', "null", "[1]"])
def test_a_result_that_is_no_number_becomes_a_note(value, run_folder):
    folder = run_folder()
    (folder / "result.json").write_text(f'{{"eval/linear_probe_accuracy": {value}}}')
    (note,) = read_run(folder).notes
    assert "result.json can't be read: eval/linear_probe_accuracy must be a number" in note


def test_events_that_are_no_events(run_folder):
    folder = run_folder()
    for path in folder.glob("*tfevents*"):
        path.write_bytes(b"nothing of the kind")
    run = read_run(folder)
    assert run.scalars == [] and "can't be read to its end" in run.notes[0]
    assert "no curves of training" in run.notes[1]


@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_events_that_break_off_become_a_note(damage, run_folder):
    folder = run_folder()
    (path,) = folder.glob("*tfevents*")
    content = path.read_bytes()
    third = len(content) // 3
    rest = b"" if damage == "cut" else b"x" * 50 + content[third + 50 :]
    path.write_bytes(content[:third] + rest)
    run = read_run(folder)
    assert run.notes == [f"{path.name} can't be read to its end."]
    assert len(run.scalars[0].steps) > 5  # what is before


def test_named_evaluations_have_their_names(run_folder):
    folder = run_folder()
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "result.json").write_text("{}")
    links = [link for link in read_run(folder).links if link.title.startswith("evaluation")]
    assert [(link.title, link.path) for link in links] == [
        ("evaluation one", "one/result.json"), ("evaluation two", "two/result.json")
    ]  # fmt: skip


def test_a_study_and_a_folder_of_runs_are_no_runs(run_folder, tmp_path):
    run_folder("runs/a")
    with pytest.raises(InputError, match="must be the folder of a run"):
        read_run(tmp_path / "runs")
    (tmp_path / "runs" / "study.json").write_text("{}")
    with pytest.raises(InputError, match="not of a study"):
        read_run(tmp_path / "runs")


def test_without_labels_nothing_is_missed_that_never_comes(run_folder):
    folder = run_folder()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "class_names": None}))
    for name in ("result.json", "report/predictions.npz"):
        (folder / name).unlink()
    assert read_run(folder).notes == []


def test_a_remote_folder_reads_like_a_local_one(run_folder):
    folder = run_folder("a run")
    (folder / "variables").mkdir()
    (folder / "variables" / "not wanted").write_text("x")
    remote = "ram://record/a run"
    for path in folder.rglob("*"):
        if path.is_file():
            target = f"{remote}/{path.relative_to(folder).as_posix()}"
            tf.io.gfile.makedirs(target.rpartition("/")[0])
            tf.io.gfile.copy(str(path), target)
    here, there = read_run(folder), read_run(remote)
    assert there.folder == remote and there.name == "a run" and there.notes == []
    for name in ("config", "flags", "about", "result", "links", "class_names"):
        assert getattr(there, name) == getattr(here, name)
    assert [(one.tag, one.folder, one.values.tolist()) for one in there.scalars] == [
        (one.tag, one.folder, one.values.tolist()) for one in here.scalars
    ]
    assert there.views.operations == here.views.operations
    with pytest.raises(InputError, match="run must be the folder of a run"):
        read_run("ram://record/nowhere")


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="run must be the folder of a run: it holds no readable"):
        read_run(tmp_path)
    with pytest.raises(InputError, match="run must be the folder of a run"):
        read_run(tmp_path / "nowhere")
