"""`.keras` files: which open, and that no file makes us run, read or write anything else."""

import copy
import json
import os
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import simclr_tf
from simclr_tf.encoder import Encoder
from simclr_tf.errors import InputError
from simclr_tf.models.keras_encoder import KerasEncoder
from simclr_tf.weights import keras_files
from simclr_tf.weights.keras_files import open_keras_file

MEMBERS = ("metadata.json", "config.json", "model.weights.h5")
IMAGES = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)


def build(*layers, shape=(8, 8, 3)):
    x = images = keras.Input(shape)
    for layer in layers:
        x = layer(x)
    return keras.Model(images, x)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The members of a small model's file: a convolution and a pooling."""
    path = tmp_path_factory.mktemp("plain") / "plain.keras"
    model = build(keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.GlobalMaxPooling2D())
    model.compile("adam", "mse")
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == sorted(MEMBERS)
        return {name: archive.read(name) for name in MEMBERS}


def write(path, members, **changes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**members, **changes}.items():
            archive.writestr(name, content)
    return str(path)


def refusal(path, **options):
    with pytest.raises(InputError) as caught:
        open_keras_file(str(path), **options)
    text = str(caught.value)
    assert caught.value.name == "checkpoint" and caught.value.received == str(path)
    assert "\n" not in text and len(text) < 800
    return text


# What opens.


def stock_layers():
    layers = keras.layers
    yield layers.Rescaling(1 / 255)
    yield lambda x: tf.nn.relu6(x / 2.0 + 3.0) * (1 / 6)
    yield layers.Normalization(mean=[0.1] * 3, variance=[0.2] * 3)
    yield layers.RandomFlip(seed=1)
    yield layers.ZeroPadding2D(1)
    yield layers.SeparableConv2D(6, 3, depthwise_initializer="he_normal", dtype="mixed_bfloat16")
    yield layers.BatchNormalization(beta_constraint="non_neg")
    yield layers.Activation("swish")
    yield keras.Sequential([layers.Conv2D(4, 3, kernel_regularizer="l2"), layers.LeakyReLU()])
    yield lambda x: layers.Add()([x, layers.DepthwiseConv2D(3, padding="same")(x)])
    yield lambda x: tf.reduce_mean(x[:, 1:], [1, 2])
    yield layers.Dense(
        5, keras.activations.gelu, kernel_initializer=keras.initializers.Orthogonal()
    )
    yield layers.LayerNormalization(dtype="float32")


@pytest.mark.filterwarnings("error")
def test_a_model_of_stock_layers_and_simple_operations(tmp_path):
    model = build(*stock_layers())
    model.compile("adam", "mse")
    path = str(tmp_path / "stock.keras")
    model.save(path)
    opened = open_keras_file(path)
    np.testing.assert_allclose(opened(IMAGES), model(IMAGES), rtol=1e-5)
    assert opened.optimizer is None


READER = """
import sys
import numpy as np
from simclr_tf.evaluation.encoders import open_encoder
folder = sys.argv[1]
images = np.load(f"{folder}/images.npy")
np.savez(f"{folder}/found.npz", **{
    name: open_encoder(f"{folder}/{name}.keras", 8).encode(images)["final_avg_pool"]
    for name in ("model", "classifier")
})
"""


def test_models_of_ours_and_with_ours_as_layers(tmp_path):
    """In a process that has not loaded them yet."""
    model = simclr_tf.SimCLR(build(conv_layer := keras.layers.Conv2D(4, 3)), 4)
    model.compile(simclr_tf.LARS(0.3))
    model.save(tmp_path / "model.keras")
    network = simclr_tf.SimCLR(build(keras.layers.Conv2D(4, 3)), 4)
    encoder = Encoder(network, 8, "final_avg_pool", heads=False)
    classifier = keras.Sequential([encoder, keras.layers.Dense(3)])
    expected = classifier(IMAGES)
    classifier.save(tmp_path / "classifier.keras")
    np.save(tmp_path / "images.npy", IMAGES)
    words = [sys.executable, "-c", READER, str(tmp_path)]
    subprocess.run(words, check=True, cwd=os.path.dirname(os.path.dirname(simclr_tf.__file__)))
    with np.load(tmp_path / "found.npz") as found:
        features = tf.reduce_mean(conv_layer(IMAGES), [1, 2])
        np.testing.assert_allclose(found["model"], features, rtol=1e-5)
        np.testing.assert_allclose(found["classifier"], expected, rtol=1e-5)


def test_our_names_stand_for_our_modules_alone(plain, tmp_path):
    """A class of ours is none of another module."""
    config = json.loads(plain["config.json"])
    config.update(module="sentinel", class_name="Network", registered_name="simclr_tf>Other")
    path = tmp_path / "other.keras"
    write(path, {**plain, "config.json": json.dumps(config)})
    assert "'Network' of 'sentinel'" in refusal(path)


@pytest.mark.parametrize("image_size", [2**20, 0, -1, "8"])
def test_images_of_an_encoder_of_ours_have_a_size(image_size, tmp_path):
    path = str(tmp_path / "encoder.keras")
    KerasEncoder(build(keras.layers.Conv2D(4, 3)), 8).save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in MEMBERS}
    config = json.loads(members["config.json"])
    config["config"]["image_size"] = image_size
    write(path, {**members, "config.json": json.dumps(config)})
    with pytest.raises(InputError, match="checkpoint must be a .keras file"):
        open_keras_file(path)


def test_every_name_is_one_of_keras():
    for kind in ("layers", "initializers", "regularizers", "constraints", "activations"):
        names = getattr(keras_files, kind.upper())
        assert [n for n in sorted(names) if not hasattr(getattr(keras, kind), n)] in (
            [],
            ["leaky_relu", "log_softmax", "relu6", "silu"],  # of TensorFlow, known to Keras by name
        )
    for banned in (
        "Lambda",
        "StringLookup",
        "IntegerLookup",
        "TextVectorization",
        "Hashing",
        "RNN",
    ):
        assert hasattr(keras.layers, banned) and banned not in keras_files.LAYERS


# Code.


def layer(class_name, module="keras.layers", config=None, name="conv2d", **others):
    """A layer in place of the convolution."""
    return {"module": module, "class_name": class_name, "config": config or {"name": name},
            "registered_name": None, "name": name, **others}  # fmt: skip


def wrapped(function, **keywords):
    """An operation on the images, as `tf.io.write_file(path, images)` would be."""
    config = {"name": "conv2d", "trainable": True, "dtype": "float32", "function": function}
    found = layer("TFOpLambda", "tf_keras.src.layers.core.tf_op_layer", config)
    return {**found, "registered_name": "TFOpLambda", "keywords": keywords}


def conv(**config):
    return {"settings": config}


CALL_OS = {
    "module": "os",
    "class_name": "function",
    "config": "system",
    "registered_name": "system",
}
LAMBDA = {
    "module": "builtins",
    "class_name": "__lambda__",
    "config": {"value": ["4w==", None, None]},
}
# Case -> (what stands in place of the convolution, what is said).
NAMED = {
    "an operation that writes": (wrapped("io.write_file", contents="x"),
                                 "it names the operation 'io.write_file'"),
    "an operation that runs Python": (wrapped("py_function"), "the operation 'py_function'"),
    "an operation without a name": (wrapped(None), "the operation None"),
    "a function of another module": (conv(activation=CALL_OS), "it names 'function' of 'os'"),
    "a class of another module": (layer("system", "os"), "it names 'system' of 'os'"),
    "a module that is imported": (layer("Any", "module_of_nobody"), "'Any' of 'module_of_nobody'"),
    "an initializer elsewhere": (conv(bias_initializer=layer("Zeros", "module_of_nobody")),
                                 "'Zeros' of 'module_of_nobody'"),
    "bytecode": (conv(activation=LAMBDA), "it names '__lambda__' of 'builtins'"),
    "a lambda layer": (layer("Lambda"), "it names 'Lambda' of 'keras.layers'"),
    "a lambda of tf_keras": (layer("Lambda", "tf_keras.layers"), "'Lambda' of 'tf_keras.layers'"),
    "an inner module": (layer("Dense", "keras.src.layers.core.dense"), "of 'keras.src.layers.core"),
    "a vocabulary": (layer("StringLookup"), "it names 'StringLookup'"),
    "a type": (conv(activation={"module": "builtins", "class_name": "__typespec__", "config": {}}),
               "'__typespec__' of 'builtins'"),
    "the old form": (layer("Conv2D", None), "it names 'Conv2D' of None"),
    "the old form with a lambda": (layer("Lambda", None), "it names 'Lambda' of None"),
    "a registered class": (layer("Conv2D") | {"registered_name": "simclr_tf>LARS"},
                           "it names 'simclr_tf>LARS'"),
    "a class that is no text": (layer(["Conv2D"]), "it names ['Conv2D']"),
    "a graph": (layer("TensorFlowOpLayer", "tf_keras.src.engine.base_layer"), "TensorFlowOpLayer"),
    "a method": (layer("InstanceMethod", "tf_keras.src.layers.core.tf_op_layer"), "InstanceMethod"),
    "an activation of Keras' module": (conv(activation="get"), "it names the activation 'get'"),
    "an initializer by its name": (conv(kernel_initializer="deserialize"), "initializer 'deserial"),
    "inside a list": (conv(anything=[[{"deep": [CALL_OS]}]]), "it names 'function' of 'os'"),
}  # fmt: skip


@pytest.fixture
def sentinel(tmp_path, monkeypatch):
    """A file that a module, when imported, writes; also what `os.system` would."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    (tmp_path / "modules").mkdir()
    target = tmp_path / "sentinel"
    (tmp_path / "modules" / "module_of_nobody.py").write_text(
        f"open({str(target)!r}, 'w').close()\nZeros = Any = None\n"
    )
    monkeypatch.setattr(os, "system", lambda *_: target.write_text("system"))
    yield target
    sys.modules.pop("module_of_nobody", None)


def changed_config(plain, change):
    config = json.loads(plain["config.json"])
    (old,) = [found for found in config["config"]["layers"] if found["class_name"] == "Conv2D"]
    new = copy.deepcopy(change)
    if "settings" in new:
        new = {**old, "config": {**old["config"], **new["settings"]}}
    new["inbound_nodes"] = old["inbound_nodes"]
    if (keywords := new.pop("keywords", None)) is not None:
        new["inbound_nodes"] = [["input", 0, 0, keywords]]
        new["inbound_nodes"][0][0] = config["config"]["layers"][0]["name"]
    new["name"] = new["config"]["name"] = old["name"]
    layers = config["config"]["layers"]
    layers[layers.index(old)] = new
    return json.dumps(config)


@pytest.mark.parametrize("case", NAMED)
def test_names_of_others_are_not_even_looked_up(case, plain, sentinel, tmp_path):
    change, text = NAMED[case]
    config = changed_config(plain, change)
    path = write(tmp_path / "x.keras", plain, **{"config.json": config})
    said = refusal(path)
    assert text in said and "runs only with --allow_foreign_graph" in said
    assert not sentinel.exists() and "module_of_nobody" not in sys.modules


def test_what_compiled_it_is_left_out(plain, sentinel, tmp_path):
    config = json.loads(plain["config.json"])
    assert "compile_config" in config
    config["compile_config"] = {"optimizer": layer("Any", "module_of_nobody")}
    config["config"]["layers"][1]["compile_config"] = {"loss": CALL_OS}
    open_keras_file(write(tmp_path / "x.keras", plain, **{"config.json": json.dumps(config)}))
    assert not sentinel.exists()


def test_the_flag_runs_them_with_a_warning(plain, sentinel, tmp_path):
    """The proof that the files above do what they are refused for."""
    config = json.dumps(layer("Any", "module_of_nobody"))
    path = write(tmp_path / "x.keras", plain, **{"config.json": config})
    assert "it names 'Any' of 'module_of_nobody'" in refusal(path) and not sentinel.exists()
    with pytest.warns(UserWarning, match=r"x\.keras: the code of its author runs with your rights"):
        said = refusal(path, allow_foreign=True)
    assert sentinel.exists() and "must be a .keras file that tf_keras opens" in said
    model = build(lambda x: tf.sin(x), keras.layers.GlobalMaxPooling2D())
    model.save(tmp_path / "sine.keras")
    with pytest.warns(UserWarning, match="the code of its author runs"):
        opened = open_keras_file(str(tmp_path / "sine.keras"), allow_foreign=True)
    np.testing.assert_allclose(opened(IMAGES), np.sin(IMAGES).max((1, 2)), rtol=1e-5)
    assert "the operation 'math.sin'" in refusal(tmp_path / "sine.keras")


@pytest.mark.parametrize("allow_foreign", [False, True])
def test_only_the_archive_of_a_model_counts_whatever_it_is_called(
    allow_foreign, plain, sentinel, tmp_path
):
    def touch(x):
        __import__("pathlib").Path("sentinel").touch()
        return x

    model = build(keras.layers.Lambda(touch), keras.layers.GlobalMaxPooling2D())
    sentinel.unlink()  # calling runs it
    model.save(tmp_path / "code.h5")
    os.rename(tmp_path / "code.h5", tmp_path / "hdf5.keras")
    model.save(tmp_path / "folder")
    os.rename(tmp_path / "folder", tmp_path / "folder.keras")
    os.mkfifo(tmp_path / "pipe.keras")
    model.save(tmp_path / "lambda.keras")
    sentinel.unlink(missing_ok=True)
    said = {name: refusal(tmp_path / f"{name}.keras", allow_foreign=allow_foreign)
            for name in ("hdf5", "folder", "pipe", "lambda")}  # fmt: skip
    assert "a zip archive" in said["hdf5"] and "not a zip file" in said["hdf5"]
    assert "must be a file" in said["folder"] and "must be a file" in said["pipe"]
    assert "Lambda" in said["lambda"] or "lambda" in said["lambda"]
    assert not sentinel.exists()
    assert "path that can be read" in refusal("http://127.0.0.1:9/x.keras")


# Files.


def changed_members(plain):
    """Case -> (members, what is said)."""
    deep = b'{"a":' * 300 + b"1" + b"}" * 300
    wide = plain["config.json"].replace(b'"filters": 4', b'"filters": 1000000000')
    names = list(plain.items())
    yield "missing", dict(names[:2]), "it holds 'config.json', 'metadata.json' instead of"
    yield "more", {**plain, "assets/vocabulary.txt": b""}, "it holds 'assets/vocabulary.txt'"
    yield "outside", {**plain, "../x": b""}, "it holds '../x'"
    yield "many", {**plain, **{str(i): b"" for i in range(100)}}, ", ... instead of"
    yield "no object", {**plain, "config.json": b"[]"}, "config.json must be JSON, an object"
    yield "deep", {**plain, "config.json": deep}, "must be JSON nested at most"
    yield "deeper", {**plain, "config.json": b"[" * 10**6}, "must be a .keras file"
    yield "long", {**plain, "config.json": b" " * (2**25 + 1)}, "its config.json is too large"
    yield "metadata", {**plain, "metadata.json": b" " * 2**17}, "its metadata.json is too large"
    yield "bomb", {**plain, "model.weights.h5": bytes(2**27)}, "its model.weights.h5 is too large"
    yield "wide", {**plain, "config.json": wide}, "its layers are larger than its weights"
    yield "damaged", {**plain, "model.weights.h5": b"x" * 3000}, "must be a .keras file that"


def test_members_of_the_archive(plain, tmp_path):
    path = tmp_path / "x.keras"
    for case, members, text in changed_members(plain):
        said = refusal(write(path, members))
        assert text in said, case
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "w") as archive:
        for name in (*MEMBERS, "config.json"):
            archive.writestr(name, plain[name])
    assert "it holds 'config.json', 'config.json'" in refusal(path)
    path.write_bytes(write_list_of_members(path))
    assert "its list of members is too long" in refusal(path)


def write_list_of_members(path):
    """An archive that is one list of a hundred thousand members."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x" * 60000, b"")
    content = path.read_bytes()
    start = content.index(b"PK\1\2")
    end = content.index(b"PK\5\6")
    entries = content[start:end] * 80
    tail = bytearray(content[end:])
    tail[12:16] = len(entries).to_bytes(4, "little")
    return content[:start] + entries + bytes(tail)


def weights_that_point_elsewhere(secret):
    """Case -> (what puts it into a group of an HDF5 file, what is said)."""
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource(str(secret), "bias", (4,))
    strings = h5py.string_dtype()
    return {
        "external link": (lambda g: g.__setitem__("0", h5py.ExternalLink(str(secret), "/bias")),
                          "its weights hold the link '/vars/0'"),
        "soft link": (lambda g: g.__setitem__("0", h5py.SoftLink("/elsewhere")), "hold the link"),
        "external storage": (
            lambda g: g.create_dataset("0", (4,), "f4", external=[(str(secret), 0, 16)]),
            "its weights '/vars/0' lie in another file"),
        "virtual": (lambda g: g.create_virtual_dataset("0", layout), "lie in another file"),
        "not written": (lambda g: g.create_dataset("0", (2**40,), "f4", chunks=(2**10,)),
                        "its weights are larger than the file"),
        "texts": (lambda g: g.create_dataset("0", (1,), strings), "are no numbers"),
        "a filter": (lambda g: g.create_dataset("0", (64,), "f4", compression="lzf"),
                     "need a filter of their own"),
        "a type": (lambda g: g.__setitem__("0", np.dtype("f4")), "its weights hold '/vars/0'"),
    }  # fmt: skip


def test_weights_lie_in_the_file(plain, tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["bias"] = np.ones(4, np.float32)
    for case, (put, text) in weights_that_point_elsewhere(secret).items():
        weights = tmp_path / "weights.h5"
        with h5py.File(weights, "w") as file:
            put(file.create_group("vars"))
        members = {**plain, "model.weights.h5": weights.read_bytes()}
        for allow_foreign in (False, True):
            said = refusal(write(tmp_path / "x.keras", members), allow_foreign=allow_foreign)
            assert text in said, case


def test_one_name_more_for_the_same_weights_is_none(plain, tmp_path):
    (tmp_path / "weights.h5").write_bytes(plain["model.weights.h5"])
    with h5py.File(tmp_path / "weights.h5", "a") as file:
        file["again"] = file["/"]  # without end
    weights = (tmp_path / "weights.h5").read_bytes()
    open_keras_file(write(tmp_path / "x.keras", plain, **{"model.weights.h5": weights}))


def test_a_file_that_is_not_there(tmp_path):
    assert "must exist" in refusal(tmp_path / "x.keras")
    (tmp_path / "x.keras").write_bytes(b"no archive")
    assert "must be a .keras file that tf_keras opens" in refusal(tmp_path / "x.keras")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (AttributeError("'int' object has no attribute 'as_list'"),
         "what it describes does not fit together, AttributeError"),
        (KeyError("x"), "what it describes does not fit together, KeyError"),
        (TypeError("Error when deserializing class 'Dense'\nmore"),
         "Error when deserializing class 'Dense'"),
        (ValueError("Unknown layer"), "Unknown layer"),
    ],
)  # fmt: skip
def test_faults_are_not_about_objects_of_python(error, said):
    assert keras_files.fault(error) == said
