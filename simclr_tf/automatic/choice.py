"""Which network, image size, batch and length fit images, a machine and a time.

The rules are plain and few. On a CPU the network grows with core hours, of which one that computes
in bfloat16 counts twice; on GPUs and TPUs with device hours. The figures behind the CPU's part are
those of docs/recipes.md; the part of GPUs and TPUs follows the paper and was not measured.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from simclr_tf.automatic.facts import Machine, Pictures
from simclr_tf.units import format_duration

# Hours up to which a network is chosen: (hours, depth, width, largest image size).
_ON_CPU = ((1.0, 18, 0.25, 64), (8.0, 18, 0.5, 64), (math.inf, 18, 1.0, 96))
_ON_OTHERS = ((0.5, 18, 1.0, 96), (4.0, 50, 1.0, 128), (math.inf, 50, 1.0, 224))
# What a step keeps of a view of 224 px, in bytes of float32; half of it in bfloat16.
_BYTES_PER_VIEW = {18: 50e6, 50: 120e6}
_FULL_SIZE = 224
_SIZES = (32, 48, 64, 96, 128, 160, 192, 224)
_MEMORY_SHARE = 0.5
_CPU_BATCH, _LARGEST_BATCH, _SMALLEST_BATCH = 128, 4096, 2
_MOST_EPOCHS = 1000  # as long as the paper trains
_WARMUP_SHARE, _CHECKPOINTS = 0.05, 10
_CPU_RATE, _RATE = 4.0, 0.075  # with LARS: per 256 images; times sqrt(batch), as in B.1
_SMALL = 64  # px up to which crops are larger, colours milder, and nothing is blurred
# What a choice may set.
NAMES = ("resnet_depth", "width_multiplier", "image_size", "train_batch_size", "precision",
         "optimizer", "learning_rate", "learning_rate_scaling", "weight_decay", "temperature",
         "num_proj_layers", "proj_out_dim", "linear_probe", "crop_area_min",
         "color_jitter_strength", "use_blur", "views", "train_steps", "warmup_epochs",
         "checkpoint_steps")  # fmt: skip
_OTHER_CHANNELS = "crop(0.2,1) flip rot90"


class Choice(NamedTuple):
    """Settings and why.

    Attributes:
        settings: Values by setting name.
        reasons: Pairs of names of settings, with blanks, and a few words.
    """

    settings: dict[str, Any]
    reasons: tuple[tuple[str, str], ...]


def choose(pictures: Pictures, machine: Machine, seconds: float) -> Choice:
    """Everything but the number of steps, see `steps` and `around`.

    Example:
        `choose(Pictures(300, 500), Machine("CPU", 1, 2, 2**34, True), 600).settings["image_size"]`

    Args:
        pictures: The training images.
        machine: Where it trains.
        seconds: The time for it.
    """
    on_cpu = machine.kind == "CPU"
    workers = machine.cores if on_cpu else machine.devices
    hours = seconds / 3600 * workers * (2 if on_cpu and machine.bfloat16 else 1)
    tiers = _ON_CPU if on_cpu else _ON_OTHERS
    _, depth, width, largest = next(tier for tier in tiers if hours <= tier[0])
    size = max(one for one in _SIZES if one <= max(min(largest, pictures.side), _SIZES[0]))
    batch, limit = _batch(pictures.images, machine, depth, size)
    small = size <= _SMALL
    short = on_cpu and batch == _CPU_BATCH  # the run that the rate of the recipes for CPUs is of
    settings: dict[str, Any] = {
        "resnet_depth": depth,
        "width_multiplier": width,
        "image_size": size,
        "train_batch_size": batch,
        "precision": "auto",
        "optimizer": "lars",
        "learning_rate": _CPU_RATE if short else _RATE,
        "learning_rate_scaling": "linear" if short else "sqrt",
        "weight_decay": 1e-4,
        "temperature": 0.2 if batch <= 512 else 0.1,
        "num_proj_layers": 2,
        "proj_out_dim": 64 if on_cpu else 128,
        "linear_probe": True,
    }
    if pictures.channels == 3:
        settings |= {"crop_area_min": 0.2 if small else 0.08,
                     "color_jitter_strength": 0.5 if small else 1.0,
                     "use_blur": not small}  # fmt: skip
        views = "crop_area_min color_jitter_strength use_blur", (
            "small views lose what is small, strong colours and blur cost more than they give"
            if small else "as in the paper")  # fmt: skip
    else:
        settings["views"] = _OTHER_CHANNELS
        views = "views", f"colours of {pictures.channels} channels are not distorted"
    unit = "core" if on_cpu else "device"
    counted = ", which count twice in bfloat16" if on_cpu and machine.bfloat16 else ""
    return Choice(settings, (
        ("resnet_depth width_multiplier", f"what learns in {hours:.2g} {unit} hours{counted}"),
        ("image_size", f"at most {largest} px for this time; the images have {pictures.side}"),
        ("train_batch_size", limit),
        views,
    ))  # fmt: skip


def steps(per_epoch: int, seconds: float, seconds_per_step: float) -> tuple[int, str]:
    """How many steps fit, and why.

    Args:
        per_epoch: Steps of a pass over the images.
        seconds: The time for the training.
        seconds_per_step: What a step takes, its images included.
    """
    fitting = max(1, int(seconds / seconds_per_step))
    taken = min(fitting, _MOST_EPOCHS * per_epoch)
    time = format_duration(taken * seconds_per_step)
    passes = f"{taken / per_epoch:.3g} passes over the images"
    if taken < fitting:
        passes = f"{_MOST_EPOCHS} passes over the images, as many as the paper takes at most"
    return taken, f"{seconds_per_step:.3g} s a step, timed, are {time}, {passes}"


def around(total: int, per_epoch: int) -> dict[str, Any]:
    """The settings that follow from the number of steps: warm-up and checkpoints.

    Args:
        total: Steps of the training.
        per_epoch: Steps of a pass over the images.
    """
    warmup = float(f"{max(_WARMUP_SHARE * total / per_epoch, 1e-6):.3g}")
    return {"warmup_epochs": warmup, "checkpoint_steps": max(1, total // _CHECKPOINTS)}


def _batch(count: int, machine: Machine, depth: int, size: int) -> tuple[int, str]:
    """The images of a step, and what limits them: a power of two for each device."""
    few = "at most half of the images"
    devices = machine.devices
    if machine.kind == "CPU":
        wanted, reason = _CPU_BATCH, "larger ones take longer on a CPU and teach no more"
    else:
        of_view = _BYTES_PER_VIEW[depth] * (size / _FULL_SIZE) ** 2
        of_view /= 2 if machine.bfloat16 else 1
        fitting = _power_of_two(_MEMORY_SHARE * machine.memory / (2 * of_view)) * devices
        wanted, reason = fitting, "what half the memory of a device holds"
        if fitting > _LARGEST_BATCH:
            wanted, reason = _LARGEST_BATCH, "as large as the paper's"
    each = min(wanted, count // 2) / devices
    batch = max(_power_of_two(each) * devices, _SMALLEST_BATCH)
    return batch, few if batch < wanted else reason


def _power_of_two(number: float) -> int:
    return 2 ** int(math.log2(max(number, 1)))
