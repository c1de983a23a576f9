"""Loading TensorFlow the way every command line wants it."""

from __future__ import annotations

import glob
import importlib.metadata
import logging
import os
import re
import sys

from simclr_tf.errors import InputError, require

# Variables that TensorFlow reads as numbers -> the largest that means anything.
_NUMBERS = {"TF_NUM_INTRAOP_THREADS": 1024, "TF_NUM_INTEROP_THREADS": 1024}


def installed_version(distribution: str) -> str | None:
    """The version of a package as `pip` knows it, None where it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_process() -> None:
    """Refuses a process that can't work: no working directory, variables that mean nothing, -OO.

    Raises:
        InputError: Names the variable.
    """
    require(sys.flags.optimize < 2, "python", "must run without -OO (and PYTHONOPTIMIZE=2): Keras "
            "needs its docstrings", "-OO")  # fmt: skip
    try:
        os.getcwd()
    except OSError as error:
        raise InputError("working directory", f"must exist ({error.strerror}); go to another one",
                         os.environ.get("PWD")) from None  # fmt: skip
    for name, most in _NUMBERS.items():
        text = os.environ.get(name, "")
        sound = text == "" or (re.fullmatch("[0-9]{1,9}", text) and int(text) <= most)
        require(bool(sound), name, f"must be a whole number from 0 to {most}", text)


def choose_environment() -> None:
    """Sets the variables that TensorFlow reads when it is imported, unless they are set already.

    Its informational lines would bury ours. On CPUs without AVX-512 it leaves oneDNN off, which
    costs a factor of 2 to 15 per training step (docs/performance.md). With oneDNN it needs two
    threads, even on one core: with a single one TensorFlow 2.21 aborts in the first training step.

    `tf.keras` is not used here (CONTRIBUTING.md); unless it stands for tf_keras, TensorFlow loads
    Keras 3 beside it, which takes a second and 90 MiB.

    What XLA compiles for the CPU are passes over single images (`data.views`), of which several run
    at a time: dividing one of them over the cores costs a fifth of the input pipeline's speed.
    """
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if os.environ["TF_ENABLE_ONEDNN_OPTS"] != "0" and _compute_threads() == 1:
        os.environ["TF_NUM_INTRAOP_THREADS"] = "2"


def load_tensorflow(verbosity: int | None = None) -> None:
    """Imports TensorFlow, without its complaints about CUDA where there is no GPU to use.

    Must come before anything else imports it. See `choose_environment`.

    Args:
        verbosity: What it may say, by absl's numbers: -3 nothing, -2 errors, -1 warnings, 0
            information, 1 more. None: errors, unless the environment says otherwise.

    Raises:
        InputError: See `check_process`.
    """
    check_process()
    if verbosity is not None:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = str(min(max(-verbosity, 0), 3))
    choose_environment()
    _import_tensorflow(quietly=verbosity is None or verbosity < -1)
    # The same for what it says from Python.
    level = logging.ERROR if verbosity is None else _python_level(verbosity)
    for name in ("tensorflow",) if verbosity is None else ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(level)


def _python_level(verbosity: int) -> int:
    """The level of Python's logging for one of absl: -3 is critical, 1 and more debug."""
    return logging.INFO - 10 * min(max(verbosity, -3), 1)


def _import_tensorflow(quietly: bool) -> None:
    # What it says about drivers and libraries is needed where there is a GPU.
    if not quietly or glob.glob("/dev/nvidia*") or os.path.exists("/dev/dxg"):
        return
    # The lines come from C++ before its logging can be set up, so the file itself is redirected.
    stderr, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        import tensorflow as tf

        tf.config.list_physical_devices()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nothing)


def _compute_threads() -> int:
    """The threads that TensorFlow would give to one operation."""
    asked = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):  # absent on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
