"""Why a checkpoint can't be restored as a whole, in words."""

from __future__ import annotations

from collections.abc import Iterable

import tensorflow as tf

from simclr_tf.errors import InputError
from simclr_tf.weights.stored import open_variables

_MAX_LISTED = 3


def describe_difference(prefix: str, variables: Iterable[tf.Variable]) -> str:
    """How the variables that are to be restored differ from those in a checkpoint.

    Args:
        prefix: Path without `.index`.
        variables: Of the model and its optimizer.

    Returns:
        One line; "" where names and shapes agree.
    """
    try:
        stored = open_variables(prefix)
    except InputError as error:
        return error.constraint
    there = stored.all_shapes()
    absent, others, count = [], [], 0
    for variable in variables:
        name, shape = variable.name.split(":")[0], tuple(variable.shape)
        count += 1
        if name not in there:
            absent.append(name)
        elif there[name] != shape:
            others.append(f"{name} is {list(there[name])} there, {list(shape)} here")
    parts = []
    if absent:
        parts.append(f"{len(absent)} of {count} variables are not there: {_listed(absent)}")
    if len(absent) == count:
        parts.append(f"it holds {_listed(sorted(there))}")
    if others:
        parts.append(f"{len(others)} of {count} have another shape: {_listed(others)}")
    return "; ".join(parts)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + more
