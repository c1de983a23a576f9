"""Whether this machine can hold a network and its batches, told before anything is built.

All figures are lower bounds: what is refused does not fit by far, what is not refused may still be
too much. They count kernels (with gradients and optimizer slots where there is training), one batch
of images, and the output of the first convolution, and nothing else.
"""

from __future__ import annotations

import dataclasses
import os

from simclr_tf.errors import require
from simclr_tf.job import Job
from simclr_tf.models.resnet import BOTTLENECK_EXPANSION, GROUP_CHANNELS
from simclr_tf.settings.model import BLOCKS_PER_GROUP, EncoderConfig, ModelConfig
from simclr_tf.settings.run import RunConfig

_FLOAT_BYTES = 4
_SLOTS = {"lars": 1, "momentum": 1, "adam": 2}
_ACCELERATOR_BYTES = 2**40  # more than any has; what is asked for tells nothing about this one


def physical_bytes() -> int | None:
    """The memory of this machine, None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def channels(encoder: EncoderConfig) -> tuple[int, ...]:
    """Filters of the four block groups."""
    return tuple(int(base * encoder.width_multiplier) for base in GROUP_CHANNELS)


def feature_width(encoder: EncoderConfig) -> int:
    """Width of the representation h."""
    expansion = BOTTLENECK_EXPANSION if encoder.resnet_depth >= 50 else 1
    return channels(encoder)[-1] * expansion


def least_parameters(config: ModelConfig, num_classes: int | None) -> int:
    """The parameters of a network's kernels, without those of stem, selective kernels and gates.

    0 where the encoder is no ResNet, of which nothing is known before it is made.

    Args:
        config: Its settings.
        num_classes: Width of the linear head, None without one.
    """
    encoder = config.encoder
    if not encoder.is_resnet:
        return 0
    deep = encoder.resnet_depth >= 50
    count, inputs = 0, channels(encoder)[0]
    for group, (filters, blocks) in enumerate(
        zip(channels(encoder), BLOCKS_PER_GROUP[encoder.resnet_depth], strict=True)
    ):
        outputs = filters * (BOTTLENECK_EXPANSION if deep else 1)
        if group > 0 or encoder.projects_first:
            count += inputs * outputs  # the shortcut
        for _ in range(blocks):
            if deep:
                count += inputs * filters + 9 * filters**2 + filters * outputs
            else:
                count += 9 * inputs * filters + 9 * filters**2
            inputs = outputs
    projection = config.projection
    used = projection.depth if config.pretrains else projection.ft_proj_selector
    classified = inputs
    for layer in range(used):
        units = inputs if layer < projection.depth - 1 else projection.proj_out_dim
        count += inputs * units
        classified = inputs if config.pretrains else units
    return count + classified * (num_classes or 0)


def check_network(config: ModelConfig, num_classes: int | None, name: str) -> None:
    """Refuses a network whose weights alone this machine can't hold.

    Args:
        config: Its settings.
        num_classes: Width of the linear head.
        name: The setting or the file that asks for it, for errors.

    Raises:
        InputError: Says what it takes and what there is.
    """
    _require_room(_FLOAT_BYTES * least_parameters(config, num_classes), physical_bytes(), name,
                  f"must be smaller: the weights of {_described(config)}")  # fmt: skip


def check_images(
    batch_size: int, image_size: int, name: str = "eval_batch_size", channels: int = 3
) -> None:
    """Refuses a batch of images that this machine can't hold.

    Args:
        batch_size: Images that are in its memory at a time.
        image_size: Their side in pixels.
        name: The setting of the batch, for errors.
        channels: Of an image.

    Raises:
        InputError: Says what it takes and what there is.
    """
    of_what = f"{image_size} px" + (f" and {channels} channels" if channels != 3 else "")
    _require_room(_image_bytes(batch_size, image_size, channels), physical_bytes(), name,
                  f"must be smaller: {batch_size} images of {of_what}")  # fmt: skip


def check_copies(count_bytes: int, name: str, what: str) -> None:
    """Refuses to copy into memory what this machine can't hold twice, as while it is joined.

    Args:
        count_bytes: Size of what is copied.
        name: What asks for it, for errors.
        what: What is copied, for errors.

    Raises:
        InputError: Says what it takes and what there is.
    """
    _require_room(2 * count_bytes, physical_bytes(), name,
                  f"must be smaller: {what} and the copy made of them")  # fmt: skip


def check_run(run: RunConfig, num_classes: int | None, job: Job, trains: bool) -> None:
    """Refuses a run whose network or batches this machine can't hold.

    Args:
        run: Its settings.
        num_classes: Width of the linear head.
        job: Where it computes. Replicas on split CPUs share the machine's memory; how much
            accelerators have is not known, and taken as more than any has.
        trains: Whether gradients and slots are needed.

    Raises:
        InputError: Names the setting and says what it takes and what there is.
    """
    physical = physical_bytes()
    replicas = max(1, job.replicas // job.workers)
    on_cpu = job.kind == "CPU"
    room = physical if on_cpu else _ACCELERATOR_BYTES * replicas
    copies = 1 + (1 + _SLOTS[run.optimizer.optimizer] if trains else 0)
    weights = _FLOAT_BYTES * least_parameters(run.model, num_classes) * copies * replicas
    _require_room(weights, room, _widest(run.model), "must be smaller: weights"
                  f"{', gradients and slots' if trains else ''} of {_described(run.model)}"
                  f"{f' on {replicas} replicas' if replicas > 1 else ''}")  # fmt: skip
    views = 2 if run.model.pretrains else 1
    batches = {"eval_batch_size": (run.evaluation.eval_batch_size, 1, 0)}
    if trains:
        at_a_time = run.train.gradient_cache_chunk or run.train.train_batch_size
        batches["train_batch_size"] = (run.train.train_batch_size, views, at_a_time)
    size = run.data.image_size
    for name, (batch, number, at_a_time) in batches.items():
        what = f"must be smaller: {batch} x {number} images of {size} px and what a network of " \
               "this size makes of them"  # fmt: skip
        images = _image_bytes(batch * number, size) // job.workers
        _require_room(images, physical, name, what)
        if on_cpu:
            first = _first_output_bytes(run.model, at_a_time * number, size) // job.workers
            _require_room(weights + images + first, physical, name, what)


def _image_bytes(count: int, size: int, channels: int = 3) -> int:
    return count * size**2 * channels * _FLOAT_BYTES


def _first_output_bytes(config: ModelConfig, count: int, size: int) -> int:
    """What the gradient needs of the first convolution, half of it in bfloat16."""
    if not config.encoder.is_resnet:
        return 0
    side = -(-size // 2) if config.encoder.stem == "imagenet" else size
    width = channels(config.encoder)[0] // 2 or 1  # of the deep stem
    return count * side**2 * width * _FLOAT_BYTES // 2


def _widest(config: ModelConfig) -> str:
    """The setting that most of the weights come from."""
    projection = dataclasses.replace(config.projection, proj_head_mode="none", ft_proj_selector=0)
    encoder = least_parameters(dataclasses.replace(config, projection=projection), None)
    return "width_multiplier" if 2 * encoder > least_parameters(config, None) else "num_proj_layers"


def _described(config: ModelConfig) -> str:
    encoder = config.encoder
    return f"a ResNet-{encoder.resnet_depth} of width {encoder.width_multiplier:g}"


def _require_room(needed: int, room: int | None, name: str, constraint: str) -> None:
    require(room is None or needed <= room, name,
            f"{constraint} take at least {_gib(needed)}, this machine has {_gib(room or 0)}",
            _gib(needed))  # fmt: skip


def _gib(count: int) -> str:
    return f"{count / 2**30:.4g} GiB"
