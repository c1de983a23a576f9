"""The projection head g and the linear classification head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tf_keras as keras

from simclr_tf.errors import require
from simclr_tf.models import saving
from simclr_tf.models.batch_norm import BatchNorm
from simclr_tf.settings import by_name
from simclr_tf.settings.model import BatchNormConfig, ProjectionConfig

DENSE_STDDEV = 0.01  # as in the reference


class ProjectionLayer(keras.layers.Layer):
    """Dense without bias and batch norm; a hidden one adds an offset (beta) and ReLU."""

    def __init__(
        self, units: int, hidden: bool, batch_norm: BatchNormConfig, dtype: str, name: str
    ):
        super().__init__(name=name, dtype=dtype)
        self.hidden = hidden
        self.dense = keras.layers.Dense(
            units,
            use_bias=False,
            kernel_initializer=keras.initializers.RandomNormal(stddev=DENSE_STDDEV),
            name="dense",
            dtype=dtype,
        )
        self.bn = BatchNorm(batch_norm, center=hidden, name="bn", dtype=dtype)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps (N, D) to (N, units)."""
        x = self.bn(self.dense(inputs), training=training)
        return tf.nn.relu(x) if self.hidden else x


@saving.registered
class ProjectionHead(keras.layers.Layer):
    """The MLP between the encoder's output and the contrastive loss (section 4.2).

    `nonlinear` has `num_proj_layers` layers (hidden ones as wide as the input), `linear` one and
    `none` no layer. The last layer has `proj_out_dim` units and neither offset nor ReLU.

    Args:
        config: Mode, depth and output width.
        batch_norm: Settings of the batch norms.
        num_layers_used: Build only so many layers, those that fine-tuning keeps; None for all.
        dtype: Name of the Keras policy.
        name: First part of every variable's name.

    Raises:
        InputError: More layers are asked for than the head has.
    """

    def __init__(
        self,
        config: ProjectionConfig,
        batch_norm: BatchNormConfig | None = None,
        num_layers_used: int | None = None,
        dtype: str = "float32",
        name: str = "projection_head",
    ):
        super().__init__(name=name, dtype=dtype)
        used = config.depth if num_layers_used is None else num_layers_used
        require(0 <= used <= config.depth, "ft_proj_selector",
                f"must lie between 0 and the head's {config.depth} layers", used)  # fmt: skip
        self._config = config
        self.depth = config.depth
        self.output_width = config.proj_out_dim
        self.num_layers_used = used
        self.batch_norm = batch_norm or BatchNormConfig()
        self.policy_name = dtype
        self.projection_layers: list[ProjectionLayer] = []
        self._width: int | None = None

    def get_config(self) -> dict[str, Any]:
        """All that `from_config` needs, as JSON values."""
        return saving.describe(
            self,
            settings=by_name.flatten(self._config),
            batch_norm=by_name.flatten(self.batch_norm),
            num_layers_used=self.num_layers_used,
            dtype=self.policy_name,
            width=self._width,
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ProjectionHead:
        """A head like the one that gave the configuration, with new weights."""
        return saving.rebuild(_projection_head, config)

    def get_build_config(self) -> None:
        """Nothing: the configuration says for which width it was built."""

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates the layers; hidden ones take the width of the input (N, D)."""
        self._width = width = int(input_shape[-1])
        for k in range(self.num_layers_used):
            hidden = k < self.depth - 1
            units = width if hidden else self.output_width
            self.projection_layers.append(
                ProjectionLayer(units, hidden, self.batch_norm, self.policy_name, f"layer_{k}")
            )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool = False) -> list[tf.Tensor]:
        """Projects (N, D).

        Returns:
            The input followed by the output of every layer: index k is what fine-tuning with
            `ft_proj_selector=k` classifies, the last one goes into the contrastive loss.
        """
        hiddens = [inputs]
        for layer in self.projection_layers:
            hiddens.append(layer(hiddens[-1], training=training))
        return hiddens


def _projection_head(
    name: str,
    settings: Mapping[str, Any],
    batch_norm: Mapping[str, Any],
    num_layers_used: int,
    dtype: str,
    width: int | None,
) -> ProjectionHead:
    head = ProjectionHead(
        by_name.build_config(ProjectionConfig, settings),
        by_name.build_config(BatchNormConfig, batch_norm),
        num_layers_used,
        dtype,
        name,
    )
    if width is not None:
        head(tf.zeros([1, width]))  # creates the layers and their variables
    return head


@saving.registered
class LinearHead(keras.layers.Dense):
    """The linear classifier; float32 whatever the encoder computes in.

    Args:
        num_classes: Width of the output.
        zero_init: Start with a zero kernel instead of a normal one (standard deviation 0.01).
        name: First part of every variable's name.
    """

    def __init__(self, num_classes: int, zero_init: bool = False, name: str = "linear_head"):
        normal = keras.initializers.RandomNormal(stddev=DENSE_STDDEV)
        super().__init__(
            num_classes,
            kernel_initializer="zeros" if zero_init else normal,
            name=name,
            dtype="float32",
        )
        self._zero_init = zero_init

    def get_config(self) -> dict[str, Any]:
        """All that `from_config` needs, as JSON values."""
        return saving.describe(self, num_classes=self.units, zero_init=self._zero_init)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LinearHead:
        """A head like the one that gave the configuration."""
        return saving.rebuild(cls, config)

    def get_build_config(self) -> None:
        """Nothing: calling the layer builds it, which gives its variables their whole names."""
