"""Writes the network as a TFLite file, which LiteRT runs: float32, float16 or 8 bit.

All of them take `images` (N, S, S, C), float32 in [0, 1], and return `embedding` and, where there
is a linear head, `logits`, in float32: what calls one calls the others. The signature is
`serving_default`.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from simclr_tf import console
from simclr_tf.errors import InputError
from simclr_tf.models.network import Network

from .inference import (
    Outputs,
    check_deviation,
    check_file_size,
    deviation,
    inference_module,
    sample_images,
)

# Format -> the name of its file.
FILES = {
    "tflite": "encoder.tflite",
    "tflite_float16": "encoder_float16.tflite",
    "tflite_dynamic": "encoder_dynamic.tflite",
    "tflite_int8": "encoder_int8.tflite",
}
FLOAT32, FLOAT16, DYNAMIC, INT8 = FILES
SIGNATURE = "serving_default"


def write_tflite_file(
    model: Network,
    path: str,
    image_size: int,
    kind: str = FLOAT32,
    calibration: np.ndarray | None = None,
    say: Callable[[str], None] = console.say,
) -> None:
    """Writes `model` as one `.tflite` file and runs it once.

    Args:
        model: Any built model.
        path: Local path, or one that `tf.io.gfile` understands.
        image_size: Side S of the images that the file takes.
        kind: `tflite`, float32; `tflite_float16`, weights of half the size, computed in float32 on
            CPUs; `tflite_dynamic`, weights of 8 bit and activations quantised as they come;
            `tflite_int8`, weights and activations of 8 bit, scaled by what `calibration` shows.
        calibration: (N, S, S, C) images such as the network will see, for `tflite_int8`.
        say: Receives the deviation of random images.

    Raises:
        InputError: The network is too large for the format, or there are no images.
        RuntimeError: The float32 file computes something else than the network.
    """
    check_file_size(model, "tflite")
    with tempfile.TemporaryDirectory() as folder:  # of a SavedModel, files get their signature
        module = inference_module(model, image_size)
        tf.saved_model.save(module, folder, signatures={SIGNATURE: module.infer})
        content = _converted(folder, kind, calibration)
    shown = sample_images(model, 2, image_size) if calibration is None else calibration[:2]
    found = deviation(model, shown, _runner(content))
    if kind == FLOAT32:
        check_deviation(found, os.path.basename(path))
    say(f"{os.path.basename(path)}: deviates by {found:.1e} in TFLite's interpreter")
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(content)


def _converted(folder: str, kind: str, calibration: np.ndarray | None) -> bytes:
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    if kind != FLOAT32:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == FLOAT16:
        converter.target_spec.supported_types = [tf.float16]
    if kind == INT8:
        if calibration is None or len(calibration) == 0:
            raise InputError("calibration", f"must be images with the format {INT8}", None)
        converter.representative_dataset = lambda: _one_by_one(calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    with _quiet():
        return converter.convert()


def _one_by_one(images: np.ndarray) -> Iterator[list[np.ndarray]]:
    return ([image[np.newaxis]] for image in images)


def _runner(content: bytes) -> Callable[[np.ndarray], Outputs]:
    with _quiet():  # TensorFlow's own interpreter says that it moves to a package of its own
        interpreter = tf.lite.Interpreter(model_content=content)
    run = interpreter.get_signature_runner(SIGNATURE)
    return lambda images: run(images=images)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
