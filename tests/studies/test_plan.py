"""The plan of a study: budgets in steps, what may change between starts, what is refused."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import pytest
import tensorflow as tf

from simclr_tf import experiment as experiment_lib
from simclr_tf import run_folder
from simclr_tf.data.sources import WrappedSource
from simclr_tf.errors import InputError
from simclr_tf.evaluation.evaluate import Evaluation
from simclr_tf.removal import make_scratch
from simclr_tf.studies import catalogue, cells, plan
from simclr_tf.studies.grid import Cell
from simclr_tf.training import run_config
from tests.eager import eagerly
from tests.studies.conftest import tiny


def _settle(command):
    return plan.settle(catalogue.study(command.study.study), command, lambda line: None)


def test_cells_see_as_many_images_whatever_their_batch(tmp_path):
    settled = _settle(tiny(tmp_path, study="batch_size", study_budget="40"))
    assert settled.test_images == 64
    images = {}
    for cell in settled.cells:
        run = settled.run_of(cell, 0)
        images.setdefault(cell.length, set()).add(
            run.train.train_steps * run.train.train_batch_size
        )
    assert images == {1.0: {640}, 2.0: {1280}}


def test_the_budget_shortens_the_warm_up_too(tmp_path):
    base = tiny(tmp_path, study_budget="50", train_steps=200, warmup_epochs=2.0)
    settled = _settle(base)
    assert settled.base.optimizer.warmup_epochs == pytest.approx(0.5)
    longer = Cell({"x": 1}, {}, length=2.0)
    assert settled.run_of(longer, 0).optimizer.warmup_epochs == pytest.approx(1.0)
    assert settled.run_of(longer, 0).train.train_steps == 100


def test_without_a_budget_cells_are_as_long_as_the_run(tmp_path):
    settled = _settle(tiny(tmp_path, study_budget=None, train_steps=0, train_epochs=5))
    assert settled.base.train.train_steps == 5 * 8


def test_seeds_and_folders_differ(tmp_path):
    settled = _settle(tiny(tmp_path, study_seeds=3, seed=5))
    runs = [settled.run_of(cell, seed) for cell in settled.cells for seed in settled.seeds]
    assert settled.seeds == (5, 6, 7)
    assert len({run.model_dir for run in runs}) == 21
    assert all(run.train.keep_checkpoint_max == 1 for run in runs)


def test_a_study_stays_as_it_was_started(tmp_path):
    _settle(tiny(tmp_path))
    before = (tmp_path / run_folder.STUDY).read_text()
    _settle(tiny(tmp_path, study_seeds=4, data_dir=str(tmp_path)))  # these may change
    for settings in ({"temperature": 0.5}, {"study": "losses"}, {"study_budget": "4"},
                     {"study_grid": "paper"}, {"eval_split": "test[:32]"}):  # fmt: skip
        with pytest.raises(InputError) as caught:
            _settle(tiny(tmp_path, **settings))
        assert caught.value.name == next(iter(settings)) and "must stay" in str(caught.value)
    assert (tmp_path / run_folder.STUDY).read_text() == before


def test_a_plan_that_can_not_be_read_is_named(tmp_path):
    path = tmp_path / run_folder.STUDY
    path.write_text(json.dumps({"steps": 3}))
    with pytest.raises(InputError) as caught:
        _settle(tiny(tmp_path))
    assert caught.value.name == str(path)


@pytest.mark.parametrize(
    "changed", [{"steps": 0}, {"steps": 2.5}, {"steps": None}, {"run_steps": 0}, {"settings": [1]}]
)
def test_a_plan_of_other_values_is_named(changed, tmp_path):
    _settle(tiny(tmp_path))
    path = tmp_path / run_folder.STUDY
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    with pytest.raises(InputError, match="must have an? ") as caught:
        _settle(tiny(tmp_path))
    assert caught.value.name == str(path)


def test_other_images_under_the_same_name_are_refused(tmp_path):
    """Two folders of images differ by nothing that is a setting of the run."""
    from PIL import Image

    for name, classes in (("one", "ab"), ("two", "ac"), ("three", "ab")):
        for split, count in (("train", 4), ("test", 2)):
            for index in range(count + (name == "three")):
                path = tmp_path / name / split / classes[index % 2] / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (32, 32), (60 * index, 0, 0)).save(path)

    def run(name):
        return tiny(tmp_path / "study", dataset="folder", data_dir=str(tmp_path / name),
                    train_split="train", eval_split="test", train_batch_size=2)  # fmt: skip

    _settle(run("one"))
    _settle(run("one"))
    for name in ("two", "three"):
        with pytest.raises(InputError, match="data_dir must hold the images that the study"):
            _settle(run(name))


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"train_mode": "supervised"}, "train_mode"),
        ({"eval_split": "train[:64]"}, "eval_split"),
        ({"study": "batch_size", "train_batch_size": 100}, "train_batch_size"),
        ({"study": "augmentation", "augment_on": "device"}, "augment_on"),
    ],
)
def test_what_can_not_be_measured_is_refused(settings, name, tmp_path):
    folder = tmp_path / "new"
    with pytest.raises(InputError) as caught:
        _settle(tiny(folder, **settings))
    assert caught.value.name == name
    assert not folder.exists()


def test_the_folder_of_a_run_is_refused(tmp_path):
    run_config.record_config(tiny(tmp_path).run)
    with pytest.raises(InputError, match="model_dir must not be the folder of a run"):
        _settle(tiny(tmp_path))


def test_images_without_labels_are_refused(tmp_path):
    from PIL import Image

    for index in range(4):
        Image.new("RGB", (32, 32), (60 * index, 0, 0)).save(tmp_path / f"{index}.png")
    run = tiny(tmp_path / "study", dataset=f"folder:{tmp_path}", train_split="train",
               eval_split=None, train_batch_size=2)  # fmt: skip
    with pytest.raises(InputError) as caught:
        _settle(run)
    assert caught.value.name == "dataset"


@dataclasses.dataclass(frozen=True)
class _Hidden(WrappedSource):
    """A labelled source that shows no labels in one split."""

    split: str

    def records(self, split, setting="train_split"):
        records = self.base.records(split, setting)
        hidden = tf.constant(-1, tf.int64)
        if split != self.split:
            return records
        return records.map(lambda record: {**record, "label": hidden})


@pytest.mark.parametrize("name", ["train_split", "eval_split"])
def test_a_split_without_labels_is_refused(name, tmp_path, monkeypatch):
    """Such as STL-10's `unlabelled` or the test split of ImageNet."""
    run = tiny(tmp_path / "study")
    prepare = experiment_lib.prepare

    def hiding(*args, **options):
        experiment = prepare(*args, **options)
        source = _Hidden(experiment.source, getattr(run.run.data, name))
        images = dataclasses.replace(experiment.images, source=source)
        return dataclasses.replace(experiment, images=images)

    monkeypatch.setattr(experiment_lib, "prepare", hiding)
    with pytest.raises(InputError) as caught:
        _settle(run)
    assert caught.value.name == name and not (tmp_path / "study").exists()


def test_minutes_are_tried_with_real_cells(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "_TRIAL_STEPS", (1, 2))
    monkeypatch.setattr(cells, "measure", lambda *_: Evaluation({}, []))  # has its own tests
    said = []
    run = tiny(tmp_path, study="temperature", study_budget="5min")
    with eagerly():
        settled = plan.settle(catalogue.study("temperature"), run, said.append)
    assert settled.base.train.train_steps > 10
    assert any("trying how many steps take 5 minutes" in line for line in said)
    assert not list(pathlib.Path(run.run.model_dir).glob(".trial*"))


def test_trials_leave_nothing_and_what_others_put_there_stays(tmp_path, monkeypatch):
    left, planted, foreign = (tmp_path / f".trial.0000000{digit}.tmp" for digit in "012")
    make_scratch(left)
    for folder in (tmp_path / "trial", tmp_path / "documents", foreign):
        folder.mkdir()
        (folder / "notes.txt").write_text("mine")
    planted.symlink_to(tmp_path / "documents")

    def run_cell(trial, say):
        assert list(pathlib.Path(trial.model_dir).iterdir())  # it is marked
        return {"seconds": 3.0}

    monkeypatch.setattr(plan, "run_cell", run_cell)
    run = tiny(tmp_path, study="temperature").run
    assert plan._trial(run, 1) == 3.0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        foreign.name, "documents", "trial"]  # fmt: skip
    for folder in (tmp_path / "trial", tmp_path / "documents", foreign):
        assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("budget", "seconds", "steps"),
    [(60.0, (8.0, 16.0), 53 * 4), (30.0, (2.0, 10.0), 120), (60.0, (20.0, 20.0), 1100)],
)
def test_minutes_become_steps_by_two_trials(budget, seconds, steps):
    """Start and evaluation take what is left of a trial without its steps."""
    found = plan.steps_within(budget, (8, 40), seconds)
    assert found == pytest.approx(steps, rel=0.35)


def test_a_budget_below_a_single_step_is_refused():
    with pytest.raises(InputError, match="study_budget must leave time for a step"):
        plan.steps_within(4.5, (8, 40), (12.0, 44.0))


def test_minutes_are_tried_once(tmp_path, monkeypatch):
    tried = []

    def trial(run, steps):
        tried.append(steps)
        return 4.0 + steps

    monkeypatch.setattr(plan, "_trial", trial)
    first = _settle(tiny(tmp_path, study_budget="1min"))
    assert first.base.train.train_steps == 56
    assert _settle(tiny(tmp_path, study_budget="1min")).base == first.base
    assert tried == [8, 40]
