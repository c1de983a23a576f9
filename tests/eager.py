"""Tests of what is around a training of two or three steps: tracing costs more than they do.

    with eagerly():
        training.train(...)

That training and evaluation work as graphs is seen by tests/training and tests/test_run.py.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import tensorflow as tf


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
