"""What a run computes on, and with which versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

import tensorflow as tf

import simclr_tf

_PACKAGES = ("tensorflow", "tf-keras", "numpy", "tensorflow-datasets")
_CPU_INFO = "/proc/cpuinfo"  # Linux


def versions() -> dict[str, str]:
    """This library, Python, and the packages that decide what is computed."""
    packages = {name: importlib.metadata.version(name) for name in _PACKAGES}
    own = {"simclr_tf": simclr_tf.__version__, "python": platform.python_version()}
    return own | packages


def hardware() -> dict[str, Any]:
    """Processor, cores this process may use, memory in GiB, GPUs, operating system."""
    gpus = [
        tf.config.experimental.get_device_details(device).get("device_name", device.name)
        for device in tf.config.list_physical_devices("GPU")
    ]
    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_gib": _memory(),
        "gpus": gpus,
        "system": f"{platform.system()} {platform.release()}",
    }


def _processor() -> str:
    try:
        with open(_CPU_INFO) as file:
            lines = [line.partition(":") for line in file]
    except OSError:
        return platform.processor() or platform.machine()
    names = [value.strip() for key, _, value in lines if key.strip() == "model name"]
    return names[0] if names else platform.machine()


def cores() -> int | None:
    """How many this process may use, None where the system does not say."""
    if hasattr(os, "sched_getaffinity"):  # absent on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, OSError, ValueError):
        return None
