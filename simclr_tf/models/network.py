"""Encoder and heads as one model: images in, named endpoints out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
import tf_keras as keras

from simclr_tf import precision
from simclr_tf.errors import require
from simclr_tf.models import saving
from simclr_tf.models.endpoints import LOGITS_ENDPOINT, PROJECTED_ENDPOINT
from simclr_tf.models.heads import LinearHead, ProjectionHead
from simclr_tf.models.keras_encoder import KerasEncoder
from simclr_tf.models.resnet import ResNet
from simclr_tf.settings import by_name
from simclr_tf.settings.model import BatchNormConfig, ModelConfig

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
MakeBody = Callable[[], keras.Model]


@saving.registered
class Network(keras.Model):
    """The encoder f, the projection head g and the linear head.

    Only what `config.train_mode` uses is built, and all variables exist when the constructor
    returns; their names do not contain the model's own. Parts that are absent are None.

    Example:
        >>> model = simclr_tf.build_model(simclr_tf.ModelConfig(), None, 32)  # doctest: +SKIP
        >>> model(images)["final_avg_pool"]  # (N, 2048)  # doctest: +SKIP

    Attributes:
        encoder: The ResNet, or what was handed over in its place.
        projection_head: Pretraining: the whole head, None for mode `none`. Fine-tuning: its first
            `ft_proj_selector` layers, None for 0, unless `whole_head`. Other modes: None.
        linear_head: Pretraining: present with labels and `lineareval_while_pretraining`.
            Other modes: always present.
        detach_linear_head: Whether a stop-gradient stands before the linear head. True in
            pretraining: the head then measures the encoder without teaching it.

    Args:
        config: Settings, with a resolved stem and precision.
        num_classes: Width of the linear head; None for a data set without labels. A student has
            as many as its teacher, whatever its own images' labels.
        name: Name of the model.
        whole_head: Keep all layers of the projection head in fine-tuning, as the reference
            implementation does, although the linear head reads only some of them.
        encoder: Built; None makes the ResNet of the settings.

    Raises:
        InputError: No classes outside pretraining, fewer than one, or an unresolved stem or
            precision.
    """

    def __init__(
        self,
        config: ModelConfig,
        num_classes: int | None = None,
        name: str = "simclr",
        whole_head: bool = False,
        encoder: KerasEncoder | None = None,
    ):
        require(num_classes is not None or config.pretrains, "dataset",
                f"must have labels for train_mode={config.train_mode}", num_classes)  # fmt: skip
        require(num_classes is None or num_classes >= 1, "num_classes",
                "must be at least 1", num_classes)  # fmt: skip
        require(config.precision in POLICIES, "precision",
                "must be resolved from the hardware first", config.precision)  # fmt: skip
        require(config.encoder.is_resnet == (encoder is None), "encoder",
                "must be the model that the settings speak of", config.encoder.encoder)  # fmt: skip
        super().__init__(name=name, dtype=POLICIES[config.precision])
        self.config = config
        self.num_classes = num_classes
        self.detach_linear_head = config.pretrains
        self.encoder: ResNet | KerasEncoder = encoder or ResNet(
            config.encoder, config.batch_norm, POLICIES[config.precision]
        )
        self.whole_head = whole_head or config.pretrains
        self.projection_head = _projection_head(config, self.whole_head)
        self.linear_head = None
        needed = not config.pretrains or config.lineareval_while_pretraining
        if num_classes is not None and needed:
            self.linear_head = LinearHead(num_classes, config.zero_init_logits_layer)
        self._create_variables()
        self.encoder.freeze(config.fine_tune_after_block)  # reaches only layers that exist
        self.built = True

    def call(self, images: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Embeds and classifies images.

        Args:
            images: (N, H, W, C), floats in [0, 1]; in pretraining N = 2B, both views stacked.
            training: Whether batch norm uses the batch's statistics.

        Returns:
            The encoder's endpoints; with a whole projection head `proj_head_input` (N, D) and
            `proj_head_output` (N, proj_out_dim); with a linear head `logits_sup` (N, classes).
            Heads and `final_avg_pool` are float32.
        """
        endpoints = self.encoder(images, training=training)
        features = endpoints["final_avg_pool"]  # (N, D)
        hiddens = self._project(features, training)
        if self.whole_head:
            endpoints["proj_head_input"] = features
            endpoints[PROJECTED_ENDPOINT] = hiddens[-1]
        if self.linear_head is not None:
            classified = hiddens[self.config.linear_head_layer]
            if self.detach_linear_head:
                classified = tf.stop_gradient(classified)
            endpoints[LOGITS_ENDPOINT] = self.linear_head(classified)  # (N, classes)
        return endpoints

    def _project(self, features: tf.Tensor, training: bool) -> list[tf.Tensor]:
        """The encoder's output (N, D) and those of the layers of the projection head, float32."""
        if self.projection_head is None:
            return [features]
        hiddens = self.projection_head(features, training=training)
        return [features, *(tf.cast(hidden, tf.float32) for hidden in hiddens[1:])]

    def _create_variables(self) -> None:
        """Calls the parts outside this model's name scope, so that names start with the part's."""
        features = tf.zeros([1, self.encoder.feature_width])
        hiddens = self._project(features, training=False)
        if self.linear_head is not None:
            self.linear_head(hiddens[self.config.linear_head_layer])

    def get_config(self) -> dict[str, Any]:
        """All that `from_config` needs, as JSON values."""
        own = not isinstance(self.encoder, ResNet)
        return saving.describe(
            self,
            settings=by_name.flatten(self.config),
            num_classes=self.num_classes,
            whole_head=self.whole_head,
            detach_linear_head=self.detach_linear_head,
            encoder=saving.describe_part(self.encoder) if own else None,
        )

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Network:
        """A network like the one that gave the configuration, with new weights."""
        return saving.rebuild(_network, config, custom_objects)

    def get_build_config(self) -> None:
        """Nothing: the constructor creates all variables."""


def _network(
    name: str,
    settings: Mapping[str, Any],
    num_classes: int | None,
    whole_head: bool,
    detach_linear_head: bool,
    encoder: Mapping[str, Any] | None,
) -> Network:
    body = None if encoder is None else saving.rebuild_part(encoder)
    config = by_name.build_config(ModelConfig, settings)
    network = Network(config, num_classes, name, whole_head, body)
    network.detach_linear_head = detach_linear_head
    return network


def _projection_head(config: ModelConfig, whole: bool) -> ProjectionHead | None:
    projection = config.projection
    used = projection.depth if whole else projection.ft_proj_selector
    if used == 0:
        return None
    return ProjectionHead(projection, config.batch_norm, used, POLICIES[config.precision])


def build_model(
    config: ModelConfig,
    num_classes: int | None,
    image_size: int,
    make_body: MakeBody | None = None,
) -> Network:
    """Builds a model and calls it once, which creates every variable and checks the image size.

    Works under a distribution strategy's scope, where the variables become the strategy's.

    Example:
        >>> encoder = simclr_tf.EncoderConfig(resnet_depth=18, width_multiplier=0.0625)
        >>> model = simclr_tf.build_model(simclr_tf.ModelConfig(encoder), None, image_size=32)
        >>> model(np.zeros([2, 32, 32, 3], np.float32))["proj_head_output"].shape
        TensorShape([2, 128])

    Args:
        config: Settings; `stem='auto'` is resolved from `image_size`, `precision='auto'` from the
            devices of the present strategy.
        num_classes: Width of the linear head; None for a data set without labels.
        image_size: Height and width of the training images in pixels.
        make_body: Makes the Keras model that is the encoder, where the settings name one.

    Returns:
        The model.

    Raises:
        InputError: The images are too small for the network, or labels that it needs are missing.
    """
    config = dataclasses.replace(
        config,
        encoder=config.encoder.resolve_stem(image_size),
        precision=precision.resolve(config.precision, tf.distribute.get_strategy()),
    )
    encoder = None
    if make_body is not None:
        encoder = keras_encoder(make_body(), image_size, config.encoder.channels, config.batch_norm)
    model = Network(config, num_classes, encoder=encoder)
    model(tf.zeros([1, *model.encoder.example_shape]), training=False)
    return model


def keras_encoder(
    body: keras.Model, image_size: int, channels: int, batch_norm: BatchNormConfig
) -> KerasEncoder:
    """A Keras model as the encoder, whose batch norm is that of all replicas where it is global."""
    encoder = KerasEncoder(body, image_size, channels)
    if batch_norm.global_bn and tf.distribute.get_strategy().num_replicas_in_sync > 1:
        encoder.synchronize_batch_norm()
    return encoder
