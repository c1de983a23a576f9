"""The settings of a run under one name: the dataclasses of `simclr_tf.settings`."""

from simclr_tf.settings.augment import AugmentConfig
from simclr_tf.settings.commands import Embed, Evaluate, Neighbors, Serve, Study
from simclr_tf.settings.data import DATA_SHARDINGS, DataConfig
from simclr_tf.settings.devices import StrategyConfig
from simclr_tf.settings.evaluation import EvalConfig
from simclr_tf.settings.model import (
    BLOCKS_PER_GROUP,
    PRECISIONS,
    PROJ_HEAD_MODES,
    RESNET_DEPTHS,
    STEMS,
    TRAIN_MODES,
    BatchNormConfig,
    EncoderConfig,
    ModelConfig,
    ProjectionConfig,
    kept_layers,
)
from simclr_tf.settings.objective import NEGATIVES, OBJECTIVES, DistillConfig, ObjectiveConfig
from simclr_tf.settings.optimizer import LEARNING_RATE_SCALINGS, OPTIMIZERS, OptimizerConfig
from simclr_tf.settings.protocols import ProtocolConfig
from simclr_tf.settings.report import ReportConfig
from simclr_tf.settings.run import RunConfig
from simclr_tf.settings.study import StudyConfig
from simclr_tf.settings.training import GRADIENT_CACHE_BN, JIT_COMPILE, TrainConfig

__all__ = [
    "BLOCKS_PER_GROUP",
    "DATA_SHARDINGS",
    "GRADIENT_CACHE_BN",
    "JIT_COMPILE",
    "LEARNING_RATE_SCALINGS",
    "NEGATIVES",
    "OBJECTIVES",
    "OPTIMIZERS",
    "PRECISIONS",
    "PROJ_HEAD_MODES",
    "RESNET_DEPTHS",
    "STEMS",
    "TRAIN_MODES",
    "AugmentConfig",
    "BatchNormConfig",
    "DataConfig",
    "DistillConfig",
    "Embed",
    "EncoderConfig",
    "EvalConfig",
    "Evaluate",
    "ModelConfig",
    "Neighbors",
    "ObjectiveConfig",
    "OptimizerConfig",
    "ProjectionConfig",
    "ProtocolConfig",
    "ReportConfig",
    "RunConfig",
    "Serve",
    "StrategyConfig",
    "Study",
    "StudyConfig",
    "TrainConfig",
    "kept_layers",
]
