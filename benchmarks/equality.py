"""Several replicas and several processes against one device: `python -m benchmarks.equality`.

The same global batches and initial weights on 1 device, on 2 and 4 logical CPUs, and on 2 processes
over loopback; for pretraining, fine-tuning, the linear head alone, and pretraining of a network of
Keras' own layers (depthwise convolutions, batch and layer norm, attention). Prints the largest
deviation from one device of the loss, of every gradient of the first step, and of all weights and
batch norm statistics after 5 LARS steps.

Two more rows give the scale. One device that gets the images of each batch in another order, which
changes nothing but the rounding; and pretraining whose negatives stay on their replica, the error
that this table exists to catch.

All start from weights of 50 steps, and everything is done on three draws of images. Where a ReLU's
input is 1e-8 in one summation and -1e-8 in another, the gradient makes a jump; some draws have such
a unit and some have not. An error of ours would show in all of them, so the smallest deviation of
the draws is the one to look at; the largest stands behind it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence

import numpy as np

from benchmarks import command, workers

# Its running variances differ by 1 / N, N values of a channel: on one device Keras' fused kernel
# takes N - 1 for the divisor, over replicas it is N.
KERAS = "pretrain, layers of Keras"
TASKS = ("pretrain", "finetune", "linear head", KERAS)
STEPS, BATCH, SIZE, CLASSES = 5, 32, 16, 4
FIRST_STEPS, FIRST_RATE = 50, 0.3
DRAWS = (0, 1, 2)
# Name -> (processes, logical CPUs of each).
SETTINGS = {"1 device": (1, 1), "2 replicas": (1, 2), "4 replicas": (1, 4), "2 processes": (2, 1)}
QUANTITIES = ("loss", "gradients", "statistics", "weights")


def first_weights(folder: str) -> str:
    """Trains the weights that everything starts from; returns their file."""
    path = os.path.join(folder, "first.npz")
    workers.run_module("benchmarks.equality", ["--first", path])
    return path


def measure(
    setting: str,
    weights: str,
    *,
    tasks: Sequence[str] = TASKS,
    shuffled: bool = False,
    local_negatives: bool = False,
) -> dict[str, dict[str, np.ndarray]]:
    """What each task comes to, in processes of its own.

    Args:
        setting: One of `SETTINGS`.
        weights: From `first_weights`.
        tasks: Of `TASKS`.
        shuffled: Whether each batch's images come in another order.
        local_negatives: Whether every replica keeps its negatives to itself, an error.

    Returns:
        Arrays by name (`draw/quantity/variable`), for each task.
    """
    processes, replicas = SETTINGS[setting]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "found.npz")
        words = ["--worker", str(replicas), weights, path, "--tasks", *tasks]
        words += ["--shuffled"] if shuffled else []
        words += ["--local_negatives"] if local_negatives else []
        workers.run_module("benchmarks.equality", words, processes)
        by_task: dict[str, dict[str, np.ndarray]] = {}
        with np.load(path) as found:
            for key in found.files:
                task, name = key.split(":", 1)
                by_task.setdefault(task, {})[name] = found[key]
    return by_task


def deviations(
    one: dict[str, np.ndarray], other: dict[str, np.ndarray]
) -> dict[str, tuple[float, float]]:
    """The largest deviation of each quantity in the best and in the worst draw.

    Relative to the largest value of an array; where that is below 1, the deviation as it is.
    """
    if set(one) != set(other):
        raise RuntimeError(f"other variables: {sorted(set(one) ^ set(other))[:3]}")
    worst = {quantity: [0.0] * len(DRAWS) for quantity in QUANTITIES}
    for name, value in one.items():
        draw, quantity, _ = name.split("/", 2)
        scale = max(1.0, float(np.abs(value).max()))
        deviation = float(np.abs(other[name] - value).max()) / scale
        worst[quantity][int(draw)] = max(worst[quantity][int(draw)], deviation)
    return {quantity: (min(found), max(found)) for quantity, found in worst.items()}


def _work(
    replicas: int,
    weights: str,
    path: str,
    tasks: Sequence[str],
    shuffled: bool,
    local_negatives: bool,
) -> None:
    """One process: computes the tasks and, on the chief, writes what it found."""
    from simclr_tf import distribution
    from simclr_tf.config import StrategyConfig
    from simclr_tf.job import Job
    from simclr_tf.objectives import nt_xent

    if local_negatives:
        nt_xent._gather_views = lambda a, b: (a, b, 0)
    strategy = distribution.build_strategy(StrategyConfig(num_logical_cpus=replicas))
    order = np.random.default_rng(1).permutation(BATCH) if shuffled else np.arange(BATCH)
    with np.load(weights) as stored:
        first = dict(stored)
    found = {}
    for task in tasks:
        for name, value in _run_task(strategy, task, first, order).items():
            found[f"{task}:{name}"] = value
    if Job(strategy).is_chief:
        np.savez(path, **found)


def _train_first(path: str) -> None:
    import tensorflow as tf

    from simclr_tf.training import loop

    strategy = tf.distribute.get_strategy()
    model, step, _, _ = _build("pretrain", FIRST_RATE)
    examples = _examples(FIRST_STEPS, seed=1)
    batches = tf.data.Dataset.from_tensor_slices(examples).batch(BATCH, drop_remainder=True)
    loop.compile_steps(step, strategy)(iter(batches), tf.constant(FIRST_STEPS))
    np.savez(path, **{variable.name: variable.numpy() for variable in model.variables})


def _run_task(
    strategy, task: str, first: dict[str, np.ndarray], order: np.ndarray
) -> dict[str, np.ndarray]:
    import tensorflow as tf

    from simclr_tf import distribution
    from simclr_tf.job import Job
    from simclr_tf.models.batch_norm import local_value
    from simclr_tf.training import loop
    from simclr_tf.training.step import any_replica

    def batches(draw: int):
        examples = _examples(STEPS, seed=draw)

        def of_part(part: distribution.Part) -> tf.data.Dataset:
            rows = np.arange(STEPS * BATCH).reshape(STEPS, BATCH)[:, order]
            mine = rows.reshape(STEPS, part.count, -1)[:, part.index].ravel()
            dataset = tf.data.Dataset.from_tensor_slices(
                {name: values[mine] for name, values in examples.items()}
            )
            return dataset.batch(BATCH // part.replicas, drop_remainder=True)

        return iter(Job(strategy).distribute(of_part))

    with strategy.scope():
        model, step, means, optimizer = _build(task, 0.3 * BATCH / 256)
    variables = [*model.variables, *optimizer.variables]
    starts = [first.get(variable.name, local_value(variable)) for variable in variables]
    compute = tf.function(lambda iterator: step.compute(strategy, next(iterator)))
    run_steps = loop.compile_steps(step, strategy)
    found = {}
    for draw in DRAWS:
        for variable, start in zip(variables, starts, strict=True):
            variable.assign(start)
        means.reset()
        gradients = compute(batches(draw)).gradients
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
            value = any_replica(strategy, gradient).numpy()
            found[f"{draw}/gradients/{variable.name}"] = value
        run_steps(batches(draw), tf.constant(STEPS))
        if int(optimizer.iterations.numpy()) != STEPS:
            raise RuntimeError(f"{int(optimizer.iterations.numpy())} steps were taken")
        for name, value in means.result().items():
            if name.endswith("loss"):  # an accuracy jumps where two logits are nearly equal
                found[f"{draw}/loss/{name}"] = np.array(value)
        for variable in model.variables:
            kind = "statistics" if "moving_" in variable.name else "weights"
            found[f"{draw}/{kind}/{variable.name}"] = local_value(variable)
    return found


def _examples(steps: int, seed: int) -> dict[str, np.ndarray]:
    """Coarse fields of different colour and contrast, each view with noise of its own."""
    rng = np.random.default_rng(seed)
    count = steps * BATCH
    contrast = rng.random((count, 1, 1, 1)) ** 2
    fields = rng.random((count, 1, 1, 3)) + contrast * (rng.random((count, 4, 4, 3)) - 0.5)
    fields = fields.repeat(SIZE // 4, axis=1).repeat(SIZE // 4, axis=2)
    views = {}
    for name in ("view_0", "view_1"):
        noisy = fields + rng.normal(0, 0.1, fields.shape)
        views[name] = noisy.clip(0, 1).astype(np.float32)
    return {**views, "label": rng.integers(0, CLASSES, count)}


def _build(task: str, rate: float):
    """Model, step, means and optimizer; call it in the strategy's scope."""
    import tf_keras as keras

    from simclr_tf.config import EncoderConfig, ModelConfig, ObjectiveConfig, OptimizerConfig
    from simclr_tf.models.network import build_model
    from simclr_tf.models.roles import variable_roles
    from simclr_tf.optimizers.factory import build_optimizer
    from simclr_tf.training.losses import finetune_losses, pretrain_losses
    from simclr_tf.training.means import Means, metric_names
    from simclr_tf.training.step import UpdateStep

    keras.utils.set_random_seed(0)
    mode = "pretrain" if task in ("pretrain", KERAS) else "finetune"
    encoder = EncoderConfig(resnet_depth=18, width_multiplier=0.125, stem="cifar")
    config = ModelConfig(
        encoder=EncoderConfig(encoder="keras:layers") if task == KERAS else encoder,
        train_mode=mode,
        fine_tune_after_block=4 if task == "linear head" else -1,
    )
    model = build_model(config, CLASSES, SIZE, _layers_of_keras if task == KERAS else None)
    decay = OptimizerConfig(weight_decay=1e-4)
    optimizer = build_optimizer(decay, rate, variable_roles(model))
    optimizer.build(model.trainable_variables)
    means = Means(metric_names(model, mode))
    losses = (
        pretrain_losses(model, ObjectiveConfig(temperature=0.5), decay)
        if mode == "pretrain"
        else finetune_losses(model, decay)
    )
    return model, UpdateStep(losses, model.trainable_variables, optimizer, means), means, optimizer


def _layers_of_keras():
    import tf_keras as keras

    layers = keras.layers
    images = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False)(images)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.SeparableConv2D(64, 3, strides=2, padding="same")(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    tokens = layers.Reshape((-1, 64))(x)
    normal = layers.LayerNormalization()(tokens)
    x = layers.Add()([tokens, layers.MultiHeadAttention(2, 32)(normal, normal)])
    return keras.Model(images, layers.GlobalAveragePooling1D()(x))


def main() -> None:
    """Prints the table, or works for it."""
    parser = command.Parser(description=__doc__)
    hidden = argparse.SUPPRESS
    parser.add_argument("--worker", nargs=3, metavar=("REPLICAS", "WEIGHTS", "PATH"), help=hidden)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, help=hidden)
    parser.add_argument("--first", metavar="PATH", help=hidden)
    parser.add_argument("--shuffled", action="store_true", help=hidden)
    parser.add_argument("--local_negatives", action="store_true", help=hidden)
    given = parser.parse_args()
    if given.worker or given.first:
        from simclr_tf import startup

        startup.load_tensorflow()
    if given.worker:
        replicas, weights, path = given.worker
        _work(int(replicas), weights, path, given.tasks, given.shuffled, given.local_negatives)
    elif given.first:
        _train_first(given.first)
    else:
        _print_table()


def _print_table() -> None:
    with tempfile.TemporaryDirectory() as folder:
        weights = first_weights(folder)
        one = measure("1 device", weights)
        print(f"| task | against one device | {' | '.join(QUANTITIES)} |")
        print("|---|---|" + "---|" * len(QUANTITIES))
        runs = [(setting, {}) for setting in list(SETTINGS)[1:]]
        runs.append(("1 device", {"shuffled": True}))
        for setting, options in runs:
            found = measure(setting, weights, **options)
            for task in TASKS:
                name = f"{setting}, images in another order" if options else setting
                _print_row(task, name, deviations(one[task], found[task]))
        broken = measure("2 replicas", weights, local_negatives=True)
        found = deviations(one["pretrain"], broken["pretrain"])
        _print_row("pretrain", "2 replicas, local negatives", found)


def _print_row(task: str, setting: str, found: dict[str, tuple[float, float]]) -> None:
    cells = " | ".join(f"{low:.1e} ({high:.1e})" for low, high in found.values())
    print(f"| {task} | {setting} | {cells} |", flush=True)


if __name__ == "__main__":
    command.end(main)
