"""What the replicas of a pretraining step exchange: `python -m benchmarks.communication`.

Computed, not measured. The variables, batch norm layers and multiplications are those of the model
that the library builds, in a graph that is never run. Everything else is arithmetic for a ring of R
replicas, in which an all-reduce of n bytes has every replica send and receive 2 (R - 1) / R n, and
an all-gather of n bytes of each replica (R - 1) n.

Times are bytes over bandwidth: the best that a link allows. Bandwidths and peaks are the vendors'
numbers, the latency is an assumption.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from benchmarks import command
from simclr_tf import startup

# Recipe -> name. The classes of ImageNet make the linear head that trains alongside.
RECIPES = {"imagenet_r50": "ResNet-50", "imagenet_r152_3x_sk": "ResNet-152 (3x, SK 0.0625)"}
CLASSES = 1000
BATCH, REPLICAS = 4096, (32, 128)

# Bytes a second in each direction.
INTERCONNECTS = {
    "Ethernet 100 Gbit/s": 12.5e9,
    "InfiniBand 400 Gbit/s": 50e9,
    "NVLink 4": 450e9,  # inside one machine: 900 GB/s both ways
    "TPU v3 ICI": 340e12 / 1024,  # "all-reduce bandwidth per pod" of 1024 chips
    "TPU v4 ICI": 1.1e15 / 4096,
}
# bfloat16 without sparsity, operations a second of one replica.
PEAKS = {"H100 SXM": 989e12, "TPU v3 core": 123e12 / 2}
UTILISATION = 0.5
SECONDS_PER_COLLECTIVE = 20e-6

_FLOAT, _INT = 4, 4  # bytes


@dataclasses.dataclass(frozen=True)
class Network:
    """What of a network decides about the traffic.

    Attributes:
        name: For the table.
        parameters: Trainable float32 numbers, heads included.
        batch_norms: Channels of each batch norm layer.
        embedding: Dimensions of the embedding z.
        multiplications: Of one view's forward pass, in convolutions and matrix products.
        has_linear_head: Whether a linear head trains alongside.
    """

    name: str
    parameters: int
    batch_norms: tuple[int, ...]
    embedding: int
    multiplications: int
    has_linear_head: bool = True


def read_network(recipe: str, name: str) -> Network:
    """The network of a recipe for `CLASSES` classes; takes no memory for its variables."""
    import tensorflow as tf

    from simclr_tf.models.batch_norm import BatchNorm
    from simclr_tf.models.network import build_model
    from simclr_tf.settings import recipes

    run = recipes.recipe(recipe)
    size = run.data.image_size
    with tf.Graph().as_default() as graph:
        model = build_model(run.model, CLASSES, size)
        built = len(graph.get_operations())
        model(tf.zeros([1, size, size, 3]), training=False)
        layers = [layer for layer in model.submodules if isinstance(layer, BatchNorm)]
        return Network(
            name,
            sum(variable.shape.num_elements() for variable in model.trainable_variables),
            tuple(int(layer.gamma.shape[0]) for layer in layers),
            run.model.projection.proj_out_dim,
            sum(map(_multiplications, graph.get_operations()[built:])),
            model.linear_head is not None,
        )


def _multiplications(operation: Any) -> int:
    """Multiplications of a convolution or matrix product; 0 of anything else."""
    if operation.type == "Conv2D":
        height, width, channels, _ = operation.inputs[1].shape
        return operation.outputs[0].shape.num_elements() * height * width * channels
    if operation.type == "MatMul":
        return operation.outputs[0].shape.num_elements() * operation.inputs[0].shape[-1]
    return 0


def all_reduce(size: float, replicas: int) -> float:
    """Bytes that each replica sends, and receives, to add up `size` bytes over a ring."""
    return 2 * (replicas - 1) / replicas * size


def all_gather(size: float, replicas: int) -> float:
    """Bytes that each replica sends, and receives, when each has `size` bytes for all."""
    return (replicas - 1) * size


def traffic(network: Network, batch: int, replicas: int) -> dict[str, float]:
    """Bytes that each replica sends, and receives, in a step.

    Args:
        network: The network.
        batch: Images of the global batch.
        replicas: Number of replicas.
    """
    statistics = [2 * channels * _FLOAT for channels in network.batch_norms]
    both_views = 2 * network.embedding * _FLOAT  # of one image
    return {
        "gradients": all_reduce(network.parameters * _FLOAT, replicas),
        "BN forward": sum(all_gather(size, replicas) for size in statistics),
        "BN backward": sum(all_reduce(size, replicas) for size in statistics),
        "NT-Xent forward": all_gather(batch // replicas * both_views, replicas),
        "NT-Xent backward": all_reduce(batch * both_views, replicas),
        "small": _small(network, replicas),
    }


def _small(network: Network, replicas: int) -> float:
    """The shape (rank 3 or 2) that TensorFlow gathers before each tensor; the loss; the labels."""
    shapes = (3 * len(network.batch_norms) + 2) * _INT
    scalars = (1 + network.has_linear_head) * _FLOAT
    return all_gather(shapes, replicas) + all_reduce(scalars, replicas)


def collectives_by_purpose(network: Network) -> dict[str, int]:
    """Collective operations of a step in TensorFlow 2.21, with the keys of `traffic`.

    An all-gather is two, since the shapes come first; all gradients and the loss are one
    all-reduce; the linear head's loss needs the number of labelled images.
    """
    layers = len(network.batch_norms)
    return {
        "gradients": 1,
        "BN forward": 2 * layers,
        "BN backward": layers,
        "NT-Xent forward": 2,
        "NT-Xent backward": 1,
        "small": int(network.has_linear_head),
    }


def collectives(network: Network) -> int:
    """All collective operations of a step."""
    return sum(collectives_by_purpose(network).values())


def operations(network: Network, batch: int, replicas: int) -> float:
    """Floating-point operations of a replica's step.

    Two per multiplication, two views per image, and a backward pass that costs two forward ones.
    """
    return 2 * network.multiplications * 2 * 3 * batch / replicas


def compute_seconds(network: Network, batch: int, replicas: int, peak: float) -> float:
    """The step without communication, at `UTILISATION` of `peak` operations a second."""
    return operations(network, batch, replicas) / (UTILISATION * peak)


def table(header: list[str], rows: list[list[str]]) -> str:
    """Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def traffic_table(networks: list[Network]) -> str:
    """Megabytes by purpose, and the number of collectives."""
    rows = []
    for network in networks:
        for replicas in REPLICAS:
            sizes = traffic(network, BATCH, replicas)
            cells = [f"{size / 1e6:.1f}" for size in (*sizes.values(), sum(sizes.values()))]
            rows.append([network.name, str(replicas), *cells, str(collectives(network))])
    names = list(traffic(networks[0], BATCH, REPLICAS[0]))
    return table(["network", "replicas", *names, "all, MB", "collectives"], rows)


def time_table(networks: list[Network]) -> str:
    """Milliseconds per step: the bytes, the latencies, and the computation beside them."""
    rows = []
    for network in networks:
        for replicas in REPLICAS:
            size = sum(traffic(network, BATCH, replicas).values())
            seconds = [size / bandwidth for bandwidth in INTERCONNECTS.values()]
            seconds.append(collectives(network) * SECONDS_PER_COLLECTIVE)
            seconds += [compute_seconds(network, BATCH, replicas, peak) for peak in PEAKS.values()]
            cells = [f"{1e3 * one:.1f}" for one in seconds]
            rows.append([network.name, str(replicas), *cells])
    compute = [f"compute, {name}" for name in PEAKS]
    return table(["network", "replicas", *INTERCONNECTS, "latency", *compute], rows)


def main() -> None:
    """Prints both tables."""
    command.Parser(description=__doc__.splitlines()[0]).parse_args()
    startup.load_tensorflow()
    networks = [read_network(recipe, name) for recipe, name in RECIPES.items()]
    for network in networks:
        print(
            f"{network.name}: {network.parameters / 1e6:.1f} M trainable parameters, "
            f"{len(network.batch_norms)} batch norms of {sum(network.batch_norms)} channels, "
            f"{network.multiplications / 1e9:.1f} G multiplications per view"
        )
    print(f"\nMB that each replica sends, and receives, per step of {BATCH} images (computed):\n")
    print(traffic_table(networks))
    print(
        f"\nMilliseconds per step of {BATCH} images (computed): all bytes at each link's bandwidth "
        f"(the vendors' numbers);\nlatency of {1e6 * SECONDS_PER_COLLECTIVE:.0f} us per collective "
        f"(assumed); computation at {UTILISATION:.0%} of the bfloat16 peak (assumed):\n"
    )
    print(time_table(networks))


if __name__ == "__main__":
    command.end(main)
