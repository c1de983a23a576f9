"""The transfer suite (B.8, tables 8 and B.5): logistic regression, and fine-tuning, on each set."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from simclr_tf.augment import policy
from simclr_tf.data.sources import Source
from simclr_tf.errors import require
from simclr_tf.evaluation import metrics as metrics_lib
from simclr_tf.evaluation import transfer as suite
from simclr_tf.evaluation.features import Features
from simclr_tf.protocols.context import Context, Row, Section
from simclr_tf.protocols.finetune import finetune_grid
from simclr_tf.protocols.logreg import Parts, fit_features
from simclr_tf.units import format_percent

_FIELDS = {suite.TOP_1: "top_1", suite.MEAN_PER_CLASS: "mean_per_class"}  # of a `Score`


def check(context: Context) -> None:
    """Refuses unknown names, and sets that are asked for by name and absent.

    Raises:
        InputError: A name is none of the twelve, or its data set is not in `data_dir`.
    """
    names = context.settings.transfer_names
    _, absent = suite.present(context.data_dir, names or (suite.ALL,))
    require(names is None or not absent, "transfer_datasets",
            f"must name data sets that are prepared in {context.data_dir or 'the data_dir'}",
            ", ".join(dataset.folder for dataset in absent))  # fmt: skip


def run(context: Context) -> Section:
    """Runs over whichever of the data sets are prepared in `data_dir`, and lists the others.

    Images: the shorter side resized bicubically, then the central square; no augmentation.
    """
    names = context.settings.transfer_names or (suite.ALL,)
    found, absent = suite.present(context.data_dir, names)
    rows: list[Row] = []
    metrics: dict[str, Any] = {}
    for dataset in found:
        context.say(f"transfer: {dataset.name} ...")
        part_rows, metrics[dataset.folder] = _evaluate(context, dataset)
        rows += part_rows
    notes = [f"absent from data_dir: {', '.join(dataset.name for dataset in absent)}"]
    section = {**metrics, "absent": [dataset.folder for dataset in absent]}
    return Section("Transfer (B.8)", tuple(rows), section, tuple(notes if absent else ()))


def _evaluate(context: Context, dataset: suite.TransferDataset) -> tuple[list[Row], dict[str, Any]]:
    source, parts = suite.open_transfer(
        dataset, context.data_dir, context.settings.validation_fraction
    )
    size = context.settings.transfer_image_size or context.encoder.image_size
    within = dataclasses.replace(
        context,
        images=dataclasses.replace(context.images, source=source),
        train_split=parts.train_and_validation,
        test_split=parts.test,
        settings=dataclasses.replace(context.settings, validation_split=None),
    )
    value, fitted = _linear(within, dataset, parts, size)
    how = (f"{dataset.metric}, L2 {fitted['regularization']:.3g}, images of {size} px; the paper's "
           f"ResNet-50: {dataset.accuracy_1x:g} %")  # fmt: skip
    rows = [Row(f"{dataset.name}, linear", format_percent(value), how)]
    section = {"metric": dataset.metric, "linear": fitted}
    if context.settings.transfer_finetune:
        row, section["finetune"] = _finetune(within, dataset, parts)
        rows.append(row)
    return rows, section


def _linear(
    context: Context, dataset: suite.TransferDataset, parts: suite.TransferSplits, size: int
) -> tuple[float, dict[str, Any]]:
    features = functools.partial(context.features, view=policy.transfer_view, image_size=size)
    train, validation = features(parts.train), features(parts.validation)
    test = features(parts.test, setting="eval_split")
    classes = _classes(context.source)
    metric = _metric(dataset, classes)
    fitted = fit_features(
        context, Parts(train, test, validation), dataset.multi_label, metric, classes
    )
    labels = _labels(test)
    context.write_predictions(f"transfer_{dataset.folder}", labels, fitted.test_logits)
    value = metric(fitted.test_logits, labels)
    return value, {
        "score": value,
        "regularization": fitted.value,
        "best_validation_score": float(np.max(fitted.validation_scores)),
        "test_images": len(labels),
    }


def _finetune(
    context: Context, dataset: suite.TransferDataset, parts: suite.TransferSplits
) -> tuple[Row, dict[str, Any]]:
    what = f"{dataset.name}, fine-tuned"
    if dataset.multi_label:
        reason = "several labels an image are not fine-tuned here"
        return Row(what, "-", reason), {"skipped": reason}
    field = _FIELDS[dataset.metric]
    found = finetune_grid(
        context, (parts.train, parts.validation), f"transfer_{dataset.folder}_finetune", field
    )
    return found.row(what, field), found.metrics()


def _metric(dataset: suite.TransferDataset, classes: int) -> Any:
    """(logits (N, C), labels) -> score in [0, 1]."""
    if dataset.metric == suite.MEAN_AVERAGE_PRECISION:
        return metrics_lib.mean_average_precision_11_point
    if dataset.metric == suite.MEAN_PER_CLASS:
        return lambda logits, labels: metrics_lib.mean_per_class_accuracy(
            np.argmax(logits, axis=1), labels, classes
        )
    return lambda logits, labels: metrics_lib.accuracy(np.argmax(logits, axis=1), labels)


def _classes(source: Source) -> int:
    assert source.num_classes is not None
    return source.num_classes


def _labels(features: Features) -> np.ndarray:
    assert features.labels is not None
    return features.labels
