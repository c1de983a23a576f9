"""The projection head g and the linear classification head."""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

from simclr_tf.errors import require
from simclr_tf.models.batch_norm import BatchNorm
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
        self.depth = config.depth
        self.output_width = config.proj_out_dim
        self.num_layers_used = used
        self.batch_norm = batch_norm or BatchNormConfig()
        self.policy_name = dtype
        self.projection_layers: list[ProjectionLayer] = []

    def build(self, input_shape: tf.TensorShape) -> None:
        """Creates the layers; hidden ones take the width of the input (N, D)."""
        width = int(input_shape[-1])
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
