"""Feature extraction against the bare forward pass: `python -m benchmarks.features`.

Both take turns in one process. The bare pass runs the network on one batch that lies in memory;
the extraction reads, decodes and batches every image and collects the features, as the protocols
do. The ratio says how busy the network keeps the cores.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

from benchmarks import command
from simclr_tf import startup


class Sides(NamedTuple):
    """What is compared; both return images per second.

    Attributes:
        forward: The bare forward pass over as many batches as the extraction has.
        extraction: One extraction of the split.
        count: Images of the split.
    """

    forward: Callable[[], float]
    extraction: Callable[[], float]
    count: int


def prepare(
    dataset: str,
    data_dir: str | None,
    split: str,
    width: float,
    image_size: int = 32,
    batch: int = 256,
) -> Sides:
    """Opens the images, builds a ResNet-18 and runs both sides once."""
    startup.load_tensorflow()
    import tensorflow as tf

    from simclr_tf.config import DataConfig, EncoderConfig, ModelConfig
    from simclr_tf.data import pipeline, sources
    from simclr_tf.evaluation.encoders import from_model
    from simclr_tf.evaluation.features import Extractor
    from simclr_tf.models.network import build_model

    data = DataConfig(dataset=dataset, data_dir=data_dir, image_size=image_size)
    source = sources.open_source(data)
    encoder = EncoderConfig(resnet_depth=18, width_multiplier=width)
    model = build_model(ModelConfig(encoder=encoder), None, image_size)
    batches = pipeline.eval_batches(source, pipeline.Selection(split), batch, image_size)
    count = source.num_examples(split)
    passes = -(-count // batch)
    images = tf.random.stateless_uniform((batch, image_size, image_size, 3), (0, 1))

    encode = from_model(model, image_size).encode

    @tf.function(input_signature=[tf.TensorSpec(images.shape)], autograph=False)
    def bare(batch: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"final_avg_pool": model(batch, training=False)["final_avg_pool"]}

    def forward() -> float:
        start = time.perf_counter()
        for _ in range(passes):
            bare(images)["final_avg_pool"].numpy()
        return passes * batch / (time.perf_counter() - start)

    def extraction() -> float:
        start = time.perf_counter()
        Extractor(encode).features(batches)
        return count / (time.perf_counter() - start)

    forward(), extraction()
    return Sides(forward, extraction, count)


def main() -> None:
    """Prints images per second of both, and their ratio, round by round."""
    parser = command.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="patterns", help="TFDS name or folder:PATH")
    parser.add_argument("--data_dir", default=None)
    parser.add_argument("--split", default="test")
    parser.add_argument("--width", type=float, default=1.0, help="width of the ResNet-18")
    parser.add_argument("--image_size", type=command.count, default=32)
    parser.add_argument("--batch", type=command.count, default=256)
    parser.add_argument("--rounds", type=command.count, default=5)
    args = parser.parse_args()
    forward, extraction, count = prepare(
        args.dataset, args.data_dir, args.split, args.width, args.image_size, args.batch
    )
    print(f"{count} images of {args.dataset}, ResNet-18 of width {args.width:g}")
    ratios = []
    for number in range(args.rounds):
        one, other = forward(), extraction()
        ratios.append(other / one)
        print(f"round {number + 1}: forward {one:.0f} images/s, extraction {other:.0f} images/s, "
              f"ratio {ratios[-1]:.3f}", flush=True)  # fmt: skip
    print(f"ratio: median {statistics.median(ratios):.3f}, min {min(ratios):.3f}, "
          f"max {max(ratios):.3f}")  # fmt: skip


if __name__ == "__main__":
    command.end(main)
