"""What TensorFlow does before a graph runs costs more than the few steps that tests take.

    with eagerly():
        training.train(...)

That training and evaluation work as graphs is seen by tests/training and tests/test_run.py; that
they do as graphs that were optimized, by the programs that are started without tests/warm.py: the
notebooks, the installed wheel, those of tests/test_startup.py.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import tensorflow as tf


def as_traced() -> None:
    """From now on the graphs of this process run as they are traced, without being optimized."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@contextlib.contextmanager
def eagerly() -> Iterator[None]:
    """Within it a `tf.function` is called as Python; but for those of input pipelines."""
    tf.config.run_functions_eagerly(True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Even though the `tf.config.experimental_run_func")
            yield
    finally:
        tf.config.run_functions_eagerly(False)
