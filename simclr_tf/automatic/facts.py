"""What a choice of settings depends on: facts about the images and the machine."""

from __future__ import annotations

import subprocess
from typing import NamedTuple

import numpy as np

from simclr_tf import capacity, precision
from simclr_tf.data import decode
from simclr_tf.data.sources import Source
from simclr_tf.job import Job
from simclr_tf.report.machine import cores

_SAMPLE = 16  # images
_GIB = 2**30
_TPU_BYTES = 16 * _GIB  # of a core of v3; later ones have more
_UNKNOWN_GPU_BYTES = 8 * _GIB


class Pictures(NamedTuple):
    """The training images.

    Attributes:
        images: Their number.
        side: Pixels of the shorter side of a typical one.
        channels: Of each.
    """

    images: int
    side: int
    channels: int = 3


class Machine(NamedTuple):
    """Where a training computes.

    Attributes:
        kind: `CPU`, `GPU` or `TPU`.
        devices: Number of replicas.
        cores: Of the CPU, for this process.
        memory: Bytes of each device, of a CPU those of the machine.
        bfloat16: Whether `--precision=auto` means it here.
    """

    kind: str
    devices: int
    cores: int
    memory: int
    bfloat16: bool

    def __str__(self) -> str:
        what = f"{self.cores} CPU cores" if self.kind == "CPU" else f"{self.devices} {self.kind}s"
        if "1 " in what[:2]:
            what = what.removesuffix("s")
        return f"{what}, {'bfloat16' if self.bfloat16 else 'float32'}"


def pictures_of(source: Source, split: str) -> Pictures:
    """Counts the images of a split expression, and looks at the first 16 of them.

    Raises:
        InputError: No such split; an image that can't be decoded.
    """
    count = source.num_examples(split)
    shape = source.image_shape
    if shape is None:
        with decode.naming_bad_image(source, split):
            sides = [
                min(decode.decode_image(example["image"], source.reading).shape[:2])
                for example in source.examples(split).take(_SAMPLE)
            ]
        return Pictures(count, int(np.median(sides)), source.channels)
    return Pictures(count, min(shape), source.channels)


def machine_of(job: Job) -> Machine:
    """What a job computes on."""
    low = precision.choose(job.strategy).precision == "bfloat16"
    memory = _UNKNOWN_GPU_BYTES
    if job.kind == "GPU":
        memory = _gpu_bytes() or _UNKNOWN_GPU_BYTES
    elif job.kind == "TPU":
        memory = _TPU_BYTES
    else:
        memory = capacity.physical_bytes() or memory
    return Machine(job.kind, job.replicas, cores() or 1, memory, low)


def _gpu_bytes() -> int | None:
    """The memory of the smallest NVIDIA GPU, None where its driver's program does not tell."""
    query = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20)
        return min(int(line) for line in found.stdout.split()) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
