"""The network as one function from images to features, for converters, and what checks them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from simclr_tf.errors import require
from simclr_tf.models.network import Network

from .module import images_spec, plain_copy
from .serving import OUTPUTS

TOLERANCE = 1e-4  # of a converted float32 network, relative to the largest value
_LARGEST_FILE = 2**31 - 2**20  # what protocol buffers and flat buffers hold
_BYTES = 4  # of a parameter

Outputs = dict[str, np.ndarray]


def check_file_size(model: Network, kind: str) -> None:
    """Refuses networks that a single file of a format can't hold.

    Raises:
        InputError: It has 2 GiB of weights or more.
    """
    size = _BYTES * model.count_params()
    require(size < _LARGEST_FILE, "format", f"must be another one than {kind}, whose files hold "
            "less than 2 GiB", f"{size / 2**30:.1f} GiB of weights")  # fmt: skip


def inference_module(model: Network, side: int | None = None) -> tf.Module:
    """What converters get.

    Args:
        model: Any built model.
        side: Of the images in pixels; None leaves it open, where the network does.

    Returns:
        With `infer`, a `tf.function` from `images` (N, H, W, C), float32 in [0, 1], to `embedding`
        (N, D) and, where there is a linear head, `logits` (N, classes), and with its variables.
    """
    network = plain_copy(model)
    spec = images_spec(network)
    if side is not None and spec.shape[1] is None:
        spec = tf.TensorSpec([None, side, side, spec.shape[-1]], spec.dtype, name=spec.name)

    @tf.function(input_signature=[spec], autograph=False)
    def infer(images: tf.Tensor) -> dict[str, tf.Tensor]:
        endpoints = network(images, training=False)
        return {output: endpoints[name] for name, output in OUTPUTS.items() if name in endpoints}

    module = tf.Module()
    module.infer, module.held = infer, list(network.variables)
    return module


def sample_images(model: Network, count: int, side: int) -> np.ndarray:
    """Random images (count, S, S, C), float32 in [0, 1], to compare two networks on.

    Args:
        model: The network.
        count: How many.
        side: S, where the network leaves it open.
    """
    _, height, width, channels = images_spec(model).shape
    shape = (count, height or side, width or side, channels)
    return np.random.default_rng(0).random(shape, np.float32)


def deviation(
    model: Network, images: np.ndarray, converted: Callable[[np.ndarray], Outputs]
) -> float:
    """The largest difference between a network and its conversion, relative to the largest value.

    Args:
        model: The network.
        images: (N, H, W, C).
        converted: From images to outputs by name.
    """
    endpoints, outputs = model(images, training=False), converted(images)
    largest = 0.0
    for name, output in OUTPUTS.items():
        if name in endpoints:
            expected = np.asarray(tf.cast(endpoints[name], tf.float32))
            difference = np.abs(outputs[output] - expected).max()
            largest = max(largest, float(difference / max(np.abs(expected).max(), 1e-12)))
    return largest


def check_deviation(found: float, path: str) -> None:
    """Ends an export whose file computes something else: a fault of a converter, or of ours.

    Raises:
        RuntimeError: It deviates by more than rounding does.
    """
    if not found <= TOLERANCE:
        raise RuntimeError(f"{path} deviates from the network by {found:.1e} of its largest output")
