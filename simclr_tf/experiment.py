"""The pieces of one run, made from its settings and checked against each other.

Everything that can be refused is refused here, before the run's folder is created.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

import tensorflow as tf
import tf_keras as keras

from simclr_tf import capacity, console, run_folder
from simclr_tf import precision as precision_lib
from simclr_tf.console import Say
from simclr_tf.data import holdout, labels, pipeline, service, sources, splits, views
from simclr_tf.data.images import Images
from simclr_tf.data.searches import Searches
from simclr_tf.errors import InputError, require
from simclr_tf.files import check_length, check_reachable, is_remote
from simclr_tf.job import Job, open_job
from simclr_tf.models.network import Network, build_model
from simclr_tf.models.resnet import ResNet
from simclr_tf.optimizers import schedule
from simclr_tf.settings.data import DataConfig
from simclr_tf.settings.run import RunConfig
from simclr_tf.settings.view_text import Views
from simclr_tf.training import compilation, lengths, run_config, teachers
from simclr_tf.training.callbacks import check_callbacks
from simclr_tf.training.fit import TrainingPlan
from simclr_tf.training.gradient_cache import Chunks
from simclr_tf.training.tasks import Classify, Contrast, Distill, Task
from simclr_tf.weights import keras_encoders, load, load_keras, locate


@dataclasses.dataclass(frozen=True)
class Given:
    """What a caller in Python hands over as an object, where a command line has a name.

    Attributes:
        source: The images.
        encoder: The encoder; the settings call it `keras:NAME`.
        views: What makes the views; the settings have its text.
        callbacks: Hear of the training; see `simclr_tf.training.callbacks`.
    """

    source: sources.Source | None = None
    encoder: keras.Model | None = None
    views: Views | None = None
    callbacks: Sequence[keras.callbacks.Callback] = ()


NOTHING = Given()


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Data, devices and lengths of a run.

    Attributes:
        run: The settings, without `auto`.
        asked: The settings as they are recorded: `auto` stays, but for the precision.
        job: Where it computes, and its voice.
        images: What training sees.
        labelled: The images whose labels may be used.
        eval_split: The split to evaluate on, None when there is none.
        notes: What the user should know: skipped evaluations, an odd schedule.
        plan: How long and how fast it trains; None when nothing trains.
        teacher: Frozen, with `train_mode=distill` and training; else None.
        given: What was handed over as objects.
    """

    run: RunConfig
    asked: RunConfig
    job: Job
    images: Images
    labelled: labels.Labelled
    eval_split: str | None
    notes: tuple[str, ...]
    plan: TrainingPlan | None = None
    teacher: load.LoadedModel | None = None
    given: Given = NOTHING

    @property
    def source(self) -> sources.Source:
        """Where the training images come from."""
        return self.images.source

    @property
    def images_with_labels(self) -> Images:
        """The images whose labels may be used, for evaluation."""
        return dataclasses.replace(self.images, source=self.labelled.labelled)

    @property
    def num_classes(self) -> int | None:
        """Width of the linear head: the teacher's, else that of the labels; None without any."""
        return self.source.num_classes if self.teacher is None else self.teacher.model.num_classes

    @property
    def class_names(self) -> Sequence[str] | None:
        """Names of the linear head's classes, None where unknown."""
        names = self.source.class_names
        return self.teacher.class_names if names is None and self.teacher is not None else names

    @property
    def task(self) -> Task:
        """What the run trains for."""
        run, labelled = self.run, self.source.num_classes is not None
        if run.model.pretrains:
            return Contrast(run.objective, labelled)
        if self.teacher is not None:
            return Distill(self.teacher.model, run.distill, labelled)
        return Classify(distorted=run.model.train_mode == "supervised")

    @property
    def stream(self) -> pipeline.Stream:
        """How training reads its images."""
        data, train = self.run.data, self.run.train
        return pipeline.Stream(
            data.train_split, train.train_batch_size, train.seed, data.cache_dataset,
            data.data_sharding, data.data_service,
        )  # fmt: skip

    @property
    def recipe(self) -> views.ViewRecipe:
        """Which views are made of a training image."""
        task, size = self.task, self.run.data.view_size
        return views.ViewRecipe(
            self.run.augment, size, task.num_views, task.distorted, self.given.views
        )

    @property
    def bank_is_separate(self) -> bool:
        """Whether no image of the evaluation split is in the training split, the bank of kNN."""
        assert self.eval_split is not None
        return not _shares_images(self.source, self.run.data.train_split, self.eval_split)


def prepare(
    run: RunConfig, trains: bool, say: Say = console.say, given: Given = NOTHING
) -> Experiment:
    """Opens the data, chooses the devices, and checks what depends on both.

    Args:
        run: The settings.
        trains: Whether the run trains, or only evaluates.
        say: Receives lines for the user.
        given: What was handed over as objects.

    Raises:
        InputError: The settings don't fit the data, the devices or the run's folder.
    """
    check_writable(run.model_dir)
    check_callbacks(given.callbacks)
    if run.checkpoint is not None:
        locate.check(run.checkpoint)
    recorded = (
        run_config.recorded_precision(run.model_dir) if run.model.precision == "auto" else None
    )
    run = _with_precision(run, recorded or run.model.precision)
    run_config.check_same_run(run, only=None if trains else run_config.MODEL_SETTINGS)
    if run.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    job = open_job(run.strategy, say)
    run, notes = _settle_precision(run, job, recorded)
    asked, run = run, _settle_devices(_settle_antialias(run, notes), job, trains)
    kept = Searches(os.path.join(run.model_dir, run_folder.BAD_IMAGES), job.is_chief, say)
    whole = given.source or sources.open_source(run.data, job.say, kept)
    run, whole = _settle_holdout(run, whole)
    wanted = run.model.encoder.channels
    require(whole.channels == wanted, "channels", f"must be {whole.channels}, as many as the "
            f"images of {whole.name} have", wanted)  # fmt: skip
    _check_encoder(run, given, trains)
    _check_labels(run, whole)
    labelled = labels.limit_labels(
        whole, run.data.train_split, run.data.label_subset, run.train.seed, run.model.train_mode
    )
    source = labelled.training
    run_config.check_same_classes(run.model_dir, source.class_names)
    capacity.check_run(run, source.num_classes, job, trains)
    eval_split = choose_eval_split(run.data, source)
    if trains and (held := holdout.note(whole, eval_split)):
        notes.append(held)
    notes += _label_notes(run, source, eval_split)
    notes += [labelled.note] if labelled.note else []
    images = Images(source, run.data.image_size, run.evaluation.eval_batch_size, job)
    made = Experiment(run, asked, job, images, labelled, eval_split, tuple(notes), given=given)
    if not trains:
        if run_config.lacks_record(run.model_dir):
            notes.append(f"{run.model_dir} has no {run_folder.CONFIG} any more: whether it was "
                         "trained with these settings can't be told")  # fmt: skip
        return dataclasses.replace(made, notes=tuple(notes))
    run = _settle_sharding(run, source)
    plan, more = _plan(run, source, summarizes_epochs=bool(given.callbacks))
    teacher = teachers.load_teacher(run.distill.teacher, run.data.view_size, job, source)
    made.recipe.check(source.channels)
    if teacher is not None:
        more += teachers.describe(teacher, run.data.view_size)
    if compiling := compilation.note(asked.train.jit_compile, job.strategy):
        notes.append(compiling)
    return dataclasses.replace(made, run=run, plan=plan, teacher=teacher, notes=(*notes, *more))


def check_writable(model_dir: str, name: str = "model_dir") -> None:
    """Refuses a folder that can't be created or written, without creating it.

    Raises:
        InputError: Names the folder.
    """
    check_reachable(model_dir, name)
    if is_remote(model_dir):
        return
    check_length(model_dir, name)
    path = os.path.abspath(model_dir)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    writable = os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)
    require(writable, name, "must be a folder that can be written", model_dir)


def choose_eval_split(data: DataConfig, source: sources.Source) -> str | None:
    """The split asked for, or else that of `holdout.test_split`.

    Raises:
        InputError: There is no such split.
    """
    wanted = data.eval_split
    if wanted is not None:
        source.ranges(wanted, "eval_split")
        return wanted
    return holdout.test_split(source)


def _shares_images(source: sources.Source, train_split: str, eval_split: str) -> bool:
    infos = splits.split_infos(source.splits)
    try:
        train = splits.ranges(train_split, infos, "train_split")
    except InputError:
        return False  # only evaluated, and without the training images
    return splits.overlap(train + splits.ranges(eval_split, infos, "eval_split"))


def _label_notes(run: RunConfig, source: sources.Source, eval_split: str | None) -> list[str]:
    if source.num_classes is None:
        skipped = "linear head, kNN" if run.model.pretrains else "kNN"
        return [f"no labels in {source.name}: {skipped} and evaluation are skipped"]
    if eval_split is None:
        return [f"no validation or test split in {source.name}, and no images held "
                "out: evaluation is skipped"]  # fmt: skip
    if _shares_images(source, run.data.train_split, eval_split):
        return ["the evaluation split holds training images: kNN and logistic regression, which "
                "would find them again, are left out"]  # fmt: skip
    return []


def _with_precision(run: RunConfig, precision: str) -> RunConfig:
    return dataclasses.replace(run, model=dataclasses.replace(run.model, precision=precision))


def _settle_precision(
    run: RunConfig, job: Job, recorded: str | None
) -> tuple[RunConfig, list[str]]:
    """Replaces `precision=auto`, on all workers alike, with a note on what it means."""
    if recorded is not None:
        return run, [f"--precision=auto stays {recorded}, as the run was started"]
    if run.model.precision != "auto":
        return run, []
    chosen = precision_lib.choose(job.strategy)
    low = job.from_chief(int(chosen.precision == "bfloat16"))
    settled = "bfloat16" if low else "float32"
    return _with_precision(run, settled), [f"--precision=auto means {settled}: {chosen.reason}"]


def _settle_antialias(run: RunConfig, notes: list[str]) -> RunConfig:
    """Replaces `antialias=auto`; a run of a folder goes on as it was begun."""
    data = run.data
    if data.antialias != "auto":
        return run
    begun = run_config.lacks_setting(run.model_dir, "antialias")
    settled = "on" if sources.is_folder(data) and not begun else "off"
    if begun and sources.is_folder(data):
        notes.append("--antialias stays off, as the run was started; --antialias=on in a new run "
                     "averages large crops")  # fmt: skip
    return dataclasses.replace(run, data=dataclasses.replace(data, antialias=settled))


def _settle_holdout(run: RunConfig, whole: sources.Source) -> tuple[RunConfig, sources.Source]:
    """Says how much is held out, and takes it away from the training images.

    A run goes on as it was begun, even where there have come enough images, or a split for tests.
    """
    data = run.data
    if data.holdout is None:
        data = dataclasses.replace(data, holdout=run_config.recorded_holdout(run.model_dir))
    share = holdout.share_of(whole, data)
    data = dataclasses.replace(data, holdout=share)
    return dataclasses.replace(run, data=data), holdout.hold_out(whole, share)


def _settle_devices(run: RunConfig, job: Job, trains: bool) -> RunConfig:
    """Checks the batches against the devices, and says what compiles and distorts where."""
    train, augment = run.train, run.augment
    job.check_divisible("train_batch_size", train.train_batch_size)
    job.check_divisible("eval_batch_size", run.evaluation.eval_batch_size)
    if train.gradient_cache_chunk:
        job.check_divisible("gradient_cache_chunk", train.gradient_cache_chunk)
    if not trains:
        return run
    if run.data.data_service is not None:
        service.check_service(run.data.data_service)
    place = augment.augment_on
    if place == "auto":
        place = "device" if job.kind != "CPU" and augment.is_plain else "host"
    return dataclasses.replace(
        run,
        train=dataclasses.replace(
            train, jit_compile=compilation.resolve(train.jit_compile, job.strategy)
        ),
        augment=dataclasses.replace(augment, augment_on=place),
    )


def _settle_sharding(run: RunConfig, source: sources.Source) -> RunConfig:
    data = run.data
    sharding = pipeline.resolve_sharding(
        source, data.train_split, data.cache_dataset, data.data_sharding
    )
    return dataclasses.replace(run, data=dataclasses.replace(data, data_sharding=sharding))


def _plan(
    run: RunConfig, source: sources.Source, summarizes_epochs: bool = False
) -> tuple[TrainingPlan, list[str]]:
    """How the run trains, and what the user should know of that."""
    notes: list[str] = []
    train, batch, split = run.train, run.train.train_batch_size, run.data.train_split
    num_examples = source.num_examples(split, setting="train_split")
    if run.model.train_mode == "finetune" and run.checkpoint is None:
        notes.append("fine-tuning starts from random weights: no --checkpoint is given")
    frozen_bn = train.gradient_cache_bn == "frozen"
    if frozen_bn and run.checkpoint is None:
        notes.append("batch norm keeps its initial statistics: gradient_cache_bn=frozen is meant "
                     "for weights from --checkpoint")  # fmt: skip
    theirs = run_config.reference_steps(run, source)
    steps = lengths.run_lengths(train, pipeline.steps_per_epoch(source, split, batch), theirs)
    steps = dataclasses.replace(steps, summarizes_epochs=summarizes_epochs)
    if steps.total_steps == theirs:
        notes.append(f"the run ends at step {theirs}, where the reference implementation would end "
                     "it: its learning rates go on")  # fmt: skip
    other = run_config.other_images_note(run.model_dir, num_examples, steps.total_steps)
    notes += [other] if other else []
    warning = schedule.schedule_warning(run.optimizer, batch, num_examples, steps.total_steps)
    notes += [warning] if warning else []
    chunk = train.gradient_cache_chunk
    chunks = Chunks(batch, chunk, frozen_bn) if chunk else None
    return TrainingPlan(
        steps, batch, num_examples, run.optimizer, train.jit_compile, chunks,
        train.skip_nonfinite_steps, run.data.read_retries,
    ), notes  # fmt: skip


def _check_labels(run: RunConfig, source: sources.Source) -> None:
    unused = run.model.train_mode == "distill" and run.distill.distill_alpha == 1
    require(not unused or run.data.label_subset is None, "label_subset",
            "needs distill_alpha below 1: pure distillation uses no labels",
            run.data.label_subset)  # fmt: skip
    if source.num_classes is not None:
        return
    mode = run.model.train_mode
    require(mode not in ("finetune", "supervised"), "dataset",
            f"must have labels with train_mode={mode}", run.data.dataset)  # fmt: skip
    require(mode != "distill" or run.distill.distill_alpha == 1, "distill_alpha",
            "must be 1 with images that have no labels", run.distill.distill_alpha)  # fmt: skip


def last_step(experiment: Experiment) -> int | None:
    """The step at which the run ends, None when the training images can't be counted."""
    run = experiment.run
    if run.train.train_steps:
        return run.train.train_steps
    try:
        return _plan(run, experiment.source)[0].steps
    except InputError:
        return None


def make_model(experiment: Experiment, like: keras.Model | None = None) -> Network:
    """The model with its initial weights, which depend on the seed alone.

    Args:
        experiment: The run.
        like: An encoder of the run whose weights are not touched; None takes the one that was
            handed over, if any, and trains it itself where it lives on the run's device.
    """
    run, given = experiment.run, experiment.given.encoder
    make_body = None
    if not run.model.encoder.is_resnet:
        make_body = _body_maker(experiment, given if like is None else None, like)
    with experiment.job.scope():
        # Initialisers draw from Keras's generator; the same seed gives the same weights.
        keras.utils.set_random_seed(run.train.seed)
        model = build_model(run.model, experiment.num_classes, run.data.image_size, make_body)
    if isinstance(model.encoder, ResNet):
        model.encoder.recompute_blocks(run.train.remat)
    return model


def _body_maker(
    experiment: Experiment, given: keras.Model | None, like: keras.Model | None
) -> keras_encoders.MakeBody:
    """What makes the encoder of a run that is no ResNet, with its first weights or those given."""
    run, job, config = experiment.run, experiment.job, experiment.run.model.encoder
    # Of a record that may be anybody's nothing is imported: a training is given the name again.
    imports = config.is_function and like is None and experiment.plan is not None

    def new() -> keras.Model:
        return keras_encoders.body_maker(
            config, run.data.image_size, run.model.precision,
            run.model.batch_norm.batch_norm_decay, given, copies=job.replicas > 1,
        )()  # fmt: skip

    def make() -> keras.Model:
        made = new() if given is not None or imports else None
        known = like or made
        classes = {} if known is None else keras_encoders.own_classes(known)
        kept = keras_encoders.run_body(run.model_dir, classes)
        if kept is None and made is None and config.is_handed_over and run.checkpoint:
            kept = load_keras.body_of(run.checkpoint)
        if kept is not None and made is not None:
            keras_encoders.require_same(kept, made)
        elif imports and made is not None:
            keras_encoders.check_saves(made)
        body = made if given is not None else kept
        if body is None:
            body = made or new()
        keras.utils.set_random_seed(run.train.seed)  # the heads start the same from any body
        return body

    return make


def _check_encoder(run: RunConfig, given: Given, trains: bool) -> None:
    """Refuses, before anything is built, an encoder that there is not."""
    config = run.model.encoder
    if config.is_resnet:
        require(given.encoder is None, "encoder", "must be named keras:NAME in the settings beside "
                "a model", config.encoder)  # fmt: skip
        return
    if tf.io.gfile.exists(os.path.join(run.model_dir, run_folder.ENCODER)):
        return
    if not (config.is_handed_over and run.checkpoint):  # else it is that of the checkpoint
        keras_encoders.body_maker(
            config, run.data.image_size, run.model.precision, model=given.encoder
        )
    if trains and given.encoder is not None:
        keras_encoders.check_saves(given.encoder)
