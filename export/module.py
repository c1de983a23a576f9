"""The network as one callable object, ready to be saved.

The loaded object follows the contract of the published SimCLR modules and the interface of
reusable SavedModels (tensorflow.org/hub/reusable_saved_models): `module(images, trainable=False,
training=False)` with images (N, H, W, 3) float32 in [0, 1] of any size returns every endpoint by
name. It holds the network alone: no augmentation, one device, float32. Code for the published TF2
modules may say `inputs` for the images, and reads `trainable_variables_list`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import tensorflow as tf

from simclr_tf.models.batch_norm import local_value
from simclr_tf.models.keras_encoder import KerasEncoder
from simclr_tf.models.network import Network
from simclr_tf.weights import keras_encoders


class Passes(NamedTuple):
    """A network and its two traces, each from images to its named endpoints.

    Attributes:
        network: Float32 and outside any strategy; the traces need its variables.
        inference: With the running statistics of batch norm.
        training: With the batch's, which also moves the running ones.
    """

    network: Network
    inference: Any
    training: Any


def plain_copy(model: Network) -> Network:
    """A float32 copy on one device, fully trainable, with the weights of `model`.

    The linear head of the copy has no stop-gradient: who fine-tunes an exported model through
    `logits_sup` means to train the encoder.
    """
    config = dataclasses.replace(model.config, precision="float32", fine_tune_after_block=-1)
    encoder = None
    if isinstance(model.encoder, KerasEncoder):
        shape = model.encoder.example_shape
        with model.encoder.thawed():
            body = keras_encoders.copy_of(model.encoder.body, shape)
        encoder = KerasEncoder(body, shape[0], shape[-1])
    copy = Network(config, model.num_classes, whole_head=model.whole_head, encoder=encoder)
    copy.detach_linear_head = False
    sources = {variable.name: variable for variable in model.variables}
    for variable in copy.variables:
        if encoder is None or not encoder.has(variable):  # the body is copied already
            # Of several replicas any has the same value; to ask all would take all workers.
            variable.assign(local_value(sources[variable.name]))
    return copy


def images_spec(network: Network, name: str = "images") -> tf.TensorSpec:
    """The images (N, H, W, C) that a network takes, of any size where it takes any."""
    channels = network.encoder.example_shape[-1]
    sides = network.encoder.fixed_sides if isinstance(network.encoder, KerasEncoder) else None
    return tf.TensorSpec([None, *(sides or (None, None)), channels], tf.float32, name=name)


def trace_passes(network: Network) -> Passes:
    """Traces `network` once for inference and once for training.

    Deep networks take long to trace; everything that is saved calls these two.
    """

    def trace(training: bool) -> Any:
        @tf.function(autograph=False)
        def endpoints(images: tf.Tensor) -> dict[str, tf.Tensor]:
            return network(images, training=training)

        return endpoints.get_concrete_function(images_spec(network))

    return Passes(network, trace(False), trace(True))


def build_module(passes: Passes) -> tf.train.Checkpoint:
    """The object to save, with the attributes of a reusable SavedModel.

    Args:
        passes: The traced network.

    Returns:
        An object with `__call__`, `variables`, `trainable_variables`, the same under the name of
        the published modules, `trainable_variables_list`, and `regularization_losses`. Batch norm
        uses and moves its statistics where `trainable` or `training` is true: the published
        modules know the former, Keras passes the latter.
    """

    @tf.function(autograph=False)
    def call(
        images: tf.Tensor | None = None,
        trainable: bool = False,
        training: bool = False,
        inputs: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        given = inputs if images is None else images
        return (passes.training if trainable or training else passes.inference)(given)

    images, inputs = (images_spec(passes.network, name) for name in ("images", "inputs"))
    for trainable in (False, True):
        for training in (False, True):
            call.get_concrete_function(images, trainable=trainable, training=training)
            call.get_concrete_function(inputs=inputs, trainable=trainable, training=training)
    module = tf.train.Checkpoint()
    module.__call__ = call
    module.variables = list(passes.network.variables)
    module.trainable_variables = list(passes.network.trainable_variables)
    module.trainable_variables_list = module.trainable_variables
    module.regularization_losses = []
    return module
