"""Training a classifier inside a protocol, and its score on a test set.

The steps, schedules and optimizers are those of `--mode=train`; there is no folder, no checkpoint
and no summary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import tf_keras as keras

from simclr_tf import distribution
from simclr_tf.data import decode, pipeline
from simclr_tf.data.sources import Source
from simclr_tf.data.views import PolicyViews, ViewMaker
from simclr_tf.errors import InputError, require
from simclr_tf.evaluation.encoders import FrozenEncoder
from simclr_tf.evaluation.features import LOGITS_ENDPOINT, extract_features
from simclr_tf.evaluation.metrics import mean_per_class_accuracy, top_k_accuracy
from simclr_tf.models.roles import variable_roles
from simclr_tf.models.simclr import SimCLR, build_model
from simclr_tf.optimizers import factory, schedule
from simclr_tf.protocols.context import Context
from simclr_tf.report.progress import Progress
from simclr_tf.settings.objective import DistillConfig
from simclr_tf.settings.optimizer import OptimizerConfig
from simclr_tf.training import loop
from simclr_tf.training.lengths import Lengths
from simclr_tf.training.losses import distill_losses, finetune_losses
from simclr_tf.training.means import Means, metric_names
from simclr_tf.training.step import Step, UpdateStep


@dataclasses.dataclass(frozen=True)
class Plan:
    """One training: `steps` steps of `batch_size` images with a cosine schedule."""

    steps: int
    batch_size: int
    optimizer: OptimizerConfig


class Score(NamedTuple):
    """Accuracies on a test set, and what they come from.

    Attributes:
        top_1: In [0, 1].
        top_5: In [0, 1]; of all classes where there are fewer than five.
        mean_per_class: In [0, 1], classes without a test image left out.
        logits: (N, C) float32.
        labels: (N,) int64.
    """

    top_1: float
    top_5: float
    mean_per_class: float
    logits: np.ndarray
    labels: np.ndarray

    def metrics(self) -> dict[str, float]:
        """The accuracies, for `result.json`."""
        return {"top_1_accuracy": self.top_1, "top_5_accuracy": self.top_5,
                "mean_per_class_accuracy": self.mean_per_class}  # fmt: skip


def momentum_optimizer(
    learning_rate: float, batch_size: int = 256, weight_decay: float = 0.0
) -> OptimizerConfig:
    """Nesterov momentum 0.9 without warm-up, as in B.5, B.6 and B.8.

    Args:
        learning_rate: Per 256 images; with `batch_size` given, the peak itself for that batch.
        batch_size: Batch whose peak `learning_rate` is.
        weight_decay: L2 on everything but batch norm.
    """
    return OptimizerConfig(
        optimizer="momentum",
        learning_rate=learning_rate * 256 / batch_size,
        warmup_epochs=0,
        weight_decay=weight_decay,
    )


def require_network(encoder: FrozenEncoder, what: str) -> SimCLR:
    """The SimCLR network behind an encoder.

    Raises:
        InputError: There is none: a foreign SavedModel or a callable can only be used frozen.
    """
    if encoder.model is None:
        raise InputError("checkpoint", f"must be a SimCLR network for {what} (other encoders can "
                         "be evaluated frozen)", encoder.path or encoder.name)  # fmt: skip
    return encoder.model


def build_classifier(
    context: Context,
    *,
    pretrained: bool,
    width_share: float = 1.0,
    ft_proj_selector: int = 0,
    after_block: int = -1,
    batch_norm_decay: float | None = None,
) -> SimCLR:
    """A network for supervised training, built in the strategy's scope.

    Args:
        context: Encoder and data set; the architecture is the encoder's.
        pretrained: Whether it starts from the encoder's weights, or from random ones.
        width_share: Width as a share of the encoder's; only below 1 from random weights.
        ft_proj_selector: Layers of the projection head that are kept (SimCLRv2).
        after_block: As `fine_tune_after_block`.
        batch_norm_decay: Of the moving statistics; None keeps the encoder's.

    Raises:
        InputError: The encoder is no SimCLR network or lacks the layers of the head.
    """
    network = require_network(context.encoder, "fine-tuning")
    config = network.config
    decay = config.batch_norm.batch_norm_decay if batch_norm_decay is None else batch_norm_decay
    config = dataclasses.replace(
        config,
        encoder=dataclasses.replace(
            config.encoder, width_multiplier=config.encoder.width_multiplier * width_share
        ),
        projection=dataclasses.replace(config.projection, ft_proj_selector=ft_proj_selector),
        batch_norm=dataclasses.replace(config.batch_norm, batch_norm_decay=decay),
        train_mode="finetune",
        fine_tune_after_block=after_block,
        zero_init_logits_layer=pretrained,
    )
    with context.strategy.scope():
        keras.utils.set_random_seed(context.seed)
        model = build_model(config, context.num_classes, context.encoder.image_size)
    if pretrained:
        _copy_weights(network, model)
    return model


def _copy_weights(source: SimCLR, target: SimCLR) -> None:
    """Everything below the linear head, by name."""
    values = {variable.name: variable for variable in source.variables}
    wanted = [v for v in target.variables if not v.name.startswith("linear_head/")]
    missing = [v.name for v in wanted if v.name not in values]
    require(not missing, "ft_proj_selector", "must not exceed the projection head's layers in the "
            "checkpoint", missing[:3])  # fmt: skip
    for variable in wanted:
        variable.assign(values[variable.name].numpy())


def crop_and_flip(context: Context) -> ViewMaker:
    """The augmentation of every supervised protocol (B.5, B.6, B.8)."""
    return PolicyViews(1, context.encoder.image_size, context.augment, distorted=False)


def color_policy(context: Context) -> ViewMaker:
    """The whole augmentation of pretraining, one view per image."""
    return PolicyViews(1, context.encoder.image_size, context.augment)


def fit(
    context: Context,
    model: SimCLR,
    source: Source,
    split: str,
    plan: Plan,
    label: str,
    *,
    views: ViewMaker | None = None,
    teacher: SimCLR | None = None,
    distill: DistillConfig | None = None,
) -> None:
    """Trains a classifier in place.

    Args:
        context: Strategy and seed.
        model: From `build_classifier`.
        source: The training images.
        split: Split expression of them.
        plan: Length, batch and optimizer.
        label: In front of the progress lines.
        views: Makes the network's input, one view per image; None is crop and flip.
        teacher: With one, the student learns its label distribution as well.
        distill: Settings of that.

    Raises:
        NonFiniteLossError: The loss became NaN or infinite.
    """
    with context.strategy.scope():
        rate = schedule.build_schedule(
            plan.optimizer, plan.batch_size, source.num_examples(split), plan.steps
        )
        optimizer = factory.build_optimizer(plan.optimizer, rate, variable_roles(model))
        optimizer.build(model.trainable_variables)
        if teacher is None:
            means = Means(metric_names(model, "finetune"))
            losses = finetune_losses(model, plan.optimizer)
        else:
            means = Means(metric_names(model, "distill"))
            losses = distill_losses(model, teacher, distill or DistillConfig(), plan.optimizer)
        one_step = UpdateStep(losses, model.trainable_variables, optimizer, means)
    run_steps(context, one_step, optimizer, means, source, split, plan, label, views)


def run_steps(
    context: Context,
    one_step: Step | Callable[[Any], None],
    optimizer: keras.optimizers.Optimizer,
    means: Means,
    source: Source,
    split: str,
    plan: Plan,
    label: str,
    views: ViewMaker | None = None,
) -> None:
    """Runs a training step to the end of a plan, with progress on the way.

    Args:
        context: Strategy and seed.
        one_step: What a replica does with its part of a batch; counts `optimizer.iterations` up.
        optimizer: Whose steps are counted.
        means: The figures of the step.
        source: The training images.
        split: Split expression of them.
        plan: Length and batch.
        label: In front of the progress lines.
        views: Makes the network's input, one view per image; None is crop and flip.

    Raises:
        NonFiniteLossError: The loss became NaN or infinite.
    """
    distribution.check_divisible("batch size", plan.batch_size, context.strategy)

    def open_batches(at: int) -> Iterable:
        return distribution.distribute(
            context.strategy,
            lambda part: pipeline.train_batches(
                source,
                split,
                batch_size=plan.batch_size,
                views=views or crop_and_flip(context),
                seed=context.seed,
                start_step=at,
                shard=(part.index, part.count),
                replicas=part.replicas,
            ),
        )

    with (
        Progress(plan.steps, label=label, unit="images") as bar,
        decode.naming_bad_image(source, split),
    ):
        loop.run_loop(
            loop.compile_steps(one_step, context.strategy),
            open_batches,
            strategy=context.strategy,
            global_step=optimizer.iterations,
            lengths=Lengths(plan.steps, plan.steps, plan.steps, max(1, min(100, plan.steps // 20))),
            means=means,
            learning_rate=lambda at: float(optimizer._learning_rate(at)),
            progress=bar,
            units_per_step=plan.batch_size,
            on_summary=lambda at, values: None,
            on_checkpoint=lambda at, values: None,
        )


def score(context: Context, model: SimCLR, split: str) -> Score:
    """Accuracies of a classifier on an evaluation split; every image counts exactly once."""
    with decode.naming_bad_image(context.source, split, "eval_split"):
        found = extract_features(
            lambda images: model(images, training=False),
            context.eval_batches(split),
            endpoints=(LOGITS_ENDPOINT,),
            strategy=context.strategy,
        )
    assert found.labels is not None
    return score_logits(found.features, found.labels)


def score_logits(logits: np.ndarray, labels: np.ndarray) -> Score:
    """The accuracies of logits (N, C) against labels (N,)."""
    classes = logits.shape[1]
    return Score(
        top_1=top_k_accuracy(logits, labels, 1),
        top_5=top_k_accuracy(logits, labels, min(5, classes)),
        mean_per_class=mean_per_class_accuracy(logits.argmax(axis=1), labels, classes),
        logits=logits,
        labels=labels,
    )
