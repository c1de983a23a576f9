"""Fills a model with stored weights, matched by name, and accounts for every variable.

Unlike the automatic resume this is partial on purpose: the encoder must fit exactly, heads that
are missing or of another size start anew.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from simclr_tf.config import EncoderConfig
from simclr_tf.errors import InputError
from simclr_tf.models.simclr import SimCLR
from simclr_tf.weights import locate
from simclr_tf.weights.network import StoredNetwork, open_network

_MAX_LISTED = 5


@dataclasses.dataclass(frozen=True)
class RestoreReport:
    """What happened to every variable.

    Attributes:
        source: The format, in words.
        restored: Names of the model's variables that were read.
        new: Names of head variables that keep their initial values, with the reason.
        unused: Names of stored head variables that the model has no place for.
        others: Names of what is stored beside the network: optimizer slots, counters.
        global_step: Step of the weights, 0 where unknown.
    """

    source: str
    restored: tuple[str, ...]
    new: tuple[str, ...]
    unused: tuple[str, ...]
    others: tuple[str, ...] = ()
    global_step: int = 0

    def lines(self) -> list[str]:
        """The report for a person."""
        step = f", step {self.global_step}" if self.global_step else ""
        text = [f"restored {len(self.restored)} variables from a {self.source}{step}"]
        for title, names in (("newly built", self.new), ("not used", self.unused)):
            if names:
                text.append(f"{title}: {', '.join(names)}")
        if self.others:
            text.append(f"left aside: {len(self.others)} of the optimizer and counters")
        return text


def plain_name(variable: tf.Variable) -> str:
    """A variable's name without TensorFlow's output suffix."""
    return variable.name.split(":")[0]


def restore_weights(model: SimCLR, path: str) -> RestoreReport:
    """Reads the encoder, and the heads where they fit, from a checkpoint of any format.

    Args:
        model: A built model; changed only if the whole encoder fits and the file is whole.
        path: See `locate.locate`; also a TF-Hub archive (`locate.unpacked`).

    Returns:
        What was restored, newly built and left unused.

    Raises:
        InputError: The checkpoint can't be read or its encoder is another one.
    """
    with locate.unpacked(path) as unpacked:
        return restore_network(model, open_network(locate.locate(unpacked)))


def restore_network(model: SimCLR, network: StoredNetwork) -> RestoreReport:
    """As `restore_weights`, for a checkpoint that is open already."""
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
    if problems:
        _refuse_mismatch(problems, model.config.encoder, network)
    network.check_complete()
    for variable in restored:  # one at a time: large networks fit in memory once
        variable.assign(network.read(plain_name(variable)))
    return RestoreReport(
        network.source,
        tuple(plain_name(variable) for variable in restored),
        tuple(new),
        tuple(unused),
        network.others,
        network.global_step,
    )


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
