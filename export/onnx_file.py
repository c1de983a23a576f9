"""Writes the network as an ONNX file, through tf2onnx.

The file takes `images` (batch, height, width, C), float32 in [0, 1], as the SavedModel does, and
returns `embedding` and, where there is a linear head, `logits`. Batch and size are open.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf import console
from simclr_tf.models.network import Network

from .extras import is_installed
from .inference import (
    Outputs,
    check_deviation,
    check_file_size,
    deviation,
    inference_module,
    sample_images,
)

OPSET = 17  # of ONNX Runtime 1.12 and later
_AXES = ("batch", "height", "width")


def write_onnx_file(
    model: Network, path: str, image_size: int, say: Callable[[str], None] = console.say
) -> None:
    """Writes `model` as one `.onnx` file, and compares it where ONNX Runtime is installed.

    Args:
        model: Any built model.
        path: Local path, or one that `tf.io.gfile` understands.
        image_size: Side of the images that the two are compared on.
        say: Receives the deviation.

    Raises:
        InputError: The network is too large for the format.
        RuntimeError: The file computes something else than the network.
    """
    import onnx
    import tf2onnx

    check_file_size(model, "onnx")
    infer = inference_module(model).infer
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    proto, _ = tf2onnx.convert.from_function(infer, infer.input_signature, opset=OPSET)
    _name_axes(proto)
    proto.producer_name, proto.doc_string = "simclr_tf", "images: float32 in [0, 1], NHWC"
    onnx.checker.check_model(proto)
    content = proto.SerializeToString()
    if is_installed("onnxruntime"):
        run = _runner(content)
        sizes = [(2, image_size), (3, image_size + 8)]  # batch and size are open
        found = max(deviation(model, sample_images(model, *size), run) for size in sizes)
        check_deviation(found, os.path.basename(path))
        say(f"{os.path.basename(path)}: deviates by {found:.1e} in onnxruntime")
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(content)


def _name_axes(proto: Any) -> None:
    """Gives the open axes names that a reader understands."""
    for value in (*proto.graph.input, *proto.graph.output):
        for axis, name in zip(value.type.tensor_type.shape.dim, _AXES, strict=False):
            if not axis.dim_value:
                axis.dim_param = name


def _runner(content: bytes) -> Callable[[np.ndarray], Outputs]:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(None, {"images": images}), strict=True))
