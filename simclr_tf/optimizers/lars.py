"""LARS: layer-wise adaptive rate scaling (You, Gitman and Ginsburg, arXiv 1708.03888).

SimCLR trains with it because plain momentum SGD becomes unstable at large batches (paper, section
2.1). Every layer's step is scaled by the trust ratio::

    trust = trust_coefficient * |w| / |g|,  1 where either norm is 0,

so that no layer moves by more than a small share of its own length.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from simclr_tf.errors import require
from simclr_tf.optimizers.role_lookup import UNDECAYED_ROLES, find_roles, normalize_roles, role_name

# Vectors without a length worth preserving, and the linear head, whose own L2 term is in the loss.
EXCLUDED_ROLES = ("bias", *UNDECAYED_ROLES, "linear_head_kernel", "linear_head_bias")


@keras.utils.register_keras_serializable(package="simclr_tf")
class LARS(keras.optimizers.Optimizer):
    """Momentum SGD with a trust ratio and coupled weight decay per variable.

    With d = gradient + weight_decay * w, momentum m, learning rate lr and velocity v, one step is::

        variant              v becomes                   w decreases by
        classic (default)    m * v + lr * trust(d) * d   v
        classic, Nesterov    m * v + lr * trust(d) * d   m * v + lr * trust(d) * d
        popular              m * v + d                   lr * trust(v) * v
        popular, Nesterov    m * v + d                   lr * trust(u) * u with u = m * v + d

    where v on the right of the last column is the new one. Variables of an excluded role have no
    decay and trust 1. Unlike the `weight_decay` of other Keras optimizers, which shrinks weights
    apart from the gradient, the decay here is part of d and so of the trust ratio and the momentum
    (as in the LARS paper and the reference implementation).

    Example:
        >>> optimizer = simclr_tf.LARS(0.3, weight_decay=1e-6)
        >>> model = simclr_tf.SimCLR(encoder)  # doctest: +SKIP
        >>> model.compile(simclr_tf.LARS(0.3))  # doctest: +SKIP

    Args:
        learning_rate: A number or a schedule.
        momentum: In [0, 1).
        use_nesterov: Whether to look one step of momentum ahead.
        weight_decay: Coefficient of w in d, at least 0. None: 0, or what `complete` says.
        classic_momentum: Whether the learning rate is inside the velocity (see the table).
        trust_coefficient: The paper's eta, above 0; 0.001 as in the reference implementation.
        roles: Variable name to role, from `simclr_tf.models.roles`. None: variables of rank 0 or 1
            (biases, batch-norm scales and offsets) are excluded and no linear head is known, or
            what `complete` says. `simclr_tf.SimCLR` calls it when it is compiled.
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
        weight_decay: float | None = None,
        classic_momentum: bool = True,
        trust_coefficient: float = 0.001,
        roles: Mapping[str, Any] | None = None,
        exclude_roles: Sequence[Any] = EXCLUDED_ROLES,
        name: str = "LARS",
        **kwargs: Any,
    ):
        require(0 <= momentum < 1, "momentum", "must lie in [0, 1)", momentum)
        require(weight_decay is None or weight_decay >= 0, "weight_decay", "must be at least 0",
                weight_decay)  # fmt: skip
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
        self._given = self._no_dependency({"roles": self.roles, "weight_decay": weight_decay})
        self.exclude_roles = self._no_dependency(tuple(role_name(role) for role in exclude_roles))

    def complete(self, roles: Mapping[str, Any], weight_decay: float) -> None:
        """Fills in what the constructor was not given; once built, the optimizer stays as it is.

        It is no part of `get_config`, since roles go by names that another copy of the model may
        not have.

        Args:
            roles: As in the constructor.
            weight_decay: As in the constructor.
        """
        if getattr(self, "_built", False):
            return
        if self.roles is None:
            self.roles = self._no_dependency(normalize_roles(roles))
        if self.coupled_weight_decay is None:
            self.coupled_weight_decay = weight_decay

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

    def _distributed_apply_gradients_fn(
        self, distribution: Any, grads_and_vars: Any, **kwargs: Any
    ) -> tf.Tensor:
        """Updates all variables of a replica together, where the base class goes one by one."""
        if self.jit_compile or self.use_ema:  # part of the base class's loop
            return super()._distributed_apply_gradients_fn(distribution, grads_and_vars, **kwargs)
        gradients, variables = zip(*grads_and_vars, strict=True)

        def update(first: tf.Variable, gradients: Sequence[tf.Tensor]) -> None:
            del first  # inside, every variable stands for this replica's copy
            self._update(gradients, variables)

        distribution.extended.update(variables[0], update, args=(gradients,), group=False)
        return self.iterations.assign_add(1)

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Updates one variable and its velocity from its gradient, summed over replicas."""
        self._update([gradient], [variable])

    def _update(self, gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable]) -> None:
        """Updates `variables` and their velocities.

        A ResNet has hundreds of variables, most of them small, so the number of operations is what
        costs: the trust ratios are one vector, and one kernel updates a weight and its velocity.
        """
        indices = [self._index(variable) for variable in variables]
        velocities = [self.velocities[index] for index in indices]
        number = functools.cache(tf.constant)  # the same few for all variables
        # Each is read once, and only where its value counts.
        weights = [
            tf.convert_to_tensor(variable) if self._adapted[index] else None
            for variable, index in zip(variables, indices, strict=True)
        ]
        directions = [
            self._direction(gradient, weight, number)
            for gradient, weight in zip(gradients, weights, strict=True)
        ]
        if not self.classic_momentum:
            directions = [
                self._accelerate(velocity, direction, number)
                for velocity, direction in zip(velocities, directions, strict=True)
            ]
        scales = self._scales(weights, directions)
        for variable, velocity, direction, scale in zip(
            variables, velocities, directions, scales, strict=True
        ):
            if not self.classic_momentum:
                tf.raw_ops.ResourceApplyGradientDescent(
                    var=variable.handle, alpha=scale, delta=direction, use_locking=True
                )
                continue
            tf.raw_ops.ResourceApplyMomentum(
                var=variable.handle,
                accum=velocity.handle,
                lr=number(1.0, direction.dtype),
                grad=scale * direction,
                momentum=number(self.momentum, direction.dtype),
                use_nesterov=self.use_nesterov,
                use_locking=True,
            )

    def _index(self, variable: tf.Variable) -> int:
        key = self._var_key(variable)
        if key not in self._index_dict:
            raise KeyError(f"the optimizer must be built for every variable. "
                           f"Received: {variable.name}")  # fmt: skip
        return self._index_dict[key]

    def _direction(self, gradient: Any, weight: tf.Tensor | None, number: Any) -> tf.Tensor:
        """The gradient with decay; a weight of None has none."""
        # A gradient of an embedding may be sparse, norms need all of it.
        direction = tf.convert_to_tensor(gradient)
        if weight is None or not self.coupled_weight_decay:
            return direction
        return direction + number(self.coupled_weight_decay, weight.dtype) * weight

    def _accelerate(self, velocity: tf.Variable, step: tf.Tensor, number: Any) -> tf.Tensor:
        """Adds `step` to the velocity; returns it, or with Nesterov its look-ahead."""
        momentum = number(self.momentum, step.dtype)
        new_velocity = momentum * velocity + step
        velocity.assign(new_velocity, read_value=False)
        return momentum * new_velocity + step if self.use_nesterov else new_velocity

    def _scales(
        self, weights: Sequence[tf.Tensor | None], directions: Sequence[tf.Tensor]
    ) -> list[tf.Tensor]:
        """Learning rate times trust ratio, () each; the ratio of a weight of None is 1."""
        widest = max([tf.float32, *(one.dtype for one in directions)], key=lambda one: one.size)
        learning_rate = tf.cast(tf.convert_to_tensor(self.learning_rate), widest)
        adapted = [pair for pair in zip(weights, directions, strict=True) if pair[0] is not None]
        if adapted:
            ratios = self._trust(
                *(_norms(tensors, widest) for tensors in zip(*adapted, strict=True))
            )
            adapted_scales = iter(tf.unstack(learning_rate * ratios))
        return [
            tf.cast(learning_rate if weight is None else next(adapted_scales), direction.dtype)
            for weight, direction in zip(weights, directions, strict=True)
        ]

    def _trust(self, weight_norms: tf.Tensor, direction_norms: tf.Tensor) -> tf.Tensor:
        """The trust ratios of n variables, (n,); 1 where a norm is 0."""
        usable = (weight_norms > 0) & (direction_norms > 0)
        ratios = self.trust_coefficient * tf.math.divide_no_nan(weight_norms, direction_norms)
        return tf.where(usable, ratios, tf.ones_like(ratios))

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
            "classic_momentum": self.classic_momentum,
            "trust_coefficient": self.trust_coefficient,
            **copy.deepcopy(self._given),
            "exclude_roles": list(self.exclude_roles),
        }


def _norms(tensors: Sequence[Any], dtype: tf.DType) -> tf.Tensor:
    """The Euclidean norms of n tensors, (n,)."""
    # The kernel halves the sum of squares; it takes one operation where `tf.norm` takes four.
    return tf.sqrt(2.0 * tf.stack([tf.nn.l2_loss(tf.cast(one, dtype)) for one in tensors]))
