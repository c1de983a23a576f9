"""Training a classifier inside a protocol, and its score on a test set.

The steps, schedules and optimizers are those of `--mode=train`; there is no folder, no checkpoint
and no summary.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import tf_keras as keras

from simclr_tf.data import decode
from simclr_tf.data.pipeline import Stream
from simclr_tf.data.sources import Source
from simclr_tf.data.views import ViewRecipe
from simclr_tf.errors import InputError, require
from simclr_tf.evaluation.encoders import FrozenEncoder
from simclr_tf.evaluation.features import LOGITS_ENDPOINT, Extractor
from simclr_tf.evaluation.metrics import mean_per_class_accuracy, top_k_accuracy
from simclr_tf.models.keras_encoder import KerasEncoder
from simclr_tf.models.network import Network, build_model
from simclr_tf.progress import Progress
from simclr_tf.protocols.context import Context
from simclr_tf.settings.optimizer import OptimizerConfig
from simclr_tf.training import loop
from simclr_tf.training.fit import Fit, TrainingPlan
from simclr_tf.training.lengths import Lengths
from simclr_tf.training.tasks import Classify, Task
from simclr_tf.weights import keras_encoders

CROP_AND_FLIP = Classify()  # the views of every supervised protocol (B.5, B.6, B.8)


class TrainImages(NamedTuple):
    """Labelled images to train on.

    Attributes:
        source: Where they are.
        split: Split expression of them in it.
    """

    source: Source
    split: str

    @property
    def num_images(self) -> int:
        """Number of images."""
        return self.source.num_examples(self.split)


def plan_steps(
    steps: int, batch_size: int, optimizer: OptimizerConfig, num_images: int
) -> TrainingPlan:
    """One training of so many steps with a cosine schedule, and progress on the way."""
    summary = max(1, min(100, steps // 20))
    return TrainingPlan(Lengths(steps, steps, steps, summary), batch_size, num_images, optimizer)


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


def require_network(encoder: FrozenEncoder, what: str) -> Network:
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
    pretrained: bool,
    width_share: float = 1.0,
    ft_proj_selector: int = 0,
    after_block: int = -1,
    batch_norm_decay: float | None = None,
) -> Network:
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
    require(config.encoder.is_resnet or width_share == 1, "distill_width",
            f"must be 1 with encoder={config.encoder.encoder}, which has one width",
            width_share)  # fmt: skip
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
    with context.job.scope():
        keras.utils.set_random_seed(context.seed)
        model = build_model(
            config,
            context.num_classes,
            context.encoder.image_size,
            _body_maker(network.encoder, pretrained),
        )
    if pretrained:
        _copy_weights(network, model)
    return model


def _body_maker(encoder: keras.Model, pretrained: bool) -> Callable[[], keras.Model] | None:
    if not isinstance(encoder, KerasEncoder):
        return None
    return lambda: keras_encoders.copy_of(encoder.body, encoder.example_shape, pretrained)


def _copy_weights(source: Network, target: Network) -> None:
    """Everything below the linear head, by name; a Keras model was copied as a whole."""
    values = {variable.name: variable for variable in source.variables}
    wanted = [v for v in target.variables if not v.name.startswith("linear_head/")]
    if isinstance(target.encoder, KerasEncoder):
        wanted = [v for v in wanted if v.name.startswith("projection_head/")]
    missing = [v.name for v in wanted if v.name not in values]
    require(not missing, "ft_proj_selector", "must not exceed the projection head's layers in the "
            "checkpoint", missing[:3])  # fmt: skip
    for variable in wanted:
        variable.assign(values[variable.name].numpy())


def fit(
    context: Context,
    model: Network,
    images: TrainImages,
    plan: TrainingPlan,
    label: str,
    task: Task = CROP_AND_FLIP,
) -> None:
    """Trains a classifier in place.

    Args:
        context: Devices and seed.
        model: From `build_classifier`.
        images: The training images.
        plan: Length, batch and optimizer.
        label: In front of the progress lines.
        task: What it learns, and from which views.

    Raises:
        NonFiniteLossError: The loss became NaN or infinite.
    """
    open_batches = batches_of_views(context, images, plan, task.distorted)
    with listening(context, images, plan, label) as listeners:
        Fit(model, task, plan, context.job).run(open_batches, listeners)


def batches_of_views(
    context: Context, images: TrainImages, plan: TrainingPlan, distorted: bool = False
) -> Callable[[int], Iterable]:
    """From a step to the batches of views that start there, one view per image."""
    context.job.check_divisible("batch size", plan.batch_size)
    recipe = ViewRecipe(context.augment, context.encoder.image_size, 1, distorted)
    recipe.check()
    maker = recipe.maker()
    stream = Stream(images.split, plan.batch_size, context.seed)
    shown = dataclasses.replace(context.images, source=images.source)
    return lambda at: shown.train_batches(stream, maker, at)


@contextlib.contextmanager
def listening(
    context: Context, images: TrainImages, plan: TrainingPlan, label: str
) -> Iterator[loop.Listeners]:
    """Progress on the way; a failure that is an image's names it."""
    with (
        Progress(plan.steps, label=label, unit="images") as bar,
        decode.naming_bad_image(images.source, images.split),
    ):
        yield loop.Listeners(bar)


def score(context: Context, model: Network, split: str) -> Score:
    """Accuracies of a classifier on an evaluation split; every image counts exactly once."""
    extractor = Extractor(
        lambda images: model(images, training=False), context.job, (LOGITS_ENDPOINT,)
    )
    with context.images.naming_bad_image(split, "eval_split"):
        found = extractor.features(context.images.eval_batches(split))
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
