"""`--mode=train`: from the first step, or the one where the run stopped, to the last."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from simclr_tf import console, distribution
from simclr_tf import experiment as experiment_lib
from simclr_tf.data import decode, subset
from simclr_tf.errors import require_choice
from simclr_tf.evaluation.evaluate import EVAL_METRICS
from simclr_tf.experiment import Experiment
from simclr_tf.files import require_ours, write_json
from simclr_tf.json_files import find_or_set_aside
from simclr_tf.models import batch_norm
from simclr_tf.models.simclr import SimCLR
from simclr_tf.modes import reporting
from simclr_tf.modes.common import (
    Export,
    Flags,
    Say,
    print_line,
    say_as_chief,
    silent,
    write_export,
)
from simclr_tf.report import kept, page, progress, views
from simclr_tf.settings.run import RunConfig
from simclr_tf.training import checkpoints, compilation, loop, run_config
from simclr_tf.training.coordination import naming_lost_worker
from simclr_tf.training.gradient_cache import CachedStep
from simclr_tf.training.losses import distill_losses, finetune_losses, pretrain_losses
from simclr_tf.training.means import Means, metric_names
from simclr_tf.training.memory import peak_memory
from simclr_tf.training.run_lock import lock_run
from simclr_tf.training.step import Step, UpdateStep
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
        InputError: Bad settings, data or checkpoint, or a folder in which another run trains.
        NonFiniteLossError: A loss or gradient became NaN or infinite; names the last good
            checkpoint.
        CheckpointError: A checkpoint could not be written; the older ones are as they were.
        WorkerLostError: Another worker of the job is gone.
        KeyboardInterrupt, Preempted: Asked to stop; a checkpoint was written before.
    """
    run_config.check_no_study(run.model_dir)
    experiment = experiment_lib.prepare(run, trains=True)
    say = say_as_chief(experiment.strategy, say)
    chief = distribution.is_chief(experiment.strategy)
    lock = lock_run(run.model_dir, say) if chief else contextlib.nullcontext(_nothing)
    with lock as check_folder, naming_lost_worker():
        return _train(experiment, export, flags, say, check_folder)


def _nothing() -> None:
    """What workers other than the chief check of a folder that they don't write."""


def _train(
    experiment: Experiment,
    export: Export | None,
    flags: Flags | None,
    say: Say,
    check_folder: Callable[[], None],
) -> Trained:
    """Trains in a folder that belongs to this run alone, as `check_folder` sees to."""
    run, strategy = experiment.run, experiment.strategy
    chief = distribution.is_chief(strategy)
    model, optimizer = _start(experiment, say)
    _check_keep_best(experiment, model)
    store = checkpoints.CheckpointStore(
        run.model_dir,
        model,
        optimizer,
        run.train.keep_checkpoint_max,
        keep_best=run.train.keep_best,
        writes=chief,
        say=say,
    )
    start_step = store.restore_latest(agree=lambda step: distribution.from_chief(strategy, step))
    if start_step:
        say(f"resuming at step {start_step}")
    else:
        _initialise(experiment, model, say)
    report = reporting.Reporter(experiment, model, lambda: _untrained(experiment), say)
    if chief:
        _record(experiment, flags, say)
        report.begin(start_step)
    try:
        with decode.naming_bad_image(experiment.source, run.data.train_split):
            means = _train_loop(experiment, model, optimizer, store, report, check_folder)
    except loop.NonFiniteLossError as error:
        raise loop.NonFiniteLossError(f"{error}. {_last_good(store)}") from None
    check_folder()
    global_step = int(optimizer.iterations.numpy())
    write_export(export, experiment, model, global_step, say)
    if chief:
        reporting.draw_curves(run.model_dir, say)
    report.update(global_step)
    return Trained(experiment, model, global_step, means)


def _metric_names(experiment: Experiment, model: SimCLR) -> tuple[str, ...]:
    labelled = experiment.source.num_classes is not None
    return metric_names(model, experiment.run.model.train_mode, labelled)


def _check_keep_best(experiment: Experiment, model: SimCLR) -> None:
    """Refuses a metric that this training does not have."""
    name = experiment.run.train.keep_best
    if name is not None:
        require_choice(
            "keep_best", name, [*sorted(_metric_names(experiment, model)), *EVAL_METRICS]
        )


def _last_good(store: checkpoints.CheckpointStore) -> str:
    good = store.newest_intact()
    return f"The last good checkpoint is {good}" if good else "There is no checkpoint yet"


def _record(experiment: Experiment, flags: Flags | None, say: Say) -> None:
    """What the run is, for its later starts and its readers."""
    run = experiment.run
    tf.io.gfile.makedirs(run.model_dir)
    if run.page.report:
        require_ours(os.path.join(run.model_dir, kept.REPORT), page.MARK, "model_dir")
    steps = run_config.reference_steps(run, experiment.source)
    run_config.record_config(run, experiment.class_names, steps)
    if experiment.labelled is not None and experiment.labelled.subset is not None:
        # Which labels were used; the file can be given back as label_subset.
        subset.write_subset(
            os.path.join(run.model_dir, "label_subset.json"), experiment.labelled.subset
        )
    if flags is not None:
        path = os.path.join(run.model_dir, run_config.FLAGS_FILE)
        find_or_set_aside(path, say)
        write_json(path, dict(flags))


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


def _untrained(experiment: Experiment) -> SimCLR:
    """A model with the weights that the run started from."""
    with experiment.strategy.scope():
        model = experiment_lib.make_model(experiment)
    _initialise(experiment, model, silent)
    return model


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
    report: reporting.Reporter,
    check_folder: Callable[[], None],
) -> dict[str, float]:
    """Runs the steps that are left; returns the means of the last summary, if one was written."""
    run, lengths = experiment.run, experiment.lengths
    assert lengths is not None
    last_means: dict[str, float] = {}
    if int(optimizer.iterations.numpy()) >= lengths.total_steps:
        return last_means
    strategy = experiment.strategy
    chief = distribution.is_chief(strategy)
    with strategy.scope():
        means = Means(_metric_names(experiment, model))
        train_step = _build_step(experiment, model, optimizer, means)
    start_step = int(optimizer.iterations.numpy())
    summaries = Summaries(run.model_dir) if chief else None

    def open_batches(at: int) -> Iterable:
        return distribution.distribute(
            strategy, lambda part: experiment_lib.train_batches(experiment, at, part)
        )

    def learning_rate(at: int) -> float:
        return float(optimizer._learning_rate(at))

    def on_summary(at: int, values: Mapping[str, float]) -> None:
        last_means.update(values)
        rate = bar.units_per_second
        speed = {} if math.isnan(rate) else {"train/pairs_per_second": rate}
        if summaries is not None:
            beside = {**speed, **peak_memory(), "learning_rate": learning_rate(at)}
            summaries.scalars(at, {**values, **beside})
            for loss in console.take_losses():
                summaries.note(at, loss)

    def on_checkpoint(at: int, values: Mapping[str, float]) -> None:
        check_folder()
        _check_weights(model, at)
        batch_norm.sync_statistics(model)
        store.save(values)
        if summaries is not None:
            _write_views(experiment, summaries, at)
            summaries.flush()
        report.checkpoint(at)

    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(_progress(experiment, start_step, stack))
        loop.run_loop(
            loop.compile_steps(train_step, strategy, run.train.skip_nonfinite_steps > 0),
            open_batches,
            strategy=strategy,
            global_step=optimizer.iterations,
            lengths=lengths,
            means=means,
            learning_rate=learning_rate,
            progress=bar,
            units_per_step=run.train.train_batch_size,
            on_summary=on_summary,
            on_checkpoint=on_checkpoint,
            skip_nonfinite_steps=run.train.skip_nonfinite_steps,
            read_retries=run.data.read_retries,
        )
    if summaries is not None:
        summaries.close()
    return last_means


def _progress(
    experiment: Experiment, start_step: int, stack: contextlib.ExitStack
) -> progress.Progress:
    """The progress of the run; only the chief shows it."""
    assert experiment.lengths is not None
    chief = distribution.is_chief(experiment.strategy)
    mode = experiment.run.model.train_mode
    return progress.Progress(
        experiment.lengths.total_steps,
        initial=start_step,
        label=mode,
        unit="pairs" if mode == "pretrain" else "images",
        stream=None if chief else stack.enter_context(open(os.devnull, "w")),
    )


def _check_weights(model: SimCLR, global_step: int) -> None:
    """Refuses to save weights that are no numbers: they would replace good ones."""
    for variable in model.variables:
        if not np.isfinite(batch_norm.local_value(variable)).all():
            raise loop.NonFiniteLossError(
                f"weights must stay finite. Received: NaN or infinity in {variable.name} after "
                f"step {global_step}"
            )


def _build_step(
    experiment: Experiment,
    model: SimCLR,
    optimizer: keras.optimizers.Optimizer,
    means: Means,
) -> Step:
    """The training step of the run's mode; call it in the strategy's scope."""
    run = experiment.run
    jit_compile = compilation.compiles(run.train.jit_compile, experiment.strategy)
    if run.train.gradient_cache_chunk:
        return CachedStep(
            model,
            optimizer,
            run.objective,
            run.optimizer,
            means,
            batch_size=run.train.train_batch_size,
            chunk_size=run.train.gradient_cache_chunk,
            frozen_bn=run.train.gradient_cache_bn == "frozen",
            jit_compile=jit_compile,
        )
    if run.model.pretrains:
        losses = pretrain_losses(model, run.objective, run.optimizer)
    elif experiment.teacher is None:
        losses = finetune_losses(model, run.optimizer)
    else:
        labelled = experiment.source.num_classes is not None
        losses = distill_losses(
            model, experiment.teacher.model, run.distill, run.optimizer, labelled
        )
    return UpdateStep(losses, model.trainable_variables, optimizer, means, jit_compile=jit_compile)


def _write_views(experiment: Experiment, summaries: Summaries, global_step: int) -> None:
    """A picture of a few training images beside their augmented views in the present epoch."""
    run = experiment.run
    assert experiment.lengths is not None
    epoch = global_step // experiment.lengths.steps_per_epoch
    samples = experiment_lib.sample_views(experiment, _SAMPLE_VIEWS, epoch)
    drawn = (samples.views[0], samples.views[-1], samples.originals)
    summaries.views(global_step, views.view_grid(*drawn))
    views.save_view_grid(os.path.join(run.model_dir, "views.png"), *drawn)
    reporting.keep_views(experiment, samples, epoch)
