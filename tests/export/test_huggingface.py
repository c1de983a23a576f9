"""A folder as a repository of Hugging Face, and back."""

from __future__ import annotations

import json

import numpy as np
import pytest
from simclr_tf.export.history import History
from simclr_tf.export.huggingface import write_repository

from simclr_tf.encoder import load_encoder

pytest.importorskip("safetensors", reason="pip install 'simclr_tf[safetensors]'")


@pytest.fixture(scope="module")
def repository(live, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hf") / "encoder"
    history = History(image_size=40, global_step=7, settings={"dataset": "cifar10"})
    write_repository(live, str(folder), history)
    return folder


def test_it_holds_card_settings_weights_and_code(repository):
    names = ["README.md", "config.json", "encoder.py", "model.safetensors"]
    assert sorted(path.name for path in repository.iterdir()) == names
    config = json.loads((repository / "config.json").read_text())
    assert config["model_type"] == "simclr_tf" and config["model"]["resnet_depth"] == 18


def test_the_card_has_front_matter(repository):
    head, front, card = (repository / "README.md").read_text().split("---\n", 2)
    values = {name: json.loads(value) for name, value in
              (line.split(": ", 1) for line in front.splitlines())}  # fmt: skip
    assert head == "" and values["datasets"] == ["cifar10"]
    assert values["pipeline_tag"] == "image-feature-extraction" and "simclr" in values["tags"]
    assert card.startswith("\n# SimCLR ResNet-18") and "saved_model" not in card
    assert "model.safetensors" in card and "from_bytes" not in card


def test_the_folder_is_loaded_back(repository, live, images):
    encoder = load_encoder(repository)
    np.testing.assert_array_equal(encoder(images)["final_avg_pool"], live(images)["final_avg_pool"])
    assert encoder.image_size == 40


def test_a_folder_of_somebody_is_not_named(live, tmp_path):
    write_repository(live, str(tmp_path / "x"), History(settings={"dataset": "folder:/home/me"}))
    assert "datasets" not in (tmp_path / "x" / "README.md").read_text().split("---")[1]
