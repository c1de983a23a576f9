"""The role of every trainable variable, decided by the layer that owns it.

Optimizers and regularisation ask for roles instead of looking at names. Layers of Keras say by the
attributes that hold their variables what these are for. Variables of other layers are judged by
their shape: what is long in more than one axis is a kernel, all else a scale or a bias.
"""

from __future__ import annotations

import enum

import tensorflow as tf
import tf_keras as keras

from simclr_tf.models.heads import LinearHead


class Role(enum.Enum):
    """What a variable is for."""

    KERNEL = "kernel"
    BIAS = "bias"
    BATCH_NORM = "batch_norm"
    NORMALIZATION = "normalization"  # of layers, groups: everything but batches
    SCALE = "scale"
    EMBEDDING = "embedding"
    LINEAR_HEAD_KERNEL = "linear_head_kernel"
    LINEAR_HEAD_BIAS = "linear_head_bias"


_ROLES = {
    "kernel": Role.KERNEL,
    "depthwise_kernel": Role.KERNEL,
    "pointwise_kernel": Role.KERNEL,
    "recurrent_kernel": Role.KERNEL,
    "bias": Role.BIAS,
    "embeddings": Role.EMBEDDING,
    "scale": Role.SCALE,  # of attention
    "alpha": Role.SCALE,  # of PReLU
}
_BATCH_NORMS = (
    keras.layers.BatchNormalization,
    keras.layers.experimental.SyncBatchNormalization,
)
_NORMS = (keras.layers.LayerNormalization, keras.layers.GroupNormalization)


def variable_roles(model: keras.Model) -> dict[str, Role]:
    """Maps the name (`variable.name`) of every trainable variable to its role.

    Frozen variables are not in it.

    Args:
        model: Any built model.

    Raises:
        ValueError: Two variables share a name, or one belongs to no layer.

    Example:
        >>> model = keras.applications.MobileNetV2(weights=None)  # doctest: +SKIP
        >>> variable_roles(model)["Conv1/kernel:0"]  # doctest: +SKIP
        <Role.KERNEL: 'kernel'>
    """
    roles: dict[str, Role] = {}
    for layer in model._flatten_layers():
        for variable, role in _roles_of(layer):
            if variable.name in roles:
                raise ValueError(
                    f"variable names must be unique. Received twice: {variable.name!r}"
                )
            roles[variable.name] = role or _role_by_shape(variable)
    _check_cover(model, roles)
    return roles


def _roles_of(layer: keras.layers.Layer) -> list[tuple[tf.Variable, Role | None]]:
    """Its own trainable variables; with None those that the layer says nothing of."""
    if not layer.trainable:
        return []
    own = layer._trainable_weights
    if isinstance(layer, _BATCH_NORMS):
        return [(variable, Role.BATCH_NORM) for variable in own]
    if isinstance(layer, _NORMS):
        return [(variable, Role.NORMALIZATION) for variable in own]
    said = _ROLES
    if isinstance(layer, LinearHead):
        said = {"kernel": Role.LINEAR_HEAD_KERNEL, "bias": Role.LINEAR_HEAD_BIAS}
    held = {id(getattr(layer, name, None)): role for name, role in said.items()}
    return [(variable, held.get(id(variable))) for variable in own]


def _role_by_shape(variable: tf.Variable) -> Role:
    return Role.KERNEL if sum(length > 1 for length in variable.shape) > 1 else Role.SCALE


def _check_cover(model: keras.Model, roles: dict[str, Role]) -> None:
    names = [variable.name for variable in model.trainable_variables]
    unknown = sorted(set(names) ^ set(roles))
    if unknown:
        raise ValueError(f"every trainable variable must belong to a layer. Received: {unknown}")


def describe_roles(model: keras.Model) -> str:
    """One line: how many variables and parameters of the model have each role.

    Those judged by their shape are named.
    """
    roles = variable_roles(model)
    parts = []
    for role in Role:
        sizes = [v.shape.num_elements() for v in model.trainable_variables if roles[v.name] is role]
        if sizes:
            name = role.value.replace("_", " ")
            parts.append(f"{name} {len(sizes)} variables ({sum(sizes):,} parameters)")
    judged = [
        f"{variable.name.removesuffix(':0')} as {roles[variable.name].value}"
        for layer in model._flatten_layers()
        for variable, role in _roles_of(layer)
        if role is None
    ]
    by_shape = f"; by their shape: {', '.join(judged)}" if judged else ""
    return ", ".join(parts) + by_shape
