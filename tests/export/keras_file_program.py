"""Run in processes of its own by test_keras_file.py; prints one line of JSON.

load LIBRARY FOLDER   opens every `.keras` file with `keras` or `tf_keras`, without this package
replicas              compares the stock network of a model on two devices with one on one
"""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import numpy as np

EPOCHS = 4


def load(library: str, folder: str) -> dict[str, dict]:
    """What each file of the folder does; `NAME.npz` holds images and the endpoints expected."""
    absent = {"simclr_tf", "export", "keras", "tf_keras"} - {library}
    # Importing one of them is an ImportError now, even where tests/warm.py has loaded it.
    absent |= {name for name in sys.modules if name.split(".")[0] in absent}
    sys.modules.update(dict.fromkeys(absent))
    keras = importlib.import_module(library)
    keras.saving.get_custom_objects().clear()
    keras.utils.set_random_seed(0)
    return {
        path.stem: _examine(keras, path) for path in sorted(pathlib.Path(folder).glob("*.keras"))
    }


def _examine(keras, path: pathlib.Path) -> dict:
    model = keras.models.load_model(path)
    with np.load(path.with_suffix(".npz")) as data:
        expected = dict(data)
    images = expected.pop("images")
    outputs = model(images, training=False)
    report = {
        "endpoints": list(outputs),
        "deviation": max(_deviation(outputs[name], expected[name]) for name in expected),
        "classes": sorted({type(layer).__name__ for layer in model.layers}),
    }
    classifier = keras.Model(
        model.input, keras.layers.Dense(2, name="added")(model.output["final_avg_pool"])
    )
    # One of them as Keras trains; the others without the graph, which costs more than the steps.
    return {**report, **_fine_tune(keras, classifier, run_eagerly=path.stem != "torchvision")}


def _deviation(value, expected: np.ndarray) -> float:
    return float(np.abs(np.asarray(value) - expected).max() / np.abs(expected).max())


def _fine_tune(keras, model, run_eagerly: bool) -> dict:
    """Learns bright from dark; the layers of the file are trained with the new one."""
    rng = np.random.default_rng(0)
    labels = np.arange(8) % 2
    images = rng.random((8, 32, 32, 3), np.float32) * (0.4 + 0.6 * labels[:, None, None, None])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01), loss, run_eagerly=run_eagerly)
    before = [np.copy(value) for value in model.get_weights()]
    history = model.fit(images.astype(np.float32), labels, batch_size=8, epochs=EPOCHS, verbose=0)
    moved = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    names = [getattr(weight, "path", weight.name) for weight in model.weights]
    still = [name for name, has_moved in zip(names, moved, strict=True) if not has_moved]
    after = model.get_weights()
    model(images.astype(np.float32), training=False)
    kept = all(np.array_equal(a, b) for a, b in zip(after, model.get_weights(), strict=True))
    return {
        "losses": history.history["loss"],
        "weights": len(names),
        "statistics": sum("moving" in name for name in names),
        "still": still,
        "inference_keeps_weights": kept,
    }


def replicas() -> dict[str, float]:
    """Largest difference between the outputs of the two stock networks."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
    from simclr_tf.export.keras_file import stock_model

    from simclr_tf.config import EncoderConfig, ModelConfig
    from simclr_tf.models.network import Network

    encoder = EncoderConfig(resnet_depth=18, width_multiplier=1 / 16, stem="cifar")
    config = ModelConfig(encoder=encoder)
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        several = Network(config, 3)
    single = Network(config, 3)
    rng = np.random.default_rng(0)
    for one, many in zip(single.variables, several.variables, strict=True):
        value = rng.uniform(0.1, 0.3, one.shape).astype(np.float32)
        one.assign(value)
        many.assign(value)
    images = rng.random((2, 16, 16, 3), np.float32)
    outputs, expected = stock_model(several)(images), single(images)
    return {name: _deviation(outputs[name], expected[name].numpy()) for name in expected}


if __name__ == "__main__":
    print(json.dumps({"load": load, "replicas": replicas}[sys.argv[1]](*sys.argv[2:])))
