"""One cell of a study: an ordinary run, trained and measured."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tf_keras as keras

from simclr_tf import distribution
from simclr_tf.data import decode
from simclr_tf.errors import one_line
from simclr_tf.evaluation import evaluate as protocols
from simclr_tf.evaluation.features import FINAL_ENDPOINT, LOGITS_ENDPOINT, extract_features
from simclr_tf.experiment import Experiment
from simclr_tf.models.simclr import SimCLR
from simclr_tf.modes import training
from simclr_tf.modes.common import Say, silent
from simclr_tf.modes.evaluation import batches_to_evaluate, count_images, write_evaluation
from simclr_tf.modes.watch import watching
from simclr_tf.report import curves
from simclr_tf.settings import by_name
from simclr_tf.settings.run import RunConfig
from simclr_tf.studies.grid import PROBE, PROBE_Z

PROJECTION_ENDPOINT = "proj_head_output"
_LAST_SHARE = 0.1  # of the training: its figures are means over that
_TRAINING_FIGURES = ("train/contrast_loss", "train/contrast_acc", "train/contrast_entropy")


def run_cell(run: RunConfig, say: Say) -> dict[str, Any]:
    """Trains and measures one cell; goes on where an earlier start of it stopped.

    Returns:
        `metrics` by name, `steps`, `test_images`, and `seconds` of this start.

    Raises:
        As `training.train`.
    """
    started = time.monotonic()
    try:
        trained = training.train(run, None, by_name.flatten(run), say)
        found = measure(trained.experiment, trained.model)
        metrics = dict(found.metrics)
        if distribution.is_chief(trained.experiment.strategy):
            write_evaluation(trained.experiment, found, trained.global_step, say)
            metrics |= training_figures(run.model_dir)
        return {
            "metrics": metrics,
            "steps": trained.global_step,
            "test_images": test_images(trained.experiment),
            "seconds": time.monotonic() - started,
        }
    finally:
        # The next cell is another network: nothing of this one is needed.
        keras.backend.clear_session()
        gc.collect()


def measure(experiment: Experiment, model: SimCLR) -> protocols.Evaluation:
    """Accuracies of an encoder: head, kNN, logistic regression on h and, with a head g, on z."""
    run = experiment.run
    assert experiment.source.num_classes is not None and experiment.eval_split is not None
    bank_batches, test_batches = batches_to_evaluate(experiment, with_bank=True)
    assert bank_batches is not None  # the study has checked it
    projects = model.projection_head is not None
    endpoints = (FINAL_ENDPOINT, *((PROJECTION_ENDPOINT,) if projects else ()))

    def extract(batches: Any, on_batch: Callable[[int], None]) -> Any:
        return extract_features(
            lambda images: model(images, training=False),
            batches,
            on_batch,
            endpoints=endpoints,
            optional_endpoints=(LOGITS_ENDPOINT,),
            strategy=experiment.strategy,
        )

    in_bank, tested = count_images(experiment, with_bank=True)
    with (
        watching(in_bank + tested, "evaluating", silent) as watch,
        decode.naming_bad_image(experiment.source, run.data.train_split),
        decode.naming_bad_image(experiment.source, experiment.eval_split, "eval_split"),
    ):
        bank = extract(bank_batches, watch)
        test = extract(test_batches, lambda count: watch(in_bank + count))
    classes = experiment.source.num_classes
    found = protocols.evaluate_features(test, bank, classes, ks=(20,), probe=True)
    if projects:
        test_z, bank_z = (
            one._replace(features=one.endpoints[PROJECTION_ENDPOINT]) for one in (test, bank)
        )
        on_z = protocols.evaluate_features(test_z, bank_z, classes, ks=(), probe=True)
        found = found._replace(metrics={**found.metrics, PROBE_Z: on_z.metrics[PROBE]})
    return found


def training_figures(model_dir: str | os.PathLike[str]) -> dict[str, float]:
    """Contrastive loss, accuracy and entropy over the last tenth of a training.

    They are read from its events, so that a cell that was killed after training has them too.
    """
    figures = {}
    for series in curves.read_scalars(model_dir):
        if series.folder == curves.OWN_EVENTS and series.tag in _TRAINING_FIGURES:
            last = series.steps > (1 - _LAST_SHARE) * series.steps[-1]
            figures[series.tag] = float(np.mean(series.values[last]))
    return figures


def test_images(experiment: Experiment) -> int:
    """How many images accuracies are means over."""
    assert experiment.eval_split is not None
    count = experiment.source.num_examples(experiment.eval_split, setting="eval_split")
    return min(count, experiment.run.evaluation.max_examples or count)


def failure(error: Exception) -> Mapping[str, Any]:
    """The record of a cell that could not be trained: NaN with a temperature that is too low."""
    return {"metrics": {}, "failed": one_line(error)}
