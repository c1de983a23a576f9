"""GPUs of NVIDIA that this machine has and TensorFlow doesn't use."""

from __future__ import annotations

import glob
import os
import sys

import tensorflow as tf

from simclr_tf import startup

# What the driver leaves: device files, its own listing, and the device of Windows' subsystem.
_TRACES = ("/dev/nvidia[0-9]*", "/proc/driver/nvidia/gpus/*", "/dev/dxg")
_LIBRARIES = ("nvidia-cudnn-cu12", "nvidia-cudnn-cu13")  # of TensorFlow's extra `and-cuda`


def unused_gpu() -> str | None:
    """Why TensorFlow computes on the CPU of a machine with a GPU, and what mends it.

    Returns:
        One line; None where it sees a GPU, there is none, or `CUDA_VISIBLE_DEVICES` hides it.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")
    present = any(glob.glob(pattern) for pattern in _TRACES)
    if hidden or not present or tf.config.list_physical_devices("GPU"):
        return None
    return f"this machine has an NVIDIA GPU that TensorFlow does not see: {_remedy()}"


def _remedy() -> str:
    if not any(map(startup.installed_version, _LIBRARIES)):
        major, minor, *_ = tf.__version__.split(".")
        extra = f"tensorflow[and-cuda]=={major}.{minor}.*"
        return f'{os.path.basename(sys.executable)} -m pip install "{extra}" installs what it needs'
    return (
        "its libraries are installed, so `nvidia-smi` should work, and TF_CPP_MIN_LOG_LEVEL=0 "
        "before the command shows what TensorFlow misses"
    )
