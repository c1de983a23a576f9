"""`--mode=train`: from the first step, or the one where the run stopped, to the last."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from simclr_tf import console, run_folder
from simclr_tf import experiment as experiment_lib
from simclr_tf.console import Say
from simclr_tf.data import contrast, samples, subset
from simclr_tf.errors import require, require_choice
from simclr_tf.evaluation import verdict
from simclr_tf.evaluation.evaluate import EVAL_METRICS
from simclr_tf.evaluation.features import Extractor
from simclr_tf.experiment import NOTHING, Experiment, Given
from simclr_tf.files import require_ours, write_json
from simclr_tf.job import Job
from simclr_tf.json_files import find_or_set_aside
from simclr_tf.models import batch_norm
from simclr_tf.models.keras_encoder import KerasEncoder
from simclr_tf.models.network import Network
from simclr_tf.models.roles import describe_roles
from simclr_tf.modes import reporting
from simclr_tf.modes.common import Export, Flags, write_export
from simclr_tf.modes.evaluation import inference
from simclr_tf.objectives.contrastive import loss_of_guessing
from simclr_tf.progress import Progress
from simclr_tf.report import page, views
from simclr_tf.settings import by_name
from simclr_tf.settings.model import EncoderConfig
from simclr_tf.settings.run import RunConfig
from simclr_tf.training import checkpoints, estimate, loggers, loop, run_config
from simclr_tf.training.callbacks import Callbacks
from simclr_tf.training.coordination import naming_lost_worker
from simclr_tf.training.early_stop import EarlyStop
from simclr_tf.training.fit import Fit
from simclr_tf.training.guessing import Guessing
from simclr_tf.training.memory import peak_memory
from simclr_tf.training.metric_order import QUALITY_METRICS
from simclr_tf.training.run_lock import lock_run
from simclr_tf.training.summaries import Summaries
from simclr_tf.weights import keras_encoders, restore

_SAMPLE_VIEWS = 8
_SLOW_MOMENTUM, _MUCH_LEFT = 0.99, 0.2


class Trained(NamedTuple):
    """A finished training.

    Attributes:
        experiment: The pieces of the run.
        model: With the weights of the last step.
        global_step: The last step.
        means: The metrics of the last steps; empty where an earlier start had finished the run.
        encoder: The model at work: what has looked at images with it keeps its traces.
        first: The same of the weights that the run started from; made when first asked for.
        quality: Figures without labels, see `verdict.figures`; {} where they were not measured.
    """

    experiment: Experiment
    model: Network
    global_step: int
    means: dict[str, float]
    encoder: Extractor
    first: Callable[[], Extractor]
    quality: dict[str, float]


def train(
    run: RunConfig,
    export: Export | None,
    flags: Flags | None = None,
    say: Say = console.say,
    given: Given = NOTHING,
) -> Trained:
    """Trains to the last step, resuming where an earlier start of the run stopped.

    Args:
        run: The settings.
        export: Writes the SavedModel at the end; None writes none.
        flags: The command line's values, kept in `flags.json`.
        say: Receives lines for the user.
        given: What was handed over as objects; a given encoder is trained.

    Raises:
        InputError: Bad settings, data or checkpoint, or a folder in which another run trains.
        NonFiniteLossError: A loss or gradient became NaN or infinite; names the last good
            checkpoint.
        CheckpointError: A checkpoint could not be written; the older ones are as they were.
        WorkerLostError: Another worker of the job is gone.
        KeyboardInterrupt, Preempted: Asked to stop; a checkpoint was written before.
    """
    run_config.check_no_study(run.model_dir)
    loggers.require_installed(run.page.loggers)
    experiment = experiment_lib.prepare(run, trains=True, say=say, given=given)
    job = experiment.job
    lock = lock_run(run.model_dir, job.say) if job.is_chief else contextlib.nullcontext(_nothing)
    with lock as check_folder, naming_lost_worker():
        return _train(experiment, export, flags, check_folder)


def _nothing() -> None:
    """What workers other than the chief check of a folder that they don't write."""


def _train(
    experiment: Experiment,
    export: Export | None,
    flags: Flags | None,
    check_folder: Callable[[], None],
) -> Trained:
    """Trains in a folder that belongs to this run alone, as `check_folder` sees to."""
    run, job = experiment.run, experiment.job
    fit = _start(experiment)
    _check_metrics(experiment, fit)
    store = checkpoints.CheckpointStore(
        run.model_dir,
        fit.model,
        fit.optimizer,
        run.train.keep_checkpoint_max,
        keep_best=run.train.keep_best,
        writes=job.is_chief,
        say=job.say,
    )
    if start_step := store.restore_latest(agree=job.from_chief):
        job.say(f"resuming at step {start_step}")
    else:
        _initialise(experiment, fit.model, job)
    encoder = inference(experiment, fit.model)
    first = functools.cache(lambda: inference(experiment, _first_model(experiment, fit.model)))
    report = reporting.Reporter(experiment, encoder, first)
    if job.is_chief:
        _record(experiment, fit.model, flags)
        report.begin(start_step)
    try:
        with experiment.images.naming_bad_image(run.data.train_split):
            means = _Training(experiment, fit, store, report, check_folder).run()
    except loop.NonFiniteLossError as error:
        raise loop.NonFiniteLossError(f"{error}. {_last_good(store)}") from None
    finally:
        _hand_back(fit.model, experiment.given.encoder)
    check_folder()
    write_export(export, experiment, fit.model, fit.global_step)
    if job.is_chief:
        reporting.draw_curves(run.model_dir, job.say)
    quality = report.update(fit.global_step)
    if (found := verdict.of_metrics(quality)) is not None:
        job.say(f"without labels: {found}")
    return Trained(experiment, fit.model, fit.global_step, means, encoder, first, quality)


def _hand_back(model: Network, given: keras.Model | None) -> None:
    """Gives the model that was handed over its trained weights, where a copy of it was trained."""
    trained = model.encoder.body if isinstance(model.encoder, KerasEncoder) else None
    if given is not None and trained is not None and trained is not given:
        keras_encoders.copy_weights(trained, given)


def _check_metrics(experiment: Experiment, fit: Fit) -> None:
    """Refuses metrics that this training does not have."""
    best, stopping = experiment.run.train.keep_best, experiment.run.train.stopping[0]
    of_training = sorted(fit.metric_names)
    if best is not None:
        require_choice("keep_best", best, [*of_training, *EVAL_METRICS, *QUALITY_METRICS])
    if stopping is not None:
        require_choice("early_stop", stopping, [*of_training, *QUALITY_METRICS])
    for setting, name in (("keep_best", best), ("early_stop", stopping)):
        if name in QUALITY_METRICS:
            why = reporting.without_quality(experiment)
            head = name.startswith(f"{verdict.PREFIX}h") or fit.model.projection_head is not None
            require(why is None and head, setting, "needs figures without labels: "
                    f"{why or 'there is no projection head'}", name)  # fmt: skip


def _last_good(store: checkpoints.CheckpointStore) -> str:
    good = store.newest_intact()
    return f"The last good checkpoint is {good}" if good else "There is no checkpoint yet"


def _record(experiment: Experiment, model: Network, flags: Flags | None) -> None:
    """What the run is, for its later starts and its readers."""
    run = experiment.run
    tf.io.gfile.makedirs(run.model_dir)
    if run.page.report:
        require_ours(os.path.join(run.model_dir, run_folder.REPORT), page.MARK, "model_dir")
    steps = run_config.reference_steps(run, experiment.source)
    count = None if experiment.plan is None else experiment.plan.num_examples
    run_config.record_config(
        experiment.asked, experiment.class_names, steps, run, count, experiment.source.reading
    )
    kept = os.path.join(run.model_dir, run_folder.ENCODER)
    if isinstance(model.encoder, KerasEncoder) and not tf.io.gfile.exists(kept):
        with model.encoder.thawed():
            keras_encoders.write_body(model.encoder.body, kept)
    if experiment.labelled.subset is not None:
        # Which labels were used; the file can be given back as label_subset.
        subset.write_subset(
            os.path.join(run.model_dir, run_folder.LABEL_SUBSET), experiment.labelled.subset
        )
    if flags is not None:
        path = os.path.join(run.model_dir, run_folder.FLAGS)
        find_or_set_aside(path, experiment.job.say)
        write_json(path, dict(flags))


def _start(experiment: Experiment) -> Fit:
    """Model and optimizer, with the notes a user should see first."""
    plan, job = experiment.plan, experiment.job
    assert plan is not None
    for note in experiment.notes:
        job.say(f"note: {note}")
    model = experiment_lib.make_model(experiment)
    fit = Fit(model, experiment.task, plan, job)
    count = sum(variable.shape.num_elements() for variable in model.trainable_variables)
    told = experiment.run.page.verbose or isinstance(model.encoder, KerasEncoder)
    roles = f": {describe_roles(model)}" if told else ""
    job.say(f"{count / 1e6:.2f} M trainable parameters{roles}")
    for line in _about_encoder(model, job, plan.steps):
        job.say(line)
    job.say(
        f"{plan.num_examples} images, {plan.lengths.steps_per_epoch} steps of "
        f"{plan.batch_size} an epoch, {plan.steps} steps on {job}"
    )
    views = plan.steps * plan.batch_size * experiment.task.num_views
    size, channels = experiment.run.data.view_size, experiment.images.channels
    if long := estimate.note(model, size, channels, views, job):
        job.say(long)
    split = experiment.run.data.train_split
    if job.is_chief and (plain := contrast.note(experiment.source, split)):
        job.say(f"note: {plain}")
    return fit


def _about_encoder(model: Network, job: Job, steps: int) -> list[str]:
    """What is done to a Keras model that its author should know."""
    encoder = model.encoder
    if not isinstance(encoder, KerasEncoder):
        return []
    lines = []
    if encoder.image_scale != 1:
        lines.append(f"{encoder.body.name} divides bytes: it gets its images times 255")
    unreached = encoder.unreached() if job.replicas == 1 else []
    if unreached:
        count = len(encoder.trainable_variables)
        require(len(unreached) < count, "encoder", "must have features that depend on its "
                "trainable variables, with a gradient", encoder.body.name)  # fmt: skip
        lines.append(f"note: {len(unreached)} of {count} variables of {encoder.body.name} get no "
                     f"gradient and stay as they are: {', '.join(unreached[:3])}")  # fmt: skip
    norms = [one for one in encoder.body.submodules
             if isinstance(one, keras.layers.BatchNormalization)]  # fmt: skip
    slowest = max((norm.momentum for norm in norms), default=0.0)
    left = slowest**steps
    if slowest >= _SLOW_MOMENTUM and left > _MUCH_LEFT:
        lines.append(f"note: after {steps} steps the running statistics of {encoder.body.name} "
                     f"will still be {left:.0%} those of the start: its batch norm layers have a "
                     f"momentum of {slowest:g}; 0.9 suits a short training")  # fmt: skip
    if norms and job.replicas > 1:
        together = norms[0].synchronized
        lines.append(f"{len(norms)} batch norm layers of {encoder.body.name} take their statistics "
                     f"from {'all replicas' if together else 'their own replica'}")  # fmt: skip
    return lines


def _first_model(experiment: Experiment, trained: Network) -> Network:
    """A model with the weights that the run started from."""
    body = trained.encoder.body if isinstance(trained.encoder, KerasEncoder) else None
    model = experiment_lib.make_model(experiment, like=body)
    _initialise(experiment, model, experiment.job.silent())
    return model


def _initialise(experiment: Experiment, model: Network, job: Job) -> None:
    """Starting weights from `--checkpoint`, if given."""
    run = experiment.run
    if run.checkpoint is None:
        return
    encoder, usual = run.model.encoder, EncoderConfig()
    names = ("resnet_variant", "input_norm")  # who sets them knows what weights of PyTorch need
    chosen = [name for name in names if getattr(encoder, name) != getattr(usual, name)]
    for line in restore.restore_weights(model, run.checkpoint, chosen).lines():
        job.say(f"{run.checkpoint}: {line}")
    if run.model.zero_init_logits_layer and model.linear_head is not None:
        for variable in model.linear_head.variables:
            variable.assign(tf.zeros_like(variable))
        job.say("the linear head starts at zero")


class _Training:
    """The steps that are left, and what is written on the way.

    Args:
        experiment: The pieces of the run.
        fit: Takes the steps.
        store: Keeps the checkpoints.
        report: Keeps the page.
        check_folder: Raises where the folder does not belong to this run any more.
    """

    def __init__(
        self,
        experiment: Experiment,
        fit: Fit,
        store: checkpoints.CheckpointStore,
        report: reporting.Reporter,
        check_folder: Callable[[], None],
    ):
        self._experiment, self._fit, self._store = experiment, fit, store
        self._report, self._check_folder = report, check_folder
        self._means: dict[str, float] = {}
        self._summaries: Summaries | None = None
        self._callbacks: Callbacks | None = None
        train, job = experiment.run.train, experiment.job
        self._early = EarlyStop(*train.stopping, experiment.run.model_dir, job.is_chief, job.say)
        if experiment.given.callbacks:
            self._callbacks = Callbacks(experiment.given.callbacks, fit.model, fit.plan.lengths)
        run, plan = experiment.run, fit.plan
        guess = loss_of_guessing(run.objective, plan.batch_size) if run.model.pretrains else None
        self._guessing = Guessing(guess, plan.steps)
        self._bar: Progress

    def run(self) -> dict[str, float]:
        """Takes the steps; returns the means of the last summary, if one was written."""
        if self._fit.global_step >= self._fit.plan.steps:
            self._experiment.job.say("the run is finished: there is nothing left to train")
            return self._means
        if self._experiment.job.from_chief(int(self._early.stops)):
            self._experiment.job.say(self._early.why)
            return self._means
        with contextlib.ExitStack() as stack:
            if self._experiment.job.is_chief:
                self._summaries = self._open_summaries()
                stack.callback(self._summaries.close)
            self._bar = stack.enter_context(self._progress(stack))
            self._fit.run(self._open_batches, self._listeners(stack))
        if self._fit.global_step < self._fit.plan.steps and not self._early.stops:
            self._experiment.job.say(f"a callback ended the run at step {self._fit.global_step}")
        return self._means

    def _open_summaries(self) -> Summaries:
        run, say = self._experiment.run, self._experiment.job.say
        names, settings = run.page.loggers, by_name.flatten(run)
        at = self._fit.global_step
        return Summaries(
            run.model_dir,
            loggers.open_loggers(names, run.model_dir, "train", settings, at, say),
        )

    def _listeners(self, stack: contextlib.ExitStack) -> loop.Listeners:
        listeners = loop.Listeners(self._bar, self._on_summary, self._on_checkpoint)
        callbacks = self._callbacks
        if callbacks is None:
            return dataclasses.replace(listeners, stop=lambda: self._early.stops)
        callbacks.begin(self._fit.global_step)
        stack.callback(callbacks.end)

        def taken(at: int, values: dict[str, float]) -> None:
            with self._saving_first(at, values):
                callbacks.taken(at, values)

        return dataclasses.replace(
            listeners, on_taken=taken, stop=lambda: callbacks.stop or self._early.stops
        )

    @contextlib.contextmanager
    def _saving_first(self, at: int, values: Mapping[str, float]) -> Iterator[None]:
        """What a callback raises ends the run, and loses nothing that was trained."""
        try:
            yield
        except BaseException:
            self._on_checkpoint(at, values)
            raise

    def _open_batches(self, at: int) -> Iterable:
        experiment = self._experiment
        maker = experiment.recipe.maker(compiled=experiment.run.train.jit_compile != "off")
        return experiment.images.train_batches(experiment.stream, maker, at)

    def _progress(self, stack: contextlib.ExitStack) -> Progress:
        """The progress of the run; only the chief shows it."""
        mode, chief = self._experiment.run.model.train_mode, self._experiment.job.is_chief
        return Progress(
            self._fit.plan.steps,
            initial=self._fit.global_step,
            label=mode,
            unit="pairs" if mode == "pretrain" else "images",
            stream=None if chief else stack.enter_context(open(os.devnull, "w")),
        )

    def _on_summary(self, at: int, values: Mapping[str, float]) -> None:
        self._means.update(values)
        if note := self._guessing.note(at, values):
            self._bar.note(note)
        if self._callbacks is not None:
            with self._saving_first(at, values):
                self._callbacks.summary(at, values)
        if self._summaries is None:
            return
        rate = self._bar.units_per_second
        speed = {} if math.isnan(rate) else {"train/pairs_per_second": rate}
        beside = {**speed, **peak_memory(), "learning_rate": self._fit.learning_rate(at)}
        self._summaries.scalars(at, {**values, **beside})
        for loss in console.take_losses():
            self._summaries.note(at, loss)

    def _on_checkpoint(self, at: int, values: Mapping[str, float]) -> None:
        self._check_folder()
        _check_weights(self._fit.model, at)
        batch_norm.sync_statistics(self._fit.model)
        self._store.save(values)
        if self._summaries is not None:
            self._write_views(self._summaries, at)
            self._summaries.flush()
        quality = self._report.checkpoint(at)
        self._early.checkpoint(at, {**values, **quality})
        if self._summaries is not None and quality:
            self._summaries.scalars(at, quality)
            self._summaries.flush()

    def _write_views(self, summaries: Summaries, at: int) -> None:
        """A picture of training images beside their augmented views in the present epoch."""
        experiment = self._experiment
        epoch = at // self._fit.plan.lengths.steps_per_epoch
        found = samples.sample_views(
            experiment.source, experiment.stream, experiment.recipe, _SAMPLE_VIEWS, epoch
        )
        drawn = (found.views[0], found.views[-1], found.originals)
        summaries.views(at, views.view_grid(*drawn))
        views.save_view_grid(os.path.join(experiment.run.model_dir, run_folder.VIEWS), *drawn)
        reporting.keep_views(experiment, found, epoch)


def _check_weights(model: Network, global_step: int) -> None:
    """Refuses to save weights that are no numbers: they would replace good ones."""
    for variable in model.variables:
        if not np.isfinite(batch_norm.local_value(variable)).all():
            raise loop.NonFiniteLossError(
                f"weights must stay finite. Received: NaN or infinity in {variable.name} after "
                f"step {global_step}"
            )
