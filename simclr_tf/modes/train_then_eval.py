"""`--mode=train_then_eval`: a run from its first step to the table of its results."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping

import tensorflow as tf

from simclr_tf import console, run_folder
from simclr_tf.console import Say
from simclr_tf.evaluation import evaluate as scores
from simclr_tf.modes import reporting
from simclr_tf.modes.common import Export, Flags, describe_export, next_steps
from simclr_tf.modes.evaluation import can_evaluate, evaluate_model, evaluate_step
from simclr_tf.modes.training import Trained, train
from simclr_tf.objectives.contrastive import loss_of_guessing
from simclr_tf.report import table, unlabelled
from simclr_tf.settings.run import RunConfig
from simclr_tf.training.guessing import CONTRAST_LOSS

_LOSS_ROWS = {
    CONTRAST_LOSS: "Contrastive loss, last steps",
    "train/contrast_acc": "Contrastive accuracy, last steps",
    "train/distill_loss": "Distillation loss, last steps",
    "train/distill_agreement": "Agreement with the teacher, last steps",
}


def train_then_eval(
    run: RunConfig,
    export: Export | None,
    flags: Flags | None = None,
    say: Say = console.say,
) -> None:
    """Trains, evaluates the last checkpoint, and prints the table of the run."""
    started = time.monotonic()
    trained = train(run, export, flags, say)
    experiment, global_step, means = trained.experiment, trained.global_step, trained.means
    timings = {"Training": time.monotonic() - started}
    metrics: dict[str, float] = {}
    before: dict[str, float] = {}
    if can_evaluate(experiment):
        if run.evaluation.knn or run.evaluation.linear_probe:
            before = _metrics_before(trained)
        metrics = evaluate_step(experiment, trained.model, trained.encoder, global_step, before)
        describe_export(export, experiment, global_step)
        if experiment.job.is_chief:
            reporting.draw_curves(run.model_dir, experiment.job.say)
        timings["Evaluation"] = time.monotonic() - started - timings["Training"]
    rows = unlabelled.table_rows(trained.quality) + table.summary_rows(
        metrics,
        num_classes=experiment.source.num_classes,
        before=("untrained encoder" if run.checkpoint is None else "before training", before),
        timings=timings,
        losses=_losses(run, means),
        places=_places(run.model_dir, global_step),
    )
    experiment.job.say("")
    experiment.job.say(table.format_table(rows, f"{experiment.source.name}, {global_step} steps"))
    experiment.job.say(f"\n{next_steps(run.model_dir, bool(metrics))}")


def _losses(run: RunConfig, means: Mapping[str, float]) -> dict[str, float]:
    """The figures of the last steps, and the loss of guessing to compare with."""
    found = {title: means[name] for name, title in _LOSS_ROWS.items() if name in means}
    guess = loss_of_guessing(run.objective, run.train.train_batch_size)
    if CONTRAST_LOSS in means and guess is not None:
        found = {_LOSS_ROWS[CONTRAST_LOSS]: means[CONTRAST_LOSS],
                 "Contrastive loss of guessing": guess, **found}  # fmt: skip
    return found


def _metrics_before(trained: Trained) -> dict[str, float]:
    """The same evaluation of the weights that the run started from: what training has to beat."""
    run = trained.experiment.run
    name = "the untrained encoder" if run.checkpoint is None else "the encoder before training"
    metrics = evaluate_model(
        trained.experiment, trained.first(), run.evaluation.linear_probe, name=name, times=2
    ).metrics
    return {name: value for name, value in metrics.items() if name not in scores.HEAD_METRICS}


def _places(model_dir: str, global_step: int) -> dict[str, str]:
    """Where everything lies."""
    names = {
        "Report": run_folder.REPORT,
        "Checkpoint": f"ckpt-{global_step}",
        "SavedModel": os.path.join(run_folder.EXPORTS, str(global_step)),
        "Results": run_folder.RESULT,
        "Learning curves": run_folder.CURVES,
        "Augmented views": run_folder.VIEWS,
    }
    paths = {title: os.path.join(model_dir, name) for title, name in names.items()}
    kept = {
        title: path
        for title, path in paths.items()
        if title == "Checkpoint" or tf.io.gfile.exists(path)
    }
    return {**kept, "TensorBoard": f"tensorboard --logdir {shlex.quote(model_dir)}"}
