import json

import numpy as np
import pytest
import tf_keras as keras

import simclr_tf
from simclr_tf.automatic import pace, recipe
from simclr_tf.data.array_source import from_arrays
from simclr_tf.errors import InputError
from simclr_tf.experiment import Given

IMAGES = np.random.default_rng(0).integers(0, 256, (220, 16, 16, 3), np.uint8)


def tiny():
    images = keras.Input((16, 16, 3))
    return keras.Model(images, keras.layers.Conv2D(8, 3, strides=2)(images), name="tiny")


@pytest.fixture
def timed(monkeypatch):
    """What is timed, each step of it taking half a second."""
    seen = []

    def half_a_second(run, given):
        seen.append(run)
        return 0.5

    monkeypatch.setattr(pace, "seconds_per_step", half_a_second)
    return seen


def settle(given=(), name="auto", budget="1m", say=lambda text: None, images=IMAGES):
    objects = Given(source=from_arrays(images, channels=images.shape[-1]))
    return recipe.settle(name, {"dataset": "arrays", **dict(given)}, budget, say, objects)


def test_what_is_chosen_is_timed_and_said_as_flags(timed):
    said = []
    found = settle(say=said.append)
    # About 60 of 220 images are held out: 160 are trained on, and half of those is 80.
    assert (found["train_batch_size"], found["image_size"]) == (64, 32)
    assert found["train_steps"] == 120 and found["checkpoint_steps"] == 12
    (run,) = timed
    assert run.train.train_batch_size == 64 and run.data.image_size == 32
    text = " ".join(said)
    for name, value in found.items():
        assert f"--{name}={value}" in text
    assert "0.5 s a step, timed, are 1 min 00 s" in text


def test_what_is_given_stays_and_is_timed(timed):
    found = settle({"train_batch_size": 16, "resnet_depth": 34, "temperature": 0.5}.items())
    assert not found.keys() & {"train_batch_size", "resnet_depth", "temperature"}
    (run,) = timed
    assert run.train.train_batch_size == 16 and run.model.encoder.resnet_depth == 34
    found = settle({"train_steps": 400}.items())
    assert len(timed) == 1 and "train_steps" not in found and found["checkpoint_steps"] == 40


def test_nothing_is_chosen_that_would_be_refused_as_idle(timed):
    found = settle({"encoder": "applications/MobileNetV2", "optimizer": "adam"}.items())
    assert not found.keys() & {"resnet_depth", "width_multiplier", "momentum"}
    found = settle({"views": "flip"}.items())
    assert not found.keys() & {"crop_area_min", "color_jitter_strength", "use_blur"}


def test_photos_have_three_channels(timed):
    images = IMAGES[..., :2]
    assert "views" in settle(images=images, given={"channels": 2}.items())
    with pytest.raises(InputError, match="^recipe must be auto with images of 2 channels"):
        settle(images=images, name="photos")


def test_a_run_that_was_begun_goes_on_with_what_was_chosen(tmp_path, timed):
    record = {"dataset": "arrays", "train_steps": 77, "learning_rate": 0.3, "master": "grpc://x"}
    (tmp_path / "config.json").write_text(json.dumps(record))
    (tmp_path / "flags.json").write_text(json.dumps({"recipe": "auto", "budget": "10m"}))
    given = {"model_dir": str(tmp_path), "temperature": 0.5}.items()
    for budget in ("10m", None):
        assert settle(given, budget=budget) == {"train_steps": 77, "learning_rate": 0.3}
    assert not timed
    with pytest.raises(InputError, match="^budget must be 10m, as the run"):
        settle(given, budget="1h")


def test_a_run_from_python(tmp_path, timed, eager):
    said = []
    asked = {"recipe": "auto", "budget": "10s", "views": "crop flip", "report": False,
             "model_dir": tmp_path / "run", "say": said.append}  # fmt: skip
    run = simclr_tf.pretrain(IMAGES, encoder=tiny(), **asked)
    assert run.step == 20 and run.config["train_batch_size"] == 64
    assert timed[0].data.image_size == 16  # the encoder's own
    assert any("--recipe=auto" in line for line in said)
    again = simclr_tf.pretrain(IMAGES, encoder=tiny(), **asked)
    assert again.step == 20 and len(timed) == 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"budget": "10m"}, "^budget needs recipe="),
        ({"recipe": "quickstart", "budget": "10m"}, "^budget needs recipe="),
        ({"recipe": "auto", "budget": "soon"}, "^budget must be a time"),
        ({"recipe": "auto", "budget": "1s"}, "^budget must be a time from 10s"),
    ],
)
def test_bad_budgets(tmp_path, settings, says):
    with pytest.raises(InputError, match=says):
        simclr_tf.pretrain(IMAGES, model_dir=tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def test_an_automatic_recipe_needs_images():
    with pytest.raises(InputError, match="recipe must be given with images"):
        simclr_tf.recipe("photos")
