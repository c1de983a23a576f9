"""What a training learns: its views, its loss, what it reports. One class for each train_mode."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Protocol

from simclr_tf.models.network import Network
from simclr_tf.settings.objective import DistillConfig, ObjectiveConfig
from simclr_tf.settings.optimizer import OptimizerConfig
from simclr_tf.training.losses import (
    LossFunction,
    distill_losses,
    finetune_losses,
    pretrain_losses,
)
from simclr_tf.training.means import metric_names


class Task(Protocol):
    """What a training learns.

    Attributes:
        num_views: Views of every image in a step.
        distorted: Whether views are more than crops and flips.
    """

    @property
    def num_views(self) -> int: ...  # noqa: D102

    @property
    def distorted(self) -> bool: ...  # noqa: D102

    def losses(self, model: Network, decay: OptimizerConfig) -> LossFunction:
        """One replica's share of the loss as a function of its part of a batch."""
        ...

    def metric_names(self, model: Network) -> tuple[str, ...]:
        """The scalars that a step reports."""
        ...


@dataclasses.dataclass(frozen=True)
class Contrast:
    """Agreement of two views of an image (section 2.1); `train_mode=pretrain`.

    Attributes:
        objective: The contrastive loss.
        labelled: Whether any training image has a label, for the linear head beside it.
    """

    objective: ObjectiveConfig
    labelled: bool = True
    num_views: ClassVar[int] = 2
    distorted: ClassVar[bool] = True

    def losses(self, model: Network, decay: OptimizerConfig) -> LossFunction:
        """See `Task`."""
        return pretrain_losses(model, self.objective, decay)

    def metric_names(self, model: Network) -> tuple[str, ...]:
        """See `Task`."""
        return metric_names(model, "pretrain", self.labelled)


@dataclasses.dataclass(frozen=True)
class Classify:
    """The labels of images; `train_mode=finetune`, and `supervised` with distorted views."""

    distorted: bool = False
    num_views: ClassVar[int] = 1

    def losses(self, model: Network, decay: OptimizerConfig) -> LossFunction:
        """See `Task`."""
        return finetune_losses(model, decay)

    def metric_names(self, model: Network) -> tuple[str, ...]:
        """See `Task`."""
        return metric_names(model, "finetune")


@dataclasses.dataclass(frozen=True)
class Distill:
    """The class distributions of a teacher (SimCLRv2); `train_mode=distill`.

    Attributes:
        teacher: In inference mode, never changed.
        settings: Temperature, and weight beside the labels.
        labelled: Whether any training image has a label.
    """

    teacher: Network
    settings: DistillConfig
    labelled: bool = True
    num_views: ClassVar[int] = 1
    distorted: ClassVar[bool] = False

    def losses(self, model: Network, decay: OptimizerConfig) -> LossFunction:
        """See `Task`."""
        return distill_losses(model, self.teacher, self.settings, decay, self.labelled)

    def metric_names(self, model: Network) -> tuple[str, ...]:
        """See `Task`."""
        return metric_names(model, "distill", self.labelled)
