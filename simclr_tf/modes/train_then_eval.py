"""`--mode=train_then_eval`: a run from its first step to the table of its results."""

from __future__ import annotations

import os
import shlex
import time

import tensorflow as tf

from simclr_tf import distribution
from simclr_tf import experiment as experiment_lib
from simclr_tf.evaluation import evaluate as protocols
from simclr_tf.experiment import Experiment
from simclr_tf.modes import reporting
from simclr_tf.modes.common import Export, Flags, Say, describe_export, print_line, say_as_chief
from simclr_tf.modes.evaluation import can_evaluate, evaluate_model, evaluate_step
from simclr_tf.modes.training import train
from simclr_tf.report import table
from simclr_tf.report.kept import REPORT
from simclr_tf.settings.run import RunConfig

_LOSS_ROWS = {
    "train/contrast_loss": "Contrastive loss, last steps",
    "train/contrast_acc": "Contrastive accuracy, last steps",
    "train/distill_loss": "Distillation loss, last steps",
    "train/distill_agreement": "Agreement with the teacher, last steps",
}


def train_then_eval(
    run: RunConfig, export: Export | None, flags: Flags | None = None, say: Say = print_line
) -> None:
    """Trains, evaluates the last checkpoint, and prints the table of the run."""
    started = time.monotonic()
    experiment, model, global_step, means = train(run, export, flags, say)
    say = say_as_chief(experiment.strategy, say)
    timings = {"Training": time.monotonic() - started}
    metrics: dict[str, float] = {}
    untrained: dict[str, float] = {}
    if can_evaluate(experiment):
        if run.evaluation.knn or run.evaluation.linear_probe:
            untrained = _untrained_metrics(experiment, say)
        metrics = evaluate_step(experiment, model, global_step, say, untrained)
        describe_export(export, experiment, global_step)
        if distribution.is_chief(experiment.strategy):
            reporting.draw_curves(run.model_dir, say)
        timings["Evaluation"] = time.monotonic() - started - timings["Training"]
    rows = table.summary_rows(
        metrics,
        num_classes=experiment.source.num_classes,
        untrained_metrics=untrained,
        timings=timings,
        losses={title: means[name] for name, title in _LOSS_ROWS.items() if name in means},
        places=_places(run, global_step),
    )
    say("")
    say(table.format_table(rows, f"{experiment.source.name}, {global_step} steps"))


def _untrained_metrics(experiment: Experiment, say: Say) -> dict[str, float]:
    """The same evaluation of the encoder before its first step: what training has to beat."""
    untrained = experiment_lib.make_model(experiment)
    probe = experiment.run.evaluation.linear_probe
    metrics = evaluate_model(
        experiment, untrained, probe=probe, name="the untrained encoder", times=2, say=say
    ).metrics
    return {name: value for name, value in metrics.items() if name not in protocols.HEAD_METRICS}


def _places(run: RunConfig, global_step: int) -> dict[str, str]:
    """Where everything lies."""
    names = {
        "Report": REPORT,
        "Checkpoint": f"ckpt-{global_step}",
        "SavedModel": os.path.join("saved_model", str(global_step)),
        "Results": "result.json",
        "Learning curves": "curves.png",
        "Augmented views": "views.png",
    }
    paths = {title: os.path.join(run.model_dir, name) for title, name in names.items()}
    kept = {
        title: path
        for title, path in paths.items()
        if title == "Checkpoint" or tf.io.gfile.exists(path)
    }
    return {**kept, "TensorBoard": f"tensorboard --logdir {shlex.quote(run.model_dir)}"}
