"""TensorFlow Addons, which is archived: the only module that loads it.

Its last release, 0.23.0, was made for TensorFlow 2.15. It works with 2.21 where two things hold:
`tf.keras` is `tf_keras`, and the import of `keras.src.engine.keras_tensor`, which Keras 3 no longer
has, finds that of `tf_keras`. There are no wheels for Python 3.12 and later.

Nothing that a training needs is taken from it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
import types
import warnings

import tensorflow as tf
import tf_keras as keras

_MOVED = "keras.src.engine.keras_tensor"


class AddonsError(ImportError):
    """TensorFlow Addons can't be loaded here; the message says why."""


def load() -> types.ModuleType:
    """The package `tensorflow_addons`.

    Raises:
        AddonsError: It is not installed, or `tf.keras` is not `tf_keras`.
    """
    module = _load()
    if isinstance(module, str):
        raise AddonsError(module)
    return module


def missing() -> str | None:
    """Why `load` fails in this process, None where it works."""
    module = _load()
    return module if isinstance(module, str) else None


@functools.cache
def _load() -> types.ModuleType | str:
    """The package, or why there is none."""
    if not _keras_is_tf_keras():
        return (
            "TensorFlow Addons needs tf.keras to be tf_keras: set TF_USE_LEGACY_KERAS=1 before "
            "TensorFlow is imported"
        )
    if importlib.util.find_spec("tensorflow_addons") is None:
        python = ".".join(map(str, sys.version_info[:2]))
        return (
            "TensorFlow Addons is not installed; version 0.23.0, its last, has wheels for Python "
            f"3.9 to 3.11, and this is Python {python}"
        )
    _stand_in_for_moved_module()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is archived, and made for TensorFlow 2.15
            return importlib.import_module("tensorflow_addons")
    except (ImportError, AttributeError, ValueError) as error:
        return f"TensorFlow Addons can't be imported: {type(error).__name__}: {error}"


def _keras_is_tf_keras() -> bool:
    # Read when `tf.keras` is used for the first time.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    return tf.keras.layers.Layer is keras.layers.Layer


def _stand_in_for_moved_module() -> None:
    """Lets `keras.src.engine.keras_tensor` be that of `tf_keras`."""
    parent_name, _, name = _MOVED.rpartition(".")
    found = importlib.import_module("tf_keras.src.engine.keras_tensor")
    parent = sys.modules.setdefault(parent_name, types.ModuleType(parent_name))
    if not hasattr(parent, name):
        setattr(parent, name, found)
    sys.modules.setdefault(_MOVED, found)
