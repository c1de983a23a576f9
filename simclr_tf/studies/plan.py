"""What a study does, settled once and kept in `study.json`: every start and machine follows it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from simclr_tf import experiment as experiment_lib
from simclr_tf import run_folder
from simclr_tf.console import Say, silent
from simclr_tf.data import pipeline, sources
from simclr_tf.errors import InputError, require
from simclr_tf.files import write_json
from simclr_tf.json_files import field, find_json
from simclr_tf.removal import make_scratch, remove_tree
from simclr_tf.settings import by_name, commands
from simclr_tf.settings.commands import Study as Command
from simclr_tf.settings.run import RunConfig
from simclr_tf.settings.study import StudyConfig
from simclr_tf.studies.cells import run_cell, test_images
from simclr_tf.studies.grid import Cell, Study, with_settings
from simclr_tf.training import run_config
from simclr_tf.training.run_lock import InUseError, lock_run

_TRIAL_STEPS = (8, 40)
_TRIAL_FOLDER = re.compile(r"\.trial\.[0-9a-f]{8}\.tmp")
_LABELS_LOOKED_AT = 100
_WAIT_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class Plan:
    """A settled study.

    Attributes:
        study: Of the catalogue.
        base: The settings that all cells start from, with `train_steps` set to the budget.
        cells: Of the grid.
        seeds: Every cell runs once with each.
        test_images: Images that accuracies are means over.
    """

    study: Study
    base: RunConfig
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    test_images: int

    def run_of(self, cell: Cell, seed: int) -> RunConfig:
        """The settings of the run of a cell."""
        base = self.base
        batch = cell.settings.get("train_batch_size", base.train.train_batch_size)
        images = cell.length * base.train.train_steps * base.train.train_batch_size
        steps = max(1, round(images / batch))
        settings = {
            **cell.settings,
            "model_dir": os.path.join(base.model_dir, "cells", run_name(cell, seed)),
            "train_steps": steps,
            "checkpoint_steps": max(1, math.ceil(steps / 4)),
            "warmup_epochs": base.optimizer.warmup_epochs * cell.length,
            "seed": seed,
        }
        return with_settings(base, settings)


def run_name(cell: Cell, seed: int) -> str:
    """The name of a cell's folder and of its result."""
    return f"{cell.key}.seed-{seed}"


def seed_in(name: str, cell: Cell) -> int | None:
    """The seed in a `run_name` of the cell, None for another name."""
    match = re.fullmatch(re.escape(f"{cell.key}.seed-") + r"(\d+)", name)
    return int(match[1]) if match else None


def settle(study: Study, command: Command, say: Say) -> Plan:
    """Reads the plan of the study in the folder of the command, or makes it.

    Raises:
        InputError: The data can't be measured on, a cell's settings break a constraint, or the
            folder holds another study.
    """
    run, asked = command.run, command.study
    is_run = run_folder.read_config(run.model_dir) is not None
    require(not is_run, "model_dir", "must not be the folder of a run with mode=study",
            run.model_dir)  # fmt: skip
    experiment = experiment_lib.prepare(run, trains=True, say=say)
    _check_measurable(run, experiment)
    assert experiment.plan is not None
    for note in experiment.notes:
        say(f"note: {note}")
    run_steps = experiment.plan.steps
    _check_cells(_plan(study, command, experiment, 1.0, run_steps), experiment)
    path = os.path.join(run.model_dir, run_folder.STUDY)
    settings, data = _defining(run, asked), _data(experiment)
    with _alone(run.model_dir, say):
        if (recorded := _read(path)) is None:
            steps = _budget(run, asked, run_steps, say)
            recorded = {"settings": settings, "steps": steps, "run_steps": run_steps,
                        "data": data}  # fmt: skip
            write_json(path, recorded)
    _check_same(recorded["settings"], settings, run.model_dir)
    require(recorded["data"] in (None, data), "data_dir", f"must hold the images that the study "
            f"in {run.model_dir} was started with: their classes or numbers differ",
            run.data.data_dir)  # fmt: skip
    steps = recorded["steps"]
    return _plan(study, command, experiment, steps / recorded["run_steps"], steps)


def _plan(
    study: Study,
    command: Command,
    experiment: experiment_lib.Experiment,
    share: float,
    steps: int,
) -> Plan:
    """The plan whose cells take `steps`, a share of the run's own length."""
    run, asked = command.run, command.study
    base = with_settings(
        run,
        {
            "train_steps": steps,
            "warmup_epochs": run.optimizer.warmup_epochs * share,
            "keep_checkpoint_max": 1,
            "keep_best": None,
            "early_stop": None,
        },
    )
    cells = tuple(study.grid(base, asked.study_grid))
    seeds = tuple(run.train.seed + i for i in range(asked.study_seeds))
    return Plan(study, base, cells, seeds, test_images(experiment))


def _check_cells(plan: Plan, experiment: experiment_lib.Experiment) -> None:
    """Refuses a grid with cells that can't be run, before anything is written."""
    data = plan.base.data
    for cell in plan.cells:
        with naming_cell(cell):
            run = plan.run_of(cell, plan.seeds[0])
            of_resnet = commands.idle("train", by_name.flatten(run))
            for name in cell.settings:
                varied = of_resnet.get(name, "").startswith("encoder=")
                require(not varied, "encoder", f"must be resnet, whose {name} the study varies",
                        run.model.encoder.encoder)  # fmt: skip
            batch = run.train.train_batch_size
            pipeline.steps_per_epoch(experiment.source, data.train_split, batch)
            experiment.job.check_divisible("train_batch_size", batch)


@contextlib.contextmanager
def naming_cell(cell: Cell) -> Iterator[None]:
    """Says in an `InputError` which cell of the grid it is about."""
    try:
        yield
    except InUseError:
        raise
    except InputError as error:
        constraint = f"{error.constraint} (cell {cell.key} of the study)"
        raise InputError(error.name, constraint, error.received) from None


def _check_measurable(run: RunConfig, experiment: experiment_lib.Experiment) -> None:
    require(experiment.source.num_classes is not None, "dataset",
            "must have labels with mode=study, which needs them", run.data.dataset)  # fmt: skip
    require(experiment.eval_split is not None, "eval_split",
            "must be given: the data set has no validation or test split",
            run.data.eval_split)  # fmt: skip
    require(experiment.bank_is_separate, "eval_split",
            "must share no image with train_split", experiment.eval_split)  # fmt: skip
    sources.require_single_label(experiment.source)
    _check_labelled(experiment, "train_split", run.data.train_split)
    _check_labelled(experiment, "eval_split", experiment.eval_split)
    require(run.model.pretrains, "train_mode", "must be pretrain with mode=study",
            run.model.train_mode)  # fmt: skip
    require(run.checkpoint is None, "checkpoint", "must not be given with mode=study: its cells "
            "start from random weights", run.checkpoint)  # fmt: skip


def _check_labelled(experiment: experiment_lib.Experiment, name: str, split: str | None) -> None:
    """Refuses a split without labels, as far as its first images tell."""
    assert split is not None
    first = experiment.source.records(split, name).take(_LABELS_LOOKED_AT)
    labelled = [bool(np.all(one["label"] >= 0)) for one in first.as_numpy_iterator()]
    require(all(labelled), name, "must hold labelled images with mode=study, which needs them",
            split)  # fmt: skip


def _defining(run: RunConfig, asked: StudyConfig) -> dict[str, Any]:
    """What must not change between the starts of a study; more seeds may be added."""
    defining = run_config.defining_settings(run)
    return defining | {
        "study": asked.study,
        "study_grid": asked.study_grid,
        "study_budget": asked.study_budget,
        "eval_split": run.data.eval_split,
        "eval_steps": run.evaluation.eval_steps,
        "knn_bank_size": run.evaluation.bank_size,
    }


def _data(experiment: experiment_lib.Experiment) -> dict[str, Any]:
    """What tells images of the same settings apart; folders may hold others on another start."""
    source, names = experiment.source, experiment.source.class_names
    assert experiment.eval_split is not None
    return {
        "class_names": None if names is None else list(names),
        "train_images": source.num_examples(experiment.run.data.train_split),
        "eval_images": source.num_examples(experiment.eval_split, "eval_split"),
    }


def _read(path: str) -> dict[str, Any] | None:
    recorded = find_json(path)
    if recorded is None:
        return None
    found: dict[str, Any] = {"settings": field(recorded, "settings", dict, path)}
    for name in ("steps", "run_steps"):
        found[name] = field(recorded, name, int, path)
        require(found[name] >= 1, path, f"must have a number above 0 as {name}", found[name])
    return found | {"data": recorded.get("data")}


def _check_same(recorded: Mapping[str, Any], settings: Mapping[str, Any], folder: str) -> None:
    plain = json.loads(json.dumps(settings))
    for name, value in plain.items():
        require(recorded.get(name, value) == value, name,
                f"must stay {recorded.get(name)!r} as the study in {folder} was started",
                value)  # fmt: skip


@contextlib.contextmanager
def _alone(folder: str, say: Say) -> Iterator[None]:
    """Lets one process at a time settle the plan; others wait for it."""
    waiting = False
    while True:
        try:
            lock = contextlib.ExitStack()
            lock.enter_context(lock_run(folder, say))
            break
        except InUseError as error:
            if not waiting:
                say(f"waiting: {error}")
            waiting = True
            time.sleep(_WAIT_SECONDS)
    with lock:
        yield


def _budget(run: RunConfig, asked: StudyConfig, run_steps: int, say: Say) -> int:
    """Optimizer steps of a cell, at the base's batch size."""
    minutes = asked.budget_minutes
    if minutes is None:
        return asked.budget_steps or run_steps
    say(f"trying how many steps take {minutes:g} minutes")
    seconds = [_trial(run, steps) for steps in _TRIAL_STEPS]
    steps = steps_within(60 * minutes, _TRIAL_STEPS, seconds)
    say(f"{steps} steps a cell: training takes {_rate(_TRIAL_STEPS, seconds):.2f} s a step")
    return steps


def steps_within(
    budget: float, trials: tuple[int, int], seconds: tuple[float, float] | list[float]
) -> int:
    """The steps that fit into a budget, by two trials of different length.

    Args:
        budget: Seconds for a whole cell: start, training, evaluation.
        trials: Steps of the trials, the shorter first.
        seconds: What they took as whole cells.

    Raises:
        InputError: Not even one step fits.
    """
    rate = _rate(trials, seconds)
    rest = budget - (seconds[0] - trials[0] * rate)
    require(rest >= rate, "study_budget", f"must leave time for a step: start and evaluation take "
            f"{seconds[0] - trials[0] * rate:.0f} s here", f"{budget / 60:g}min")  # fmt: skip
    return max(1, int(rest / rate))


def _rate(trials: tuple[int, int], seconds: tuple[float, float] | list[float]) -> float:
    """Seconds a step; the shorter trial bears what happens once in a process."""
    return max((seconds[1] - seconds[0]) / (trials[1] - trials[0]), seconds[1] / trials[1] / 10)


def _trial(run: RunConfig, steps: int) -> float:
    for name in filter(_TRIAL_FOLDER.fullmatch, os.listdir(run.model_dir)):
        remove_tree(os.path.join(run.model_dir, name))  # of a start that was killed
    folder = os.path.join(run.model_dir, f".trial.{uuid.uuid4().hex[:8]}.tmp")
    make_scratch(folder)
    trial = with_settings(run, {"model_dir": folder, "train_steps": steps,
                                "checkpoint_steps": steps, "warmup_epochs": 0})  # fmt: skip
    try:
        return run_cell(trial, silent)["seconds"]
    finally:
        with contextlib.suppress(OSError):
            remove_tree(folder)
