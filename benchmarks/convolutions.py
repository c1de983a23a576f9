"""Convolutions in training, oneDNN's beside `simclr_tf.models.cpu_conv`'s, layer by layer.

`python -m benchmarks.convolutions --precision=bfloat16`: a convolution with both of its gradients,
milliseconds of the processor, medians of calls in turn; the rules of `cpu_conv.applies` come from
such tables. Layers are those of ResNets at 32 px (128 views) and 224 px (16 views).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks import command
from benchmarks.speed.cases import PRECISIONS
from simclr_tf import startup


class Layer(NamedTuple):
    """A convolution of square maps."""

    views: int
    side: int
    channels: int
    filters: int
    size: int
    strides: int

    def __str__(self) -> str:
        strides = f", stride {self.strides}" if self.strides > 1 else ""
        return (f"{self.views} x {self.side} x {self.side}, {self.channels} to {self.filters}, "
                f"{self.size}x{self.size}{strides}")  # fmt: skip


LAYERS = (
    Layer(128, 32, 64, 64, 3, 1), Layer(128, 16, 128, 128, 3, 1), Layer(128, 8, 256, 256, 3, 1),
    Layer(128, 4, 512, 512, 3, 1), Layer(128, 32, 64, 128, 3, 2), Layer(128, 16, 128, 256, 3, 2),
    Layer(128, 8, 256, 512, 3, 2), Layer(128, 32, 64, 64, 1, 1), Layer(128, 8, 256, 512, 1, 1),
    Layer(16, 28, 128, 128, 3, 1), Layer(16, 14, 256, 256, 3, 1), Layer(16, 7, 512, 512, 3, 1),
    Layer(16, 28, 256, 256, 3, 2), Layer(16, 14, 512, 512, 3, 2), Layer(16, 14, 1024, 256, 1, 1),
    Layer(16, 7, 512, 2048, 1, 1),
)  # fmt: skip


def _both(layer: Layer, precision: str) -> dict[str, Callable[[], Any]]:
    """OneDNN's way and, where it differs, ours: outputs and both gradients in one call."""
    import tensorflow as tf

    from simclr_tf.models import cpu_conv

    padded = layer.side if layer.strides == 1 else layer.side + layer.size - 1
    shape = [layer.views, padded, padded, layer.channels]
    inputs = tf.cast(tf.random.stateless_normal(shape, [0, 0]), precision)
    weights = [layer.size, layer.size, layer.channels, layer.filters]
    kernel = tf.cast(tf.random.stateless_normal(weights, [1, 0]) / 10, precision)
    padding = "SAME" if layer.strides == 1 else "VALID"

    def plain(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return tf.nn.conv2d(inputs, kernel, layer.strides, padding)

    def ours(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return cpu_conv.convolve(inputs, kernel, layer.strides)

    def call(convolve: Callable[..., tf.Tensor]) -> Callable[[], Any]:
        @tf.function
        def step() -> Any:
            with tf.GradientTape() as tape:
                tape.watch([inputs, kernel])
                outputs = convolve(inputs, kernel)
            return outputs, tape.gradient(outputs, [inputs, kernel])

        return lambda: step()[1][1].numpy()

    with cpu_conv.preferred(True):
        applies = cpu_conv.applies(inputs, kernel, layer.strides)
    return {"oneDNN": call(plain)} | ({"here": call(ours)} if applies else {})


def measure(layer: Layer, precision: str, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of the processor of each round."""
    calls = _both(layer, precision)
    found: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.process_time()
            call()
            found[name].append(1000 * (time.process_time() - started))
    return found


def main() -> None:
    """Prints the table."""
    parser = command.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--precision", choices=PRECISIONS, default="bfloat16")
    parser.add_argument("--rounds", type=command.count, default=9)
    given = parser.parse_args()
    startup.load_tensorflow()
    print("| images and channels, kernel | oneDNN, ms | here, ms | ratio (spread) |")
    print("|---|---|---|---|", flush=True)
    for layer in LAYERS:
        found = measure(layer, given.precision, given.rounds)
        plain = statistics.median(found["oneDNN"])
        if "here" not in found:
            print(f"| {layer} | {plain:.1f} | the same | |", flush=True)
            continue
        ratios = [a / b for a, b in zip(found["oneDNN"], found["here"], strict=True)]
        print(f"| {layer} | {plain:.1f} | {statistics.median(found['here']):.1f} | "
              f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    command.end(main)
