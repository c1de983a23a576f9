"""A checkpoint that the training program of the reference implementation restores as a whole.

It restores objects by their place, whatever they are called: `reference_objects.py` knows the
places. TensorFlow itself writes the file, from objects that lie there.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from simclr_tf import console
from simclr_tf.errors import require
from simclr_tf.files import write_json
from simclr_tf.models.network import Network
from simclr_tf.settings.model import ModelConfig
from simclr_tf.weights.load import LoadedModel, load_model
from simclr_tf.weights.locate import Location
from simclr_tf.weights.network import open_network
from simclr_tf.weights.restore import plain_name
from simclr_tf.weights.slots import KINDS, StoredSlots, open_slots

from .folders import appearing, check_apart, check_target
from .history import History, read_history
from .reference_objects import Places, find_places

RECORD = "simclr_tf.json"  # beside the checkpoint: written here, and with which flags it restores
# Name of the optimizer, and what it calls its slots; Keras's as of TensorFlow 2.10, with which the
# reference's program can use them (later ones give its schedule a step that it can't divide).
_OPTIMIZERS = {
    "lars": ("LARSOptimizer", {"velocity": "Momentum"}),
    "momentum": ("SGD", {"m": "momentum"}),
    "adam": ("Adam", {"m": "m", "v": "v"}),
}


class State(NamedTuple):
    """The state of an optimizer.

    Attributes:
        kind: `lars`, `momentum` or `adam`.
        slots: (slot, our name of the variable) -> value.
        numbers: Settings that Keras's optimizers save with it.
    """

    kind: str
    slots: Mapping[tuple[str, str], np.ndarray]
    numbers: Mapping[str, float]


def export_reference(
    checkpoint: str,
    output: str,
    *,
    overwrite: bool = False,
    image_size: int | None = None,
    ft_proj_selector: int | None = None,
    sk_ratio: float | None = None,
    say: Callable[[str], None] = console.say,
) -> list[str]:
    """Writes `output/ckpt-<step>` and `output/checkpoint` for the reference's `--model_dir`.

    Args:
        checkpoint: Anything that `simclr_tf.weights.load.load_model` reads. Runs and their
            checkpoints give the optimizer's state and the step too.
        output: A new folder; it appears when it is complete.
        overwrite: Whether an earlier export is replaced.
        image_size: Replaces the recorded or assumed side of the images.
        ft_proj_selector: See `load_model`.
        sk_ratio: See `load_model`.
        say: Receives what was read, what the reference will miss, and the flags that build its
            network.

    Returns:
        The prefix of the checkpoint.

    Raises:
        InputError: The checkpoint can't be read, the reference has no such network, or the target
            exists.
    """
    output = output.rstrip("/")
    check_target(output, overwrite)
    check_apart(checkpoint, output)
    loaded = load_model(checkpoint, ft_proj_selector, image_size, sk_ratio)
    check_possible(loaded.model.config, checkpoint)
    state = read_state(loaded)
    report = loaded.report
    if state is not None:  # it is not left aside here
        report = dataclasses.replace(report, others=())
    for line in report.lines():
        say(line)
    if state is not None:
        say(f"with the state of its {state.kind} optimizer, {len(state.slots)} variables")
    flags = reference_flags(loaded, None if state is None else state.kind)
    for line in _missing(loaded, state):
        say(f"note: {line}")
    with appearing(output, overwrite) as partial:
        write_checkpoint(loaded.model, partial, loaded.global_step, state)
        record = {"format": "reference", "global_step": loaded.global_step, "flags": flags}
        write_json(os.path.join(partial, RECORD), record)
    say(f"the reference restores it with --model_dir={output} and {flags}")
    return [os.path.join(output, f"ckpt-{loaded.global_step}")]


def check_possible(config: ModelConfig, path: str) -> None:
    """Refuses networks that the reference's program can't build or run.

    Raises:
        InputError: Names what it lacks.
    """
    require(config.encoder.is_resnet, "checkpoint", "must have a ResNet as its encoder, as the "
            f"reference has ({config.encoder.encoder})", path)  # fmt: skip
    require(config.encoder.channels == 3, "checkpoint", "must be for 3 channels, as all of the "
            f"reference's ({config.encoder.channels})", path)  # fmt: skip
    plain = config.encoder.computes_like(
        dataclasses.replace(config.encoder, resnet_variant="simclr", input_norm="none")
    )
    require(plain, "checkpoint", "must have resnet_variant=simclr and input_norm=none, as the "
            f"reference has ({config.encoder.resnet_variant}, {config.encoder.input_norm})",
            path)  # fmt: skip
    width = config.encoder.width_multiplier
    require(width == int(width), "checkpoint", "must have a whole width_multiplier, as the "
            f"reference's flag takes it (it has {width:g})", path)  # fmt: skip
    mode = config.projection.proj_head_mode
    needed = config.pretrains or config.projection.ft_proj_selector > 0
    require(mode == "nonlinear" or not needed, "checkpoint", "must have a nonlinear projection "
            f"head: the reference's program fails with {mode!r}", path)  # fmt: skip


def reference_flags(loaded: LoadedModel, optimizer: str | None) -> str:
    """The flags with which the reference builds this network, in one line.

    Args:
        loaded: The model.
        optimizer: Of the state that is written with it, None without.
    """
    config, size = loaded.model.config, loaded.image_size
    if (config.encoder.stem == "cifar") != (size <= 32):  # there the size alone chooses the stem
        size = 32 if config.encoder.stem == "cifar" else 224
    words: dict[str, Any] = {
        "train_mode": "pretrain" if config.pretrains else "finetune",
        "resnet_depth": config.encoder.resnet_depth,
        "width_multiplier": int(config.encoder.width_multiplier),
        "sk_ratio": config.encoder.sk_ratio,
        "se_ratio": config.encoder.se_ratio,
        "image_size": size,
        "num_proj_layers": config.projection.num_proj_layers,
        "proj_out_dim": config.projection.proj_out_dim,
        "ft_proj_selector": 0 if config.pretrains else config.projection.ft_proj_selector,
        "global_bn": config.batch_norm.global_bn,
        "lineareval_while_pretraining": loaded.model.linear_head is not None,
    }
    if optimizer is not None:
        words["optimizer"] = optimizer
    return " ".join(f"--{name}={value}" for name, value in words.items())


def read_state(loaded: LoadedModel) -> State | None:
    """The optimizer's state beside the weights; None where there is none of the whole network."""
    if loaded.prefix is None:
        return None
    stored = open_slots(loaded.prefix)
    if stored.kind is None:
        return None
    slots = _by_our_names(stored, loaded)
    return State(stored.kind, slots, _numbers(stored.kind, loaded))


def _by_our_names(stored: StoredSlots, loaded: LoadedModel) -> dict[tuple[str, str], np.ndarray]:
    network = open_network(Location(stored.prefix))
    found = {}
    for variable in loaded.model.trainable_variables:
        name = plain_name(variable)
        for slot in KINDS[stored.kind or ""]:
            place = (slot, network.stored_name(name))
            if place in stored.keys:  # a frozen variable has none
                found[slot, name] = stored.read(*place)
    return found


def _numbers(kind: str, loaded: LoadedModel) -> dict[str, float]:
    if kind == "adam":
        return {"beta_1": 0.9, "beta_2": 0.999, "decay": 0.0}
    if kind == "lars" or loaded.run_dir is None:
        return {}
    momentum = read_history(loaded.run_dir, History()).settings.get("momentum")
    if not isinstance(momentum, int | float):
        return {}
    return {"momentum": float(momentum), "decay": 0.0}


def _missing(loaded: LoadedModel, state: State | None) -> list[str]:
    """What the reference's program starts anew."""
    lines = []
    if state is None:
        lines.append("there is no optimizer's state: the reference starts with none")
    config, head = loaded.model.config, loaded.model.projection_head
    kept = 0 if head is None else head.num_layers_used
    whole = config.projection.num_proj_layers
    if kept < whole:
        layers = f"the last {whole - kept} of {whole}" if kept else f"all {whole}"
        lines.append(
            f"{layers} layers of the projection head are not in the checkpoint, and the reference "
            "starts them anew: the logits do not depend on them"
        )
    return lines


class _Slots(keras.optimizers.legacy.Optimizer):
    """An optimizer that only holds slots."""

    def get_config(self) -> dict[str, Any]:
        return super().get_config()


def write_checkpoint(model: Network, folder: str, step: int, state: State | None) -> None:
    """Writes `folder/ckpt-<step>` and `folder/checkpoint` as the reference's program does.

    Args:
        model: Encoder and heads, of any width.
        folder: Exists.
        step: The global step.
        state: The optimizer's; None without.
    """
    places = find_places(model.config, model.linear_head is not None)
    by_name = {plain_name(variable): variable for variable in model.variables}
    root = tf.Module()
    variables: dict[str, tf.Variable] = {}
    for name, place in places.variables.items():
        if name not in by_name:  # a layer of the head that fine-tuning here does not keep
            continue
        variables[name] = tf.Variable(by_name[name].numpy(), name=place.full_name)
        _put(root, place.path, variables[name])
    _put_bare(root, places)
    counter = tf.Variable(step, dtype=tf.int64, name="iter")
    optimizer = _optimizer(state, variables, counter)
    checkpoint = tf.train.Checkpoint(model=root.model, global_step=counter, optimizer=optimizer)
    manager = tf.train.CheckpointManager(checkpoint, folder, max_to_keep=None)
    manager.save(checkpoint_number=step)


def _optimizer(
    state: State | None, variables: Mapping[str, tf.Variable], counter: tf.Variable
) -> keras.optimizers.legacy.Optimizer:
    kind = "lars" if state is None else state.kind
    title, slot_names = _OPTIMIZERS[kind]
    optimizer = _Slots(title)
    optimizer.iterations = counter
    if state is None:
        return optimizer
    for name, number in state.numbers.items():
        optimizer.add_weight(name, [], initializer=keras.initializers.Constant(number))
    with tf.name_scope(f"{title}/"):
        for (slot, name), value in state.slots.items():
            optimizer.add_slot(variables[name], slot_names[slot], initializer=tf.constant(value))
    return optimizer


def _put(root: tf.Module, path: str, what: Any) -> None:
    """Hangs an object at `a/b/c` below the root, with those in between that are missing."""
    *above, last = path.split("/")
    for name in above:
        if not hasattr(root, name):
            setattr(root, name, tf.Module())
        root = getattr(root, name)
    setattr(root, last, what)


def _put_bare(root: tf.Module, places: Places) -> None:
    """Adds the objects without variables, where their parents are."""
    for path in places.bare:
        parent, _, name = path.rpartition("/")
        if (found := _find(root, parent)) is not None and not hasattr(found, name):
            setattr(found, name, tf.Module())


def _find(root: tf.Module, path: str) -> tf.Module | None:
    found: Any = root
    for name in path.split("/"):
        found = getattr(found, name, None)
    return found
