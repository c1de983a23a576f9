"""Branches of a graph that cost nothing where they are not taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def apart(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """A branch for `tf.cond` whose operations stay in a function of their own.

    TensorFlow puts all branches into one graph and visits each operation of those that are not
    taken. That took longer than decoding a small image; a call that is not made is one visit.
    """

    def branch() -> Any:
        called = tf.function(
            lambda: function(*args),
            autograph=False,
            experimental_attributes={"_noinline": True},
        )
        return called()

    return branch
