import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.errors import InputError
from simclr_tf.evaluation import metrics
from simclr_tf.evaluation import transfer as suite
from simclr_tf.evaluation.encoders import from_model
from simclr_tf.protocols import transfer

COLORS = {"red": (220, 30, 30), "green": (30, 220, 30), "blue": (30, 30, 220)}


@pytest.fixture
def data_dir(tmp_path):
    """A folder under the name of a data set whose classes are colours, unevenly many images."""
    rng = np.random.default_rng(0)
    for split, counts in (("train", (12, 12, 12)), ("test", (8, 2, 1))):
        for (name, color), count in zip(COLORS.items(), counts, strict=True):
            place = tmp_path / "data" / "fgvc_aircraft" / split / name
            place.mkdir(parents=True)
            for index in range(count):
                noise = rng.integers(-25, 25, (10, 14, 3))
                image = np.clip(np.array(color) + noise, 0, 255).astype(np.uint8)
                (place / f"{index}.png").write_bytes(tf.io.encode_png(image).numpy())
    return str(tmp_path / "data")


@pytest.fixture
def mean_color():
    return from_model(lambda images: tf.reduce_mean(images, axis=(1, 2)), 8)


def test_present_sets_are_scored_and_absent_ones_are_listed(
    make_context, mean_color, data_dir, monkeypatch
):
    """Fine-tuning uses the data set's metric and splits."""
    calls = []

    def grid(context, parts, name, metric):
        calls.append((context.train_split, context.test_split, parts, name, metric))

        class Found:
            def row(self, what, metric):
                return transfer.Row(what, metric)

            def metrics(self):
                return {}

        return Found()

    monkeypatch.setattr(transfer, "finetune_grid", grid)
    context = make_context(mean_color, data_dir=data_dir, transfer_finetune=True, logreg_values=5)
    section = transfer.run(context)
    found = section.metrics["fgvc_aircraft"]
    assert found["metric"] == suite.MEAN_PER_CLASS
    assert found["linear"]["score"] == 1.0 and found["linear"]["test_images"] == 11
    assert "cifar10" in section.metrics["absent"] and "CIFAR-10" in section.notes[0]
    assert section.rows[0].what == "Aircraft, linear" and section.rows[0].result == "100.0 %"
    json.dumps(section.metrics)
    ((train, test, parts, name, metric),) = calls
    assert (train, test, name) == ("train", "test", "transfer_fgvc_aircraft_finetune")
    assert metric == "mean_per_class" and parts[0].startswith("train[")


def test_the_score_is_the_data_sets_metric(make_context, data_dir):
    """An encoder that sees red alone: two classes are one, and the mean is over classes."""
    blind = from_model(lambda images: tf.reduce_mean(images, axis=(1, 2))[:, :1], 8)
    context = make_context(blind, data_dir=data_dir, transfer_datasets="Aircraft", logreg_values=3)
    found = transfer.run(context).metrics["fgvc_aircraft"]["linear"]
    with np.load(context.path("predictions/transfer_fgvc_aircraft.npz")) as stored:
        labels, predicted = stored["labels"], stored["predictions"]
    recalls = [np.mean(predicted[labels == label] == label) for label in range(3)]
    assert found["score"] == pytest.approx(np.mean(recalls))
    assert found["score"] < 1


def test_several_labels_an_image_are_scored_by_map(make_context, mean_color):
    voc = next(d for d in suite.TRANSFER_DATASETS if d.multi_label)
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(30, 20)), rng.integers(0, 2, (30, 20))
    found = transfer._metric(voc, 20)(scores, labels)
    assert found == metrics.mean_average_precision_11_point(scores, labels)
    row, section = transfer._finetune(make_context(mean_color), voc, None)
    assert row.result == "-" and "several labels" in section["skipped"]


def test_voc_from_its_records_to_its_score(make_context, tmp_path):
    """Several labels an image, with difficult objects, through features, fits and mAP."""
    from tests.evaluation.test_transfer import _prepare

    sizes = {"train": 12, "validation": 6, "test": 6}
    _prepare(tmp_path, "voc/2007", sizes, num_classes=3, several=True)
    encoder = from_model(lambda images: tf.reduce_mean(images, axis=(1, 2)), 8)
    context = make_context(
        encoder, data_dir=str(tmp_path), transfer_datasets="voc", logreg_values=3
    )
    found = transfer.run(context).metrics["voc"]
    assert found["metric"] == suite.MEAN_AVERAGE_PRECISION
    with np.load(context.path("predictions/transfer_voc.npz")) as stored:
        labels, scores = stored["labels"], stored["predictions"]
    assert labels.shape == scores.shape == (6, 3) and -1 in labels
    expected = metrics.mean_average_precision_11_point(scores, labels)
    assert found["linear"]["score"] == pytest.approx(expected)


def test_unknown_names_are_refused_at_once(make_context, mean_color, data_dir):
    context = make_context(mean_color, data_dir=data_dir, transfer_datasets="mnist")
    with pytest.raises(InputError, match="transfer_datasets must name"):
        transfer.check(context)


def test_every_metric_is_known():
    for dataset in suite.TRANSFER_DATASETS:
        assert dataset.metric in (*transfer._FIELDS, suite.MEAN_AVERAGE_PRECISION)
        assert dataclasses.is_dataclass(dataset)
