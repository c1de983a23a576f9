"""`--mode=train`: from the first step, or the one where the run stopped, to the last."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf
import tf_keras as keras

from simclr_tf import distribution
from simclr_tf import experiment as experiment_lib
from simclr_tf.config import RunConfig
from simclr_tf.data import decode, subset
from simclr_tf.experiment import Experiment
from simclr_tf.files import write_json
from simclr_tf.models.simclr import SimCLR
from simclr_tf.modes.common import Export, Flags, Say, print_line, write_export
from simclr_tf.report import curves, progress, views
from simclr_tf.training import checkpoints, loop, step
from simclr_tf.training.summaries import Summaries
from simclr_tf.weights import restore

_SAMPLE_VIEWS = 8


class Trained(NamedTuple):
    """A finished training.

    Attributes:
        experiment: The pieces of the run.
        model: With the weights of the last step.
        global_step: The last step.
        means: The metrics of the last steps; empty where an earlier start had finished the run.
    """

    experiment: Experiment
    model: SimCLR
    global_step: int
    means: dict[str, float]


def train(
    run: RunConfig, export: Export | None, flags: Flags | None = None, say: Say = print_line
) -> Trained:
    """Trains to the last step, resuming where an earlier start of the run stopped.

    Args:
        run: The settings.
        export: Writes the SavedModel at the end; None writes none.
        flags: The command line's values, kept in `flags.json`.
        say: Receives lines for the user.

    Raises:
        InputError: Bad settings, data or checkpoint.
        NonFiniteLossError: The loss became NaN or infinite.
    """
    experiment = experiment_lib.prepare(run, trains=True)
    model, optimizer = _start(experiment, say)
    store = checkpoints.CheckpointStore(
        run.model_dir, model, optimizer, run.train.keep_checkpoint_max
    )
    start_step = store.restore_latest()
    if start_step:
        say(f"resuming at step {start_step}")
    else:
        _initialise(experiment, model, say)
    tf.io.gfile.makedirs(run.model_dir)
    checkpoints.record_config(run, experiment.class_names)
    if experiment.labelled is not None and experiment.labelled.subset is not None:
        # Which labels were used; the file can be given back as label_subset.
        subset.write_subset(
            os.path.join(run.model_dir, "label_subset.json"), experiment.labelled.subset
        )
    if flags is not None:
        write_json(os.path.join(run.model_dir, "flags.json"), dict(flags))
    with decode.naming_bad_image(experiment.source, run.data.train_split):
        means = _train_loop(experiment, model, optimizer, store)
    curves.plot_learning_curves(run.model_dir, os.path.join(run.model_dir, "curves.png"))
    global_step = int(optimizer.iterations.numpy())
    write_export(export, experiment, model, global_step, say)
    return Trained(experiment, model, global_step, means)


def _start(experiment: Experiment, say: Say) -> tuple[SimCLR, keras.optimizers.Optimizer]:
    """Model and optimizer, with the notes a user should see first."""
    run, lengths = experiment.run, experiment.lengths
    assert lengths is not None
    for note in experiment.notes:
        say(f"note: {note}")
    model = experiment_lib.make_model(experiment)
    optimizer = experiment_lib.make_optimizer(experiment, model)
    say(experiment_lib.describe_model(model))
    say(
        f"{experiment.num_train} images, {lengths.steps_per_epoch} steps of "
        f"{run.train.train_batch_size} an epoch, {lengths.total_steps} steps on "
        f"{distribution.describe(experiment.strategy)}"
    )
    return model, optimizer


def _initialise(experiment: Experiment, model: SimCLR, say: Say) -> None:
    """Starting weights from `--checkpoint`, if given."""
    run = experiment.run
    if run.checkpoint is None:
        return
    for line in restore.restore_weights(model, run.checkpoint).lines():
        say(f"{run.checkpoint}: {line}")
    if run.model.zero_init_logits_layer and model.linear_head is not None:
        for variable in model.linear_head.variables:
            variable.assign(tf.zeros_like(variable))
        say("the linear head starts at zero")


def _train_loop(
    experiment: Experiment,
    model: SimCLR,
    optimizer: keras.optimizers.Optimizer,
    store: checkpoints.CheckpointStore,
) -> dict[str, float]:
    """Runs the steps that are left; returns the means of the last summary, if one was written."""
    run, lengths = experiment.run, experiment.lengths
    assert lengths is not None
    last_means: dict[str, float] = {}
    if int(optimizer.iterations.numpy()) >= lengths.total_steps:
        return last_means
    with experiment.strategy.scope():
        labelled = experiment.source.num_classes is not None
        means = step.Means(step.metric_names(model, run.model.train_mode, labelled))
        train_step = _build_step(experiment, model, optimizer, means)
    start_step = int(optimizer.iterations.numpy())
    batches = experiment_lib.train_batches(experiment, start_step)
    summaries = Summaries(run.model_dir)

    def learning_rate(at: int) -> float:
        return float(optimizer._learning_rate(at))

    def on_summary(at: int, values: Mapping[str, float]) -> None:
        last_means.update(values)
        rate = bar.units_per_second
        speed = {} if math.isnan(rate) else {"train/pairs_per_second": rate}
        summaries.scalars(at, {**values, **speed, "learning_rate": learning_rate(at)})

    def on_checkpoint(at: int) -> None:
        store.save()
        _write_views(experiment, summaries, at)
        summaries.flush()

    unit = "pairs" if run.model.pretrains else "images"
    with progress.Progress(
        lengths.total_steps, initial=start_step, label=run.model.train_mode, unit=unit
    ) as bar:
        loop.run_loop(
            loop.compile_steps(train_step, experiment.strategy),
            distribution.distribute(experiment.strategy, batches),
            global_step=optimizer.iterations,
            lengths=lengths,
            means=means,
            learning_rate=learning_rate,
            progress=bar,
            units_per_step=run.train.train_batch_size,
            on_summary=on_summary,
            on_checkpoint=on_checkpoint,
        )
    summaries.close()
    return last_means


def _build_step(
    experiment: Experiment,
    model: SimCLR,
    optimizer: keras.optimizers.Optimizer,
    means: step.Means,
) -> step.Step:
    """The training step of the run's mode."""
    run = experiment.run
    if run.model.pretrains:
        return step.build_pretrain_step(model, optimizer, run.objective, run.optimizer, means)
    if experiment.teacher is None:
        return step.build_finetune_step(model, optimizer, run.optimizer, means)
    labelled = experiment.source.num_classes is not None
    return step.build_distill_step(
        model, experiment.teacher.model, optimizer, run.distill, run.optimizer, means, labelled
    )


def _write_views(experiment: Experiment, summaries: Summaries, global_step: int) -> None:
    """A picture of a few training images beside their augmented views in the present epoch."""
    run = experiment.run
    assert experiment.lengths is not None
    originals, augmented = experiment_lib.sample_views(
        experiment, _SAMPLE_VIEWS, epoch=global_step // experiment.lengths.steps_per_epoch
    )
    view_b = augmented[-1]
    grid = views.view_grid(augmented[0], view_b, originals)
    summaries.views(global_step, grid)
    views.save_view_grid(os.path.join(run.model_dir, "views.png"), augmented[0], view_b, originals)
