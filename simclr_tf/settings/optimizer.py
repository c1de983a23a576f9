"""Optimizer and learning rate."""

from __future__ import annotations

import dataclasses
import math

from simclr_tf.errors import require_choice
from simclr_tf.settings.checks import RATE, WEIGHT_DECAY, Range, check_settings, limited

OPTIMIZERS = ("lars", "momentum", "adam")
LEARNING_RATE_SCALINGS = ("linear", "sqrt")


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Optimizer and learning rate.

    The peak learning rate is `learning_rate * batch / 256` (`linear`) or
    `learning_rate * sqrt(batch)` (`sqrt`, B.1), batch being the global one.

    Example:
        >>> simclr_tf.OptimizerConfig("momentum", learning_rate=0.05).weight_decay
        1e-06
    """

    optimizer: str = "lars"
    learning_rate: float = limited(0.3, RATE)
    learning_rate_scaling: str = "linear"
    warmup_epochs: float = limited(10, Range(0, 10**6))
    momentum: float = limited(0.9, Range(0, 0.99999))
    weight_decay: float = limited(1e-6, WEIGHT_DECAY)

    def __post_init__(self) -> None:
        check_settings(self)
        require_choice("optimizer", self.optimizer, OPTIMIZERS)
        require_choice("learning_rate_scaling", self.learning_rate_scaling,
                        LEARNING_RATE_SCALINGS)  # fmt: skip

    def peak_learning_rate(self, batch_size: int) -> float:
        """The learning rate at the end of warm-up for a global batch of `batch_size`."""
        if self.learning_rate_scaling == "linear":
            return self.learning_rate * batch_size / 256
        return self.learning_rate * math.sqrt(batch_size)
