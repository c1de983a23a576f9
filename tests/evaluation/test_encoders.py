"""Any encoder: ours, SavedModels and Keras files of others, callables; what is refused and why."""

from __future__ import annotations

import functools
import json
import pathlib
import shutil
import tarfile
import zipfile

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from simclr_tf.export.keras_file import write_keras_file
from simclr_tf.export.saved_model import export_encoder
from tensorflow.python.trackable import resource

from simclr_tf.config import DataConfig, RunConfig
from simclr_tf.encoder import Encoder, load_encoder
from simclr_tf.errors import InputError
from simclr_tf.evaluation.encoders import from_model, frozen_state, open_encoder
from simclr_tf.job import Job
from simclr_tf.training.run_config import record_config
from simclr_tf.weights.load import load_model

# Only the last section is about what runs; elsewhere the files are our own.
pytestmark = pytest.mark.filterwarnings("ignore:.*the code of its author runs")
open_foreign = functools.partial(open_encoder, allow_foreign_graph=True)

SIZE = 16
IMAGES = np.random.default_rng(0).random((3, SIZE, SIZE, 3), np.float32)


def randomize(variables, seed=1):
    rng = np.random.default_rng(seed)
    for variable in variables:
        variable.assign(rng.uniform(0.1, 0.5, variable.shape))


@pytest.fixture
def network(tiny_model):
    model = tiny_model()
    randomize(model.variables)
    return model


def save_run(model, folder, step=7):
    folder.mkdir(parents=True)
    data = DataConfig(image_size=SIZE)
    record_config(RunConfig(str(folder), data=data, model=model.config), ("a", "b", "c"))
    return tf.train.Checkpoint(model=model).write(str(folder / f"ckpt-{step}"))


def assert_same_features(encoder, expected):
    found = encoder.encode(tf.constant(IMAGES))["final_avg_pool"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    traced = tf.function(encoder.encode, autograph=False)(IMAGES)["final_avg_pool"]
    np.testing.assert_allclose(traced, expected, rtol=1e-5)


# Ours.


def test_a_run(network, tmp_path):
    prefix = save_run(network, tmp_path / "run")
    for path in (tmp_path / "run", prefix):
        encoder = open_encoder(path)
        assert (encoder.image_size, encoder.global_step) == (SIZE, 7)
        assert (encoder.path, encoder.name) == (str(path), str(path))
        assert encoder.run_dir == str(tmp_path / "run")
        assert encoder.model.num_classes == 3
        assert_same_features(encoder, network(IMAGES)["final_avg_pool"])
        assert set(encoder.encode(IMAGES)) == set(network(IMAGES))


def test_the_same_weights_have_one_fingerprint_and_others_another(network, tmp_path):
    for name in ("run", "again"):
        save_run(network, tmp_path / name)
    found = {open_encoder(tmp_path / name).fingerprint for name in ("run", "again")}
    found.add(from_model(network, SIZE).fingerprint)
    assert len(found) == 1 and len(found.pop()) == 64
    (statistics, *_) = [v for v in network.variables if "moving_variance" in v.name]
    statistics.assign(statistics * 1.001)
    save_run(network, tmp_path / "later")
    later, before = (open_encoder(tmp_path / name).fingerprint for name in ("later", "run"))
    assert later != before


def test_an_export_can_be_fine_tuned(network, tmp_path):
    folder = export_encoder(network, str(tmp_path / "module"))
    pathlib.Path(folder, "saved_model.pb").write_bytes(b"no graph")  # only variables are read
    encoder = open_encoder(folder, image_size=24)
    assert encoder.image_size == 24 and encoder.run_dir is None
    assert encoder.model.trainable_variables
    assert encoder.fingerprint == from_model(network, SIZE).fingerprint
    assert_same_features(encoder, network(IMAGES)["final_avg_pool"])


def test_our_keras_file_is_a_foreign_one(network, tmp_path):
    path = str(tmp_path / "encoder.keras")
    write_keras_file(network, path)
    encoder = open_encoder(path, SIZE)
    assert encoder.model is None and encoder.path == path and len(encoder.fingerprint) == 64
    assert set(encoder.encode(IMAGES)) == set(network(IMAGES))
    assert_same_features(encoder, network(IMAGES)["final_avg_pool"])


# Foreign files.


def stock_model(shape=(SIZE, SIZE, 3), pooled=True):
    images = keras.Input(shape)
    x = keras.layers.Conv2D(4, 3, activation="relu")(images)
    x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(x))
    model = keras.Model(images, keras.layers.GlobalAveragePooling2D()(x) if pooled else x)
    randomize(model.variables)
    return model


class Foreign(tf.Module):
    """Features through a matrix, by a call and a signature that differ in what they take."""

    def __init__(self, output="bare", name=None):
        super().__init__(name=name)
        self.output = output
        self.matrix = tf.Variable(np.random.default_rng(2).random((3, 5), np.float32), name="w")

    def features(self, images):
        features = tf.reduce_mean(images, (1, 2)) @ self.matrix
        if self.output == "map":
            return images
        if self.output == "classes":
            return tf.argmax(features, axis=1)
        if self.output == "two":
            return {"left": features, "right": features}
        return features if self.output == "bare" else {self.output: features, "map": images}


def image_spec(size=None, batch=None, dtype=tf.float32):
    return tf.TensorSpec([batch, size, size, 3], dtype, name="pixels")


def save_callable(module, folder, spec=None, keyword=None):
    """Saves with `__call__` traced for no keyword or the given one, True and False."""
    saved = tf.train.Checkpoint(module=module)
    spec = image_spec() if spec is None else spec
    if keyword is None:
        saved.__call__ = tf.function(module.features, input_signature=[spec])
    else:
        scale = {True: np.nan, False: 1.0}

        def call(images, training=False, trainable=False):
            return module.features(images) * scale[training or trainable]

        def call_trainable(images, trainable=True):
            return module.features(images) * scale[trainable]

        saved.__call__ = tf.function(call if keyword == "training" else call_trainable)
        for value in (True, False):
            saved.__call__.get_concrete_function(spec, **{keyword: value})
    tf.saved_model.save(saved, str(folder))
    return str(folder)


def save_signature(module, folder, key="serving_default", spec=None):
    spec = image_spec() if spec is None else spec

    @tf.function(input_signature=[spec])
    def serve(pixels):
        output = module.features(tf.cast(pixels, tf.float32))
        return output if isinstance(output, dict) else {"anything": output}

    tf.saved_model.save(module, str(folder), signatures={key: serve})
    return str(folder)


def expected_features():
    return IMAGES.mean((1, 2)) @ np.random.default_rng(2).random((3, 5), np.float32)


@pytest.mark.parametrize("keyword", [None, "training", "trainable"])
def test_a_callable_saved_model(keyword, tmp_path):
    encoder = open_foreign(save_callable(Foreign(), tmp_path / "m", keyword=keyword), SIZE)
    assert encoder.model is None and encoder.global_step == 0
    assert_same_features(encoder, expected_features())
    assert len(encoder.variables) == 1


@pytest.mark.parametrize(
    ("key", "output"),
    [("serving_default", "bare"), ("default", "default"), ("serving_default", "embedding"),
     ("default", "pooler_output")],
)  # fmt: skip
def test_a_signature(key, output, tmp_path):
    encoder = open_foreign(save_signature(Foreign(output), tmp_path / "m", key), SIZE)
    assert_same_features(encoder, expected_features())
    (name,) = frozen_state(encoder)
    assert name == "w:0"


def test_other_endpoints_of_a_mapping_are_kept(tmp_path):
    encoder = open_foreign(save_callable(Foreign("final_avg_pool"), tmp_path / "m"), SIZE)
    assert set(encoder.encode(IMAGES)) == {"final_avg_pool", "map"}


@pytest.mark.parametrize("kind", ["save", "export", "keras"])
def test_a_keras_model_in_inference_mode(kind, tmp_path):
    model = stock_model()
    path = str(tmp_path / ("model.keras" if kind == "keras" else "model"))
    (model.export if kind == "export" else model.save)(path)
    encoder = (open_encoder if kind == "keras" else open_foreign)(path)
    assert encoder.image_size == SIZE
    assert_same_features(encoder, model(IMAGES, training=False))
    assert len(encoder.variables) == len(model.variables)


def test_foreign_features_are_extracted_like_any(tmp_path):
    encoder = open_foreign(save_signature(Foreign(), tmp_path / "m"), SIZE)
    data = tf.data.Dataset.from_tensor_slices({"image": IMAGES}).batch(2)
    found = encoder.extractor(Job()).features(data)
    np.testing.assert_allclose(found.features, expected_features(), atol=1e-6)


def test_an_archive_of_a_foreign_saved_model(tmp_path):
    folder = save_signature(Foreign(), tmp_path / "m")
    with tarfile.open(tmp_path / "m.tar.gz", "w:gz") as archive:
        for entry in sorted(pathlib.Path(folder).iterdir()):
            archive.add(entry, entry.name)
    encoder = open_foreign(tmp_path / "m.tar.gz", SIZE)
    assert_same_features(encoder, expected_features())
    assert encoder.fingerprint == open_foreign(folder, SIZE).fingerprint
    assert encoder.name == str(tmp_path / "m.tar.gz")


def test_fingerprints_of_files_follow_graph_and_variables_only(tmp_path):
    folder = pathlib.Path(save_signature(Foreign(), tmp_path / "m"))
    first = open_foreign(folder, SIZE).fingerprint
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "README").write_text("notes")
    assert open_foreign(tmp_path / "copy", SIZE).fingerprint == first
    changed = Foreign()
    changed.matrix.assign_add(tf.ones((3, 5)))
    assert open_foreign(save_signature(changed, tmp_path / "n"), SIZE).fingerprint != first


@pytest.mark.parametrize("kind", ["save", "export", "keras"])
def test_files_opened_in_the_scope_of_a_strategy(kind, tmp_path):
    """The encoder works inside replicas and, as where a head is built, between them."""
    model = stock_model()
    path = str(tmp_path / ("model.keras" if kind == "keras" else "model"))
    (model.export if kind == "export" else model.save)(path)
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        encoder = open_foreign(path)
        found = [encoder.encode(tf.constant(IMAGES)), strategy.run(encoder.encode, (IMAGES,))]
    for endpoints in found:
        expected = model(IMAGES, training=False)
        np.testing.assert_allclose(endpoints["final_avg_pool"], expected, rtol=1e-5)
    assert frozen_state(encoder) == frozen_state(open_foreign(path))


# Models in memory.


def test_callables():
    encoder = from_model(lambda images: tf.reduce_mean(images, (1, 2)), SIZE, "mean color")
    assert (encoder.name, encoder.fingerprint, encoder.model) == ("mean color", "", None)
    assert_same_features(encoder, IMAGES.mean((1, 2)))
    assert frozen_state(encoder) == {}
    assert list(frozen_state(from_model(Foreign().features, SIZE))) == []


def test_a_keras_model_in_memory():
    model = stock_model()
    encoder = from_model(model, SIZE)
    assert_same_features(encoder, model(IMAGES, training=False))
    again = from_model(model, SIZE).fingerprint
    assert len(encoder.fingerprint) == 64 and again == encoder.fingerprint
    model.layers[1].bias.assign_add(tf.ones(4))
    assert from_model(model, SIZE).fingerprint != encoder.fingerprint


def test_the_configuration_of_a_keras_model_counts():
    def build(activation):
        model = keras.Sequential([keras.layers.Input((SIZE, SIZE, 3), name="images"),
                                  keras.layers.GlobalMaxPooling2D(name="pool"),
                                  keras.layers.Dense(2, activation, name="dense")],
                                 name="model")  # fmt: skip
        randomize(model.variables)
        return from_model(model, SIZE).fingerprint

    assert build("relu") == build("relu") != build("tanh")


def test_classes_of_ones_own_have_no_fingerprint():
    class Own(keras.layers.Layer):
        def call(self, images):
            return tf.reduce_mean(images, (1, 2))

    class Model(keras.Model):
        def call(self, images):
            return tf.reduce_max(images, (1, 2))

    assert from_model(keras.Sequential([Own()]), SIZE).fingerprint == ""
    assert from_model(Model(), SIZE).fingerprint == ""


def test_our_models_in_memory(network):
    encoder = from_model(network, SIZE)
    assert encoder.model is network
    wrapped = from_model(Encoder(network, SIZE), SIZE)
    assert wrapped.model is network
    pooled = from_model(Encoder(network, SIZE, "final_avg_pool", heads=False), SIZE)
    assert pooled.model is None
    for found in (encoder, wrapped, pooled):
        assert_same_features(found, network(IMAGES)["final_avg_pool"])
        assert found.fingerprint
    projected = from_model(Encoder(network, SIZE, "proj_head_output"), SIZE)
    assert projected.fingerprint != wrapped.fingerprint


# What must not change.


def test_frozen_state_names_every_variable_and_notices_every_change(network):
    encoder = from_model(network, SIZE)
    before = frozen_state(encoder)
    assert sorted(before) == sorted(variable.name for variable in network.variables)
    encoder.encode(IMAGES)
    assert frozen_state(encoder) == before
    network(IMAGES, training=True)
    after = frozen_state(encoder)
    changed = {name for name in before if before[name] != after[name]}
    assert changed and all("moving" in name for name in changed)


def test_variables_of_one_name_are_told_apart():
    class Twins:
        variables = (tf.Variable(1.0, name="v"), tf.Variable(2.0, name="v"))

        def __call__(self, images):
            return tf.reduce_mean(images, (1, 2))

    encoder = from_model(Twins(), SIZE)
    before = frozen_state(encoder)
    assert list(before) == ["v:0", "v:0#2"]
    Twins.variables[1].assign(3.0)
    after = frozen_state(encoder)
    assert [before[name] == after[name] for name in before] == [True, False]


# What is refused.


@pytest.mark.parametrize("name", ["nothing", "nothing.keras", "nothing.tar.gz"])
def test_no_file(name, tmp_path):
    with pytest.raises(InputError) as caught:
        open_encoder(tmp_path / name)
    assert caught.value.name == "checkpoint"


def test_a_checkpoint_of_something_else(tmp_path):
    prefix = tf.train.Checkpoint(v=tf.Variable(1.0)).write(str(tmp_path / "ckpt-1"))
    with pytest.raises(InputError, match="checkpoint must hold a SimCLR encoder"):
        open_encoder(prefix)


def test_damaged_files(tmp_path):
    (tmp_path / "bad.keras").write_bytes(b"no archive")
    with pytest.raises(InputError, match="must be a .keras file that tf_keras opens"):
        open_encoder(tmp_path / "bad.keras")
    h5py.File(tmp_path / "empty.h5", "w").close()
    with zipfile.ZipFile(tmp_path / "foreign.keras", "w") as archive:
        config = {f"layer {i}": i for i in range(500)}
        layer = {"module": "keras", "class_name": "Sequential", "config": config}
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.9.0"}))
        archive.writestr("config.json", json.dumps(layer))
        archive.write(tmp_path / "empty.h5", "model.weights.h5")
    with pytest.raises(
        InputError, match=r"that tf_keras opens, .*\(saved by Keras 3\?\)"
    ) as caught:
        open_encoder(tmp_path / "foreign.keras")
    assert len(caught.value.constraint) < 300 and "\n" not in str(caught.value)
    folder = pathlib.Path(save_signature(Foreign(), tmp_path / "m"))
    (folder / "saved_model.pb").write_bytes(b"no graph")
    with pytest.raises(InputError, match="must be a SimCLR network .* that TensorFlow loads"):
        open_foreign(folder)


@pytest.mark.parametrize(
    "output, text",
    [
        ("classes", r"gives int64 \(2,\)"),
        ("two", r"gives none of .* but \['left', 'right'\]"),
    ],
)
def test_what_is_not_features(output, text, tmp_path):
    with pytest.raises(InputError, match=rf"checkpoint must map images .*module\(images\).*{text}"):
        open_foreign(save_callable(Foreign(output), tmp_path / "m"), SIZE)


def test_feature_maps_of_keras_models_are_averaged(tmp_path):
    path = tmp_path / "maps.keras"
    model = stock_model(pooled=False)
    model.save(path)
    images = np.random.default_rng(0).random((2, SIZE, SIZE, 3), np.float32)
    expected = model(images).numpy().mean(axis=(1, 2))
    for encoder in (open_encoder(path), from_model(model, SIZE, "own maps")):
        np.testing.assert_allclose(encoder.encode(images)["final_avg_pool"], expected, atol=1e-6)


def test_modules_that_take_no_batches_of_float_images(tmp_path):
    folder = save_signature(Foreign(), tmp_path / "bytes", spec=image_spec(dtype=tf.uint8))
    with pytest.raises(InputError, match="signature serving_default: takes uint8, not float32"):
        open_foreign(folder, SIZE)
    with pytest.raises(InputError, match=r"must map images .*module\(images\): "):
        open_foreign(save_callable(Foreign(), tmp_path / "one", image_spec(SIZE, batch=1)), SIZE)
    tf.saved_model.save(Foreign(), str(tmp_path / "mute"))
    with pytest.raises(InputError, match="it has no call and no signature"):
        open_foreign(tmp_path / "mute", SIZE)


def test_sizes_are_read_where_they_are_fixed(tmp_path):
    fixed = save_callable(Foreign(), tmp_path / "fixed", image_spec(SIZE))
    assert open_foreign(fixed).image_size == SIZE
    signature = save_signature(Foreign(), tmp_path / "signature", spec=image_spec(SIZE))
    assert open_foreign(signature).image_size == SIZE
    with pytest.raises(InputError, match=r"checkpoint must map images \(B, 20, 20, 3\)"):
        open_foreign(fixed, 20)
    free = save_callable(Foreign(), tmp_path / "free")
    with pytest.raises(InputError, match="image_size must be given: .*free does not say"):
        open_foreign(free)
    for opening in (lambda: open_foreign(free, 0), lambda: from_model(Foreign().features, 0)):
        with pytest.raises(InputError, match="image_size must be at least 1"):
            opening()


def test_the_range_of_sizes_of_a_network_is_its_own_error(tiny_model, tmp_path):
    save_run(tiny_model(), tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text("{}")
    with pytest.raises(InputError, match="config.json"):
        open_encoder(tmp_path / "run")


# What runs.


class Writing(tf.Module):
    """Features of a mean colour, and a file that is written when they are computed or loaded."""

    def __init__(self, sentinel, when):
        super().__init__()
        self.sentinel, self.when = str(sentinel), when
        if when == "load":
            self.resource = WrittenOnLoad(str(sentinel))

    @tf.function(input_signature=[image_spec(SIZE)])
    def __call__(self, images):
        if self.when == "call":
            tf.io.write_file(self.sentinel, "written")
        return tf.reduce_mean(images, (1, 2))


class WrittenOnLoad(resource.TrackableResource):
    """Its initializer runs when the SavedModel is loaded, before anybody calls anything."""

    def __init__(self, sentinel):
        super().__init__()
        self._path = sentinel

    def _create_resource(self):
        return tf.raw_ops.MutableHashTable(key_dtype=tf.string, value_dtype=tf.int64)

    def _initialize(self):
        tf.io.write_file(self._path, "written")


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("when", ["call", "load"])
def test_no_graph_of_others_runs_without_being_asked_for(when, archive, tmp_path):
    sentinel, path = tmp_path / "sentinel", tmp_path / "m"
    tf.saved_model.save(Writing(sentinel, when), str(path))
    if archive:
        shutil.make_archive(str(path), "gztar", path)
        path = tmp_path / "m.tar.gz"
    sentinel.unlink(missing_ok=True)
    for opening in (open_encoder, load_model, load_encoder):
        with pytest.raises(InputError, match="must hold a SimCLR encoder|must be a SimCLR"):
            opening(path)
        assert not sentinel.exists()
    with pytest.raises(InputError) as caught:
        open_encoder(path)
    assert str(caught.value).count("--allow_foreign_graph") == 1 and "\n" not in str(caught.value)
    with pytest.warns(UserWarning, match="m.*: the code of its author runs with your rights"):
        encoder = open_encoder(path, allow_foreign_graph=True)
    encoder.encode(tf.constant(IMAGES))
    assert sentinel.exists()  # the files do what they are refused for
