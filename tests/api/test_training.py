"""`pretrain`, `finetune` and `Run`: the calls of the library, on a small encoder of Keras."""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import simclr_tf
from simclr_tf import views
from simclr_tf.config import ModelConfig
from simclr_tf.errors import InputError
from simclr_tf.models.network import Network
from simclr_tf.modes import training
from simclr_tf.settings import by_name
from tests import shallow

SIZE = 16
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, 64)
# Two classes that differ in brightness, in 5 channels of 16 bits.
IMAGES = (RNG.random((64, SIZE, SIZE, 5)) * 20_000 + LABELS[:, None, None, None] * 40_000).astype(
    np.uint16
)
UNIT = (IMAGES / 65535).astype(np.float32)
STEPS = {
    "steps": 6,
    "batch_size": 16,
    "checkpoint_steps": 3,
    "deterministic": True,
    "report": False,
}


def stains(image, seed):
    """A view of one's own."""
    return image * tf.random.stateless_uniform([], seed, 0.8, 1.0)


OWN_VIEWS = [views.crop((0.3, 1)), views.flip(vertical=True), views.rot90(), stains]


def tiny(name="tiny", channels=5):
    images = keras.Input((SIZE, SIZE, channels))
    x = keras.layers.SeparableConv2D(8, 3, strides=2)(images)
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(images, keras.layers.ReLU()(x), name=name)


def quiet(text):
    """Nobody reads it."""


def train(folder, encoder, **settings):
    return simclr_tf.pretrain(
        IMAGES, encoder=encoder, views=OWN_VIEWS, model_dir=folder,
        **{"say": quiet, **STEPS, **settings},
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(str(tmp_path_factory.mktemp("runs") / "cells"), tiny())


@pytest.fixture(scope="module")
def reopened(run):
    return simclr_tf.open_run(run.folder)


def pooled(model, images=UNIT):
    return model(images).numpy().mean(axis=(1, 2))


def test_the_model_that_was_handed_over_is_trained(run):
    assert run.step == 6
    first = keras.models.load_model(os.path.join(run.folder, "encoder.keras"))
    assert np.abs(pooled(run.encoder) - pooled(first)).max() > 1e-3


def test_the_untrained_encoder_is_the_one_that_training_began_with(run, reopened):
    first = keras.models.load_model(os.path.join(run.folder, "encoder.keras"))
    for one in (run, reopened):
        vectors = simclr_tf.embed(one.untrained, IMAGES[:9])
        np.testing.assert_allclose(vectors, pooled(first, UNIT[:9]), atol=1e-6)


def test_embeddings_are_in_the_order_of_the_images(run, reopened):
    np.testing.assert_allclose(run.embed(IMAGES[:9]), pooled(run.encoder, UNIT[:9]), atol=1e-6)
    np.testing.assert_allclose(reopened.embed(IMAGES), pooled(run.encoder), atol=1e-6)
    np.testing.assert_allclose(run.embed(), pooled(run.encoder), atol=1e-6)
    ids, _ = reopened.embed({"a": IMAGES[:2], "b": IMAGES[2:3]}, with_ids=True)
    assert ids == ["a/0", "a/1", "b/0"]


def test_embeddings_in_a_file(reopened, tmp_path):
    path = tmp_path / "cells.npz"
    vectors = reopened.embed(IMAGES[:12], output=path)
    found = simclr_tf.retrieval.embeddings.read_embeddings(path)
    assert found.ids == [f"train/{i}" for i in range(12)]
    np.testing.assert_array_equal(found.vectors, vectors)


def test_a_page_of_what_is_among_the_images(run, reopened, tmp_path):
    """Arrays have no files: their pictures come from the arrays themselves."""
    path = reopened.explore(IMAGES[:30], say=quiet)
    assert path == os.path.join(reopened.folder, "explore.html")
    assert {"explore.csv", "explore.parquet"} <= set(os.listdir(reopened.folder))
    assert "Pictures: 30 of 30." in " ".join(open(path).read().split())  # noqa: SIM115
    other = run.explore(output=str(tmp_path / "own.html"), num_groups=3, say=quiet)
    assert f"Pictures: {len(IMAGES)} of {len(IMAGES)}." in (tmp_path / "own.html").read_text()
    assert other == str(tmp_path / "own.html") and (tmp_path / "own.csv").is_file()


def test_evaluation_with_labels_that_came_later(run):
    found = run.evaluate("knn", labels=LABELS, knn_neighbors="1", say=quiet)
    assert found["knn"].metrics["weighted"]["k_1"] > 0.8
    with pytest.raises(InputError, match=r"labels\['train'\] must be of shape \(64,\)"):
        run.evaluate("knn", labels=LABELS[:3])


def test_the_quality_of_the_features_beside_the_untrained_ones(run):
    found = run.quality
    assert found.num_images == 64 and found.projected is not None
    assert found.trained != found.untrained
    assert 1 <= found.trained.effective_rank <= 8 and 0 <= found.trained.retrieval <= 1
    assert found.untrained.rank_share == pytest.approx(found.untrained.effective_rank / 8)
    lines = str(found).splitlines()
    assert len(lines) == 11 and lines[-1] == str(found.verdict)


def test_a_batch_norm_too_slow_for_the_run_is_said(tmp_path, eager):
    said = []
    for momentum, name in ((0.999, "slow"), (0.9, "fast")):
        model = tiny(name)
        model.layers[2].momentum = momentum
        train(str(tmp_path / name), model, say=said.append)
    (note,) = (line for line in said if "running statistics" in line)
    assert "after 6 steps" in note and "slow will still be 99% those of the start" in note


class Cut(keras.layers.Layer):
    """A layer that lets no gradient through."""

    def call(self, inputs):
        return tf.stop_gradient(inputs)


def test_an_encoder_that_can_not_learn_is_refused_before_training(tmp_path):
    images = keras.Input((SIZE, SIZE, 5))
    rounded = keras.Model(images, Cut()(keras.layers.Conv2D(8, 3)(images)), name="rounded")
    with pytest.raises(InputError, match="must have features that depend on its trainable var"):
        train(str(tmp_path / "run"), rounded)
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_killed_goes_on_bit_by_bit(run, tmp_path):
    folder = tmp_path / "cells"
    shutil.copytree(run.folder, folder)
    for name in os.listdir(folder):
        if name.startswith(("ckpt-6", "checkpoint")):
            os.remove(folder / name)
    keras.layers.Conv2D(3, 3)  # other layers take the names that the first process gave
    again = tiny("tiny_4")
    assert train(str(folder), again).step == 6
    for one, other in zip(run.encoder.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_encoder_or_other_images_are_another_run(run):
    with pytest.raises(InputError, match="encoder must have the weights of tiny"):
        wide = keras.Sequential(
            [keras.layers.InputLayer((SIZE, SIZE, 5)), keras.layers.Conv2D(8, 3)], name="tiny"
        )
        train(run.folder, wide)
    with pytest.raises(InputError, match="dataset=arrays:"):
        simclr_tf.pretrain(IMAGES[:32], encoder=tiny(), views=OWN_VIEWS, model_dir=run.folder,
                           say=quiet, **STEPS)  # fmt: skip
    with pytest.raises(InputError, match="views=crop"):
        simclr_tf.pretrain(IMAGES, encoder=tiny(), views=OWN_VIEWS[:2], model_dir=run.folder,
                           say=quiet, **STEPS)  # fmt: skip


def test_the_record_says_what_was_done(run):
    assert run.config["encoder"] == "keras:tiny" and run.config["channels"] == 5
    assert run.config["views"].split()[-1].endswith("test_training:stains")
    assert run.config["image_size"] == SIZE
    flags = json.loads(pathlib.Path(run.folder, "flags.json").read_text())
    assert flags["train_steps"] == 6 and flags["mode"] == "train"


def test_exports_hold_the_network(run, tmp_path):
    places = run.export(tmp_path / "out", ["saved_model", "keras"])
    assert [os.path.basename(place) for place in places] == [
        "README.md", "saved_model", "encoder.keras",
    ]  # fmt: skip
    module = tf.saved_model.load(places[1])
    np.testing.assert_allclose(module(UNIT)["final_avg_pool"], pooled(run.encoder), atol=1e-6)
    model = keras.models.load_model(places[2])
    np.testing.assert_allclose(model(UNIT)["final_avg_pool"], pooled(run.encoder), atol=1e-6)
    loaded = simclr_tf.load_encoder(places[1], "final_avg_pool", heads=False)
    np.testing.assert_allclose(loaded(UNIT), pooled(run.encoder), atol=1e-6)
    assert "tiny" in pathlib.Path(places[0]).read_text().splitlines()[0]


def test_only_what_says_something_of_the_encoder_is_its_architecture(run):
    assert run.architecture == {
        "encoder": "keras:tiny", "channels": 5, "proj_head_mode": "nonlinear", "proj_out_dim": 128,
        "num_proj_layers": 3, "ft_proj_selector": 0,
    }  # fmt: skip


def test_fine_tuning_starts_from_the_run(run, tmp_path):
    tuned = simclr_tf.finetune(
        simclr_tf.open_run(run), IMAGES, LABELS, steps=2, batch_size=8, learning_rate=0.1,
        report=False, fine_tune_after_block=4, model_dir=tmp_path / "tuned", say=quiet,
    )  # fmt: skip
    assert tuned.config["train_mode"] == "finetune"
    np.testing.assert_array_equal(tuned.embed(IMAGES[:4]), run.embed(IMAGES[:4]))
    assert simclr_tf.load_model(tuned.folder).model.num_classes == 2


def test_fine_tuning_takes_the_network_of_any_checkpoint(monkeypatch, tmp_path):
    settings = {"width_multiplier": 1 / 16, "se_ratio": 0.25, "stem": "cifar", "proj_out_dim": 5}
    model = Network(by_name.build_config(ModelConfig, {"resnet_depth": 18, **settings}), None)
    model(UNIT[:1, ..., :3])
    prefix = tf.train.Checkpoint(model=model).write(str(tmp_path / "weights"))
    begun = []

    def begin(run, *_):
        begun.append(run)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", begin)
    with pytest.raises(KeyboardInterrupt):
        simclr_tf.finetune(prefix, IMAGES[..., :3], LABELS, batch_size=8, say=quiet)
    found = by_name.flatten(begun[0])
    assert {name: found[name] for name in settings} == settings
    assert (found["checkpoint"], found["train_mode"]) == (prefix, "finetune")


class Recorder(keras.callbacks.Callback):
    """Notes what it hears, and ends the run after its second epoch."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def on_epoch_end(self, epoch, logs=None):
        self.heard.append((epoch, sorted(logs)))
        self.model.stop_training = epoch == 1

    def on_train_end(self, logs=None):
        self.heard.append("end")


def test_callbacks_hear_of_epochs_and_end_the_run(tmp_path, eager):
    recorder = Recorder()
    lines = []
    run = simclr_tf.pretrain(IMAGES, encoder=tiny(), views="crop flip", callbacks=[recorder],
                             model_dir=tmp_path / "run", say=lines.append,
                             **{**STEPS, "steps": 20, "checkpoint_steps": 100})  # fmt: skip
    assert run.step == 8  # two epochs of four steps
    names = ["contrast_acc", "contrast_entropy", "contrast_loss", "loss", "weight_decay"]
    assert recorder.heard == [(0, names), (1, names), "end"]
    assert "a callback ended the run at step 8" in lines
    with pytest.raises(InputError, match="callbacks must not set the learning rate"):
        simclr_tf.pretrain(IMAGES, encoder=tiny(), views="crop flip", say=quiet, model_dir=run,
                           callbacks=[keras.callbacks.ReduceLROnPlateau()])  # fmt: skip


def test_the_network_of_the_settings_takes_any_channels(tmp_path, eager):
    shallow.install()
    run = simclr_tf.pretrain(
        IMAGES, views="crop(0.3,1) flip blur", resnet_depth=18, width_multiplier=0.0625, steps=1,
        batch_size=8, report=False, model_dir=tmp_path / "run", say=quiet,
    )  # fmt: skip
    kernel = simclr_tf.load_model(run).model.encoder.stem.conv.kernel
    assert kernel.shape == (3, 3, 5, 4)
    assert run.embed(IMAGES[:3]).shape == (3, 32)


def nan(image):
    return image * np.nan


def double(image):
    return tf.cast(image, tf.float64)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"images": IMAGES[:0]}, "images.* must be of shape .* and not empty"),
        ({"images": IMAGES.astype(np.float32)}, "must lie in .*or value_range"),
        ({"images": 7}, "images must be an array"),
        ({"labels": LABELS[:5]}, r"labels\['train'\] must be of shape \(64,\)"),
        ({"encoder": tiny(channels=3)}, "channels must be 5"),
        ({"encoder": "applications/Nothing"}, "encoder must be one of"),
        ({"views": [double]}, "double must return float32"),
        ({"views": "crop flp"}, "views .*flp.*mean.*flip"),
        ({"views": "crop color"}, "color.*3 channels"),
        ({"views": None}, "views must be named without color distortion, which needs 3 channels"),
        ({"resnet_depth": 18}, "resnet_depth has no effect with encoder=keras:tiny"),
        ({"fine_tune_after_block": 2}, "fine_tune_after_block must be -1 .all. or 4"),
        ({"stepz": 3}, "stepz is not a setting of a run"),
        ({"steps": 0}, "steps must be a whole number of at least 1"),
        ({"batch_size": "8"}, "batch_size must be a whole number of at least 1"),
        ({"train_steps": 3}, "steps must be left out beside train_steps"),
        ({"dataset": "cifar10"}, "dataset must be left out beside images"),
        ({"encoder": 5}, r"encoder must be a tf_keras model .*builtins.int"),
        ({"images": IMAGES[0, :, :, :3]}, "one image alone is images.None"),
        ({"labels": LABELS * 10**9}, r"labels\['train'\] must be below 1,048,576"),
        ({"images": UNIT * np.nan}, r"images\['train'\] must hold finite numbers"),
        ({"batch_size": 65}, "^batch_size must not exceed the 64 images"),
        ({"image_size": 32}, "encoder must take the images of this run, 32 x 32 x 5"),
        ({"precision": "bfloat16"}, "precision must be float32 with an encoder"),
        ({"callbacks": [3]}, "callbacks must be callbacks of tf_keras"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_folder(changes, text, tmp_path):
    given = {"images": IMAGES, "encoder": tiny(), "views": OWN_VIEWS, **STEPS, **changes}
    with pytest.raises(InputError, match=text) as caught:
        simclr_tf.pretrain(given.pop("images"), model_dir=tmp_path / "run", say=quiet, **given)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_function_that_gives_nan_is_named(tmp_path):
    with pytest.raises(Exception, match="nan.*finite"):
        simclr_tf.pretrain(IMAGES, encoder=tiny(), views=[nan], say=quiet,
                           model_dir=tmp_path / "run", **STEPS)  # fmt: skip


def fails(image):
    made = tf.numpy_function(lambda one: 1 / 0, [image], tf.float32)
    return tf.ensure_shape(made, image.shape)


def test_a_function_that_fails_ends_the_run_at_once(tmp_path):
    """It is no failure of the storage, after which the step would be tried again."""
    lines = []
    with pytest.raises(InputError, match="views must be made .*division by zero"):
        simclr_tf.pretrain(IMAGES, encoder=tiny(), views=[fails], say=lines.append,
                           model_dir=tmp_path / "run", **STEPS)  # fmt: skip
    assert not any("retry" in line for line in lines)
    assert not list((tmp_path / "run").glob("ckpt-*"))


class Raiser(keras.callbacks.Callback):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def on_epoch_end(self, epoch, logs=None):
        raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("of the user's")])
def test_what_a_callback_raises_loses_nothing(error, tmp_path, eager):
    with pytest.raises(type(error)):
        simclr_tf.pretrain(IMAGES, encoder=tiny(), views="crop flip", say=quiet,
                           callbacks=Raiser(error), model_dir=tmp_path / "run",
                           **{**STEPS, "checkpoint_steps": 100})  # fmt: skip
    assert simclr_tf.open_run(tmp_path / "run").step == 4


def test_a_run_of_arrays_gets_its_images_again(run):
    with pytest.raises(InputError, match="images must be given, here or to open_run"):
        simclr_tf.open_run(run).embed()
    again = simclr_tf.open_run(run, images=IMAGES, labels=LABELS)
    np.testing.assert_array_equal(again.embed(), run.embed())
    assert again.quality == run.quality


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: simclr_tf.open_run(3), "folder must be a folder or a run"),
        (lambda: simclr_tf.embed(tiny(), IMAGES), "encoder must be a run, a path, or a FrozenEn"),
        (lambda: simclr_tf.evaluate(None, IMAGES), "encoder must be a run, a path, or a FrozenEn"),
        (lambda: simclr_tf.finetune(tiny(), IMAGES), "checkpoint must be a folder or a run"),
    ],
)
def test_other_things_in_the_place_of_a_run(call, text):
    with pytest.raises(InputError, match=text):
        call()


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(InputError, match="folder must be that of a run"):
        simclr_tf.open_run(tmp_path)
