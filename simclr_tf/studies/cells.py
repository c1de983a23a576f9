"""One cell of a study: an ordinary run, trained and measured."""

from __future__ import annotations

import dataclasses
import gc
import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tf_keras as keras

from simclr_tf.console import Say
from simclr_tf.errors import one_line
from simclr_tf.evaluation import evaluate as scores
from simclr_tf.evaluation.features import Extractor
from simclr_tf.experiment import Experiment
from simclr_tf.models.endpoints import FINAL_ENDPOINT, LOGITS_ENDPOINT, PROJECTED_ENDPOINT
from simclr_tf.models.network import Network
from simclr_tf.modes import training
from simclr_tf.modes.evaluation import extract, write_evaluation
from simclr_tf.report import curves
from simclr_tf.settings import by_name
from simclr_tf.settings.run import RunConfig
from simclr_tf.studies.grid import PROBE, PROBE_Z

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
        if trained.experiment.job.is_chief:
            write_evaluation(trained.experiment, found, trained.global_step)
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


def measure(experiment: Experiment, model: Network) -> scores.Evaluation:
    """Accuracies of an encoder: head, kNN, logistic regression on h and, with a head g, on z."""
    classes = experiment.source.num_classes
    assert classes is not None
    projects = model.projection_head is not None
    endpoints = (FINAL_ENDPOINT, *((PROJECTED_ENDPOINT,) if projects else ()))
    quiet = dataclasses.replace(
        experiment, images=dataclasses.replace(experiment.images, job=experiment.job.silent())
    )
    encoder = Extractor(
        lambda images: model(images, training=False), experiment.job, endpoints, (LOGITS_ENDPOINT,)
    )
    bank, test = extract(quiet, encoder, ("logistic regression",), "evaluating")
    assert bank is not None  # the study has checked it
    found = scores.evaluate_features(test, bank, scores.Scoring(classes, (20,), probe=True))
    if projects:
        test_z, bank_z = (
            one._replace(features=one.endpoints[PROJECTED_ENDPOINT], endpoints={})
            for one in (test, bank)
        )
        on_z = scores.evaluate_features(test_z, bank_z, scores.Scoring(classes, (), probe=True))
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
