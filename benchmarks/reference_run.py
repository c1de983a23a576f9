"""Runs of the reference implementation that go on here, and runs of ours that go on there.

`python -m benchmarks.reference_run CLONE`, with the path of a clone of google-research/simclr.

On: its program takes some steps and saves, as its `run.py` does. It and this project then take
three further steps each on the same images; weights and optimizer state are compared. Rounding now
and then pushes a value across the kink of a ReLU, which changes single gradients; the same with
softplus in place of every ReLU, in both programs, shows what is left without that.

Back: the checkpoint that `python -m export --format=reference` writes of a run is restored by its
program, which asserts that all it has and nothing else was in the file; outputs for the same images
are compared, and one further step.

`CLONE/tf2` is run and never copied. With momentum and Adam its program does not run on TensorFlow
2.11 and later; those cases hand it Keras's optimizers as of 2.10.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks import command
from benchmarks.speed.reference import NUM_CLASSES, Reference, load

EXAMPLES, BATCH, BEFORE, FURTHER = 5000, 8, 3, 3
_COMMON = {
    "image_size": 32, "use_blur": False, "train_batch_size": BATCH, "train_epochs": 1,
    "warmup_epochs": 0.01, "learning_rate": 1.0, "weight_decay": 1e-4, "temperature": 0.5,
}  # fmt: skip
# What is trained, and then exported.
TRAINED: dict[str, dict[str, Any]] = {
    "ResNet-18, LARS": {"resnet_depth": 18},
    "ResNet-18 SE, momentum": {"resnet_depth": 18, "se_ratio": 0.25, "optimizer": "momentum",
                               "learning_rate": 0.1},
    "ResNet-18, Adam, no linear head": {"resnet_depth": 18, "optimizer": "adam",
                                        "learning_rate": 0.001,
                                        "lineareval_while_pretraining": False},
    "ResNet-18, fine-tuned from layer 1": {"resnet_depth": 18, "train_mode": "finetune",
                                           "ft_proj_selector": 1},
    "ResNet-50 SK": {"resnet_depth": 50, "sk_ratio": 0.0625, "image_size": 64},
}  # fmt: skip
# What is only exported, with random weights.
EXPORTED: dict[str, dict[str, Any]] = {
    "ResNet-34 SK": {"resnet_depth": 34, "sk_ratio": 0.0625},
    "ResNet-50": {"resnet_depth": 50, "image_size": 64},
    "ResNet-50 SK SE": {"resnet_depth": 50, "sk_ratio": 0.0625, "se_ratio": 0.25},
    "ResNet-18, two widths, own statistics": {"resnet_depth": 18, "width_multiplier": 2,
                                              "global_bn": False, "num_proj_layers": 2},
}  # fmt: skip
CASES = {**TRAINED, **EXPORTED}


def settings_of(case: str) -> dict[str, Any]:
    """The flags of a case, the same for both programs."""
    return {**_COMMON, **CASES[case]}


def batches(settings: Mapping[str, Any], count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images (B, H, W, 3 V), the V views behind each other, and labels (B,)."""
    rng = np.random.default_rng(0)
    size = settings["image_size"]
    views = 1 if settings.get("train_mode") == "finetune" else 2
    return [
        (
            rng.random((BATCH, size, size, 3 * views), np.float32),
            rng.integers(0, NUM_CLASSES, BATCH),
        )
        for _ in range(count)
    ]


class Theirs:
    """The reference's program: its model, optimizer and checkpoints."""

    def __init__(self, path: str, folder: str, settings: Mapping[str, Any]):
        """Builds them, and restores what the folder holds, as its `run.py` does."""
        import tensorflow as tf
        import tf_keras as keras
        from tensorflow.compat import v2

        keras.backend.clear_session()  # layers are numbered as in a process of their own
        if settings.get("optimizer", "lars") != "lars":
            optimizers = v2.keras.optimizers
            optimizers.SGD, optimizers.Adam = optimizers.legacy.SGD, optimizers.legacy.Adam
        self.modules: Reference = load(path, **settings)
        self.settings = settings
        self.model = self.modules.model.Model(NUM_CLASSES)
        schedule = self.modules.model.WarmUpAndCosineDecay(settings["learning_rate"], EXAMPLES)
        self.optimizer = self.modules.model.build_optimizer(schedule)
        self.checkpoint = tf.train.Checkpoint(
            model=self.model, global_step=self.optimizer.iterations, optimizer=self.optimizer
        )
        self.manager = tf.train.CheckpointManager(self.checkpoint, folder, max_to_keep=5)
        self.status = None
        if self.manager.latest_checkpoint:
            self.status = self.checkpoint.restore(self.manager.latest_checkpoint)

    def take(self, images: np.ndarray, labels: np.ndarray) -> None:
        """One step on a batch."""
        import tensorflow as tf

        one_hot = tf.one_hot(labels, NUM_CLASSES)
        with tf.GradientTape() as tape:
            projected, logits = self.model(tf.constant(images), training=True)
            loss = self.modules.model.add_weight_decay(self.model)
            if projected is not None:
                loss += self.modules.objective.add_contrastive_loss(
                    projected, hidden_norm=True, temperature=self.settings["temperature"]
                )[0]
            if logits is not None:
                repeated = tf.concat([one_hot] * (2 if projected is not None else 1), 0)
                loss += self.modules.objective.add_supervised_loss(repeated, logits)
        variables = self.model.trainable_variables
        gradients = tape.gradient(loss, variables)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))

    def outputs(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """What comes out of its heads for images, in inference."""
        import tensorflow as tf

        found = self.model(tf.constant(images[..., :3]), training=False)
        names = ("proj_head_output", "logits_sup")
        return {n: v.numpy() for n, v in zip(names, found, strict=True) if v is not None}


def our_run(folder: str, settings: Mapping[str, Any]) -> Any:
    """The settings of ours that the reference's flags mean."""
    from simclr_tf.flags import parsing

    flags = {"dataset": "cifar10", "model_dir": folder, **settings}
    return parsing.parse_command_line([f"--{k}={v}" for k, v in flags.items()]).config


class Ours:
    """A run of this project in a folder."""

    def __init__(self, folder: str, settings: Mapping[str, Any]):
        """Builds model and optimizer and goes on from what the folder holds."""
        from simclr_tf.models.network import build_model
        from simclr_tf.models.roles import variable_roles
        from simclr_tf.optimizers import factory, schedule
        from simclr_tf.training import losses, means, step
        from simclr_tf.training.checkpoints import CheckpointStore

        run = our_run(folder, settings)
        classes = NUM_CLASSES if run.model.lineareval_while_pretraining else None
        self.model = build_model(run.model, classes, run.data.image_size)
        total = EXAMPLES * run.train.train_epochs // BATCH + 1
        rate = schedule.build_schedule(run.optimizer, BATCH, EXAMPLES, total)
        self.optimizer = factory.build_optimizer(run.optimizer, rate, variable_roles(self.model))
        self.optimizer.build(self.model.trainable_variables)
        self.said: list[str] = []
        self.store = CheckpointStore(folder, self.model, self.optimizer, say=self.said.append)
        self.start = self.store.restore_latest()
        self.views = 2 if run.model.pretrains else 1
        loss = (
            losses.pretrain_losses(self.model, run.objective, run.optimizer)
            if run.model.pretrains
            else losses.finetune_losses(self.model, run.optimizer)
        )
        names = means.metric_names(self.model, run.model.train_mode)
        self._step = step.UpdateStep(
            loss, self.model.trainable_variables, self.optimizer, means.Means(names)
        )
        self.run = run

    def take(self, images: np.ndarray, labels: np.ndarray) -> None:
        """One step on a batch."""
        import tensorflow as tf

        views = {f"view_{k}": tf.constant(images[..., 3 * k : 3 * k + 3])
                 for k in range(self.views)}  # fmt: skip
        self._step.take(tf.distribute.get_strategy(), {**views, "label": tf.constant(labels)})


def deviation(ours: Ours, theirs: Theirs) -> dict[str, float]:
    """Largest differences of weights and of slots, relative to values above 1.

    Moving variances reach thousands where weights are random.
    """
    slots = {"lars": {"velocity": "Momentum"}, "momentum": {"m": "momentum"},
             "adam": {"m": "m", "v": "v"}}[ours.run.optimizer.optimizer]  # fmt: skip
    state = {variable.name: variable for variable in ours.optimizer.variables}
    weights, kept = [], []
    for own, other in paired(ours, theirs):
        weights.append((own.numpy(), other.numpy()))
        for slot, name in slots.items():
            if (mine := state.get(f"{slot}/{own.name}")) is not None:
                kept.append((mine.numpy(), theirs.optimizer.get_slot(other, name).numpy()))
    return {
        "weights": max(_relative(a, b, 1.0) for a, b in weights),
        "slots": max(_relative(a, b, 1.0) for a, b in kept),
    }


def paired(ours: Ours, theirs: Theirs) -> list[tuple[Any, Any]]:
    """Our variables with theirs: those of a kind in order of creation, which is the same."""
    parts = {"linear_head": "linear", "head_supervised": "linear", "projection_head": "projection"}

    def sort(variables: Any, order: Any) -> dict[tuple[str, str, int], list[Any]]:
        kinds: dict[tuple[str, str, int], list[Any]] = {}
        for variable in sorted(variables, key=order):
            scope, *_, leaf = variable.name.split("/")
            kind = (parts.get(scope, "encoder"), leaf, len(variable.shape))
            kinds.setdefault(kind, []).append(variable)
        return kinds

    own = sort(ours.model.variables, lambda variable: _place(variable.name))
    other = sort(theirs.model.variables, lambda variable: _number(variable.name))
    pairs: list[tuple[Any, Any]] = []
    for kind, variables in own.items():  # theirs has layers of the projection head that ours drops
        pairs += zip(variables, other[kind], strict=kind[0] != "projection")
    return pairs


def _place(name: str) -> tuple[Any, ...]:
    """Where a variable of ours stands in the order of creation."""
    from simclr_tf.weights import layout

    placed = layout._place(name.split(":")[0])
    return placed[1] if placed is not None else (9, name)


def _number(name: str) -> int:
    """The number of the layer that owns a variable."""
    last = name.split("/")[-2].rpartition("_")[2]
    return int(last) if last.isdigit() else 0


def _relative(a: np.ndarray, b: np.ndarray, least: float = 1e-6) -> float:
    return float(np.abs(a - b).max() / max(np.abs(b).max(), least))


def train(path: str, folder: str, case: str) -> dict[str, Any]:
    """The reference begins a run; both go on from it, and once more without kinks."""
    import tensorflow as tf
    from tensorflow.compat import v2

    found = _train(path, folder, case)
    for module in (tf.nn, v2.nn):
        module.relu = tf.nn.softplus
    with tempfile.TemporaryDirectory() as other:
        smooth = _train(path, other, case)
    return {**found, "smooth": smooth}


def _train(path: str, folder: str, case: str) -> dict[str, Any]:
    from simclr_tf.training import run_config

    settings = settings_of(case)
    theirs = Theirs(path, folder, settings)
    feed = batches(settings, BEFORE + FURTHER)
    for images, labels in feed[:BEFORE]:
        theirs.take(images, labels)
    theirs.manager.save(checkpoint_number=BEFORE)
    ours = Ours(folder, settings)
    assert ours.start == BEFORE
    before = deviation(ours, theirs)
    assert max(before.values()) == 0, before
    for images, labels in feed[BEFORE:]:
        theirs.take(images, labels)
        ours.take(images, labels)
    found = deviation(ours, theirs)
    ours.store.save()
    run_config.record_config(ours.run)
    return found


def begin(folder: str, case: str) -> None:
    """A run of ours with random weights and one checkpoint."""
    import tensorflow as tf

    from simclr_tf.training import run_config

    settings = settings_of(case)
    ours = Ours(folder, settings)
    for variable in ours.model.variables:
        noise = 0.1 * tf.abs(tf.random.normal(variable.shape))
        variable.assign(variable + noise)
    for images, labels in batches(settings, 1):
        ours.take(images, labels)
    ours.store.save()
    run_config.record_config(ours.run)


def go_back(path: str, folder: str, case: str) -> dict[str, Any]:
    """The reference restores the export of a run, whole."""
    from simclr_tf.export.bundle import export_checkpoint

    from simclr_tf.weights.load import load_model

    settings = settings_of(case)
    said: list[str] = []
    out = os.path.join(folder, "reference")
    export_checkpoint(folder, out, ["reference"], say=said.append)
    theirs = Theirs(path, out, settings)
    images, labels = batches(settings, 1)[0]
    found = theirs.outputs(images)
    loaded = load_model(folder)
    expected = {name: value.numpy() for name, value in loaded.model(images[..., :3]).items()}
    # A step creates the slots, which take their values from the checkpoint first.
    whole = loaded.model.projection_head is not None and loaded.model.config.pretrains
    theirs.take(images, labels)
    assert theirs.status is not None
    if whole:
        theirs.status.assert_existing_objects_matched()
        theirs.status.assert_consumed()
    else:
        theirs.status.assert_nontrivial_match()
    assert int(theirs.optimizer.iterations.numpy()) == loaded.global_step + 1
    ours = Ours(folder, settings)
    ours.take(images, labels)
    shared = [name for name in found if name in expected]
    return {
        "outputs": max(_relative(found[name], expected[name]) for name in shared),
        "whole": whole,
        **deviation(ours, theirs),
        "said": said,
    }


def _in_a_process(*words: str) -> dict[str, Any]:
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3",
                   "CUDA_VISIBLE_DEVICES": "-1"}  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.reference_run", *words]
    done = subprocess.run(command, env=environment, text=True, capture_output=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [""]
        raise SystemExit(f"{words[-1]}: {lines[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(path: str, case: str, folder: str) -> dict[str, Any]:
    """One case, in processes of their own: the reference's flags are those of a process."""
    row: dict[str, Any] = {}
    if case in TRAINED:
        row["on"] = _in_a_process(path, "--folder", folder, "--part", "train", "--case", case)
    else:
        _in_a_process(path, "--folder", folder, "--part", "begin", "--case", case)
    row["back"] = _in_a_process(path, "--folder", folder, "--part", "back", "--case", case)
    return row


def main() -> None:
    """Prints one line per case."""
    parser = command.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("clone", help="a clone of google-research/simclr")
    parser.add_argument("--case", choices=CASES, action="append", help="default: all")
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--part", choices=("train", "begin", "back"), help=argparse.SUPPRESS)
    words = parser.parse_args()
    if not os.path.isfile(os.path.join(words.clone, "tf2", "run.py")):
        parser.error(f"CLONE must hold tf2/run.py. Received: {words.clone!r}")
    cases = words.case or list(CASES)
    if words.part == "train":
        print(json.dumps(train(words.clone, words.folder, cases[0])))
    elif words.part == "begin":
        begin(words.folder, cases[0])
        print("{}")
    elif words.part == "back":
        print(json.dumps(go_back(words.clone, words.folder, cases[0])))
    else:
        print("| run | on: weights | slots | softplus: weights, slots "
              "| back: restored | outputs (relative) | weights | slots |")  # fmt: skip
        print("|---|---|---|---|---|---|---|---|")
        for case in cases:
            with tempfile.TemporaryDirectory() as folder:
                row = compare(words.clone, case, folder)
            print(f"| {case} | {_cells(row)} |", flush=True)


def _cells(row: Mapping[str, Any]) -> str:
    on, back = row.get("on"), row["back"]
    cells = ["-"] * 3
    if on is not None:
        smooth = (on["smooth"][name] for name in ("weights", "slots"))
        cells = [f"{on['weights']:.1e}", f"{on['slots']:.1e}"]
        cells.append(", ".join(f"{value:.1e}" for value in smooth))
    cells.append("whole" if back["whole"] else "all that there is")
    cells += [f"{back[name]:.1e}" for name in ("outputs", "weights", "slots")]
    return " | ".join(cells)


if __name__ == "__main__":
    command.end(main)
