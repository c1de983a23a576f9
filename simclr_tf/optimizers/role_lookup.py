"""Looking up the role of a variable: which kind of parameter of which kind of layer it is.

Roles decide what LARS adapts and what is decayed. They are made from the layers by
`simclr_tf.models.roles`; the optimizers see strings only, so that they can be serialised.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

UNDECAYED_ROLES = ("batch_norm", "normalization", "scale", "embedding")
KNOWN_ROLES = ("kernel", "bias", *UNDECAYED_ROLES, "linear_head_kernel", "linear_head_bias")


def role_name(role: str | enum.Enum) -> str:
    """One of `KNOWN_ROLES`, from a string or an enum member.

    Raises:
        ValueError: Another role. To pass it on would adapt and decay what must not be.
    """
    name = str(role.value if isinstance(role, enum.Enum) else role)
    if name not in KNOWN_ROLES:
        raise ValueError(f"role must be one of {', '.join(KNOWN_ROLES)}. Received: {name!r}")
    return name


def normalize_roles(roles: Mapping[str, Any] | None) -> dict[str, str] | None:
    """A plain dict of variable name (without the output suffix `:0`) to role string."""
    if roles is None:
        return None
    return {_plain(name): role_name(role) for name, role in roles.items()}


def find_roles(variables: Iterable[tf.Variable], roles: Mapping[str, str]) -> list[str]:
    """The roles of `variables`, in order.

    Args:
        variables: Trainable variables of a model.
        roles: Result of `normalize_roles`.

    Raises:
        ValueError: A variable has no role, or shares its name with another, so that its role would
            be a guess.
    """
    names = [_plain(variable.name) for variable in variables]
    missing = [name for name in names if name not in roles]
    if missing:
        raise ValueError(f"every variable must have a role. Received none for: {missing}")
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(f"variable names must be unique to have a role. Received twice: {doubled}")
    return [roles[name] for name in names]


def _plain(name: str) -> str:
    return name.removesuffix(":0")
