"""Signatures: entry points with named inputs and outputs, for servers, Keras 3 and shells."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from simclr_tf.augment.policy import eval_view
from simclr_tf.data.reading import EXPORTED, Reading
from simclr_tf.data.reduced import eval_image
from simclr_tf.models.endpoints import FINAL_ENDPOINT, LOGITS_ENDPOINT

from .module import Passes, images_spec

FILE_CHANNELS = 3
IMAGE_BYTES = tf.TensorSpec([None], tf.string, name="image_bytes")

# Endpoint -> output of a signature.
OUTPUTS = {FINAL_ENDPOINT: "embedding", LOGITS_ENDPOINT: "logits"}


def build_signatures(passes: Passes) -> dict[str, Any]:
    """The signatures of a SavedModel, all of which every converter can read.

    Args:
        passes: The traced network.

    Returns:
        By name.

        - `serving_default`: of `images` (N, H, W, 3) float32 in [0, 1] of any size. Returns
          `embedding` (N, D) and, where there is a linear head, `logits` (N, classes).
        - `default`: of `images`, as that of the published TF1 modules: every endpoint by its name,
          and `final_avg_pool` once more as `default`.
    """
    spec = images_spec(passes.network)

    @tf.function(input_signature=[spec], autograph=False)
    def serving_default(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return _named(passes.inference(images))

    @tf.function(input_signature=[spec], autograph=False)
    def default(images: tf.Tensor) -> dict[str, tf.Tensor]:
        endpoints = passes.inference(images)
        return {**endpoints, "default": endpoints["final_avg_pool"]}

    return {"serving_default": serving_default, "default": default}


def build_functions(passes: Passes, image_size: int, reading: Reading = EXPORTED) -> dict[str, Any]:
    """Functions of a SavedModel beside its signatures: `module.from_bytes(files)`.

    As signatures they would stand in the way of converters, which take all signatures: TFLite knows
    no operation that decodes a JPEG, and none that moves statistics.

    Args:
        passes: The traced network.
        image_size: Side in pixels that `from_bytes` brings images to.
        reading: How `from_bytes` reads files, without Python.

    Returns:
        By name; each returns what `serving_default` does.

        - `training_default`: of `images`, with batch norm in training mode; the
          `call_training_endpoint` of a Keras 3 `TFSMLayer`.
        - `from_bytes`: of `image_bytes` (N,), encoded files of any sizes: JPEG, PNG, GIF, WebP of
          one picture, and BMP of 24 or 32 bits, which become images as in the evaluation of a run
          but for the orientation in a WebP. Other kinds need Pillow and are refused. Only of
          networks for three channels, as files have them.
    """
    spec = images_spec(passes.network)

    @tf.function(input_signature=[spec], autograph=False)
    def training_default(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return _named(passes.training(images))

    @tf.function(input_signature=[IMAGE_BYTES], autograph=False)
    def from_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return _named(passes.inference(images_from_bytes(image_bytes, image_size, reading)))

    functions = {"training_default": training_default, "from_bytes": from_bytes}
    if passes.network.config.encoder.channels != FILE_CHANNELS:
        del functions["from_bytes"]
    return functions


def images_from_bytes(
    image_bytes: tf.Tensor, image_size: int, reading: Reading = EXPORTED
) -> tf.Tensor:
    """Decodes files and takes their evaluation views.

    Args:
        image_bytes: (N,) encoded images.
        image_size: Side of the result in pixels.
        reading: How files are read, without Python.

    Returns:
        float32 (N, image_size, image_size, 3) in [0, 1].
    """
    view = tf.TensorSpec([image_size, image_size, 3], tf.float32)
    return tf.map_fn(
        lambda encoded: eval_image(encoded, eval_view, image_size, reading),
        image_bytes,
        fn_output_signature=view,
    )


def _named(endpoints: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    return {output: endpoints[name] for name, output in OUTPUTS.items() if name in endpoints}
