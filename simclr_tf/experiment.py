"""The pieces of one run, made from its settings and checked against each other.

Everything that can be refused is refused here, before the run's folder is created.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from simclr_tf import capacity, distribution
from simclr_tf import precision as precision_lib
from simclr_tf.augment import composed, description, policy
from simclr_tf.data import decode, labels, pipeline, service, sources, splits, views
from simclr_tf.data.spread import spread
from simclr_tf.distribution import Part
from simclr_tf.errors import InputError, require
from simclr_tf.files import check_length, check_reachable, is_remote
from simclr_tf.models.roles import describe_roles, variable_roles
from simclr_tf.models.simclr import SimCLR, build_model
from simclr_tf.optimizers import factory, schedule
from simclr_tf.settings.data import DataConfig
from simclr_tf.settings.run import RunConfig
from simclr_tf.training import compilation, lengths, run_config
from simclr_tf.weights import load, locate


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Data, devices and lengths of a run.

    Attributes:
        run: The settings.
        strategy: Where it computes.
        source: The images.
        num_train: Images to train on; 0 when nothing trains.
        lengths: Steps; None when nothing trains.
        eval_split: The split to evaluate on, None when there is none.
        excluded_ids: Ids of undecodable training images, left out with `skip_bad_images`.
        notes: What the user should know: skipped evaluations, an odd schedule, bad images.
        labelled: The images whose labels may be used.
        teacher: Frozen, with `train_mode=distill` and training; else None.
    """

    run: RunConfig
    strategy: tf.distribute.Strategy
    source: sources.Source
    num_train: int
    lengths: lengths.Lengths | None
    eval_split: str | None
    excluded_ids: tuple[str, ...]
    notes: tuple[str, ...]
    teacher: load.LoadedModel | None = None
    labelled: labels.Labelled | None = None

    @property
    def num_classes(self) -> int | None:
        """Width of the linear head: the teacher's, else that of the labels; None without any."""
        return self.source.num_classes if self.teacher is None else self.teacher.model.num_classes

    @property
    def class_names(self) -> Sequence[str] | None:
        """Names of the linear head's classes, None where unknown."""
        names = self.source.class_names
        return self.teacher.class_names if names is None and self.teacher is not None else names


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
    """The split asked for, `validation`, or else `test`; None without any.

    Raises:
        InputError: There is no such split.
    """
    wanted = data.eval_split
    if wanted is not None:
        source.num_examples(wanted, setting="eval_split")
        return wanted
    return next((split for split in ("validation", "test") if split in source.splits), None)


def _shares_images(source: sources.Source, train_split: str, eval_split: str) -> bool:
    infos = splits.split_infos(source.splits)
    try:
        train = splits.ranges(train_split, infos, "train_split")
    except InputError:
        return False  # only evaluated, and without the training images
    return splits.overlap(train + splits.ranges(eval_split, infos, "eval_split"))


def bank_is_separate(experiment: Experiment) -> bool:
    """Whether no image of the evaluation split is in the training split, the bank of kNN."""
    assert experiment.eval_split is not None
    train_split = experiment.run.data.train_split
    return not _shares_images(experiment.source, train_split, experiment.eval_split)


def _bad_images(run: RunConfig, source: sources.Source, split: str) -> tuple[str, ...]:
    if not run.data.skip_bad_images:
        return ()
    with decode.naming_bad_image(source, split):  # damage to the files is not left out
        return tuple(decode.find_bad_examples(source.examples(split)))


def _label_notes(run: RunConfig, source: sources.Source, eval_split: str | None) -> list[str]:
    if source.num_classes is None:
        skipped = "linear head, kNN" if run.model.pretrains else "kNN"
        return [f"{source.name} has no labels: {skipped} and evaluation are skipped"]
    if eval_split is None:
        return [f"{source.name} has no validation or test split: evaluation is skipped"]
    if _shares_images(source, run.data.train_split, eval_split):
        return ["the evaluation split holds training images: kNN and logistic regression, which "
                "would find them again, are left out"]  # fmt: skip
    return []


def _with_precision(run: RunConfig, precision: str) -> RunConfig:
    return dataclasses.replace(run, model=dataclasses.replace(run.model, precision=precision))


def _recorded_precision(run: RunConfig) -> str | None:
    """What `auto` meant when the run was started; a run keeps it on other hardware."""
    return run_config.recorded_precision(run.model_dir) if run.model.precision == "auto" else None


def _settle_precision(
    run: RunConfig, strategy: tf.distribute.Strategy, recorded: str | None
) -> tuple[RunConfig, list[str]]:
    """Replaces `precision=auto`, on all workers alike, with a note on what it means."""
    if recorded is not None:
        return run, [f"--precision=auto stays {recorded}, as the run was started"]
    if run.model.precision != "auto":
        return run, []
    chosen = precision_lib.choose(strategy)
    low = distribution.from_chief(strategy, int(chosen.precision == "bfloat16"))
    settled = "bfloat16" if low else "float32"
    return _with_precision(run, settled), [f"--precision=auto means {settled}: {chosen.reason}"]


def prepare(run: RunConfig, trains: bool) -> Experiment:
    """Opens the data, chooses the devices, and checks what depends on both.

    Args:
        run: The settings.
        trains: Whether the run trains, or only evaluates.

    Raises:
        InputError: The settings don't fit the data, the devices or the run's folder.
    """
    check_writable(run.model_dir)
    if run.checkpoint is not None:
        locate.check(run.checkpoint)
    recorded = _recorded_precision(run)
    run = _with_precision(run, recorded or run.model.precision)
    run_config.check_same_run(run, only=None if trains else run_config.MODEL_SETTINGS)
    if run.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    strategy = distribution.build_strategy(run.strategy)
    run, precision_notes = _settle_precision(run, strategy, recorded)
    distribution.check_divisible("train_batch_size", run.train.train_batch_size, strategy)
    distribution.check_divisible("eval_batch_size", run.evaluation.eval_batch_size, strategy)
    if run.train.gradient_cache_chunk:
        distribution.check_divisible(
            "gradient_cache_chunk", run.train.gradient_cache_chunk, strategy
        )
    if trains:
        compilation.compiles(run.train.jit_compile, strategy)  # refuses what can't be
    if trains and run.data.data_service is not None:
        service.check_service(run.data.data_service)
    whole = sources.open_source(run.data)
    _check_labels(run, whole)
    labelled = labels.limit_labels(
        whole, run.data.train_split, run.data.label_subset, run.train.seed, run.model.train_mode
    )
    source = labelled.training
    run_config.check_same_classes(run.model_dir, source.class_names)
    capacity.check_run(run, source.num_classes, strategy, trains)
    eval_split = choose_eval_split(run.data, source)
    notes = precision_notes + _label_notes(run, source, eval_split)
    notes += [labelled.note] if labelled.note else []
    if not trains:
        if run_config.lacks_record(run.model_dir):
            notes.append(f"{run.model_dir} has no {locate.CONFIG_FILE} any more: whether it was "
                         "trained with these settings can't be told")  # fmt: skip
        return Experiment(
            run, strategy, source, 0, None, eval_split, (), tuple(notes), labelled=labelled
        )

    if compiling := compilation.note(run.train.jit_compile, strategy):
        notes.append(compiling)
    split = run.data.train_split
    num_examples = source.num_examples(split, setting="train_split")
    if run.model.train_mode == "finetune" and run.checkpoint is None:
        notes.append("fine-tuning starts from random weights: no --checkpoint is given")
    if run.train.gradient_cache_bn == "frozen" and run.checkpoint is None:
        notes.append("batch norm keeps its initial statistics: gradient_cache_bn=frozen is meant "
                     "for weights from --checkpoint")  # fmt: skip
    bad = _bad_images(run, source, split)
    if bad:
        listed = ", ".join(source.location(example_id) for example_id in bad[:5])
        more = ", ..." if len(bad) > 5 else ""
        notes.append(f"{len(bad)} undecodable images are left out: {listed}{more}")
    num_examples -= len(bad)
    batch = run.train.train_batch_size
    per_epoch = pipeline.steps_per_epoch(source, split, batch, len(bad))
    theirs = run_config.reference_steps(run, source)
    steps = lengths.run_lengths(run.train, per_epoch, theirs)
    if steps.total_steps == theirs:
        notes.append(f"the run ends at step {theirs}, where the reference implementation would end "
                     "it: its learning rates go on")  # fmt: skip
    warning = schedule.schedule_warning(run.optimizer, batch, num_examples, steps.total_steps)
    if warning:
        notes.append(warning)
    teacher = _load_teacher(run, strategy, source)
    if teacher is not None:
        notes.extend(_teacher_notes(run, teacher))
    return Experiment(
        run, strategy, source, num_examples, steps, eval_split, bad, tuple(notes), teacher, labelled
    )


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


def _load_teacher(
    run: RunConfig, strategy: tf.distribute.Strategy, source: sources.Source
) -> load.LoadedModel | None:
    """The frozen teacher with its own architecture, checked against the student's images."""
    path = run.distill.teacher
    if path is None:
        return None
    with strategy.scope():
        try:
            teacher = load.load_model(path)
            teacher.model.config.encoder.resolve_stem(run.data.image_size)
        except InputError as error:
            renamed = {"checkpoint": "teacher", "image_size": "image_size of the teacher's views"}
            name = renamed.get(error.name, error.name)
            raise InputError(name, error.constraint, error.received) from None
    _check_classes(teacher, source, path)
    teacher.model.trainable = False
    return teacher


def _check_classes(teacher: load.LoadedModel, source: sources.Source, path: str) -> None:
    if teacher.report.left_out:
        doubt = teacher.report.doubts[0]
        raise InputError("teacher", "must tell how it is read, as what `python -m export import "
                         f"--{doubt.name}=...` writes ({doubt.constraint})", path)  # fmt: skip
    require(teacher.model.linear_head is not None, "teacher", "must have a linear head, as a "
            "network that was trained with labels has", path)  # fmt: skip
    count, names = teacher.model.num_classes, teacher.class_names
    require(source.num_classes in (None, count), "teacher",
            f"must have the {source.num_classes} classes of {source.name}",
            f"{path} with {count}")  # fmt: skip
    if names is not None and source.class_names is not None:
        require(list(names) == list(source.class_names), "teacher",
                f"must have the classes of {source.name}: {', '.join(source.class_names[:10])}",
                f"{path} with {', '.join(names[:10])}")  # fmt: skip


def _teacher_notes(run: RunConfig, teacher: load.LoadedModel) -> list[str]:
    encoder, size = teacher.model.config.encoder, run.data.image_size
    step = f", step {teacher.global_step}" if teacher.global_step else ""
    notes = [f"the teacher is a ResNet-{encoder.resnet_depth}, width {encoder.width_multiplier:g}, "
             f"of {teacher.model.num_classes} classes{step}"]  # fmt: skip
    if teacher.image_size != size:
        notes.append(f"the teacher was trained on images of {teacher.image_size} px and sees the "
                     f"student's views of {size} px")  # fmt: skip
    return notes


def last_step(experiment: Experiment) -> int | None:
    """The step at which the run ends, None when the training images can't be counted."""
    run = experiment.run
    if run.train.train_steps:
        return run.train.train_steps
    try:
        source, split = experiment.source, run.data.train_split
        bad = _bad_images(run, source, split)
        per_epoch = pipeline.steps_per_epoch(source, split, run.train.train_batch_size, len(bad))
        theirs = run_config.reference_steps(run, source)
        return lengths.run_lengths(run.train, per_epoch, theirs).total_steps
    except InputError:
        return None


def make_model(experiment: Experiment) -> SimCLR:
    """The model with its initial weights, which depend on the seed alone."""
    run = experiment.run
    with experiment.strategy.scope():
        # Initialisers draw from Keras's generator; the same seed gives the same weights.
        keras.utils.set_random_seed(run.train.seed)
        model = build_model(run.model, experiment.num_classes, run.data.image_size)
    model.encoder.recompute_blocks(run.train.remat)
    return model


def make_optimizer(experiment: Experiment, model: SimCLR) -> keras.optimizers.Optimizer:
    """The optimizer with its schedule and slots."""
    run = experiment.run
    assert experiment.lengths is not None
    total_steps = experiment.lengths.total_steps
    with experiment.strategy.scope():
        learning_rate = schedule.build_schedule(
            run.optimizer, run.train.train_batch_size, experiment.num_train, total_steps
        )
        optimizer = factory.build_optimizer(run.optimizer, learning_rate, variable_roles(model))
        optimizer.build(model.trainable_variables)
    return optimizer


def describe_model(model: SimCLR) -> str:
    """Parameters in millions, and the groups that the optimizer treats apart."""
    count = sum(variable.shape.num_elements() for variable in model.trainable_variables)
    return f"{count / 1e6:.2f} M trainable parameters: {describe_roles(model)}"


def _num_views(run: RunConfig) -> int:
    return 2 if run.model.pretrains else 1


def _is_distorted(run: RunConfig) -> bool:
    """Whether views are more than crops and flips."""
    return run.model.train_mode in ("pretrain", "supervised")


def views_of_image(run: RunConfig) -> composed.ViewsOfImage:
    """The function from a training image and its seeds, (V, 2), to its views."""
    return composed.views_of_image(run.data.image_size, run.augment, _is_distorted(run))


def view_maker(run: RunConfig, on_device: bool = False) -> views.ViewMaker:
    """Makes the views of `views_of_image`, those of the paper's policy faster."""
    distorted = _is_distorted(run)
    if distorted and not run.augment.is_plain:
        return views.ImageViews(_num_views(run), views_of_image(run))
    return views.PolicyViews(
        _num_views(run),
        run.data.image_size,
        run.augment,
        distorted=distorted,
        on_device=on_device,
        compiled=run.train.jit_compile != "off",
    )


def _augments_on_device(experiment: Experiment) -> bool:
    augment = experiment.run.augment
    where = augment.augment_on if augment.is_plain else "host"
    if where == "auto":
        return distribution.device_kind(experiment.strategy) != "CPU"
    return where == "device"


def train_batches(experiment: Experiment, start_step: int, part: Part = Part()) -> tf.data.Dataset:
    """One host's part of the endless stream of training batches, from a given step on."""
    run, data = experiment.run, experiment.run.data
    sharding = pipeline.resolve_sharding(
        experiment.source,
        data.train_split,
        data.cache_dataset,
        data.data_sharding,
        len(experiment.excluded_ids),
    )
    return pipeline.train_batches(
        experiment.source,
        data.train_split,
        batch_size=run.train.train_batch_size,
        views=view_maker(run, _augments_on_device(experiment)),
        seed=run.train.seed,
        start_step=start_step,
        cache=data.cache_dataset,
        excluded_ids=experiment.excluded_ids,
        shard=(part.index, part.count),
        replicas=part.replicas,
        sharding=sharding,
        service=data.data_service,
    )


def eval_batches(
    experiment: Experiment,
    split: str,
    max_examples: int | None = None,
    setting: str = "eval_split",
    source: sources.Source | None = None,
) -> Callable[[Part], tf.data.Dataset]:
    """A split in order, each example once, without augmentation; training images with labels.

    `source` replaces the run's own.

    Returns:
        From a host's part to its share of every batch.
    """
    run = experiment.run
    if source is None:
        source = experiment.source if experiment.labelled is None else experiment.labelled.labelled
    excluded = _bad_images(run, source, split)

    def of_part(part: Part) -> tf.data.Dataset:
        return pipeline.eval_batches(
            source,
            split,
            batch_size=run.evaluation.eval_batch_size,
            image_size=run.data.image_size,
            view_fn=policy.eval_view,
            excluded_ids=excluded,
            max_examples=max_examples,
            setting=setting,
            shard=(part.index, part.count),
            replicas=part.replicas,
        )

    return of_part


class SampleViews(NamedTuple):
    """Training images and their views; images are float32 in [0, 1].

    Attributes:
        originals: (N, S, S, 3), the images resized for evaluation.
        views: Of the same shape for each view.
        operations: For each view of each image what was done: V lists of N lists.
    """

    originals: np.ndarray
    views: list[np.ndarray]
    operations: list[list[list[description.Applied]]]


def sample_views(experiment: Experiment, count: int, epoch: int) -> SampleViews:
    """The first training images and their views in an epoch, as training sees them."""
    run = experiment.run
    make, num_views = views_of_image(run), _num_views(run)
    originals, augmented, described = [], [], []
    for example in experiment.source.examples(run.data.train_split):
        if os.fsdecode(example["id"].numpy()) in experiment.excluded_ids:
            continue
        image = decode.decode_image(example["image"])
        originals.append(policy.eval_view(image, run.data.image_size))
        seeds = pipeline.view_seeds(run.train.seed, epoch, example["id"], num_views)
        augmented.append(make(image, seeds))
        height, width = image.shape[:2]
        described.append(description.describe_views(
            seeds, (height, width), run.data.image_size, run.augment, _is_distorted(run)
        ))  # fmt: skip
        if len(originals) == count:
            break
    return SampleViews(
        np.stack(originals),
        [np.stack(made) for made in zip(*augmented, strict=True)],
        [list(view) for view in zip(*described, strict=True)],
    )


def example_batches(
    experiment: Experiment, split: str, count: int
) -> Callable[[Part], tf.data.Dataset]:
    """A few images from all over a split, as `eval_batches` gives all of them."""
    source = experiment.source if experiment.labelled is None else experiment.labelled.labelled
    if not experiment.run.data.skip_bad_images:  # else their number would not be known
        source = spread(source, split, count, "eval_split")
    return eval_batches(experiment, split, count, source=source)
