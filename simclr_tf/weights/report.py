"""What became of every variable when weights were read."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from simclr_tf.errors import InputError


@dataclasses.dataclass(frozen=True)
class RestoreReport:
    """What happened to every variable.

    Attributes:
        source: The format, in words.
        restored: Names of the model's variables that were read.
        new: Names of head variables that keep their initial values, with the reason.
        unused: Names of stored head variables that the model has no place for.
        others: Names of what is stored beside the network: optimizer slots, counters.
        left_out: Names of stored variables that are left out because nobody knows how to read them.
        global_step: Step of the weights, 0 where unknown.
        notes: What was read in one of several ways that fit the weights.
        assumptions: How weights of PyTorch were taken to be computed, where nothing tells.
        doubts: Why the logits, or all outputs, can't be trusted: errors to raise where they are
            used, named after the setting that would settle it.
    """

    source: str
    restored: tuple[str, ...]
    new: tuple[str, ...]
    unused: tuple[str, ...]
    others: tuple[str, ...] = ()
    global_step: int = 0
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    doubts: tuple[InputError, ...] = ()

    def lines(self) -> list[str]:
        """The report for a person."""
        step = f", step {self.global_step}" if self.global_step else ""
        text = [f"restored {len(self.restored)} variables from a {self.source}{step}"]
        for title, names in (("newly built", self.new), ("not used", self.unused)):
            if names:
                text.append(f"{title}: {', '.join(names)}")
        if self.others:
            text.append(f"left aside: {len(self.others)} of the optimizer and counters")
        return [*text, *self.notes, *self.assumptions]


def plain_name(variable: tf.Variable) -> str:
    """A variable's name without TensorFlow's output suffix."""
    return variable.name.split(":")[0]
