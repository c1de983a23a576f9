import os

import numpy as np
import pytest

from simclr_tf.config import DataConfig
from simclr_tf.data import labels, sources
from simclr_tf.data.sources import UnlabeledSource
from simclr_tf.errors import InputError


@pytest.fixture
def digits():
    return sources.open_source(DataConfig(dataset="digits", image_size=8))


def shown(source, split="train"):
    found = source.records(split).as_numpy_iterator()
    return {os.fsdecode(record["id"]): int(record["label"]) for record in found}


def test_without_a_budget_nothing_changes(digits):
    found = labels.limit_labels(digits, "train", None, 0, "finetune")
    assert found.training is digits and found.labelled is digits
    assert found.subset is None and found.note is None


@pytest.mark.parametrize("mode", ["finetune", "supervised"])
def test_training_with_labels_sees_the_subset_alone(digits, mode):
    found = labels.limit_labels(digits, "train", "3_per_class", 0, mode)
    assert found.training is found.labelled
    counts = np.bincount(list(shown(found.training).values()))
    assert counts.tolist() == [3] * 10
    assert found.training.num_examples("train") == 30
    assert "30 labelled images" in found.note


@pytest.mark.parametrize("mode", ["pretrain", "distill"])
def test_other_training_sees_all_images_and_few_labels(digits, mode):
    found = labels.limit_labels(digits, "train", "3_per_class", 0, mode)
    everything, true = shown(found.training), shown(digits)
    assert everything.keys() == true.keys()
    kept = {key: label for key, label in everything.items() if label >= 0}
    assert sorted(kept) == sorted(found.subset.ids)
    assert all(true[key] == label for key, label in kept.items())
    assert shown(found.training, "test") == shown(digits, "test")
    assert found.labelled.num_examples("train") == 30


def test_several_labels_an_image(digits, monkeypatch):
    monkeypatch.setattr(type(digits), "multi_label", True)
    found = labels.limit_labels(digits, "train", None, 0, "pretrain")
    assert isinstance(found.training, UnlabeledSource)
    with pytest.raises(InputError, match="one label per image"):
        labels.limit_labels(digits, "train", None, 0, "finetune")
