"""A model of a pretraining step on one machine of several GPUs, from operations and bytes.

A kernel takes the longer of its operations over the achieved arithmetic and its bytes over the
achieved bandwidth, each tensor crossing the memory once. See benchmarks/scaling_model.py.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from benchmarks import communication
from benchmarks.speed import flops
from simclr_tf.config import RESNET_DEPTHS
from simclr_tf.errors import require

# Pairs a second of one core at 224 px, crop and decoding included: docs/performance.md.
HOST_PAIRS_PER_CORE = 115.0  # all of the augmentation on the host
HOST_PART_PAIRS_PER_CORE = 230.0  # colour and blur left to the device

VIEWS, CLASSES, EMBEDDING = 2, 1000, 128
ITEM = {"bfloat16": 2, "float32": 4}  # bytes of an activation
FLOAT = 4
KERNELS = ("op by op", "fused")
PLACES = ("host", "device")  # of colour and blur

# Assumed: how often the float32 numbers cross the memory.
LARS_PASSES = 8  # norms of weight and gradient; update of momentum and weight; cast for the step
LOGIT_PASSES = 12  # softmax, its gradient, accuracy and entropy
AUGMENT_PASSES = 40  # 20 operations on a view, each reading and writing it


class Gpu(NamedTuple):
    """A vendor's figures of one GPU and its machine, per second; without sparsity.

    Attributes:
        peak: Operations by precision; TensorFlow computes float32 products as TF32.
        memory: Bytes of memory traffic.
        interconnect: Bytes to the other GPUs, in each direction.
        host_link: Bytes from the host.
        cores: Of the vendor's machine with eight of them.
    """

    peak: dict[str, float]
    memory: float
    interconnect: float
    host_link: float
    cores: int


GPUS = {
    # NVIDIA A100 80GB SXM data sheet, DGX A100 data sheet (two AMD 7742).
    "A100": Gpu({"bfloat16": 312e12, "float32": 156e12}, 2.039e12, 300e9, 32e9, 128),
    # NVIDIA H100 SXM data sheet (its figures with sparsity halved), DGX H100 (two Xeon 8480C).
    "H100": Gpu({"bfloat16": 989e12, "float32": 494e12}, 3.35e12, 450e9, 64e9, 112),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """One step on one machine; None takes the figure of `gpu`.

    Attributes:
        depth: Of the ResNet.
        width: Multiplies its channels.
        image_size: In pixels.
        pairs_per_gpu: Images of a GPU's batch, two views each.
        gpus: How many; with one, batch norm takes its fused kernel and nothing is exchanged.
        precision: Of activations: `bfloat16` or `float32`.
        gpu: One of `GPUS`.
        peak: Operations a second of a GPU.
        memory_bandwidth: Its memory's bytes a second.
        interconnect: Bytes a second to the other GPUs, in each direction.
        host_link: Bytes a second from the host to a GPU.
        share: Least and greatest achieved share of `peak`, in (0, 1].
        bandwidth_share: The same for the three bandwidths.
        host_cores: Of the machine.
        host_pairs_per_core: Pairs a second of a core that augments alone.
        host_part_pairs_per_core: The same with colour and blur on the device.
        num_proj_layers: Layers of the projection head, the hidden ones as wide as its input.
        classes: Of the linear head alongside.
    """

    depth: int = 50
    width: float = 1.0
    image_size: int = 224
    pairs_per_gpu: int = 512
    gpus: int = 8
    precision: str = "bfloat16"
    gpu: str = "H100"
    peak: float | None = None
    memory_bandwidth: float | None = None
    interconnect: float | None = None
    host_link: float | None = None
    share: tuple[float, float] = (0.3, 0.6)
    bandwidth_share: tuple[float, float] = (0.6, 0.9)
    host_cores: int | None = None
    host_pairs_per_core: float = HOST_PAIRS_PER_CORE
    host_part_pairs_per_core: float = HOST_PART_PAIRS_PER_CORE
    num_proj_layers: int = 2
    classes: int = CLASSES

    def __post_init__(self) -> None:
        for name, choices in (("depth", RESNET_DEPTHS), ("precision", tuple(ITEM)),
                              ("gpu", tuple(GPUS))):  # fmt: skip
            listed = ", ".join(map(str, choices))
            value = getattr(self, name)
            require(value in choices, name, f"must be one of {listed}", value)
        vendor = GPUS[self.gpu]
        known = {"peak": vendor.peak[self.precision], "memory_bandwidth": vendor.memory,
                 "interconnect": vendor.interconnect, "host_link": vendor.host_link,
                 "host_cores": vendor.cores}  # fmt: skip
        for name, value in known.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        numbers = ("image_size", "pairs_per_gpu", "gpus", *known, "host_pairs_per_core",
                   "host_part_pairs_per_core", "num_proj_layers", "classes")  # fmt: skip
        for name in numbers:
            value = getattr(self, name)
            require(0 < value < float("inf"), name, "must be a finite number above 0", value)
        require(64 * self.width >= 1, "width", "must leave at least one channel of 64", self.width)
        for name in ("share", "bandwidth_share"):
            low, high = getattr(self, name)
            require(0 < low <= high <= 1, name, "must be LOW,HIGH with 0 < LOW <= HIGH <= 1",
                    getattr(self, name))  # fmt: skip

    @property
    def views(self) -> int:
        """Images through one GPU's network."""
        return VIEWS * self.pairs_per_gpu

    @property
    def batch(self) -> int:
        """Pairs of all GPUs."""
        return self.pairs_per_gpu * self.gpus

    def rate_per_core(self, place: str) -> float:
        """Pairs a second of a core, by where colour and blur are."""
        return self.host_pairs_per_core if place == "host" else self.host_part_pairs_per_core


class Part(NamedTuple):
    """What one GPU does in a part of a step.

    Attributes:
        name: For the table.
        limit: What its time goes by: `arithmetic`, `memory traffic` or `exchange`.
        seconds: How long it takes.
        flops: Operations.
        bytes: Memory traffic.
        sent: Bytes to the other GPUs.
    """

    name: str
    limit: str
    seconds: float
    flops: float = 0.0
    bytes: float = 0.0
    sent: float = 0.0


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A step under one assumption of shares, kernels and place.

    Attributes:
        kernels: One of `KERNELS`.
        place: One of `PLACES`.
        share: Achieved share of the peak.
        bandwidth_share: Achieved share of the bandwidths.
        parts: On each GPU, one after the other.
        device_seconds: All of them.
        host_seconds: What the host's cores take for the batch.
        copy_seconds: What the views take to a GPU.
        batch: Pairs of all GPUs.
        host_rate_per_core: Pairs a second.
    """

    kernels: str
    place: str
    share: float
    bandwidth_share: float
    parts: tuple[Part, ...]
    device_seconds: float
    host_seconds: float
    copy_seconds: float
    batch: int
    host_rate_per_core: float

    @property
    def seconds(self) -> float:
        """A step: host, copies and GPUs work at the same time."""
        return max(self.device_seconds, self.host_seconds, self.copy_seconds)

    @property
    def by_limit(self) -> dict[str, float]:
        """The GPU's seconds by what they go by."""
        found: dict[str, float] = {}
        for part in self.parts:
            found[part.limit] = found.get(part.limit, 0.0) + part.seconds
        return found

    @property
    def bottleneck(self) -> str:
        """What to make faster first."""
        if self.seconds > self.device_seconds:
            waits = self.host_seconds >= self.copy_seconds
            return "host input" if waits else "copy to the GPUs"
        found = self.by_limit
        names = {"arithmetic": "the GPUs' arithmetic", "memory traffic": "the GPUs' memory traffic",
                 "exchange": "exchange between the GPUs"}  # fmt: skip
        return names[max(found, key=lambda limit: found[limit])]

    @property
    def wanted(self) -> float:
        """Pairs a second that the GPUs take when they need not wait."""
        return self.batch / self.device_seconds

    @property
    def cores_needed(self) -> int:
        """Host cores that prepare so many."""
        return -int(-self.wanted // self.host_rate_per_core)


def layers_of(settings: Settings) -> list[flops.Convolution]:
    """Convolutions of the encoder, then dense layers: projection head, linear head last."""
    encoder = flops.convolutions(settings.depth, settings.image_size, settings.width)
    width = _features(encoder)
    hidden = (width,) * settings.num_proj_layers
    return [*encoder, *flops.dense((*hidden, EMBEDDING)), *flops.dense((width, settings.classes))]


def _features(encoder: list[flops.Convolution]) -> int:
    return next(one.outputs for one in reversed(encoder) if one.role == "last")


def network_of(settings: Settings) -> communication.Network:
    """What decides about the exchange, from the layers' shapes."""
    layers = layers_of(settings)
    normalised = [layer.outputs for layer in layers[:-1]]
    # The last batch norm of the head has no offset, the linear head has a bias.
    parameters = sum(layer.weights for layer in layers) + 2 * sum(normalised)
    return communication.Network(
        f"ResNet-{settings.depth}", parameters - normalised[-1] + settings.classes,
        tuple(normalised), EMBEDDING, sum(layer.flops for layer in layers) // 2,
    )  # fmt: skip


def norm_bytes(item: int, replicas: int, kernels: str) -> int:
    """Memory traffic of batch norm for each number that it normalises, both directions.

    The kernel of one device reads the input twice and writes the output; backward it reads input
    and gradient twice and writes one. Over several replicas the statistics come from such a kernel,
    whose output nobody reads, and kernels in inference mode do the rest, see `_normalize_globally`
    in simclr_tf/models/batch_norm.py.

    Args:
        item: Bytes of an activation.
        replicas: Number of GPUs.
        kernels: One of `KERNELS`.
    """
    if replicas == 1 or kernels == "fused":
        return (3 + 5) * item
    forward = 3 + 2  # statistics; output
    backward = 3 + 2 + 3  # through the input; through the statistics; their sum
    return (forward + backward) * item


def other_bytes(layers: list[flops.Convolution], item: int, kernels: str) -> float:
    """Memory traffic of ReLU, additions and pooling for one image.

    Fused with their neighbours, ReLU costs its mask's reads backward, an addition one more read
    forward and two backward.
    """
    relu, addition = (2 + 3, 3 + 3) if kernels == "op by op" else (2, 1 + 2)
    shortcut = sum(one.output_size for one in layers if one.role == "last")
    activated = sum(one.output_size for one in layers if one.role in ("stem", "inner"))
    pooled = next((one.output_size for one in layers if one.role == "stem" and one.kernel == 7), 0)
    pooling = pooled * (1.25 + 2.5)
    return item * (relu * (activated + shortcut) + addition * shortcut + pooling)


def _kernels_of(layer: flops.Convolution, settings: Settings, kinds: int) -> tuple[float, float]:
    """Operations and bytes of each of a layer's kernels; they are alike."""
    item, views = ITEM[settings.precision], settings.views
    traffic = item * (views * (layer.input_size + layer.output_size) + layer.weights)
    return kinds * views * layer.flops, kinds * traffic


def _convolution_parts(settings: Settings, arithmetic: float, memory: float) -> list[Part]:
    """All convolutions and dense layers, by what their time goes by."""
    layers = layers_of(settings)
    sums = {"arithmetic": [0.0, 0.0, 0.0], "memory traffic": [0.0, 0.0, 0.0]}
    for index, layer in enumerate(layers):
        # No gradient goes into the images, nor from the linear head into the encoder.
        kinds = 2 if index in (0, len(layers) - 1) else 3
        operations, traffic = _kernels_of(layer, settings, kinds)
        times = {"arithmetic": operations / arithmetic, "memory traffic": traffic / memory}
        limit = max(times, key=lambda name: times[name])
        for k, amount in enumerate((times[limit], operations, traffic)):
            sums[limit][k] += amount
    names = {"arithmetic": "convolutions that compute longer than they read and write",
             "memory traffic": "convolutions that read and write longer"}  # fmt: skip
    return [Part(names[limit], limit, *found) for limit, found in sums.items()]


def _loss_part(settings: Settings, arithmetic: float, memory: float) -> Part:
    """NT-Xent of this GPU's anchors against all candidates, float32, with its gradient."""
    logits = settings.views * VIEWS * settings.batch
    operations, traffic = 3 * 2 * logits * EMBEDDING, FLOAT * LOGIT_PASSES * logits
    slower = GPUS[settings.gpu].peak["float32"] / GPUS[settings.gpu].peak[settings.precision]
    seconds = operations / (arithmetic * slower)
    limit = "arithmetic" if seconds > traffic / memory else "memory traffic"
    return Part("contrastive loss", limit, max(seconds, traffic / memory), operations, traffic)


def _exchange_parts(settings: Settings, bandwidth: float) -> list[Part]:
    """Bytes over the interconnect and an assumed latency of every collective."""
    if settings.gpus == 1:
        return []
    network = network_of(settings)
    sizes = communication.traffic(network, settings.batch, settings.gpus)
    counts = communication.collectives_by_purpose(network)
    names = {"gradients": "gradient all-reduce", "BN": "BN statistics",
             "NT-Xent": "embeddings, all-gather and back"}  # fmt: skip
    parts = []
    for start, name in names.items():
        keys = [key for key in sizes if key.startswith(start)]
        size = sum(sizes[key] for key in keys)
        latency = communication.SECONDS_PER_COLLECTIVE * sum(counts[key] for key in keys)
        parts.append(Part(name, "exchange", size / bandwidth + latency, sent=size))
    return parts


def device_parts(settings: Settings, kernels: str, place: str, high: bool) -> list[Part]:
    """A GPU's step in parts, one after the other.

    Args:
        settings: The step and the machine.
        kernels: One of `KERNELS`.
        place: One of `PLACES`.
        high: Whether the greater of the assumed shares are achieved.
    """
    arithmetic = settings.peak * settings.share[high]
    memory = settings.memory_bandwidth * settings.bandwidth_share[high]
    layers, item = layers_of(settings), ITEM[settings.precision]
    normalised = settings.views * sum(layer.output_size for layer in layers[:-1])

    def moving(name: str, size: float) -> Part:
        return Part(name, "memory traffic", size / memory, bytes=size)

    parts = [
        *_convolution_parts(settings, arithmetic, memory),
        moving("batch norm", normalised * norm_bytes(item, settings.gpus, kernels)),
        moving("ReLU, additions, pooling", settings.views * other_bytes(layers, item, kernels)),
        _loss_part(settings, arithmetic, memory),
        moving("update by LARS", FLOAT * LARS_PASSES * network_of(settings).parameters),
        *_exchange_parts(settings, settings.interconnect * settings.bandwidth_share[high]),
    ]
    if place == "device":
        view = FLOAT * 3 * settings.image_size**2
        parts.append(moving("colour and blur", AUGMENT_PASSES * settings.views * view))
    return parts


def estimate(settings: Settings, kernels: str, place: str, high: bool) -> Estimate:
    """The step, see `device_parts`."""
    parts = device_parts(settings, kernels, place, high)
    rate = settings.rate_per_core(place)
    copied = settings.views * FLOAT * 3 * settings.image_size**2
    return Estimate(
        kernels, place, settings.share[high], settings.bandwidth_share[high], tuple(parts),
        sum(part.seconds for part in parts), settings.batch / (rate * settings.host_cores),
        copied / (settings.host_link * settings.bandwidth_share[high]), settings.batch, rate,
    )  # fmt: skip


def estimates(settings: Settings) -> list[Estimate]:
    """All assumptions: kernels, then place, then shares from low to high."""
    return [estimate(settings, kernels, place, high)
            for kernels in KERNELS for place in PLACES for high in (False, True)]  # fmt: skip
