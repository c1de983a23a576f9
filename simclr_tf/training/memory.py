"""How much memory a process has taken."""

from __future__ import annotations

import sys

import tensorflow as tf

_GIB = 2**30


def peak_memory() -> dict[str, float]:
    """The most that was taken so far, in GiB, under the tags of TensorBoard.

    `memory/host_peak_gib` is of this process, where the system tells it (not on Windows);
    `memory/device_peak_gib` is of its fullest GPU.
    """
    found = {}
    if (host := _host_peak()) is not None:
        found["memory/host_peak_gib"] = host / _GIB
    devices = [device.name for device in tf.config.list_logical_devices("GPU")]
    if devices:
        peaks = [tf.config.experimental.get_memory_info(name)["peak"] for name in devices]
        found["memory/device_peak_gib"] = max(peaks) / _GIB
    return found


def _host_peak() -> int | None:
    """Bytes."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
