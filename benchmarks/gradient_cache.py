"""Memory and time of a step by chunk size: `python -m benchmarks.gradient_cache`.

Every setting runs in a process of its own, whose peak of resident memory counts; the model and
TensorFlow itself, without a step, are the last row. The whole batch at once is the ordinary step.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time

from benchmarks import command, workers

SIZE, CLASSES = 32, 10


def measure(batch: int, chunk: int, width: float, steps: int) -> tuple[float, float]:
    """Peak GiB and seconds per step; `chunk=0` is the whole batch, `steps=0` takes none."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "found.json")
        words = ["--worker", path, "--batch", str(batch), "--chunk", str(chunk)]
        words += ["--width", str(width), "--steps", str(steps)]
        workers.run_module("benchmarks.gradient_cache", words)
        with open(path) as file:
            found = json.load(file)
    return found["peak_gib"], found["seconds"]


def _work(path: str, batch: int, chunk: int, width: float, steps: int) -> None:
    from simclr_tf import startup

    startup.load_tensorflow()
    import tensorflow as tf
    import tf_keras as keras

    from simclr_tf.config import EncoderConfig, ModelConfig, ObjectiveConfig, OptimizerConfig
    from simclr_tf.models.network import build_model
    from simclr_tf.models.roles import variable_roles
    from simclr_tf.optimizers.factory import build_optimizer
    from simclr_tf.training import loop
    from simclr_tf.training.gradient_cache import CachedStep, Chunks
    from simclr_tf.training.losses import pretrain_losses, pretrain_losses_of_outputs
    from simclr_tf.training.means import Means, metric_names
    from simclr_tf.training.step import UpdateStep

    keras.utils.set_random_seed(0)
    encoder = EncoderConfig(resnet_depth=18, width_multiplier=width, stem="cifar")
    model = build_model(ModelConfig(encoder=encoder), CLASSES, SIZE)
    decay, objective = OptimizerConfig(), ObjectiveConfig()
    optimizer = build_optimizer(decay, 0.01, variable_roles(model))
    optimizer.build(model.trainable_variables)
    means = Means(metric_names(model, "pretrain"))
    if chunk:
        step = CachedStep(
            model,
            pretrain_losses_of_outputs(model, objective, decay),
            optimizer,
            means,
            Chunks(batch, chunk),
        )
    else:
        losses = pretrain_losses(model, objective, decay)
        step = UpdateStep(losses, model.trainable_variables, optimizer, means)
    views = {f"view_{i}": tf.random.stateless_uniform([batch, SIZE, SIZE, 3], [i, 0])
             for i in range(2)}  # fmt: skip
    example = {**views, "label": tf.zeros([batch], tf.int64)}
    batches = iter(tf.data.Dataset.from_tensors(example).repeat())
    seconds = 0.0
    if steps:
        run_steps = loop.compile_steps(step, tf.distribute.get_strategy())
        run_steps(batches, tf.constant(1))
        started = time.perf_counter()
        run_steps(batches, tf.constant(steps))
        means.result()
        seconds = (time.perf_counter() - started) / steps
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    with open(path, "w") as file:
        json.dump({"peak_gib": peak, "seconds": seconds}, file)


def main() -> None:
    """Prints the table, or works for it."""
    parser = command.Parser(description=__doc__)
    parser.add_argument("--batch", type=command.count, default=1024)
    parser.add_argument("--chunks", default="64,128,256,512,1024")
    parser.add_argument("--width", type=float, default=0.25, help="width of the ResNet-18")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--chunk", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--worker", metavar="PATH", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        _work(given.worker, given.batch, given.chunk, given.width, given.steps)
        return
    print(f"ResNet-18, width {given.width:g}, {SIZE} px, batch {given.batch}, float32")
    print("| chunk | peak memory, GiB | seconds per step |\n|---|---|---|")
    for chunk in (int(word) for word in given.chunks.split(",")):
        _print_row(str(chunk), *measure(given.batch, chunk, given.width, given.steps))
    _print_row("none: the ordinary step", *measure(given.batch, 0, given.width, given.steps))
    _print_row("no step at all", *measure(given.batch, 0, given.width, 0))


def _print_row(what: str, peak: float, seconds: float) -> None:
    print(f"| {what} | {peak:.2f} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    command.end(main)
