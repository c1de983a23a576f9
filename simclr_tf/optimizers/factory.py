"""From the settings to an optimizer, and to the weight decay that belongs into the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from simclr_tf.optimizers.lars import LARS
from simclr_tf.optimizers.role_lookup import UNDECAYED_ROLES, find_roles, normalize_roles
from simclr_tf.settings.optimizer import OptimizerConfig


def build_optimizer(
    config: OptimizerConfig,
    schedule: float | keras.optimizers.schedules.LearningRateSchedule,
    roles: Mapping[str, Any] | None,
) -> keras.optimizers.Optimizer:
    """The optimizer that `config.optimizer` names; call it in the strategy's scope.

    `momentum` is SGD with Nesterov momentum, as in the reference implementation and in the paper's
    evaluation protocols (B.5, B.6). Adam takes its usual constants. Neither of them decays weights
    itself, that is the part of `weight_decay_loss`.

    Example:
        >>> config = simclr_tf.OptimizerConfig("momentum")
        >>> simclr_tf.build_optimizer(config, 0.1, None).name
        'SGD'

    Args:
        config: Optimizer settings.
        schedule: Learning rate, a number or by step.
        roles: Variable name to role; used by LARS.
    """
    # XLA is off for all of them: by default Keras compiles each variable's update on a GPU.
    if config.optimizer == "lars":
        return LARS(
            schedule, config.momentum, weight_decay=config.weight_decay, roles=roles,
            jit_compile=False,
        )  # fmt: skip
    if config.optimizer == "momentum":
        return keras.optimizers.SGD(schedule, config.momentum, nesterov=True, jit_compile=False)
    return keras.optimizers.Adam(schedule, jit_compile=False)


def weight_decay_loss(
    variables: Sequence[tf.Variable], roles: Mapping[str, Any], config: OptimizerConfig
) -> tf.Tensor:
    """The L2 term of the loss: weight_decay times half the squared length of what is decayed.

    With LARS, which decays all else itself, that is the linear head's kernel alone. With other
    optimizers it is every variable except scales, embeddings and those of batch norm and other
    normalisation (biases included, as in the reference).

    Args:
        variables: The model's trainable variables.
        roles: Variable name to role.
        config: Optimizer settings.

    Returns:
        () float32; 0 where nothing is decayed.

    Raises:
        ValueError: A variable without a role.
    """
    found = find_roles(variables, normalize_roles(roles) or {})
    terms = [
        tf.nn.l2_loss(tf.cast(variable, tf.float32))
        for variable, role in zip(variables, found, strict=True)
        if _is_decayed(role, config.optimizer)
    ]
    if not terms or not config.weight_decay:
        return tf.zeros([])
    return config.weight_decay * tf.add_n(terms)


def _is_decayed(role: str, optimizer: str) -> bool:
    if optimizer == "lars":
        return role == "linear_head_kernel"
    return role not in UNDECAYED_ROLES
