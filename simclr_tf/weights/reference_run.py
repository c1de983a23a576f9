"""Runs of the reference implementation that go on here: recognised, and taken over whole."""

from __future__ import annotations

import os

import tensorflow as tf
import tf_keras as keras

from simclr_tf.errors import InputError
from simclr_tf.models.network import Network
from simclr_tf.weights import integrity
from simclr_tf.weights.locate import Location, newest_checkpoint
from simclr_tf.weights.network import StoredNetwork, open_network
from simclr_tf.weights.object_graph import read_graph
from simclr_tf.weights.restore import match, plain_name, restore_network
from simclr_tf.weights.slots import StoredSlots, kind_of, open_slots, parse_name

_MAX_LISTED = 3


def is_reference(prefix: str) -> bool:
    """Whether a checkpoint is one of the reference implementation, by the objects in it.

    Args:
        prefix: Path without `.index`.

    Returns:
        Whether a `model` with a `resnet_model` was saved. Only the graph of objects is read; False
        for what can't be read.
    """
    try:
        graph = read_graph(integrity.open_reader(prefix))
    except (ValueError, RuntimeError, IndexError, tf.errors.OpError):
        return False
    if graph is None or not graph.nodes:
        return False
    model = next((c.node_id for c in graph.nodes[0].children if c.local_name == "model"), None)
    if model is None or not 0 <= model < len(graph.nodes):
        return False
    return any(child.local_name == "resnet_model" for child in graph.nodes[model].children)


def goes_on_from_reference(folder: str) -> bool:
    """Whether the newest checkpoint in a folder is one of the reference implementation."""
    newest = newest_checkpoint(folder)
    return newest is not None and is_reference(newest)


def take_over(prefix: str, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> list[str]:
    """Goes on from a training of the reference implementation: weights, optimizer state and step.

    What the reference's LARS, SGD and Adam keep means the same in those here, so that the next
    steps are the ones that it would have taken.

    Args:
        prefix: A checkpoint for which `is_reference` holds.
        model: Built; as a whole it must be in the checkpoint.
        optimizer: Built for it; its `iterations` are the global step.

    Returns:
        Lines for the user on what was taken over.

    Raises:
        InputError: The network or the optimizer there is another one, or has no state. Says how
            its weights start a new run.
    """
    assert isinstance(model, Network)
    try:
        network = open_network(Location(prefix))
        stored = open_slots(prefix)
        new = match(model, network).new
        if new:
            raise InputError("checkpoint", f"must have all of its heads ({_listed(new)})", prefix)
        wanted = _check_optimizer(optimizer, stored, network)
        report = restore_network(model, network)
    except InputError as error:
        raise InputError(
            "model_dir",
            "must hold a run that can go on with these settings: its newest checkpoint is one of "
            f"the reference implementation and {error.constraint}; "
            f"--checkpoint={os.path.dirname(prefix)} --model_dir=NEW starts a new run from its "
            "weights",
            prefix,
        ) from None
    for variable, place in wanted:
        variable.assign(stored.read(*place))
    optimizer.iterations.assign(stored.step)
    lines = [
        f"going on with a run of the reference implementation: {len(report.restored)} variables "
        f"and {len(wanted)} of its {stored.kind} optimizer are taken over from {prefix}"
    ]
    if report.unused:
        lines.append(f"not used, since the run has no place for them: {', '.join(report.unused)}")
    return lines


def _check_optimizer(
    optimizer: keras.optimizers.Optimizer, stored: StoredSlots, network: StoredNetwork
) -> list[tuple[tf.Variable, tuple[str, str]]]:
    """The optimizer's variables, each with its place in the checkpoint."""
    prefix = stored.prefix
    if stored.step is None:
        raise InputError("checkpoint", "must hold its global step", prefix)
    places = [(variable, parse_name(plain_name(variable))) for variable in optimizer.variables]
    slots = [(variable, place) for variable, place in places if place is not None]
    kind = kind_of(slot for _, (slot, _) in slots)
    if stored.kind is None:
        raise InputError("checkpoint", "must hold the state of its optimizer", prefix)
    if kind != stored.kind:
        constraint = f"must be of the same optimizer: {stored.kind} there, {kind} here"
        raise InputError("checkpoint", constraint, prefix)
    wanted = [(variable, (slot, network.stored_name(name))) for variable, (slot, name) in slots]
    missing = [
        plain_name(variable)
        for variable, place in wanted
        if place not in stored.keys or stored.shape(*place) != tuple(variable.shape)
    ]
    if missing:
        constraint = (
            f"must hold the optimizer's state of all that is trained (not {_listed(missing)})"
        )
        raise InputError("checkpoint", constraint, prefix)
    also = _trained_there(stored, network, {place for _, place in wanted})
    if also:
        constraint = (
            f"must have trained what is trained here (there also {_listed(also)}: train_mode, "
            "fine_tune_after_block and ft_proj_selector decide)"
        )
        raise InputError("checkpoint", constraint, prefix)
    return wanted


def _trained_there(
    stored: StoredSlots, network: StoredNetwork, wanted: set[tuple[str, str]]
) -> list[str]:
    """Variables of ours with a state in the checkpoint that the run would not train."""
    names = {network.stored_name(name): name for name in network.shapes}
    others = sorted({names[full] for slot, full in set(stored.keys) - wanted if full in names})
    if stored.kind != "lars":
        # Its weight decay, which is part of the loss then, reaches layers without any other use.
        others = [name for name in others if not name.startswith("projection_head/")]
    return others


def _listed(names: list[str]) -> str:
    more = f"; and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return "; ".join(names[:_MAX_LISTED]) + more
