"""Weights with the graph that computes them beside them, as TensorFlow writes it.

The operations are the oracle's: those of the reference implementation's graphs in inference mode,
behind variables of the same names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tests.weights import oracle


def write_saved_model(
    folder: str, arrays: Mapping[str, np.ndarray], architecture: oracle.Architecture
) -> str:
    """Writes a SavedModel that computes the endpoints of an architecture; returns `folder`."""
    module = tf.train.Checkpoint()
    module.variables = [tf.Variable(value, name=name) for name, value in arrays.items()]
    values = dict(zip(arrays, module.variables, strict=True))

    @tf.function(autograph=False)
    def call(inputs, trainable):
        return oracle.endpoints(values, inputs, architecture)

    images = tf.TensorSpec([None, None, None, 3], tf.float32)
    call.get_concrete_function(images, trainable=False)
    module.__call__ = call
    tf.saved_model.save(module, folder)
    return folder


def write_tf1_graph(
    prefix: str, arrays: Mapping[str, np.ndarray], architecture: oracle.Architecture
) -> str:
    """Writes a TF1 checkpoint with its `.meta` file; returns its prefix.

    Gradients are in the graph, as in that of a training.
    """
    compat = tf.compat.v1
    os.makedirs(os.path.dirname(prefix), exist_ok=True)
    with tf.Graph().as_default(), compat.Session() as session:
        values = {
            name: compat.get_variable(name, initializer=np.asarray(value), use_resource=False)
            for name, value in arrays.items()
        }
        images = compat.placeholder(tf.float32, [2, 32, 32, 3])
        logits = oracle.endpoints(values, images, architecture)["logits_sup"]
        tf.gradients(logits, [value for name, value in values.items() if "kernel" in name])
        session.run(compat.global_variables_initializer())
        return compat.train.Saver().save(session, prefix, write_state=False)
