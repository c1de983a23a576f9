"""What the modes share: what writes the SavedModels of a run, and what is said at its end."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import tensorflow as tf

from simclr_tf import run_folder
from simclr_tf.experiment import Experiment
from simclr_tf.models.network import Network
from simclr_tf.report import command

Flags = Mapping[str, Any]


class Export(Protocol):
    """What writes the SavedModels of a run; `export.runs.RunExport` is one, None writes none."""

    def write(
        self, model: Network, global_step: int, class_names: Sequence[str] | None
    ) -> str | None:
        """Writes the model of a step; returns its folder, None for an old step."""
        ...

    def describe(self, global_step: int, dataset: str, split: str) -> None:
        """Writes the model card of a step anew, with its results on a split of a data set."""
        ...


def next_steps(model_dir: str, evaluated: bool) -> str:
    """What to do with a finished run, in a few lines."""
    page = os.path.join(model_dir, run_folder.REPORT)
    look = [f"  look at it: open {page}"] if tf.io.gfile.exists(page) else []
    found = command.next_commands(model_dir, evaluated)
    commands = [f"  {what}: {words}" for what, words in found.items()]
    return "\n".join(["Next:", *look, *commands])


def write_export(
    export: Export | None, experiment: Experiment, model: Network, global_step: int
) -> None:
    """Writes the SavedModel of a step, where one is wanted, and says where it lies."""
    if export is None or not experiment.job.is_chief:
        return
    directory = export.write(model, global_step, experiment.class_names)
    if directory is not None:
        experiment.job.say(f"SavedModel: {directory}")


def describe_export(export: Export | None, experiment: Experiment, global_step: int) -> None:
    """Writes the model card of a step anew, after an evaluation."""
    assert experiment.eval_split is not None
    if export is not None and experiment.job.is_chief:
        export.describe(global_step, experiment.run.data.dataset, experiment.eval_split)
