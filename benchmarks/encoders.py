"""Encoders that are no ResNet, from start to export: `python -m benchmarks.encoders`.

Each is pretrained on the embedded data set by `run.py`, once as it is and once killed on the way
and started again; the two are compared bit by bit. Then it is evaluated beside the untrained one,
fine-tuned with 1 % of the labels, embedded, exported and loaded again. Prints a table.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from benchmarks import command

SEEDED = ["--recipe=quickstart", "--deterministic", "--warmup_epochs=0.2",
          "--train_batch_size=64", "--eval_steps=0", "--report=False"]  # fmt: skip
ENCODERS = {
    "MobileNetV2": ["--encoder=applications/MobileNetV2", "--learning_rate=8"],
    "small ViT": ["--encoder=benchmarks.encoders:small_vit", "--optimizer=adam",
                  "--learning_rate=0.002"],
}  # fmt: skip


@functools.cache
def _places() -> Any:
    import tf_keras as keras

    @keras.saving.register_keras_serializable(package="benchmarks")
    class Places(keras.layers.Layer):
        """Adds a learned vector to every token."""

        def build(self, shape: Any) -> None:
            self.vectors = self.add_weight("vectors", shape[1:], initializer="random_normal")

        def call(self, tokens: Any) -> Any:
            return tokens + self.vectors

    return Places


def small_vit(image_size: int) -> Any:
    """A Vision Transformer in plain tf_keras: patches of 4 px, 4 blocks of width 96."""
    import tf_keras as keras

    layers = keras.layers
    patch, width = 4, 96
    images = keras.Input((image_size, image_size, 3))
    x = layers.Conv2D(width, patch, strides=patch)(images)
    x = layers.Reshape(((image_size // patch) ** 2, width))(x)
    x = _places()()(x)
    for _ in range(4):
        normal = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(4, width // 4)(normal, normal)])
        hidden = layers.Dense(2 * width, activation="gelu")(layers.LayerNormalization()(x))
        x = layers.Add()([x, layers.Dense(width)(hidden)])
    x = layers.LayerNormalization()(x)
    return keras.Model(images, layers.GlobalAveragePooling1D()(x), name="small_vit")


def _words(encoder: str, folder: str, steps: int) -> list[str]:
    return [sys.executable, "run.py", "--mode=train", *SEEDED, *ENCODERS[encoder],
            f"--model_dir={folder}", f"--train_steps={steps}",
            f"--checkpoint_steps={steps // 4}"]  # fmt: skip


def _train(encoder: str, folder: str, steps: int, kill_at: int | None = None) -> None:
    """Trains by `run.py`; with `kill_at` SIGKILL comes once that checkpoint is there."""
    words = _words(encoder, folder, steps)
    with open(f"{folder}.log", "a") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
        while kill_at is not None and process.poll() is None:
            if os.path.exists(os.path.join(folder, f"ckpt-{kill_at}.index")):
                time.sleep(1)
                process.send_signal(signal.SIGKILL)
            time.sleep(0.1)
        status = process.wait()
    killed = kill_at is not None and status == -signal.SIGKILL
    if status and not killed:
        raise RuntimeError(f"{' '.join(words)} ended with {status}, see {folder}.log")


def _equal(one: str, other: str) -> bool:
    """Whether two checkpoints hold the same numbers."""
    import tensorflow as tf

    first, second = (tf.train.load_checkpoint(prefix) for prefix in (one, other))
    names = first.get_variable_to_shape_map()
    if set(names) != set(second.get_variable_to_shape_map()):
        return False
    return all(
        np.array_equal(first.get_tensor(name), second.get_tensor(name))
        for name in names
        if not name.startswith(("_CHECKPOINTABLE", "save_counter"))
    )


def measure(encoder: str, folder: str, steps: int) -> dict[str, str]:
    """The figures of one encoder.

    Args:
        encoder: One of `ENCODERS`.
        folder: Where the runs go.
        steps: Optimizer steps of 64 images.
    """
    import tf_keras as keras

    import simclr_tf

    whole, killed = (os.path.join(folder, f"{name}_{encoder}".replace(" ", "_"))
                     for name in ("whole", "killed"))  # fmt: skip
    _train(encoder, whole, steps)
    _train(encoder, killed, steps, kill_at=steps // 2)
    _train(encoder, killed, steps)
    run = simclr_tf.open_run(whole)
    untrained = simclr_tf.from_model(
        keras.models.load_model(os.path.join(whole, "encoder.keras")), 32, "untrained"
    )
    accuracy = {
        name: simclr_tf.evaluate(one, "patterns", "knn,logreg", knn_neighbors="20")
        for name, one in (("trained", run.frozen), ("untrained", untrained))
    }
    rows = {
        "parameters": f"{run.encoder.count_params():,}",
        "killed and resumed": "bit-equal" if _equal(
            os.path.join(whole, f"ckpt-{steps}"), os.path.join(killed, f"ckpt-{steps}")
        ) else "differs",
    }  # fmt: skip
    for name, keys in (("knn", ("weighted", "k_20")), ("logreg", ("top_1_accuracy",))):
        for state, found in accuracy.items():
            value: Any = found[name].metrics
            for key in keys:
                value = value[key]
            rows[f"{name}, {state}"] = f"{100 * value:.1f} %"
    for start in ("pretrained", "scratch"):
        rows[f"1 % of the labels, {start}"] = _finetune(run, encoder, folder, start == "scratch")
    images = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), np.uint8)
    vectors = run.embed(images, say=lambda text: None)
    rows["embedding"] = f"{vectors.shape[1]} dimensions"
    places = run.export(os.path.join(folder, f"export_{encoder}"), ["saved_model", "keras"])
    for place in places[1:]:
        loaded = simclr_tf.open_encoder(place, 32)
        again = simclr_tf.embed(loaded, images, say=lambda text: None)
        name = "SavedModel" if place.endswith("saved_model") else ".keras"
        rows[f"loaded from {name}"] = f"{np.abs(again - vectors).max():.1e} away"
    return rows


def _finetune(run: Any, encoder: str, folder: str, scratch: bool) -> str:
    import simclr_tf

    name = os.path.join(folder, f"finetuned_{encoder}_{scratch}")
    given = {
        "steps": 100, "batch_size": 32, "optimizer": "adam", "learning_rate": 0.01,
        "warmup_epochs": 0, "label_subset": "1%", "crop_area_min": 0.7, "report": False,
        "model_dir": name, "image_size": 32,
    }  # fmt: skip
    if scratch:
        words = ENCODERS[encoder][0].removeprefix("--encoder=")
        tuned = simclr_tf.pretrain("patterns", encoder=words, train_mode="finetune", **given)
    else:
        tuned = simclr_tf.finetune(run, "patterns", **given)
    network = simclr_tf.load_model(tuned.folder).model
    logits = simclr_tf.embed(
        simclr_tf.from_model(network, 32), "patterns", endpoint="logits_sup", split="test",
        with_ids=False, say=lambda text: None,
    )  # fmt: skip
    labels = simclr_tf.open_source(simclr_tf.DataConfig(dataset="patterns", image_size=32))
    rows = labels.records("test").map(lambda record: (record["id"], record["label"]))
    truth = np.array([label for _, label in sorted(rows.as_numpy_iterator())])
    return f"{100 * np.mean(logits.argmax(axis=1) == truth):.1f} %"


def main() -> None:
    """Prints the table."""
    parser = command.Parser(description=__doc__)
    parser.add_argument("--steps", type=command.count, default=200, help="of 64 images")
    parser.add_argument("--encoders", nargs="+", choices=list(ENCODERS), default=list(ENCODERS))
    parser.add_argument("--folder", help="where the runs go; default: a temporary folder")
    given = parser.parse_args()
    from simclr_tf import startup

    startup.load_tensorflow()
    _places()  # known to files from now on
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or temporary
        os.makedirs(folder, exist_ok=True)
        found = {name: measure(name, folder, given.steps) for name in given.encoders}
    print(f"| {given.steps} steps | {' | '.join(found)} |")
    print("|---" * (len(found) + 1) + "|")
    for row in next(iter(found.values())):
        print(f"| {row} | {' | '.join(figures[row] for figures in found.values())} |")


if __name__ == "__main__":
    command.end(main)
