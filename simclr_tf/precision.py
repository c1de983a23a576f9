"""What `precision=auto` means: bfloat16 where the hardware computes in it, else float32."""

from __future__ import annotations

import re
from typing import NamedTuple

import tensorflow as tf

from simclr_tf import distribution

CPU_INFO = "/proc/cpuinfo"
CPU_FLAGS = ("avx512_bf16", "amx_bf16")  # as Linux spells them
GPU_CAPABILITY = (8, 0)  # Ampere: the first tensor cores for bfloat16


class Chosen(NamedTuple):
    """A precision (`float32` or `bfloat16`) and why."""

    precision: str
    reason: str


def choose(strategy: tf.distribute.Strategy) -> Chosen:
    """The precision that `auto` means on this process's devices."""
    kind = distribution.device_kind(strategy)
    if kind == "TPU":
        return Chosen("bfloat16", "a TPU computes in it")
    return _of_gpus() if kind == "GPU" else _of_cpu(cpu_flags())


def resolve(precision: str, strategy: tf.distribute.Strategy) -> str:
    """`precision` itself, or what `auto` means on this process's devices."""
    return choose(strategy).precision if precision == "auto" else precision


def _of_gpus() -> Chosen:
    """Of several GPUs the weakest decides; one that does not say how old it is counts as old."""
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    weakest = min(tuple(one.get("compute_capability") or (0, 0)) for one in details)
    name = f"compute capability {weakest[0]}.{weakest[1]}" if any(weakest) else "unknown capability"
    needed = "{}.{}".format(*GPU_CAPABILITY)
    if weakest >= GPU_CAPABILITY:
        return Chosen("bfloat16", f"the GPU has {name}, {needed} and above computes in it")
    return Chosen("float32", f"the GPU has {name}, bfloat16 takes {needed}")


def _of_cpu(flags: frozenset[str]) -> Chosen:
    found = [flag for flag in CPU_FLAGS if flag in flags]
    if found:
        return Chosen("bfloat16", f"the CPU has {' and '.join(found)}")
    return Chosen("float32", f"the CPU shows neither {' nor '.join(CPU_FLAGS)}")


def cpu_flags() -> frozenset[str]:
    """What the first CPU can do, in Linux's words; nothing where Linux does not say."""
    try:
        with open(CPU_INFO) as file:
            match = re.search(r"^flags\s*:(.*)$", file.read(), re.MULTILINE)
    except OSError:
        return frozenset()
    return frozenset(match[1].split()) if match else frozenset()
