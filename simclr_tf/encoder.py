"""`load_encoder`: any SimCLR weights as a Keras model."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras as keras

from simclr_tf.errors import InputError, require_choice
from simclr_tf.models import saving
from simclr_tf.models.endpoints import LOGITS_ENDPOINT
from simclr_tf.models.keras_encoder import KerasEncoder
from simclr_tf.models.network import Network
from simclr_tf.models.resnet import ResNet
from simclr_tf.weights.load import LoadedModel, load_model
from simclr_tf.weights.readings import HEAD

_OUT_OF_RANGE = (
    "images must be floats in [0, 1], as SimCLR's networks expect; these lie outside, and the "
    "features mean little. Divide bytes by 255 and do not subtract a mean."
)
_TOLERANCE = 1e-3  # of a value that rounding may add


@saving.registered
class Encoder(keras.Model):
    """An encoder, with or without its heads, ready to embed or to fine-tune.

    Attributes:
        network: The `Network` inside; its encoder alone without the heads.
        image_size: Side of the images it was trained on; others work too.

    Args:
        network: The network, or the encoder of one.
        image_size: Side of the images it was trained on.
        endpoint: Return this endpoint alone instead of all by name.
        heads: Whether the endpoints of the heads, and their variables, belong to the model.
        name: Name of the model.

    Raises:
        InputError: There is no such endpoint.
    """

    def __init__(
        self,
        network: Network | ResNet | KerasEncoder,
        image_size: int,
        endpoint: str | None = None,
        heads: bool = True,
        name: str = "simclr_encoder",
    ):
        super().__init__(name=name)
        alone = isinstance(network, Network) and not heads
        self.network: Network | ResNet | KerasEncoder = network.encoder if alone else network
        self.image_size = image_size
        self.endpoint = endpoint
        encoder = network.encoder if isinstance(network, Network) else network
        names = list(self.network(tf.zeros([1, *encoder.example_shape])))
        if endpoint is not None:
            require_choice("endpoint", endpoint, names)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """All that `from_config` needs, as JSON values."""
        return saving.describe(
            self,
            network=saving.describe_part(self.network),
            image_size=self.image_size,
            endpoint=self.endpoint,
        )

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Encoder:
        """An encoder like the one that gave the configuration, with new weights."""
        return saving.rebuild(_encoder, config, custom_objects)

    def get_build_config(self) -> None:
        """Nothing: the constructor creates all variables."""

    def call(
        self, images: tf.Tensor, training: bool | None = None
    ) -> dict[str, tf.Tensor] | tf.Tensor:
        """Embeds images.

        Args:
            images: (N, H, W, 3), floats in [0, 1], any size; others are warned about.
            training: Whether batch norm uses the batch's statistics and moves its own.

        Returns:
            The endpoints of `Network.call` by name, or the one that was asked for.
        """
        images = tf.convert_to_tensor(images)
        _warn_about_range(images)
        outputs = self.network(images, training=bool(training))
        return outputs if self.endpoint is None else outputs[self.endpoint]


def _encoder(
    name: str, network: Mapping[str, Any], image_size: int, endpoint: str | None
) -> Encoder:
    return Encoder(saving.rebuild_part(network), image_size, endpoint, name=name)


def _doubtful(doubt: InputError, loaded: LoadedModel) -> str:
    """A warning about weights that can be read in several ways."""
    without = "; logits_sup is left out until then" if loaded.report.left_out else ""
    assumed = "" if doubt.name == HEAD else f" ({doubt.name}=0 is assumed)"
    return f"{doubt.name} {doubt.constraint}{assumed}{without}"


def _warn_about_range(images: tf.Tensor) -> None:
    if not images.dtype.is_floating:
        return  # refused by the network
    inside = tf.reduce_all((images >= -_TOLERANCE) & (images <= 1 + _TOLERANCE))
    if tf.is_symbolic_tensor(inside):
        tf.cond(
            inside,
            lambda: tf.no_op(),
            lambda: tf.print("warning:", _OUT_OF_RANGE, output_stream=sys.stderr),
        )
    elif not inside:
        warnings.warn(_OUT_OF_RANGE, stacklevel=2)


def load_encoder(
    path: str | os.PathLike[str],
    endpoint: str | None = None,
    heads: bool = True,
    ft_proj_selector: int | None = None,
    sk_ratio: float | None = None,
    resnet_variant: str | None = None,
    input_norm: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Encoder:
    """A Keras model from a run, an export, or a published checkpoint of any format.

    Example:
        `encoder = load_encoder("runs/a"); features = encoder(images)["final_avg_pool"]`

        `keras.Sequential([load_encoder(path, "final_avg_pool", heads=False), Dense(10)])`

        `load_encoder("simclrv2/r50_1x_sk1")`, which is fetched once

    Args:
        path: See `simclr_tf.weights.load.load_model`.
        endpoint: Return one endpoint, such as `final_avg_pool`, instead of all by name.
        heads: Whether the projection head and the linear head belong to the model.
        ft_proj_selector: For foreign weights: the layer of the projection head that their linear
            head reads, 0 for none (SimCLRv2 fine-tunes from layer 1); see `load_model`.
        sk_ratio: For a foreign ResNet-18 or 34 with the CIFAR stem: 0, or above 0 where its
            shortcuts pool; see `load_model`.
        resnet_variant: For weights of PyTorch with the CIFAR stem: how it pads; see `load_model`.
        input_norm: For weights of PyTorch: how images are scaled; see `load_model`.
        cache_dir: Folder for what is fetched; see `load_model`.

    Returns:
        A trainable float32 model: `encoder(images, training=False)`, with images (N, H, W, 3) in
        [0, 1]. Where nothing tells how the weights are to be read, it has no `logits_sup`, and a
        warning names the setting that would settle it.

    Raises:
        InputError: There are no such weights, they are not a SimCLR network, or it has no such
            endpoint.
    """
    loaded = load_model(
        path, ft_proj_selector, None, sk_ratio, resnet_variant, input_norm, cache_dir
    )
    for text in loaded.report.assumptions:
        warnings.warn(f"{os.fspath(path)}: {text}", stacklevel=2)
    doubts = loaded.report.doubts
    if heads and endpoint == LOGITS_ENDPOINT and loaded.report.left_out:
        raise doubts[0]
    uses_head = heads and endpoint is None
    for doubt in doubts:
        if doubt.name != HEAD or uses_head:
            warnings.warn(_doubtful(doubt, loaded), stacklevel=2)
    return Encoder(loaded.model, loaded.image_size, endpoint, heads)
