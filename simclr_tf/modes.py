"""What `run.py` can do with a run: train it, evaluate it, or both."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import tensorflow as tf
import tf_keras as keras

from simclr_tf import distribution
from simclr_tf import experiment as experiment_lib
from simclr_tf.config import RunConfig
from simclr_tf.data import decode
from simclr_tf.errors import InputError
from simclr_tf.evaluation import evaluate as protocols
from simclr_tf.evaluation import results
from simclr_tf.experiment import Experiment
from simclr_tf.files import write_json
from simclr_tf.models.roles import variable_roles
from simclr_tf.models.simclr import SimCLR
from simclr_tf.optimizers.factory import weight_decay_loss
from simclr_tf.report import curves, progress, table, views
from simclr_tf.training import checkpoints, loop, step
from simclr_tf.training.summaries import Summaries
from simclr_tf.weights import restore

Say = Callable[[str], None]
Flags = Mapping[str, Any]

_SAMPLE_VIEWS = 8
_LOSS_ROWS = {
    "train/contrast_loss": "Contrastive loss, last steps",
    "train/contrast_acc": "Contrastive accuracy, last steps",
}


class Export(Protocol):
    """What writes the SavedModels of a run; `export.runs.RunExport` is one."""

    def write(
        self, model: SimCLR, global_step: int, class_names: Sequence[str] | None
    ) -> str | None:
        """Writes the model of a step; returns its folder, None for an old step."""
        ...

    def describe(self, global_step: int, dataset: str, split: str) -> None:
        """Writes the model card of a step anew, with its results on a split of a data set."""
        ...


def _say(text: str) -> None:
    print(text, flush=True)


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
        means = step.Means(step.metric_names(model, run.model.train_mode))
        if run.model.train_mode == "pretrain":
            train_step = step.build_pretrain_step(
                model, optimizer, run.objective, run.optimizer, means
            )
        else:
            train_step = step.build_finetune_step(model, optimizer, run.optimizer, means)
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

    unit = "pairs" if run.model.train_mode == "pretrain" else "images"
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


def train(run: RunConfig, export: Export, flags: Flags | None = None, say: Say = _say) -> Trained:
    """Trains to the last step, resuming where an earlier start of the run stopped.

    Args:
        run: The settings.
        export: Writes the SavedModel at the end.
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
    checkpoints.record_config(run, experiment.source.class_names)
    if flags is not None:
        write_json(os.path.join(run.model_dir, "flags.json"), dict(flags))
    with decode.naming_bad_image(experiment.source, run.data.train_split):
        means = _train_loop(experiment, model, optimizer, store)
    curves.plot_learning_curves(run.model_dir, os.path.join(run.model_dir, "curves.png"))
    global_step = int(optimizer.iterations.numpy())
    _say_export(export.write(model, global_step, experiment.source.class_names), say)
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


def _endpoints(model: SimCLR, images: tf.Tensor, with_head: bool) -> dict[str, tf.Tensor]:
    outputs = model(images, training=False)
    if not with_head:
        outputs.pop("logits_sup", None)
    return outputs


def _evaluate_model(
    experiment: Experiment,
    model: SimCLR,
    *,
    probe: bool,
    with_head: bool = True,
    regularization_loss: float | None = None,
) -> protocols.Evaluation:
    """Scores a model on the evaluation split; training images are the bank of kNN and probe."""
    run, split = experiment.run, experiment.eval_split
    assert split is not None and experiment.source.num_classes is not None
    settings = run.evaluation
    most = settings.eval_steps * settings.eval_batch_size or None
    bank = None
    if (settings.knn or probe) and experiment_lib.bank_is_separate(experiment):
        bank = experiment_lib.eval_batches(
            experiment,
            run.data.train_split,
            max_examples=settings.knn_bank_size,
            setting="train_split",
        )
    images = experiment_lib.eval_batches(experiment, split, max_examples=most)
    with (
        decode.naming_bad_image(experiment.source, run.data.train_split),
        decode.naming_bad_image(experiment.source, split, "eval_split"),
    ):
        return protocols.evaluate_encoder(
            lambda batch: _endpoints(model, batch, with_head),
            images,
            bank,
            experiment.source.num_classes,
            ks=(20, 200) if bank is not None and settings.knn else (),
            probe=probe and bank is not None,
            regularization_loss=regularization_loss,
        )


def _evaluate_step(
    experiment: Experiment,
    model: SimCLR,
    global_step: int,
    say: Say,
    untrained: Mapping[str, float] | None = None,
    with_head: bool = True,
) -> dict[str, float]:
    """Evaluates, writes the events and result files of a step, and returns the metrics.

    The metrics of the untrained encoder, where given, are kept in the result files beside them.
    """
    run = experiment.run
    started = time.monotonic()
    l2 = weight_decay_loss(model.trainable_variables, variable_roles(model), run.optimizer)
    evaluation = _evaluate_model(
        experiment,
        model,
        probe=run.evaluation.linear_probe,
        with_head=with_head,
        regularization_loss=float(l2),
    )
    folder = os.path.join(run.model_dir, run.evaluation.eval_name or "")
    summaries = Summaries(folder)
    summaries.scalars(global_step, evaluation.metrics)
    summaries.close()
    baseline = {
        name.replace("eval/", "untrained/"): value for name, value in (untrained or {}).items()
    }
    results.write_results(folder, {**evaluation.metrics, **baseline}, global_step)
    for note in evaluation.notes:
        say(f"note: {note}")
    shown = ", ".join(f"{name} {value:.4f}" for name, value in evaluation.metrics.items())
    say(f"evaluated step {global_step} in {time.monotonic() - started:.0f} s: {shown}")
    return evaluation.metrics


def _can_evaluate(experiment: Experiment) -> bool:
    return experiment.eval_split is not None and experiment.source.num_classes is not None


def evaluate(run: RunConfig, export: Export, say: Say = _say) -> None:
    """Evaluates and exports every checkpoint of a run as it appears, until the last one.

    With `run.checkpoint` just that one is evaluated. Ends with a message when no new checkpoint
    came for `eval_timeout_secs`.

    Raises:
        InputError: Bad settings, no labels or split to evaluate on, or a checkpoint that does not
            fit.
    """
    experiment = experiment_lib.prepare(run, trains=False)
    for note in experiment.notes:
        say(f"note: {note}")
    if not _can_evaluate(experiment):
        raise InputError("dataset", "must have labels and an evaluation split with mode=eval",
                         run.data.dataset)  # fmt: skip
    model = experiment_lib.make_model(experiment)
    if run.checkpoint is not None:
        prefixes = iter([run.checkpoint])
    else:
        prefixes = checkpoints.follow_checkpoints(
            run.model_dir,
            last_step=experiment_lib.last_step(experiment),
            timeout_secs=run.evaluation.eval_timeout_secs,
            say=say,
        )
    for prefix in prefixes:
        report = restore.restore_weights(model, prefix)
        for line in report.lines():
            say(f"{prefix}: {line}")
        # A head that the checkpoint lacks is random: neither scored nor exported.
        complete = not any(name.startswith("linear_head/") for name in report.new)
        global_step = report.global_step
        _evaluate_step(experiment, model, global_step, say, with_head=complete)
        if complete:
            _say_export(export.write(model, global_step, experiment.source.class_names), say)
            _describe_export(export, experiment, global_step)


def _untrained_metrics(experiment: Experiment) -> dict[str, float]:
    """The same evaluation of the encoder before its first step: what training has to beat."""
    untrained = experiment_lib.make_model(experiment)
    probe = experiment.run.evaluation.linear_probe
    metrics = _evaluate_model(experiment, untrained, probe=probe).metrics
    return {name: value for name, value in metrics.items() if name not in protocols.HEAD_METRICS}


def train_then_eval(
    run: RunConfig, export: Export, flags: Flags | None = None, say: Say = _say
) -> None:
    """Trains, evaluates the last checkpoint, and prints the table of the run."""
    started = time.monotonic()
    experiment, model, global_step, means = train(run, export, flags, say)
    timings = {"Training": time.monotonic() - started}
    metrics: dict[str, float] = {}
    untrained: dict[str, float] = {}
    if _can_evaluate(experiment):
        if run.evaluation.knn or run.evaluation.linear_probe:
            untrained = _untrained_metrics(experiment)
        metrics = _evaluate_step(experiment, model, global_step, say, untrained)
        _describe_export(export, experiment, global_step)
        curves.plot_learning_curves(run.model_dir, os.path.join(run.model_dir, "curves.png"))
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


def _describe_export(export: Export, experiment: Experiment, global_step: int) -> None:
    assert experiment.eval_split is not None
    export.describe(global_step, experiment.run.data.dataset, experiment.eval_split)


def _say_export(directory: str | None, say: Say) -> None:
    if directory is not None:
        say(f"SavedModel: {directory}")


def _places(run: RunConfig, global_step: int) -> dict[str, str]:
    """Where everything lies."""
    names = {
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
    return {**kept, "TensorBoard": f"tensorboard --logdir {run.model_dir}"}
