"""LARS: layer-wise adaptive rate scaling (You, Gitman and Ginsburg, arXiv 1708.03888).

SimCLR trains with it because plain momentum SGD becomes unstable at large batches (paper, section
2.1). Every layer's step is scaled by the trust ratio

    trust = trust_coefficient * |w| / |g|,  1 where either norm is 0,

so that no layer moves by more than a small share of its own length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from simclr_tf.errors import require
from simclr_tf.optimizers.role_lookup import find_roles, normalize_roles, role_name

# Vectors without a length worth preserving, and the linear head, whose own L2 term is in the loss.
EXCLUDED_ROLES = ("bias", "batch_norm", "linear_head_kernel", "linear_head_bias")


@keras.utils.register_keras_serializable(package="simclr_tf")
class LARS(keras.optimizers.Optimizer):
    """Momentum SGD with a trust ratio and coupled weight decay per variable.

    With d = gradient + weight_decay * w, momentum m, learning rate lr and velocity v, one step is

    | variant                  | v becomes                | w decreases by                        |
    |--------------------------|--------------------------|---------------------------------------|
    | classic (default)        | m * v + lr * trust(d) * d | v                                     |
    | classic, Nesterov        | m * v + lr * trust(d) * d | m * v + lr * trust(d) * d             |
    | popular                  | m * v + d                | lr * trust(v) * v                     |
    | popular, Nesterov        | m * v + d                | lr * trust(u) * u with u = m * v + d  |

    where v on the right of the last column is the new one. Variables of an excluded role have no
    decay and trust 1. Unlike the `weight_decay` of other Keras optimizers, which shrinks weights
    apart from the gradient, the decay here is part of d and so of the trust ratio and the momentum
    (as in the LARS paper and the reference implementation).

    Args:
        learning_rate: A number or a schedule.
        momentum: In [0, 1).
        use_nesterov: Whether to look one step of momentum ahead.
        weight_decay: Coefficient of w in d, at least 0.
        classic_momentum: Whether the learning rate is inside the velocity (see the table).
        trust_coefficient: The paper's eta, above 0; 0.001 as in the reference implementation.
        roles: Variable name to role, from `simclr_tf.models.roles`. None: variables of rank 0 or 1
            (biases, batch-norm scales and offsets) are excluded and no linear head is known.
        exclude_roles: Roles that get neither decay nor layer adaptation.
        name: Name of the optimizer.
        **kwargs: Of the base class: gradient clipping and moving averages of the weights.

    Raises:
        InputError: A number out of its range.
        ValueError: An unknown role; on building, a variable that `roles` leaves out.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        momentum: float = 0.9,
        use_nesterov: bool = False,
        weight_decay: float = 0.0,
        classic_momentum: bool = True,
        trust_coefficient: float = 0.001,
        roles: Mapping[str, Any] | None = None,
        exclude_roles: Sequence[Any] = EXCLUDED_ROLES,
        name: str = "LARS",
        **kwargs: Any,
    ):
        require(0 <= momentum < 1, "momentum", "must lie in [0, 1)", momentum)
        require(weight_decay >= 0, "weight_decay", "must be at least 0", weight_decay)
        require(trust_coefficient > 0, "trust_coefficient", "must be greater than 0",
                trust_coefficient)  # fmt: skip
        kwargs.setdefault("jit_compile", False)  # the base class compiles by default on a GPU
        # The base class would decay a second time, decoupled: it must not see the coefficient.
        super().__init__(name=name, weight_decay=None, **kwargs)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.momentum = momentum
        self.use_nesterov = use_nesterov
        self.coupled_weight_decay = weight_decay
        self.classic_momentum = classic_momentum
        self.trust_coefficient = trust_coefficient
        # Settings, not state: kept out of checkpoints.
        self.roles = self._no_dependency(normalize_roles(roles))
        self.exclude_roles = self._no_dependency(tuple(role_name(role) for role in exclude_roles))

    def build(self, var_list: Sequence[tf.Variable]) -> None:
        """Creates the velocities and settles which variables are adapted."""
        super().build(var_list)
        if getattr(self, "_built", False):
            return
        self._adapted = self._no_dependency(self._find_adapted(var_list))
        self.velocities = [self.add_variable_from_reference(var, "velocity") for var in var_list]
        self._built = True

    def _find_adapted(self, var_list: Sequence[tf.Variable]) -> list[bool]:
        if self.roles is None:
            return [variable.shape.rank > 1 for variable in var_list]
        return [role not in self.exclude_roles for role in find_roles(var_list, self.roles)]

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Updates one variable and its velocity from its gradient, summed over replicas."""
        index = self._index_dict[self._var_key(variable)]
        velocity, adapted = self.velocities[index], self._adapted[index]
        learning_rate = tf.cast(self.learning_rate, variable.dtype)
        # A gradient of an embedding may be sparse, norms need all of it.
        direction = tf.convert_to_tensor(gradient)
        if adapted and self.coupled_weight_decay:
            direction += self.coupled_weight_decay * variable
        if self.classic_momentum:
            scale = learning_rate * self._trust(variable, direction, adapted)
            variable.assign_sub(self._accelerate(velocity, scale * direction))
        else:
            update = self._accelerate(velocity, direction)
            scale = learning_rate * self._trust(variable, update, adapted)
            variable.assign_sub(scale * update)

    def _accelerate(self, velocity: tf.Variable, step: tf.Tensor) -> tf.Tensor:
        """Adds `step` to the velocity; returns it, or with Nesterov its look-ahead."""
        new_velocity = self.momentum * velocity + step
        velocity.assign(new_velocity)
        return self.momentum * new_velocity + step if self.use_nesterov else new_velocity

    def _trust(
        self, variable: tf.Variable, direction: tf.Tensor, adapted: bool
    ) -> tf.Tensor | float:
        """The trust ratio, a scalar; 1 without adaptation and where a norm is 0."""
        if not adapted:
            return 1.0
        weight_norm = tf.norm(variable)
        direction_norm = tf.norm(direction)
        usable = (weight_norm > 0) & (direction_norm > 0)
        ratio = self.trust_coefficient * tf.math.divide_no_nan(weight_norm, direction_norm)
        return tf.where(usable, ratio, tf.ones_like(ratio))

    def get_config(self) -> dict[str, Any]:
        """Everything the constructor takes, as JSON types."""
        learning_rate = self._serialize_hyperparameter(self._learning_rate)
        if not isinstance(learning_rate, dict):
            learning_rate = float(learning_rate)
        return {
            **super().get_config(),
            "learning_rate": learning_rate,
            "momentum": self.momentum,
            "use_nesterov": self.use_nesterov,
            "weight_decay": self.coupled_weight_decay,
            "classic_momentum": self.classic_momentum,
            "trust_coefficient": self.trust_coefficient,
            "roles": None if self.roles is None else dict(self.roles),
            "exclude_roles": list(self.exclude_roles),
        }
