"""The model card says what is known, and no more."""

from __future__ import annotations

import re

import pytest
from simclr_tf.export.card import model_card, network_name
from simclr_tf.export.history import History

from simclr_tf.config import ModelConfig
from simclr_tf.settings import by_name

ENDPOINTS = {"block_group1": 64, "final_avg_pool": 512, "proj_head_output": 128, "logits_sup": 3}
SETTINGS = {
    "dataset": "cifar10", "train_split": "train", "image_size": 32, "train_batch_size": 128,
    "optimizer": "lars", "learning_rate": 4.0, "temperature": 0.2, "use_blur": False,
    "checkpoint": None, "eval_steps": 0, "eval_batch_size": 256,
}  # fmt: skip
METRICS = {"eval/label_top_1_accuracy": 0.727, "untrained/knn_20_accuracy": 0.166,
           "eval/knn_20_accuracy": 0.885}  # fmt: skip


def _record(image_size: int = 32, **changes) -> dict:
    model = {**by_name.flatten(ModelConfig()), "stem": "cifar", "resnet_depth": 18, **changes}
    return {
        "model": model, "num_classes": 3, "class_names": ["cat", "dog", "owl"],
        "image_size": image_size, "global_step": 840, "parameters": 11_000_000,
        "endpoints": ENDPOINTS,
    }  # fmt: skip


def _row(card: str, first: str) -> str:
    return next(line for line in card.splitlines() if line.startswith(f"| {first} |"))


def test_a_run_is_described():
    history = History(settings=SETTINGS, recipe="cifar10_cpu", metrics=METRICS,
                      evaluated_on="`cifar10`, split `test`")  # fmt: skip
    card = model_card(_record(), history)
    assert card.startswith("# SimCLR ResNet-18, CIFAR stem, trained on `cifar10`\n")
    assert "11,000,000 parameters, 512-dimensional" in card and "recipe `cifar10_cpu`" in card
    assert "Measured on `cifar10`, split `test`." in card
    assert "72.7 %" in _row(card, "Linear head, top-1")
    assert "88.5 %" in _row(card, "kNN, k = 20")
    assert "16.6 %" in _row(card, "kNN, k = 20, untrained encoder")
    assert "33.3 %" in _row(card, "Chance")
    assert _row(card, "Learning rate") == "| Learning rate | 4 |"
    assert _row(card, "Blur") == "| Blur | no |"
    assert "(N, h, w, 64)" in _row(card, "`block_group1`")
    assert "(N, 512)" in _row(card, "`final_avg_pool`")
    assert "Classes: 0 cat, 1 dog, 2 owl." in card


def test_unknown_things_are_said_to_be_unknown():
    card = model_card({**_record(), "class_names": None}, History(source="TF1 checkpoint"))
    assert "How these weights were trained is not recorded here" in card
    assert "read from a TF1 checkpoint" in card
    assert "No accuracy of this step is recorded" in card
    assert "3 classes, whose names are unknown" in card
    assert "None" not in card and "labels" not in card and "stop-gradient" not in card


def test_a_part_of_the_split_is_called_so():
    history = History(settings={**SETTINGS, "eval_steps": 2}, metrics=METRICS, evaluated_on="X")
    assert "Measured on X, 512 images at most." in model_card(_record(), history)


def test_fine_tuning_has_no_temperature():
    settings = {**SETTINGS, "checkpoint": "/home/me/runs/a/"}
    card = model_card(_record(train_mode="finetune"), History(settings=settings, metrics=METRICS))
    assert "fine-tuned with labels" in card and "| Started from | `a` |" in card
    assert "Temperature" not in card and "stop-gradient" not in card and "/home" not in card


def test_supervised_training_has_the_views_of_pretraining():
    card = model_card(_record(train_mode="supervised"), History(settings=SETTINGS))
    assert "image encoder trained with labels" in card and "on labels alone" in card
    assert "| Blur | no |" in card and "Temperature" not in card and "stop-gradient" not in card


def test_own_views_stand_in_the_place_of_the_policy():
    settings = {**SETTINGS, "views": "crop rot90 | blur"}
    card = model_card(_record(), History(settings=settings))
    assert _row(card, "Views") == r"| Views | crop rot90 \| blur |"
    assert "Blur" not in card and "Smallest crop" not in card and "Temperature" in card


def test_a_student_names_its_teacher_without_the_path():
    settings = {**SETTINGS, "teacher": "/home/me/runs/big/", "distill_temperature": 0.5,
                "distill_alpha": 1.0}  # fmt: skip
    card = model_card(_record(train_mode="distill"), History(settings=settings))
    assert "distilled from another network" in card
    assert "| Teacher | `big` |" in card and "| Temperature | 0.5 |" in card
    assert "/home" not in card and "Blur" not in card


def test_an_encoder_alone_has_no_logits():
    record = {**_record(), "endpoints": {"final_avg_pool": 512}, "num_classes": None}
    card = model_card(record, History())
    assert "logits" not in card and "Classes" not in card


@pytest.mark.parametrize(("size", "crop"), [(32, "the central square,"), (224, "0.875")])
def test_preprocessing_is_that_of_the_evaluation(size, crop):
    card = model_card(_record(size), History())
    assert crop in card and f"{size} x {size}" in card and f"({size}, {size}, 3)" in card


def test_many_classes_are_not_all_listed():
    names = [f"class{k}" for k in range(50)]
    card = model_card({**_record(), "class_names": names}, History())
    assert "19 class19, and 30 more in `assets.extra/simclr_tf.json`" in card


def test_it_is_well_formed_markdown():
    card = model_card(_record(), History(settings=SETTINGS, metrics=METRICS))
    assert card.count("```") % 2 == 0
    for table in re.findall(r"(?:^\|.*\n)+", card, flags=re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert card.rstrip().splitlines()[-1].endswith("within the terms of the data.")
    assert not re.search(r"SIZE|\{|\}", re.sub(r"`[^`]*`", "", card))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"resnet_depth": 50, "stem": "imagenet"}, "ResNet-50, ImageNet stem"),
        ({"resnet_depth": 152, "width_multiplier": 3.0, "sk_ratio": 0.0625, "stem": "imagenet"},
         "ResNet-152, 3x wide, SK 0.0625, ImageNet stem"),
        ({"width_multiplier": 0.25, "se_ratio": 0.25},
         "ResNet-18, 0.25x wide, SE 0.25, CIFAR stem"),
    ],
)  # fmt: skip
def test_architectures_have_short_names(changes, name):
    assert network_name(_record(**changes)["model"]) == name
