"""Size, speed and accuracy of exports: `python -m benchmarks.formats --checkpoint=RUN`.

Exports a run that was trained on the embedded `patterns` in every format and runs each, in a
process of its own, on as many threads. The processes take turns, round by round. Images per second
are the median over the rounds, of batches that are in memory; accuracy is that of the weighted kNN
classifier (k = 20) on features of the test images, whose bank are training images. A runtime that
is not installed is left out, and said so. Prints the table as Markdown.
"""

from __future__ import annotations

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import command

Runner = Callable[[np.ndarray], np.ndarray]  # images -> embeddings
REFERENCE = "SavedModel"
SIDES = {  # name -> (format, file, what loads it)
    REFERENCE: ("saved_model", "saved_model", "saved_model"),
    "Keras file, tf_keras": ("keras", "encoder.keras", "tf_keras"),
    "Keras file, Keras 3 on JAX": ("keras", "encoder.keras", "jax"),
    "Keras file, Keras 3 on PyTorch": ("keras", "encoder.keras", "torch"),
    "ONNX, ONNX Runtime": ("onnx", "encoder.onnx", "onnx"),
    "TFLite float32": ("tflite", "encoder.tflite", "tflite"),
    "TFLite float16 weights": ("tflite_float16", "encoder_float16.tflite", "tflite"),
    "TFLite 8-bit weights": ("tflite_dynamic", "encoder_dynamic.tflite", "tflite"),
    "TFLite 8 bit": ("tflite_int8", "encoder_int8.tflite", "tflite"),
    "PyTorch, `encoder.py`": ("torch", "encoder.safetensors", "pytorch"),
}
PACKAGES = {"jax": "jax", "torch": "torch", "onnx": "onnxruntime", "pytorch": "torch"}
BATCH, WARM_UP = 32, 3
KNN = 20


def main() -> None:
    """Measures and prints."""
    parser = command.Parser(description=__doc__)
    parser.add_argument("--checkpoint", required=True, help="a run that was trained on patterns")
    parser.add_argument("--rounds", type=command.count, default=3)
    parser.add_argument("--seconds", type=command.count, default=3, help="of each measurement")
    parser.add_argument("--threads", type=command.count, default=2)
    parser.add_argument("--bank", type=command.count, default=4000, help="training images")
    parser.add_argument("--queries", type=command.count, default=1000, help="test images")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sides = _prepare(given, pathlib.Path(folder))
        speeds: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(given.rounds):
            for name in list(sides):
                found = _measure(name, folder, given, embed=turn == 0)
                if "error" in found:
                    print(f"left out: {name}: {found['error']}")
                    del sides[name], speeds[name]
                    continue
                speeds[name].append(found["images_per_second"])
        print(table(pathlib.Path(folder), sides, speeds))


def _prepare(given: Any, folder: pathlib.Path) -> dict[str, tuple[str, str, str]]:
    """Writes the exports and the images; which sides there are."""
    from simclr_tf.export.bundle import export_checkpoint
    from simclr_tf.export.extras import is_installed

    from simclr_tf.data.any_source import as_source
    from simclr_tf.data.images import Images
    from simclr_tf.data.samples import example_batches
    from simclr_tf.distribution import Part

    sides = {}
    for name, side in SIDES.items():
        package = PACKAGES.get(side[2])
        if package is None or is_installed(package):
            sides[name] = side
        else:
            print(f"left out: {name}: {package} is not installed")
    formats = list(dict.fromkeys(side[0] for side in sides.values()))
    export_checkpoint(given.checkpoint, str(folder / "exports"), formats, say=print)
    images = Images(as_source("patterns"), 32, 100)
    arrays = {}
    for split, count in (("train", given.bank), ("test", given.queries)):
        batches = [
            {name: batch[name].numpy() for name in ("image", "label")}
            for batch in example_batches(images, split, count)(Part())
        ]
        for key in ("image", "label"):
            arrays[f"{split}_{key}"] = np.concatenate([batch[key] for batch in batches])[:count]
    np.savez(folder / "data.npz", **arrays)
    return sides


def _measure(name: str, folder: str, given: Any, embed: bool) -> dict[str, Any]:
    """One turn of a side, in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(given.threads), "TF_CPP_MIN_LOG_LEVEL": "3"}
    if SIDES[name][2] in ("jax", "torch"):
        environment["KERAS_BACKEND"] = SIDES[name][2]
    words = [name, folder, str(given.threads), str(given.seconds), str(int(embed))]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.formats", "--worker", *words],
        env=environment, text=True, capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def table(
    folder: pathlib.Path, sides: dict[str, tuple[str, str, str]], speeds: dict[str, list[float]]
) -> str:
    """The figures of all sides as Markdown.

    Args:
        folder: Holds `exports/`, `data.npz` and the features of each side.
        sides: What was measured.
        speeds: Images per second of each round.
    """
    from simclr_tf.evaluation.knn import knn_predictions

    data = np.load(folder / "data.npz")
    lines = [
        "| runtime | size, kB | images/s (lowest to highest) | to SavedModel | deviation | kNN |",
        "|---|---|---|---|---|---|",
    ]
    reference = np.load(features_path(folder, REFERENCE))["queries"]
    usual = statistics.median(speeds[REFERENCE])
    for name, (_, file, _) in sides.items():
        features = np.load(features_path(folder, name))
        guesses = knn_predictions(
            features["bank"], data["train_label"], features["queries"], (KNN,)
        )[KNN]
        accuracy = (guesses == data["test_label"]).mean()
        deviation = np.abs(features["queries"] - reference).max() / np.abs(reference).max()
        median, turns = statistics.median(speeds[name]), speeds[name]
        lines.append(
            f"| {name} | {size_of(folder / 'exports' / file) / 1000:.0f} "
            f"| {median:.0f} ({min(turns):.0f} to {max(turns):.0f}) | {median / usual:.2f} "
            f"| {deviation:.1e} | {100 * accuracy:.1f} % |"
        )
    return "\n".join(lines)


def size_of(path: pathlib.Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def features_path(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Where a side's features lie."""
    return folder / f"features_{list(SIDES).index(name)}.npz"


def worker(name: str, folder: str, threads: str, seconds: str, embed: str) -> None:
    """Runs one side; prints one line of JSON."""
    place = pathlib.Path(folder)
    _, file, loader = SIDES[name]
    run = LOADERS[loader](place / "exports" / file, int(threads))
    data = np.load(place / "data.npz")
    images = data["test_image"][:BATCH]
    for _ in range(WARM_UP):
        run(images)
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < int(seconds):
        run(images)
        count += len(images)
    rate = count / (time.perf_counter() - begin)
    if int(embed):
        found = {kind: _embed(run, data[key])
                 for kind, key in (("bank", "train_image"), ("queries", "test_image"))}  # fmt: skip
        np.savez(features_path(place, name), **found)
    print("\n" + json.dumps({"images_per_second": rate}))


def _embed(run: Runner, images: np.ndarray) -> np.ndarray:
    """Embeddings of all images, whose last batch is filled up."""
    missing = -len(images) % BATCH
    filled = np.concatenate([images, images[:missing]])
    parts = [run(filled[at : at + BATCH]) for at in range(0, len(filled), BATCH)]
    return np.concatenate(parts)[: len(images)]


def _saved_model(path: pathlib.Path, threads: int) -> Runner:
    import tensorflow as tf

    _limit(tf, threads)
    module = tf.saved_model.load(str(path))
    call = module.signatures["serving_default"]
    return lambda images: call(tf.constant(images))["embedding"].numpy()


def _tf_keras(path: pathlib.Path, threads: int) -> Runner:
    import tensorflow as tf
    import tf_keras

    _limit(tf, threads)
    model = tf_keras.models.load_model(path)
    call = tf.function(lambda images: model(images, training=False)["final_avg_pool"])
    return lambda images: call(tf.constant(images)).numpy()


def _limit(tf: Any, threads: int) -> None:
    tf.config.threading.set_intra_op_parallelism_threads(threads)


def _tflite(path: pathlib.Path, threads: int) -> Runner:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        import tensorflow as tf

        Interpreter = tf.lite.Interpreter  # noqa: N806

    interpreter = Interpreter(str(path), num_threads=threads)
    (taken,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(taken["index"], [BATCH, *taken["shape"][1:]])
    interpreter.allocate_tensors()
    run = interpreter.get_signature_runner("serving_default")
    return lambda images: run(images=images)["embedding"]


def _onnx(path: pathlib.Path, threads: int) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["embedding"], {"images": images})[0]


def _keras_3(path: pathlib.Path, threads: int) -> Runner:
    import keras

    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(threads)
    model = keras.models.load_model(path)
    model = keras.Model(model.inputs, model.output["final_avg_pool"])
    return lambda images: model.predict_on_batch(images)


def _pytorch(path: pathlib.Path, threads: int) -> Runner:
    import torch

    torch.set_num_threads(threads)
    sys.path.insert(0, str(path.parent))
    import encoder

    model = encoder.load(path)

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(images).permute(0, 3, 1, 2))["final_avg_pool"].numpy()

    return run


LOADERS: dict[str, Callable[[pathlib.Path, int], Runner]] = {
    "saved_model": _saved_model, "tf_keras": _tf_keras, "jax": _keras_3, "torch": _keras_3,
    "tflite": _tflite, "onnx": _onnx, "pytorch": _pytorch,
}  # fmt: skip

if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
    else:
        command.end(main)
