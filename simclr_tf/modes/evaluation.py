"""`--mode=eval`: the checkpoints of a run as they appear, or one checkpoint of any format."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping

import tensorflow as tf

from simclr_tf import console
from simclr_tf import experiment as experiment_lib
from simclr_tf.console import Say
from simclr_tf.data.images import Batches
from simclr_tf.errors import RunError, require
from simclr_tf.evaluation import evaluate as scores
from simclr_tf.evaluation import results, verdict
from simclr_tf.evaluation.features import FINAL_ENDPOINT, LOGITS_ENDPOINT, Extractor, Features
from simclr_tf.experiment import Experiment
from simclr_tf.files import check_reachable
from simclr_tf.models.endpoints import PROJECTED_ENDPOINT
from simclr_tf.models.network import Network
from simclr_tf.models.roles import variable_roles
from simclr_tf.modes import reporting
from simclr_tf.modes.common import Export, describe_export, write_export
from simclr_tf.optimizers.factory import weight_decay_loss
from simclr_tf.report import table, unlabelled
from simclr_tf.settings import by_name
from simclr_tf.settings.run import RunConfig
from simclr_tf.training import checkpoints, loggers, run_config
from simclr_tf.training.coordination import naming_lost_worker
from simclr_tf.training.summaries import Summaries
from simclr_tf.watch import watching
from simclr_tf.weights import restore
from simclr_tf.weights.locate import checkpoint_step


def evaluate(
    run: RunConfig, export: Export | None, say: Say = console.say, given: Collection[str] = ()
) -> None:
    """Evaluates and exports every checkpoint of a run as it appears, until the last one.

    With `run.checkpoint` just that one is evaluated. Ends with a message when no new checkpoint
    came for `eval_timeout_secs`. Contrastive runs without labels get the figures that need none.

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
    experiment = experiment_lib.prepare(run, trains=False, say=say)
    job = experiment.job
    for note in experiment.notes:
        job.say(f"note: {note}")
    labelled = can_evaluate(experiment)
    if not labelled:
        why = reporting.without_quality(experiment, trains=False)
        require(why is None, "dataset", "must have labels and an evaluation split with mode=eval, "
                f"or images for figures without labels ({why})", run.data.dataset)  # fmt: skip
    model = experiment_lib.make_model(experiment)
    first = None if labelled else inference(experiment, experiment_lib.make_model(experiment))
    if run.checkpoint is not None:
        prefixes = iter([run.checkpoint])
    else:
        prefixes = _run_checkpoints(experiment)
    encoder, evaluated = inference(experiment, model), 0
    for prefix in prefixes:
        evaluated += 1
        report = restore.restore_weights(model, prefix, given)
        for line in report.lines():
            job.say(f"{prefix}: {line}")
        if report.doubts:
            raise report.doubts[0]
        # A head that the checkpoint lacks is random: neither scored nor exported.
        complete = not any(name.startswith("linear_head/") for name in report.new)
        global_step = report.global_step
        if first is None:
            evaluate_step(experiment, model, encoder, global_step, with_head=complete)
        else:
            judge_step(experiment, encoder, first, global_step)
        if complete:
            write_export(export, experiment, model, global_step)
            if labelled:
                describe_export(export, experiment, global_step)
    if not evaluated:
        raise RunError(f"no checkpoint came in {run.model_dir}; is it the folder of a run?")


def _run_checkpoints(experiment: Experiment) -> Iterator[str]:
    """The checkpoints of a run as they appear; the chief looks for all workers."""
    run, job = experiment.run, experiment.job
    if not job.is_chief:
        while (step := job.from_chief(0)) >= 0:
            yield os.path.join(run.model_dir, f"ckpt-{step}")
        return
    for prefix in checkpoints.follow_checkpoints(
        run.model_dir,
        last_step=experiment_lib.last_step(experiment),
        timeout_secs=run.evaluation.eval_timeout_secs,
        say=job.say,
    ):
        job.from_chief(checkpoint_step(prefix) or 0)
        yield prefix
    job.from_chief(-1)


def can_evaluate(experiment: Experiment) -> bool:
    """Whether there are labels and a split to evaluate on."""
    return experiment.eval_split is not None and experiment.source.num_classes is not None


def inference(experiment: Experiment, model: Network) -> Extractor:
    """A model at work on the devices of a run: its features, and the output of the heads it has."""
    return Extractor(
        lambda images: model(images, training=False),
        experiment.job,
        (FINAL_ENDPOINT,),
        optional=(LOGITS_ENDPOINT, PROJECTED_ENDPOINT),
    )


def evaluate_step(
    experiment: Experiment,
    model: Network,
    encoder: Extractor,
    global_step: int,
    before: Mapping[str, float] | None = None,
    with_head: bool = True,
) -> dict[str, float]:
    """Evaluates, writes the events and result files of a step, and returns the metrics.

    Args:
        experiment: The run.
        model: With the weights of the step.
        encoder: The model at work, see `inference`.
        global_step: The step.
        before: The metrics of the encoder before training, kept in the result files beside them.
        with_head: Whether the linear head is scored.
    """
    run, job = experiment.run, experiment.job
    started = time.monotonic()
    found = evaluate_model(
        experiment, encoder, probe=run.evaluation.linear_probe, with_head=with_head,
        name=f"step {global_step}",
    )  # fmt: skip
    l2 = weight_decay_loss(model.trainable_variables, variable_roles(model), run.optimizer)
    found = found._replace(metrics={**found.metrics, scores.REGULARIZATION_LOSS: float(l2)})
    if not job.is_chief:
        return found.metrics
    write_evaluation(experiment, found, global_step, before)
    for note in found.notes:
        job.say(f"note: {note}")
    shown = ", ".join(f"{name} {value:.4f}" for name, value in found.metrics.items())
    job.say(f"evaluated step {global_step} in {time.monotonic() - started:.0f} s: {shown}")
    return found.metrics


def judge_step(
    experiment: Experiment, encoder: Extractor, first: Extractor, global_step: int
) -> None:
    """Measures, writes and says what the encoder of a step shows without labels."""
    figures = reporting.judge(experiment, encoder, first, global_step)
    name = f"step {global_step}, {experiment.source.name}"
    experiment.job.say(table.format_table(unlabelled.table_rows(figures), name))
    experiment.job.say(f"without labels: {verdict.of_metrics(figures)}")


def write_evaluation(
    experiment: Experiment,
    evaluation: scores.Evaluation,
    global_step: int,
    before: Mapping[str, float] | None = None,
) -> None:
    """Writes what an evaluation found as events, result files and page of the run."""
    run, say = experiment.run, experiment.job.say
    folder = os.path.join(run.model_dir, run.evaluation.eval_name or "")
    names, settings = run.page.loggers, by_name.flatten(run)
    opened = loggers.open_loggers(names, folder, "eval", settings, global_step, say)
    summaries = Summaries(folder, opened)
    summaries.scalars(global_step, evaluation.metrics)
    summaries.close()
    baseline = {
        name.replace("eval/", "untrained/"): value for name, value in (before or {}).items()
    }
    results.write_results(folder, {**evaluation.metrics, **baseline}, global_step, say)
    reporting.keep_evaluation(experiment, folder, evaluation, global_step)


def evaluate_model(
    experiment: Experiment,
    encoder: Extractor,
    probe: bool,
    with_head: bool = True,
    name: str = "the encoder",
    times: int = 1,
) -> scores.Evaluation:
    """Scores an encoder on the evaluation split; training images are the bank of kNN and probe.

    The user hears beforehand how many images that takes, as the evaluation of `name`, and early on
    how long `times` such evaluations last.
    """
    settings, classes = experiment.run.evaluation, experiment.source.num_classes
    assert classes is not None
    wanted = {"kNN": settings.knn, "logistic regression": probe}
    uses = [use for use in wanted if wanted[use]]
    bank, test = extract(experiment, encoder, uses, f"evaluating {name}", times)
    if not with_head:
        test.endpoints.pop(LOGITS_ENDPOINT, None)
    ks = (20, 200) if bank is not None and settings.knn else ()
    scoring = scores.Scoring(classes, ks, probe=probe and bank is not None)
    return scores.evaluate_features(test, bank, scoring)


def extract(
    experiment: Experiment,
    encoder: Extractor,
    uses: Collection[str],
    label: str,
    times: int = 1,
) -> tuple[Features | None, Features]:
    """Features of the training images that `uses` names a use for, and of the test images."""
    run, split, job = experiment.run, experiment.eval_split, experiment.job
    assert split is not None
    bank_batches, test_batches = batches_to_evaluate(experiment, with_bank=bool(uses))
    in_bank, tested = count_images(experiment, with_bank=bank_batches is not None)
    beside = f" and {in_bank:,} of {run.data.train_split} for {' and '.join(uses)}"
    job.say(f"{label}: {tested:,} images of {split}{beside if in_bank else ''}")
    with (
        watching(in_bank + tested, label, job.say, times, shows=job.is_chief) as watch,
        naming_lost_worker(),
        experiment.images.naming_bad_image(run.data.train_split),
        experiment.images.naming_bad_image(split, "eval_split"),
    ):
        bank = None
        if bank_batches is not None:
            bank = encoder.features(bank_batches, watch, run.evaluation.bank_size)
        done = 0 if bank is None else len(bank.features)
        return bank, encoder.features(test_batches, lambda count: watch(done + count))


def count_images(experiment: Experiment, with_bank: bool) -> tuple[int, int]:
    """How many training images serve as neighbours, and how many images are tested, at most."""
    run, split, settings = experiment.run, experiment.eval_split, experiment.run.evaluation
    assert split is not None
    source = experiment.images_with_labels.source
    tested = source.num_examples(split, "eval_split")
    bank = source.num_examples(run.data.train_split) if with_bank else 0
    return min(bank, settings.bank_size), min(tested, settings.max_examples or tested)


def batches_to_evaluate(experiment: Experiment, with_bank: bool) -> tuple[Batches | None, Batches]:
    """Training images without augmentation, None where they are not apart, and the test images."""
    run, split = experiment.run, experiment.eval_split
    assert split is not None
    images, settings = experiment.images_with_labels, run.evaluation
    bank = None
    if with_bank and experiment.bank_is_separate:
        bank = images.eval_batches(run.data.train_split, settings.bank_size, "train_split")
    return bank, images.eval_batches(split, settings.max_examples)
