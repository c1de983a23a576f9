"""SimCLR in TensorFlow 2: contrastive pretraining, evaluation and export of image encoders.

The names below load on first use, so that `import simclr_tf` is quick and changes nothing in the
process. Settings are the dataclasses of `simclr_tf.config`.

    import simclr_tf

    model = simclr_tf.SimCLR(keras.applications.MobileNetV2(include_top=False), image_size=96)
    model.compile(simclr_tf.LARS(0.3))
    model.fit(pairs_of_views)
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "AugmentConfig": "simclr_tf.config",
    "BatchNormConfig": "simclr_tf.config",
    "DataConfig": "simclr_tf.config",
    "EncoderConfig": "simclr_tf.config",
    "EvalConfig": "simclr_tf.config",
    "InputError": "simclr_tf.errors",
    "LARS": "simclr_tf.optimizers.lars",
    "ModelConfig": "simclr_tf.config",
    "Network": "simclr_tf.models.network",
    "ObjectiveConfig": "simclr_tf.config",
    "OptimizerConfig": "simclr_tf.config",
    "ProjectionConfig": "simclr_tf.config",
    "ResNet": "simclr_tf.models.resnet",
    "RunConfig": "simclr_tf.config",
    "Study": "simclr_tf.config",
    "SimCLR": "simclr_tf.training.simclr",
    "StudyConfig": "simclr_tf.config",
    "TrainConfig": "simclr_tf.config",
    "WarmupCosine": "simclr_tf.optimizers.schedule",
    "build_model": "simclr_tf.models.network",
    "build_optimizer": "simclr_tf.optimizers.factory",
    "Run": "simclr_tf.api.run",
    "embed": "simclr_tf.api.tools",
    "evaluate": "simclr_tf.protocols.library",
    "explore": "simclr_tf.api.tools",
    "finetune": "simclr_tf.api.training",
    "neighbors": "simclr_tf.api.tools",
    "open_run": "simclr_tf.api.run",
    "pretrain": "simclr_tf.api.training",
    "study": "simclr_tf.api.tools",
    "custom_objects": "simclr_tf.models.saving",
    "eval_view": "simclr_tf.augment.policy",
    "finetune_view": "simclr_tf.augment.policy",
    "from_arrays": "simclr_tf.data.array_source",
    "from_dataset": "simclr_tf.data.any_source",
    "from_model": "simclr_tf.evaluation.encoders",
    "load_images": "simclr_tf.api.tools",
    "load_encoder": "simclr_tf.encoder",
    "load_model": "simclr_tf.weights.load",
    "nt_xent": "simclr_tf.objectives.nt_xent",
    "published": "simclr_tf.weights.published",
    "recipe": "simclr_tf.settings.recipes",
    "open_encoder": "simclr_tf.evaluation.encoders",
    "open_source": "simclr_tf.data.sources",
    "pretrain_view": "simclr_tf.augment.policy",
    "view_pairs": "simclr_tf.data.pairs",
    "variable_roles": "simclr_tf.models.roles",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'simclr_tf' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
