"""`--mode=eval`: the checkpoints of a run as they appear, or one checkpoint of any format."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping

import tensorflow as tf

from simclr_tf import distribution
from simclr_tf import experiment as experiment_lib
from simclr_tf.data import decode
from simclr_tf.errors import InputError, RunError, require
from simclr_tf.evaluation import evaluate as protocols
from simclr_tf.evaluation import results
from simclr_tf.evaluation.features import Batches
from simclr_tf.experiment import Experiment
from simclr_tf.files import check_reachable
from simclr_tf.models.roles import variable_roles
from simclr_tf.models.simclr import SimCLR
from simclr_tf.modes import reporting
from simclr_tf.modes.common import (
    Export,
    Say,
    describe_export,
    print_line,
    say_as_chief,
    silent,
    write_export,
)
from simclr_tf.modes.watch import watching
from simclr_tf.optimizers.factory import weight_decay_loss
from simclr_tf.settings.run import RunConfig
from simclr_tf.training import checkpoints, run_config
from simclr_tf.training.coordination import naming_lost_worker
from simclr_tf.training.summaries import Summaries
from simclr_tf.weights import restore
from simclr_tf.weights.locate import checkpoint_step


def evaluate(
    run: RunConfig, export: Export | None, say: Say = print_line, given: Collection[str] = ()
) -> None:
    """Evaluates and exports every checkpoint of a run as it appears, until the last one.

    With `run.checkpoint` just that one is evaluated. Ends with a message when no new checkpoint
    came for `eval_timeout_secs`.

    Args:
        run: The settings.
        export: Writes the exports.
        say: Receives lines for a person.
        given: Names of settings that were chosen and not left at their default, which settles how
            foreign weights are read where they do not tell.

    Raises:
        InputError: Bad settings, no folder `model_dir`, no labels or split to evaluate on, or a
            checkpoint that does not fit or may be read in several ways.
        RunError: No checkpoint came at all.
    """
    check_reachable(run.model_dir, "model_dir")
    require(run.checkpoint is not None or tf.io.gfile.isdir(run.model_dir), "model_dir",
            "must be an existing folder with mode=eval, which follows the run in it",
            run.model_dir)  # fmt: skip
    run_config.check_no_study(run.model_dir)
    experiment = experiment_lib.prepare(run, trains=False)
    say = say_as_chief(experiment.strategy, say)
    for note in experiment.notes:
        say(f"note: {note}")
    if not can_evaluate(experiment):
        raise InputError("dataset", "must have labels and an evaluation split with mode=eval",
                         run.data.dataset)  # fmt: skip
    model = experiment_lib.make_model(experiment)
    if run.checkpoint is not None:
        prefixes = iter([run.checkpoint])
    else:
        prefixes = _run_checkpoints(experiment, say)
    evaluated = 0
    for prefix in prefixes:
        evaluated += 1
        report = restore.restore_weights(model, prefix, given)
        for line in report.lines():
            say(f"{prefix}: {line}")
        if report.doubts:
            raise report.doubts[0]
        # A head that the checkpoint lacks is random: neither scored nor exported.
        complete = not any(name.startswith("linear_head/") for name in report.new)
        global_step = report.global_step
        evaluate_step(experiment, model, global_step, say, with_head=complete)
        if complete:
            write_export(export, experiment, model, global_step, say)
            describe_export(export, experiment, global_step)
    if not evaluated:
        raise RunError(f"no checkpoint came in {run.model_dir}; is it the folder of a run?")


def _run_checkpoints(experiment: Experiment, say: Say) -> Iterator[str]:
    """The checkpoints of a run as they appear; the chief looks for all workers."""
    run, strategy = experiment.run, experiment.strategy
    if not distribution.is_chief(strategy):
        while (step := distribution.from_chief(strategy, 0)) >= 0:
            yield os.path.join(run.model_dir, f"ckpt-{step}")
        return
    for prefix in checkpoints.follow_checkpoints(
        run.model_dir,
        last_step=experiment_lib.last_step(experiment),
        timeout_secs=run.evaluation.eval_timeout_secs,
        say=say,
    ):
        distribution.from_chief(strategy, checkpoint_step(prefix) or 0)
        yield prefix
    distribution.from_chief(strategy, -1)


def can_evaluate(experiment: Experiment) -> bool:
    """Whether there are labels and a split to evaluate on."""
    return experiment.eval_split is not None and experiment.source.num_classes is not None


def evaluate_step(
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
    evaluation = evaluate_model(
        experiment,
        model,
        probe=run.evaluation.linear_probe,
        with_head=with_head,
        regularization_loss=float(l2),
        name=f"step {global_step}",
        say=say,
    )
    if not distribution.is_chief(experiment.strategy):
        return evaluation.metrics
    write_evaluation(experiment, evaluation, global_step, say, untrained)
    for note in evaluation.notes:
        say(f"note: {note}")
    shown = ", ".join(f"{name} {value:.4f}" for name, value in evaluation.metrics.items())
    say(f"evaluated step {global_step} in {time.monotonic() - started:.0f} s: {shown}")
    return evaluation.metrics


def write_evaluation(
    experiment: Experiment,
    evaluation: protocols.Evaluation,
    global_step: int,
    say: Say,
    untrained: Mapping[str, float] | None = None,
) -> None:
    """Writes what an evaluation found as events, result files and page of the run."""
    run = experiment.run
    folder = os.path.join(run.model_dir, run.evaluation.eval_name or "")
    summaries = Summaries(folder)
    summaries.scalars(global_step, evaluation.metrics)
    summaries.close()
    baseline = {
        name.replace("eval/", "untrained/"): value for name, value in (untrained or {}).items()
    }
    results.write_results(folder, {**evaluation.metrics, **baseline}, global_step, say)
    reporting.keep_evaluation(experiment, folder, evaluation, global_step, say)


def evaluate_model(
    experiment: Experiment,
    model: SimCLR,
    *,
    probe: bool,
    with_head: bool = True,
    regularization_loss: float | None = None,
    name: str = "the encoder",
    times: int = 1,
    say: Say = silent,
) -> protocols.Evaluation:
    """Scores a model on the evaluation split; training images are the bank of kNN and probe.

    `say` hears beforehand how many images that takes, as the evaluation of `name`, and early on
    how long `times` such evaluations last.
    """
    run, split = experiment.run, experiment.eval_split
    assert split is not None and experiment.source.num_classes is not None
    settings = run.evaluation
    bank, images = batches_to_evaluate(experiment, with_bank=settings.knn or probe)
    wanted = {"kNN": settings.knn, "logistic regression": probe}
    uses = [use for use in wanted if wanted[use]]
    in_bank, tested = count_images(experiment, with_bank=bank is not None)
    beside = f" and {in_bank:,} of {run.data.train_split} for {' and '.join(uses)}"
    say(f"evaluating {name}: {tested:,} images of {split}{beside if in_bank else ''}")
    with (
        watching(
            in_bank + tested,
            f"evaluating {name}",
            say,
            times,
            shows=distribution.is_chief(experiment.strategy),
        ) as watch,
        naming_lost_worker(),
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
            on_batch=watch,
            strategy=experiment.strategy,
        )


def count_images(experiment: Experiment, with_bank: bool) -> tuple[int, int]:
    """How many training images serve as neighbours, and how many images are tested, at most."""
    run, split, settings = experiment.run, experiment.eval_split, experiment.run.evaluation
    assert split is not None
    source = experiment.source if experiment.labelled is None else experiment.labelled.labelled
    tested = source.num_examples(split, "eval_split")
    bank = source.num_examples(run.data.train_split) if with_bank else 0
    return min(bank, settings.bank_size), min(tested, settings.max_examples or tested)


def batches_to_evaluate(experiment: Experiment, with_bank: bool) -> tuple[Batches | None, Batches]:
    """Training images without augmentation, None where they are not apart, and the test images."""
    run, split = experiment.run, experiment.eval_split
    assert split is not None
    settings = run.evaluation
    bank = None
    if with_bank and experiment_lib.bank_is_separate(experiment):
        bank = experiment_lib.eval_batches(
            experiment,
            run.data.train_split,
            max_examples=settings.bank_size,
            setting="train_split",
        )
    most = settings.max_examples
    return bank, experiment_lib.eval_batches(experiment, split, max_examples=most)


def _endpoints(model: SimCLR, images: tf.Tensor, with_head: bool) -> dict[str, tf.Tensor]:
    outputs = model(images, training=False)
    if not with_head:
        outputs.pop("logits_sup", None)
    return outputs
