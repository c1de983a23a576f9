"""What the modes share: where lines for the user go, and what writes the SavedModels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import tensorflow as tf

from simclr_tf import console, distribution
from simclr_tf.experiment import Experiment
from simclr_tf.models.simclr import SimCLR

Say = Callable[[str], None]
Flags = Mapping[str, Any]


class Export(Protocol):
    """What writes the SavedModels of a run; `export.runs.RunExport` is one, None writes none."""

    def write(
        self, model: SimCLR, global_step: int, class_names: Sequence[str] | None
    ) -> str | None:
        """Writes the model of a step; returns its folder, None for an old step."""
        ...

    def describe(self, global_step: int, dataset: str, split: str) -> None:
        """Writes the model card of a step anew, with its results on a split of a data set."""
        ...


def print_line(text: str) -> None:
    """The usual `Say`: a line on standard output, at once."""
    console.say(text)


def silent(text: str) -> None:
    """The `Say` of every worker but the chief."""


def say_as_chief(strategy: tf.distribute.Strategy, say: Say) -> Say:
    """`say` on the worker that speaks for the job, nothing on the others."""
    return say if distribution.is_chief(strategy) else silent


def write_export(
    export: Export | None, experiment: Experiment, model: SimCLR, global_step: int, say: Say
) -> None:
    """Writes the SavedModel of a step, where one is wanted, and says where it lies."""
    if export is None or not distribution.is_chief(experiment.strategy):
        return
    directory = export.write(model, global_step, experiment.class_names)
    if directory is not None:
        say(f"SavedModel: {directory}")


def describe_export(export: Export | None, experiment: Experiment, global_step: int) -> None:
    """Writes the model card of a step anew, after an evaluation."""
    assert experiment.eval_split is not None
    if export is not None and distribution.is_chief(experiment.strategy):
        export.describe(global_step, experiment.run.data.dataset, experiment.eval_split)
