"""Everything about one run."""

from __future__ import annotations

import dataclasses

from simclr_tf.errors import require
from simclr_tf.settings.augment import AugmentConfig
from simclr_tf.settings.checks import check_settings
from simclr_tf.settings.data import DataConfig
from simclr_tf.settings.devices import StrategyConfig
from simclr_tf.settings.evaluation import EvalConfig
from simclr_tf.settings.model import ModelConfig
from simclr_tf.settings.objective import DistillConfig, ObjectiveConfig
from simclr_tf.settings.optimizer import OptimizerConfig
from simclr_tf.settings.report import ReportConfig
from simclr_tf.settings.training import TrainConfig


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """A run: `--mode=train`, `eval` and `train_then_eval`. Functions take the part they need.

    Example:
        >>> run = simclr_tf.RunConfig("runs/a", train=simclr_tf.TrainConfig(train_steps=200))
        >>> run.data.dataset
        'imagenet2012'
    """

    model_dir: str
    checkpoint: str | None = None
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    distill: DistillConfig = DistillConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvalConfig = EvalConfig()
    page: ReportConfig = ReportConfig()
    strategy: StrategyConfig = StrategyConfig()

    def __post_init__(self) -> None:
        check_settings(self)
        require(bool(self.model_dir), "model_dir", "must name a folder", self.model_dir)
        if self.model.train_mode == "distill":
            require(self.distill.teacher is not None, "teacher",
                    "must be given with train_mode=distill", self.distill.teacher)  # fmt: skip
        else:
            require(self.distill.teacher is None, "teacher", "needs train_mode=distill",
                    self.distill.teacher)  # fmt: skip
        require(self.train.gradient_cache_chunk == 0 or self.model.pretrains,
                "gradient_cache_chunk", "needs train_mode=pretrain",
                self.train.gradient_cache_chunk)  # fmt: skip
        require(self.augment.augmentation != "one_branch" or self.model.pretrains, "augmentation",
                "must not be one_branch unless train_mode=pretrain, which has two views",
                self.augment.augmentation)  # fmt: skip
        require(self.augment.augmentation != "one_branch" or len(self.augment.transform_names) > 0,
                "transforms", "must name at least one with augmentation=one_branch",
                self.augment.transforms)  # fmt: skip
        fits = self.model.encoder.is_resnet or self.data.view_size == self.data.image_size
        require(fits, "train_image_size", "must be left out with an encoder that is no ResNet, "
                "which is made for one size", self.data.train_image_size)  # fmt: skip
        resolved = self.model.encoder.resolve_stem(self.data.image_size)
        object.__setattr__(self, "model", dataclasses.replace(self.model, encoder=resolved))
