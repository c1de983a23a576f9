"""Fills a model with stored weights, matched by name, and accounts for every variable.

Unlike the automatic resume this is partial on purpose: the encoder must fit exactly, heads that
are missing or of another size start anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import NamedTuple

import tensorflow as tf

from simclr_tf.errors import InputError
from simclr_tf.models.keras_encoder import KerasEncoder
from simclr_tf.models.network import Network
from simclr_tf.settings.model import EncoderConfig
from simclr_tf.weights import load_keras, locate, readings
from simclr_tf.weights.network import StoredNetwork, open_network
from simclr_tf.weights.report import RestoreReport, plain_name

_MAX_LISTED = 5


def restore_weights(model: Network, path: str, given: Collection[str] = ()) -> RestoreReport:
    """Reads the encoder, and the heads where they fit, from a checkpoint of any format.

    Args:
        model: A built model; changed only if the whole encoder fits and the file is whole.
        path: See `locate.locate`; also a TF-Hub archive (`locate.unpacked`).
        given: Names of settings of the model that somebody chose for these weights, which settles
            what the weights leave open.

    Returns:
        What was restored, newly built and left unused.

    Raises:
        InputError: The checkpoint can't be read or its encoder is another one.
    """
    with locate.unpacked(path) as unpacked:
        if isinstance(model.encoder, KerasEncoder):
            return load_keras.restore(model, unpacked)
        return restore_network(model, open_network(locate.locate(unpacked)), given)


class Match(NamedTuple):
    """Which variables of a model a checkpoint has.

    Attributes:
        restored: Those that it has.
        new: Those of the heads that it lacks, in words.
        unused: Names of stored head variables that the model has no place for.
    """

    restored: list[tf.Variable]
    new: list[str]
    unused: list[str]


def match(model: Network, network: StoredNetwork, given: Collection[str] = ()) -> Match:
    """Pairs a model with a checkpoint by name and shape; nothing is read or changed.

    Args:
        model: A built model.
        network: The checkpoint.
        given: See `restore_weights`.

    Raises:
        InputError: Their encoders differ.
    """
    restored: list[tf.Variable] = []
    new: list[str] = []
    problems: list[str] = []
    encoder_names = {plain_name(variable) for variable in model.encoder.variables}
    for variable in model.variables:
        name = plain_name(variable)
        shape = network.shapes.get(name)
        if shape == tuple(variable.shape):
            restored.append(variable)
        else:
            found = "absent from the checkpoint"
            if shape is not None:
                found = f"{list(shape)} in the checkpoint"
            text = f"{name} {variable.shape.as_list()}, {found}"
            (problems if name in encoder_names else new).append(text)
    names = {plain_name(variable) for variable in model.variables}
    unused = [name for name in sorted(network.shapes) if name not in names]
    problems += [f"{name} has no place in the model" for name in unused if _in_encoder(name)]
    shortcuts = network.readings[readings.SHORTCUTS]
    if not (shortcuts.is_open or shortcuts.fits(model.config.encoder.sk_ratio)):
        problems.append(f"{shortcuts.setting} {shortcuts.constraint()}")
    ours, theirs = model.config.encoder, network.encoder
    chosen = {name: getattr(ours, name) for name in network.assumed if name in given}
    theirs = dataclasses.replace(theirs, **chosen)
    if not (network.unknown or ours.computes_like(theirs)):
        problems.append("it pads, projects or scales images otherwise")
    if problems:
        _refuse_mismatch(problems, model.config.encoder, network)
    return Match(restored, new, unused)


def restore_network(
    model: Network, network: StoredNetwork, given: Collection[str] = ()
) -> RestoreReport:
    """As `restore_weights`, for a checkpoint that is open already."""
    restored, new, unused = match(model, network, given)
    network.check_complete()
    notes, doubts = _notes_and_doubts(model, network, restored, given)
    for variable in restored:  # one at a time: large networks fit in memory once
        variable.assign(network.read(plain_name(variable)))
    return RestoreReport(
        network.source,
        tuple(plain_name(variable) for variable in restored),
        tuple(new),
        tuple(unused),
        network.others,
        network.global_step,
        notes=notes,
        assumptions=tuple(t for name, t in network.assumed.items() if name not in given),
        doubts=doubts,
    )


def _notes_and_doubts(
    model: Network,
    network: StoredNetwork,
    restored: Collection[tf.Variable],
    given: Collection[str],
) -> tuple[tuple[str, ...], tuple[InputError, ...]]:
    """What is to be said of the readings that the model makes of the weights."""
    used: dict[str, float] = {readings.SHORTCUTS: model.config.encoder.sk_ratio}
    if any(plain_name(variable) == readings.LINEAR_KERNEL for variable in restored):
        used[readings.HEAD] = model.config.linear_head_layer
    selector = model.config.projection.ft_proj_selector
    notes = list(network.notes)
    doubts: list[InputError] = []
    for setting, value in used.items():
        if (reading := network.readings.get(setting)) is None:
            continue
        ignored = setting == readings.HEAD and value != selector
        chosen = setting in given and not ignored
        if line := reading.line(value, chosen):
            notes.append(line)
        if not reading.settled(value, chosen):
            constraint = reading.constraint()
            if setting == readings.HEAD and model.config.pretrains:
                constraint += " (above 0 with train_mode=finetune)"
            doubts.append(InputError(setting, constraint, selector if ignored else value))
    return tuple(notes), tuple(doubts)


def _in_encoder(name: str) -> bool:
    return name.startswith("encoder/")


def _refuse_mismatch(problems: list[str], ours: EncoderConfig, network: StoredNetwork) -> None:
    listed = "; ".join(problems[:_MAX_LISTED])
    more = f"; and {len(problems) - _MAX_LISTED} more" if len(problems) > _MAX_LISTED else ""
    raise InputError(
        "checkpoint",
        f"must fit the encoder{_difference(ours, network.encoder)} ({listed}{more}); nothing was "
        "restored",
        network.location.prefix,
    )


def _difference(ours: EncoderConfig, stored: EncoderConfig) -> str:
    """Which settings of the run would have to change, in the spelling of the flags."""
    names = [field.name for field in dataclasses.fields(EncoderConfig)]
    differing = [name for name in names if getattr(ours, name) != getattr(stored, name)]
    if not differing:
        return ""
    there = " ".join(f"{name}={getattr(stored, name)}" for name in differing)
    here = " ".join(f"{name}={getattr(ours, name)}" for name in differing)
    return f": it holds one with {there}, the run asks for {here}"
