"""SimCLR as an ordinary Keras model: compile, fit, evaluate, predict, save, load."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
import tf_keras as keras

from simclr_tf import precision as precisions
from simclr_tf.errors import InputError, require
from simclr_tf.models import saving
from simclr_tf.models.keras_encoder import KerasEncoder, taken_shape
from simclr_tf.models.network import Network, keras_encoder
from simclr_tf.models.resnet import ResNet
from simclr_tf.models.roles import variable_roles
from simclr_tf.optimizers.lars import LARS
from simclr_tf.settings import by_name
from simclr_tf.settings.model import (
    OWN,
    BatchNormConfig,
    EncoderConfig,
    ModelConfig,
    ProjectionConfig,
)
from simclr_tf.settings.objective import ObjectiveConfig
from simclr_tf.settings.optimizer import OptimizerConfig
from simclr_tf.training import compilation
from simclr_tf.training.loop import NonFiniteLossError
from simclr_tf.training.losses import Batch, Losses, pretrain_losses
from simclr_tf.training.means import Means, metric_names
from simclr_tf.training.step import UpdateStep

_NO_CLASS = "labels must name classes"
_BYTES = "views must lie in [0, 1]"
_MOST = 2.0  # of a view: bicubic kernels overshoot a little
_NOT_FINITE = "loss and gradients must stay finite"
_VIEWS = ("view_0", "view_1")


@saving.registered
class SimCLR(Network):
    """An encoder with its projection head that learns by `fit` to tell images from each other.

    The loss is its own: the contrastive loss of two views (Algorithm 1), the cross entropy of the
    linear head where there is one, behind a stop-gradient, and the weight decay. One step of `fit`
    is one of a run with the same batch, weights and optimizer, on one device as on the replicas of
    the strategy in whose scope the model is made and compiled: with negatives and batch norm of
    all replicas.

    A dataset has batches of floats in [0, 1] (B, H, W, C), as mappings `view_0`, `view_1` and, for
    the linear head, `label` (B,), or as pairs (view_0, view_1) or ((view_0, view_1), label). B
    counts the images of all replicas and has to divide among them. `fit` and `evaluate` report
    `loss`, `contrast_loss`, `contrast_acc`, `contrast_entropy`, `weight_decay` and, with classes,
    `supervised_loss` and `supervised_acc`. `predict(images)` returns the features h (N, D), the
    encoder's `final_avg_pool`. Calling the model returns all endpoints by name, see `Network.call`.

    Attributes:
        objective: The contrastive loss.
        weight_decay: Its coefficient.

    Args:
        encoder: A Keras model, which gives features, tokens or a map (see `KerasEncoder`); settings
            of a ResNet; or None for a ResNet-50.
        projection: Settings of the projection head, or the width of its output; None for the
            paper's.
        temperature: The paper's tau; None for 0.1, or that of `objective`.
        objective: Settings of the loss; None for NT-Xent. It excludes `temperature`.
        image_size: Side of the images in pixels. None where the encoder takes one size only, or is
            a ResNet whose stem is given.
        channels: Of the images; None for those that the encoder says, or 3.
        num_classes: Width of the linear head; None for none.
        weight_decay: LARS decays by it, unless it has a coefficient of its own; with other
            optimizers it is a term of the loss, as is that of the linear head always.
        batch_norm: Settings of the heads' and the ResNet's batch norm. `global_bn` holds for Keras'
            batch norm layers too.
        precision: Arithmetic of ResNet and heads: `float32`, `bfloat16` or `auto`.
        name: Name of the model.

    Raises:
        InputError: An argument breaks its constraint, or the encoder can't take such images.

    Example:
        >>> encoder = keras.applications.MobileNetV2(include_top=False)  # doctest: +SKIP
        >>> model = SimCLR(encoder, image_size=96)  # doctest: +SKIP
        >>> model.compile(LARS(0.3))  # doctest: +SKIP
        >>> model.fit(pairs_of_views, epochs=100)  # doctest: +SKIP
        >>> features = model.predict(images)  # doctest: +SKIP
    """

    def __init__(
        self,
        encoder: keras.Model | EncoderConfig | None = None,
        projection: ProjectionConfig | int | None = None,
        *,
        temperature: float | None = None,
        objective: ObjectiveConfig | None = None,
        image_size: int | None = None,
        channels: int | None = None,
        num_classes: int | None = None,
        weight_decay: float = 1e-6,
        batch_norm: BatchNormConfig | None = None,
        precision: str = "float32",
        name: str = "simclr",
    ):
        require(temperature is None or objective is None, "temperature",
                "must be that of the objective, where one is given", temperature)  # fmt: skip
        if objective is None:
            objective = ObjectiveConfig()
        if temperature is not None:
            objective = dataclasses.replace(objective, temperature=temperature)
        if isinstance(projection, int):
            projection = ProjectionConfig(proj_out_dim=projection)
        norm = batch_norm or BatchNormConfig()
        settings, body = _encoder(encoder, image_size, channels, norm)
        config = ModelConfig(
            settings,
            projection or ProjectionConfig(),
            norm,
            precision=precisions.resolve(precision, tf.distribute.get_strategy()),
        )
        OptimizerConfig(weight_decay=weight_decay)  # checks its range
        super().__init__(config, num_classes, name, encoder=body)
        self.objective, self.weight_decay = objective, weight_decay
        self._step: UpdateStep | None = None

    def get_config(self) -> dict[str, Any]:
        """All that `from_config` needs, as JSON values."""
        own = not isinstance(self.encoder, ResNet)
        return saving.describe(
            self,
            settings=by_name.flatten(self.config),
            encoder=saving.describe_part(self.encoder) if own else None,
            objective=by_name.flatten(self.objective),
            num_classes=self.num_classes,
            weight_decay=self.weight_decay,
        )

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> SimCLR:
        """A model like the one that gave the configuration, with new weights."""
        return saving.rebuild(_simclr, config, custom_objects)

    # Training.

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer,
        *,
        jit_compile: bool | None = None,
        run_eagerly: bool | None = None,
        steps_per_execution: int | None = None,
        **others: Any,
    ) -> None:
        """Says how `fit` trains.

        Args:
            optimizer: `LARS`, which needs neither `roles` nor `weight_decay` here, or one of
                Keras, by its name or itself.
            jit_compile: Whether XLA compiles the steps; one replica only. Numbers that are not
                finite are then not noticed.
            run_eagerly: As in Keras.
            steps_per_execution: As in Keras.
            **others: Refused: loss and metrics are the model's own.

        Raises:
            InputError: One of the others is given, the optimizer is of another kind, or decays
                weights that the loss decays already.
        """
        for key, value in others.items():
            require(value is None, key, "must not be given: loss and metrics are SimCLR's own",
                    value)  # fmt: skip
        optimizer = keras.optimizers.get(optimizer)
        current = isinstance(optimizer, keras.optimizers.Optimizer)
        scaled = isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer)
        require(current and not scaled, "optimizer", "must be LARS or one of keras.optimizers, "
                "without loss scaling", type(optimizer).__name__)  # fmt: skip
        lars = isinstance(optimizer, LARS)
        own = None if lars else getattr(optimizer, "weight_decay", None)
        require(not own or not self.weight_decay, "weight_decay",
                f"must be 0 with {type(optimizer).__name__}, which decays by {own} itself",
                self.weight_decay)  # fmt: skip
        compilation.resolve("on" if jit_compile else "off", self.distribute_strategy)
        roles = variable_roles(self)
        if isinstance(optimizer, LARS):
            optimizer.complete(roles, self.weight_decay)
        super().compile(
            optimizer,
            jit_compile=jit_compile,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
        )
        decay = OptimizerConfig("lars" if lars else "adam", weight_decay=self.weight_decay)
        with self.distribute_strategy.scope():
            optimizer.build(self.trainable_variables)
            names = metric_names(self, "pretrain")
            called = {key: key.removeprefix("train/") for key in names}
            self._means = Means(names, {**called, "train/total_loss": "loss"})
            self._losses: Callable[..., Losses] = pretrain_losses(self, self.objective, decay)
            self._step = UpdateStep(
                self._losses, self.trainable_variables, optimizer, self._means,
                jit_compile=bool(jit_compile),
            )  # fmt: skip

    def get_compile_config(self) -> dict[str, Any] | None:
        """What `compile` was called with, as JSON values."""
        if self._step is None:
            return None
        return {
            "optimizer": keras.saving.serialize_keras_object(self.optimizer),
            "jit_compile": self.jit_compile,
            "steps_per_execution": int(self._steps_per_execution.numpy()),
        }

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """Compiles the model as the one was that gave the configuration."""
        saving.custom_objects()  # known from now on: LARS, schedules
        optimizer = keras.saving.deserialize_keras_object(config["optimizer"])
        self.compile(**{**config, "optimizer": optimizer})

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """What `fit` and `evaluate` report, means over steps and replicas."""
        return [] if self._step is None else self._means.metrics

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One optimizer step with a replica's part of a batch."""
        assert self._step is not None
        finite = self._step(self._batch(data))
        if not self.jit_compile:  # XLA leaves assertions out
            tf.debugging.Assert(finite, [_NOT_FINITE])
        return {metric.name: metric.result() for metric in self.metrics}

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """The same loss in inference mode, with a replica's part of a batch."""
        losses = self._losses(self._batch(data), training=False)
        self._means.update(losses.values, losses.weights)
        return {metric.name: metric.result() for metric in self.metrics}

    def predict_step(self, data: Any) -> tf.Tensor:
        """Features (N, D) of images (N, H, W, C)."""
        images, *_ = keras.utils.unpack_x_y_sample_weight(data)
        return self.encoder(images, training=False)["final_avg_pool"]

    def make_train_function(self, force: bool = False) -> Callable[..., Any]:
        """See Keras; what is wrong with a batch is said in one line."""
        if self.train_function is None or force:
            made = super().make_train_function(force)
            self.train_function: Any = functools.partial(self._plainly, made)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Callable[..., Any]:
        """See Keras; what is wrong with a batch is said in one line."""
        if self.test_function is None or force:
            made = super().make_test_function(force)
            self.test_function: Any = functools.partial(self._plainly, made)
        return self.test_function

    def _plainly(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, InputError):
                cause = cause.__cause__ or cause.__context__
            if cause is not None:  # TensorFlow wraps what is raised while it traces
                raise cause from None
            failed = str(error) if isinstance(error, tf.errors.InvalidArgumentError) else ""
            if _NOT_FINITE in failed:
                raise NonFiniteLossError(
                    f"{_NOT_FINITE}. Received: NaN or infinity in step "
                    f"{int(self.optimizer.iterations)}; lower the learning rate or raise the "
                    "temperature"
                ) from None
            if _NO_CLASS in failed:
                raise InputError("dataset", f"must have labels below {self.num_classes}, the "
                                 "number of classes", "a label above them") from None  # fmt: skip
            if _BYTES in failed:
                raise InputError("dataset", "must have views of floats in [0, 1]",
                                 f"values above {_MOST:g}") from None  # fmt: skip
            raise

    def _batch(self, data: Any) -> Batch:
        """What the loss takes, of a batch in one of the forms that `fit` allows.

        Raises:
            InputError: It has another form.
        """
        batch = _by_name(data)
        labelled = self.linear_head is not None
        missing = [name for name in (*_VIEWS, *["label"] * labelled) if name not in batch]
        require(not missing, "dataset", f"must have batches with {', '.join(missing)}",
                sorted(map(str, batch)))  # fmt: skip
        first, second = (batch[name] for name in _VIEWS)
        shapes = [tuple(view.shape) for view in (first, second)]
        height, width, channels = self.encoder.example_shape
        fixed = isinstance(self.encoder, KerasEncoder)
        wanted = (None, height, width, channels) if fixed else (None, None, None, channels)
        fits = all(view.shape.is_compatible_with(wanted) for view in (first, second))
        require(fits, "dataset", "must have views of shape "
                f"{' x '.join('any' if side is None else str(side) for side in wanted)}",
                shapes)  # fmt: skip
        require(first.shape.is_compatible_with(second.shape), "dataset",
                "must have two views of one size", shapes)  # fmt: skip
        if labelled:
            label = batch["label"]
            whole = label.shape.rank == 1 and label.dtype.is_integer
            require(whole, "dataset", "must have labels (B,), whole numbers",
                    (label.dtype.name, tuple(label.shape)))  # fmt: skip
            classes = tf.cast(self.num_classes, label.dtype)
            check = tf.debugging.assert_less(label, classes, message=_NO_CLASS)
            with tf.control_dependencies([] if check is None else [check]):
                batch["label"] = tf.identity(label)
        for name, view in zip(_VIEWS, (first, second), strict=True):
            ready = f"distortion_{name[-1]}" not in batch
            require(not ready or view.dtype.is_floating, "dataset",
                    f"must have floats in [0, 1] as {name}", view.dtype.name)  # fmt: skip
            if ready:
                largest = tf.reduce_max(view)  # what is not finite is found in the loss
                small = largest <= tf.constant(_MOST, view.dtype)
                check = tf.debugging.Assert(small | ~tf.math.is_finite(largest), [_BYTES])
                with tf.control_dependencies([] if check is None else [check]):
                    batch[name] = tf.identity(view)
        return batch


def _by_name(data: Any) -> dict[str, Any]:
    if isinstance(data, tuple | list) and len(data) == 1:  # arrays that Keras made batches of
        data = data[0]
    if isinstance(data, Mapping):
        return dict(data)
    pair = data if isinstance(data, tuple | list) and len(data) == 2 else None
    if pair is not None and all(tf.is_tensor(part) for part in pair):
        return dict(zip(_VIEWS, pair, strict=True))
    if pair is not None and isinstance(pair[0], tuple | list) and len(pair[0]) == 2:
        return {**dict(zip(_VIEWS, pair[0], strict=True)), "label": pair[1]}
    several = isinstance(data, tuple | list)
    kinds = [type(part).__name__ for part in data] if several else type(data).__name__
    raise InputError("dataset", "must have batches {view_0, view_1, label}, (view_0, view_1) or "
                     "((view_0, view_1), label)", kinds)  # fmt: skip


def _encoder(
    encoder: keras.Model | EncoderConfig | None,
    image_size: int | None,
    channels: int | None,
    batch_norm: BatchNormConfig,
) -> tuple[EncoderConfig, KerasEncoder | None]:
    """Settings of the encoder, and the encoder itself where it is no ResNet of ours."""
    if encoder is None or isinstance(encoder, EncoderConfig):
        config = encoder or EncoderConfig(channels=channels or 3)
        require(config.is_resnet, "encoder", "must be a Keras model or settings of a ResNet",
                config.encoder)  # fmt: skip
        require(channels in (None, config.channels), "channels",
                f"must be the {config.channels} of the encoder's settings", channels)  # fmt: skip
        if image_size is None:
            require(config.stem != "auto", "image_size", "must be given with stem=auto", None)
            return config, None
        return config.resolve_stem(image_size), None
    require(isinstance(encoder, keras.Model), "encoder",
            "must be a tf_keras model or settings of a ResNet", type(encoder).__name__)  # fmt: skip
    if not isinstance(encoder, KerasEncoder):
        height, width, known = taken_shape(encoder)
        size = image_size or (height if height == width else None)
        require(size is not None, "image_size",
                "must be given: the encoder takes images of several sizes", None)  # fmt: skip
        assert size is not None
        encoder = keras_encoder(encoder, size, channels or known or 3, batch_norm)
    return EncoderConfig(
        encoder=OWN + encoder.body.name, channels=encoder.example_shape[-1]
    ), encoder


def _simclr(
    name: str,
    settings: Mapping[str, Any],
    encoder: Mapping[str, Any] | None,
    objective: Mapping[str, Any],
    num_classes: int | None,
    weight_decay: float,
) -> SimCLR:
    config = by_name.build_config(ModelConfig, settings)
    return SimCLR(
        config.encoder if encoder is None else saving.rebuild_part(encoder),
        config.projection,
        objective=by_name.build_config(ObjectiveConfig, objective),
        num_classes=num_classes,
        weight_decay=weight_decay,
        batch_norm=config.batch_norm,
        precision=config.precision,
        name=name,
    )
