"""The role of every trainable variable, decided by the type of the layer that owns it.

Optimizers and regularisation ask for roles instead of looking at names.
"""

from __future__ import annotations

import enum

import tf_keras as keras

from simclr_tf.models.heads import LinearHead


class Role(enum.Enum):
    """What a variable is for."""

    KERNEL = "kernel"
    BIAS = "bias"
    BATCH_NORM = "batch_norm"
    LINEAR_HEAD_KERNEL = "linear_head_kernel"
    LINEAR_HEAD_BIAS = "linear_head_bias"


def variable_roles(model: keras.Model) -> dict[str, Role]:
    """Maps the name (`variable.name`) of every trainable variable to its role.

    Frozen variables are not in it.

    Raises:
        ValueError: A layer of unknown type owns a variable, or two variables share a name.
    """
    roles: dict[str, Role] = {}
    for layer in model._flatten_layers():
        for variable, role in _roles_of(layer).items():
            if variable in roles:
                raise ValueError(f"variable names must be unique. Received twice: {variable!r}")
            roles[variable] = role
    _check_cover(model, roles)
    return roles


def _roles_of(layer: keras.layers.Layer) -> dict[str, Role]:
    """Roles of the trainable variables that the layer itself owns."""
    if not layer.trainable:
        return {}
    if isinstance(layer, keras.layers.BatchNormalization):
        pairs = [(layer.gamma, Role.BATCH_NORM), (layer.beta, Role.BATCH_NORM)]
    elif isinstance(layer, LinearHead):
        pairs = [(layer.kernel, Role.LINEAR_HEAD_KERNEL), (layer.bias, Role.LINEAR_HEAD_BIAS)]
    elif isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
        pairs = [(layer.kernel, Role.KERNEL), (layer.bias, Role.BIAS)]
    else:
        pairs = []
    return {variable.name: role for variable, role in pairs if variable is not None}


def _check_cover(model: keras.Model, roles: dict[str, Role]) -> None:
    names = [variable.name for variable in model.trainable_variables]
    unknown = sorted(set(names) ^ set(roles))
    if unknown:
        raise ValueError(
            f"every trainable variable must belong to a known layer type. Received: {unknown}"
        )


def describe_roles(model: keras.Model) -> str:
    """One line: how many variables and parameters of the model have each role."""
    roles = variable_roles(model)
    parts = []
    for role in Role:
        sizes = [v.shape.num_elements() for v in model.trainable_variables if roles[v.name] is role]
        if sizes:
            name = role.value.replace("_", " ")
            parts.append(f"{name} {len(sizes)} variables ({sum(sizes):,} parameters)")
    return ", ".join(parts)
