"""The settings of a run under one name: the dataclasses of `simclr_tf.settings`."""

from simclr_tf.settings.augment import AugmentConfig
from simclr_tf.settings.commands import Embed, Evaluate, Explore, Neighbors, Serve, Study
from simclr_tf.settings.data import DataConfig
from simclr_tf.settings.devices import StrategyConfig
from simclr_tf.settings.evaluation import EvalConfig
from simclr_tf.settings.model import (
    BLOCKS_PER_GROUP,
    RESNET_DEPTHS,
    BatchNormConfig,
    EncoderConfig,
    ModelConfig,
    ProjectionConfig,
)
from simclr_tf.settings.objective import DistillConfig, ObjectiveConfig
from simclr_tf.settings.optimizer import OptimizerConfig
from simclr_tf.settings.protocols import ProtocolConfig
from simclr_tf.settings.report import ReportConfig
from simclr_tf.settings.run import RunConfig
from simclr_tf.settings.study import StudyConfig
from simclr_tf.settings.training import TrainConfig
