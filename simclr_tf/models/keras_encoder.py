"""Any Keras model as the encoder f."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from simclr_tf.errors import InputError, first_line, require
from simclr_tf.models import saving
from simclr_tf.models.endpoints import FINAL_ENDPOINT, endpoints_of

_BYTES = 255.0
_PROBED = 2  # images of a first call
_MOST_VALUES = 2**28  # of an image
_LARGEST_OF_BYTES = 1 / 100  # a `Rescaling` by less is one of bytes


@saving.registered
class KerasEncoder(keras.Model):
    """A Keras model that takes images, with the interface of `ResNet`.

    A model whose first layer is a `Rescaling` by about 1 / 255, as in several networks of
    `keras.applications`, means bytes: it gets its images, which are floats in [0, 1] here as
    everywhere, times 255.

    Attributes:
        body: The model as it was handed over. Its variables have the names that it gave them.
        example_shape: Height, width and channels of images that it takes.
        feature_width: D, the width of `final_avg_pool`.

    Args:
        body: Built or not. One input (N, H, W, C), float32; the output is as in `endpoints_of`.
        image_size: Side of the images in pixels.
        channels: C.
        name: Name of the encoder.

    Raises:
        InputError: It can't be called with such images, gives no features, or has nothing to train.

    Example:
        >>> body = keras.applications.MobileNetV2(include_top=False, weights=None,
        ...                                       input_shape=(32, 32, 3))
        >>> KerasEncoder(body, image_size=32)(tf.zeros([1, 32, 32, 3]))["final_avg_pool"].shape
        TensorShape([1, 1280])
    """

    def __init__(
        self, body: keras.Model, image_size: int, channels: int = 3, name: str = "encoder"
    ):
        require(isinstance(body, keras.Model), "encoder",
                "must be a tf_keras model (`import tf_keras as keras`)",
                f"{type(body).__module__}.{type(body).__qualname__}")  # fmt: skip
        super().__init__(name=name)
        self.body = body
        self.example_shape = (image_size, image_size, channels)
        self._frozen = False
        self._thaw: Callable[[], None] | None = None  # no list: Keras would track its layers
        self._synchronized = False
        self._takes_training = _takes_training(body)
        _check_inputs(body, self.example_shape)
        try:
            endpoints = self.call(tf.zeros([_PROBED, *self.example_shape]))
        except Exception as error:  # whatever a foreign model raises
            raise InputError("encoder", f"must map images (N, {image_size}, {image_size}, "
                             f"{channels}) to features, tokens or a map ({_short(error)})",
                             body.name) from None  # fmt: skip
        features = endpoints[FINAL_ENDPOINT]
        require(features.shape[0] in (None, _PROBED), "encoder", "must give features (D,) for each "
                f"of {_PROBED} images", f"{body.name} with {tuple(features.shape)}")  # fmt: skip
        if not tf.is_symbolic_tensor(features):
            finite = bool(tf.reduce_all(tf.math.is_finite(features)))
            require(finite, "encoder", "must give finite features for black images", body.name)
        self.feature_width: int = features.shape[-1]
        require(bool(self.feature_width), "encoder", "must have features of a known width",
                body.name)  # fmt: skip
        require(bool(body.trainable_variables), "encoder", "must have trainable variables",
                body.name)  # fmt: skip
        self(tf.zeros([_PROBED, *self.example_shape]))  # built from now on

    def get_config(self) -> dict[str, Any]:
        """All that `from_config` needs, as JSON values.

        A class of the user's that the model consists of has to have a `get_config` of its own.
        """
        image_size, _, channels = self.example_shape
        return saving.describe(
            self,
            body=saving.describe_part(self.body),
            image_size=image_size,
            channels=channels,
            after_block=4 if self._frozen else -1,
            synchronized=self._synchronized,
        )

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> KerasEncoder:
        """An encoder like the one that gave the configuration, with new weights."""
        return saving.rebuild(_keras_encoder, config, custom_objects)

    def get_build_config(self) -> None:
        """Nothing: the constructor creates all variables."""

    @property
    def fixed_sides(self) -> tuple[int | None, int | None]:
        """Height and width of the images that it takes; None for any."""
        return taken_shape(self.body)[:2]

    @property
    def image_scale(self) -> float:
        """What the images in [0, 1] are multiplied with."""
        return _BYTES if _rescales_bytes(self.body) else 1.0

    def unreached(self) -> list[str]:
        """Names of trainable variables that a loss of the features has no gradient for.

        Outside graphs; takes a forward and a backward pass of two random images, and changes
        nothing.
        """
        images = np.random.default_rng(0).uniform(size=(_PROBED, *self.example_shape))
        variables = self.trainable_variables
        with tf.GradientTape() as tape:
            features = self(tf.constant(images, tf.float32), training=False)[FINAL_ENDPOINT]
            total = tf.reduce_sum(tf.cast(features, tf.float32) ** 2)
        gradients = tape.gradient(total, variables)
        return [one.name for one, gradient in zip(variables, gradients, strict=True)
                if gradient is None]  # fmt: skip

    def freeze(self, after_block: int) -> None:
        """4 fixes parameters and statistics of the whole encoder, -1 of nothing."""
        self._frozen = after_block == 4
        if self._frozen:
            self._thaw = self._thaw or _restoring(self.body)
            self.body.trainable = False

    @contextlib.contextmanager
    def thawed(self) -> Iterator[None]:
        """Within the block the model's own layers are as they were before they were frozen.

        What is saved of the model is the user's, not what a run made of it.
        """
        if self._thaw is None:
            yield
            return
        self._thaw()
        try:
            yield
        finally:
            self.body.trainable = False

    def has(self, variable: tf.Variable) -> bool:
        """Whether a variable is one of the model's."""
        return any(variable is one for one in self.body.weights)

    def synchronize_batch_norm(self) -> None:
        """Takes the statistics of Keras' batch norm layers from all replicas."""
        self._synchronized = True
        for layer in self.body.submodules:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized, layer.fused = True, False

    def call(self, images: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Embeds images.

        Args:
            images: (N, H, W, C), floats in [0, 1].
            training: Passed on to the model where it takes it.

        Returns:
            The model's outputs by name, and `final_avg_pool` (N, D), float32.

        Raises:
            ValueError: The images are not floating point.
        """
        if not images.dtype.is_floating:
            raise ValueError(f"images must be floats in [0, 1]. Received: {images.dtype.name}")
        keywords = {"training": training} if self._takes_training else {}
        endpoints = endpoints_of(self.body(images * self.image_scale, **keywords))
        if self._frozen:
            return {name: tf.stop_gradient(value) for name, value in endpoints.items()}
        return endpoints


def _restoring(body: keras.Model) -> Callable[[], None]:
    """What makes the layers as trainable as they are now."""
    flags = [(layer, layer._trainable) for layer in body._flatten_layers()]

    def restore() -> None:
        for layer, trainable in flags:
            layer._trainable = trainable

    return restore


def _keras_encoder(
    name: str,
    body: Mapping[str, Any],
    image_size: int,
    channels: int,
    after_block: int,
    synchronized: bool,
) -> KerasEncoder:
    # A file that anyone may have made says so, and an image of this size is computed with.
    require(0 < image_size**2 * channels <= _MOST_VALUES, "image_size",
            f"must be that of images of up to {_MOST_VALUES} values", image_size)  # fmt: skip
    made = saving.rebuild_part(body)
    made.trainable = True  # as an encoder has to be; `rebuild` knows what is frozen
    encoder = KerasEncoder(made, image_size, channels, name)
    encoder.freeze(after_block)
    if synchronized:
        encoder.synchronize_batch_norm()
    return encoder


def taken_shape(model: Any) -> tuple[int | None, int | None, int | None]:
    """Height, width and channels of the images that a model takes; None where it does not say."""
    inputs = getattr(model, "inputs", None)
    if not inputs or inputs[0].shape.rank != 4:
        return None, None, None
    _, height, width, channels = inputs[0].shape.as_list()
    return height, width, channels


def _takes_training(body: keras.Model) -> bool:
    parameters = inspect.signature(body.call).parameters.values()
    return any(p.name == "training" or p.kind is p.VAR_KEYWORD for p in parameters)


def _check_inputs(body: keras.Model, shape: tuple[int, int, int]) -> None:
    inputs = getattr(body, "inputs", None)
    if not inputs:
        return  # a class of the user's, which is tried
    require(len(inputs) == 1, "encoder", "must have one input, the images",
            f"{body.name} with {len(inputs)}")  # fmt: skip
    taken = inputs[0].shape
    fits = taken.rank == 4 and taken[1:].is_compatible_with(shape)
    require(fits, "encoder", f"must take the images of this run, {_by(shape)} (image_size and "
            "channels)", f"{body.name} for {_by(taken[1:]) if taken.rank else taken}")  # fmt: skip


def _by(shape: Any) -> str:
    return " x ".join("any" if length is None else str(length) for length in shape)


def _rescales_bytes(body: keras.Model) -> bool:
    """Whether the first layer that images meet is one that divides bytes."""
    for layer in body.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        if isinstance(layer, keras.Sequential):
            return _rescales_bytes(layer)
        scale = layer.scale if isinstance(layer, keras.layers.Rescaling) else None
        return isinstance(scale, int | float) and 0 < scale < _LARGEST_OF_BYTES
    return False


def _short(error: Exception) -> str:
    """What went wrong, without what Keras writes above it."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith("Exception encountered")]
    return (told[0].strip() if told else first_line(error))[:200]
