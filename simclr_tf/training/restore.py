"""Starting weights from another run's checkpoint, matched by variable name.

Unlike the automatic resume this is partial on purpose: the encoder must fit exactly, heads that
are missing or of another size start anew, and every variable is accounted for in the report.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from simclr_tf.errors import InputError
from simclr_tf.models.simclr import SimCLR

_MODEL_KEY = "model/"
_VALUE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_MAX_LISTED = 5


@dataclasses.dataclass(frozen=True)
class RestoreReport:
    """What happened to every variable.

    Attributes:
        restored: Names of the model's variables that were read.
        new: Names of head variables that keep their initial values, with the reason.
        unused: Names of the checkpoint's model variables that the model has no place for.
    """

    restored: tuple[str, ...]
    new: tuple[str, ...]
    unused: tuple[str, ...]

    def lines(self) -> list[str]:
        """The report for a person."""
        text = [f"restored {len(self.restored)} variables"]
        for title, names in (("newly built", self.new), ("not used", self.unused)):
            if names:
                text.append(f"{title}: {', '.join(names)}")
        return text


def plain_name(variable: tf.Variable) -> str:
    """A variable's name without TensorFlow's output suffix."""
    return variable.name.split(":")[0]


def named_keys(reader: tf.train.CheckpointReader) -> dict[str, str]:
    """Full variable name -> checkpoint key, for the model's variables of an object checkpoint."""
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    graph.ParseFromString(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
    return {
        attribute.full_name: attribute.checkpoint_key
        for node in graph.nodes
        for attribute in node.attributes
        if attribute.checkpoint_key.startswith(_MODEL_KEY)
        and attribute.checkpoint_key.endswith(_VALUE_SUFFIX)
        and ".OPTIMIZER_SLOT" not in attribute.checkpoint_key
    }


def open_reader(prefix: str) -> tf.train.CheckpointReader:
    """Opens an object-based checkpoint.

    Raises:
        InputError: The file can't be read, or is a name-based TF1 checkpoint.
    """
    try:
        reader = tf.train.load_checkpoint(prefix)
    except (ValueError, tf.errors.OpError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError("checkpoint", f"must be a readable checkpoint ({reason})",
                         prefix) from None  # fmt: skip
    if not reader.has_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"):
        raise InputError("checkpoint", "must be an object-based TF2 checkpoint", prefix)
    return reader


def _read(reader: tf.train.CheckpointReader, key: str, prefix: str) -> np.ndarray:
    try:
        return reader.get_tensor(key)
    except (IndexError, ValueError, tf.errors.OpError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError("checkpoint", f"must be a complete checkpoint ({reason})",
                         prefix) from None  # fmt: skip


def _refuse_mismatch(problems: list[str], prefix: str) -> None:
    listed = "; ".join(problems[:_MAX_LISTED])
    more = f"; and {len(problems) - _MAX_LISTED} more" if len(problems) > _MAX_LISTED else ""
    raise InputError("checkpoint", f"must fit the encoder ({listed}{more}); nothing was restored",
                     prefix)  # fmt: skip


def restore_weights(model: SimCLR, prefix: str) -> RestoreReport:
    """Reads the encoder, and the heads where they fit, from a checkpoint of this project.

    Args:
        model: A built model; changed only if the whole encoder fits.
        prefix: A checkpoint prefix (see `checkpoints.resolve_checkpoint`).

    Returns:
        What was restored, newly built and left unused.

    Raises:
        InputError: The checkpoint can't be read or its encoder is another one.
    """
    reader = open_reader(prefix)
    keys = named_keys(reader)
    shapes = reader.get_variable_to_shape_map()
    encoder_names = {plain_name(variable) for variable in model.encoder.variables}
    values: list[tuple[tf.Variable, np.ndarray]] = []
    new: list[str] = []
    problems: list[str] = []
    for variable in model.variables:
        name = plain_name(variable)
        shape = shapes[keys[name]] if name in keys else None
        if shape == variable.shape.as_list():
            values.append((variable, _read(reader, keys[name], prefix)))
        else:
            found = "absent from the checkpoint" if shape is None else f"{shape} in the checkpoint"
            text = f"{name} {variable.shape.as_list()}, {found}"
            (problems if name in encoder_names else new).append(text)
    if problems:
        _refuse_mismatch(problems, prefix)
    for variable, value in values:
        variable.assign(value)
    restored = tuple(plain_name(variable) for variable, _ in values)
    unused = sorted(set(keys) - set(restored) - {text.split(" ")[0] for text in new})
    return RestoreReport(restored, tuple(new), tuple(unused))
