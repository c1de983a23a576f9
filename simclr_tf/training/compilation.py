"""Whether XLA compiles the training step (`jit_compile`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import tensorflow as tf

from simclr_tf.errors import require

Function = TypeVar("Function", bound=Callable[..., Any])


def resolve(setting: str, strategy: tf.distribute.Strategy) -> str:
    """What `jit_compile` means on these devices: `on`, `input` or `off`.

    `auto` is `input`: on a CPU convolutions are slower in XLA, on a GPU it was not measured. A TPU
    compiles by itself, whatever the setting.

    Raises:
        InputError: `on` with several replicas. XLA has no gather between processes and refuses
            variables of several devices in one function.
    """
    if _is_tpu(strategy):
        return "on"
    require(setting != "on" or strategy.num_replicas_in_sync == 1, "jit_compile",
            f"must be auto, input or off with {strategy.num_replicas_in_sync} replicas: XLA can't "
            "compile what they exchange", setting)  # fmt: skip
    return "input" if setting == "auto" else setting


def compiles(resolved: str, strategy: tf.distribute.Strategy) -> bool:
    """Whether the step has to be handed to XLA, as `compiled` does; a TPU needs no asking."""
    return resolved == "on" and not _is_tpu(strategy)


def note(setting: str, strategy: tf.distribute.Strategy) -> str | None:
    """What the user should know about the choice, if anything."""
    if not _is_tpu(strategy) or setting == "on":
        return None
    return f"--jit_compile={setting} is on: a TPU compiles every step"


def compiled(function: Function, wanted: bool) -> Function:
    """`function` by XLA where `wanted`, else as it is."""
    return tf.function(function, jit_compile=True, autograph=False) if wanted else function


def _is_tpu(strategy: tf.distribute.Strategy) -> bool:
    return isinstance(strategy, tf.distribute.TPUStrategy)
