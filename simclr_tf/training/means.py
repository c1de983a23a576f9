"""The scalars that a training step reports, averaged between two summaries."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf
import tf_keras as keras

from simclr_tf.models.network import Network


class Means:
    """Running means of the step's metrics between two summaries, over steps and replicas.

    Args:
        names: Of the metrics.
        called: What Keras calls them, by name; default: the same with `_` for `/`.
    """

    def __init__(self, names: tuple[str, ...], called: Mapping[str, str] | None = None):
        of_keras = called or {name: name.replace("/", "_") for name in names}
        self._means = {name: keras.metrics.Mean(name=of_keras[name]) for name in names}

    @property
    def metrics(self) -> list[keras.metrics.Mean]:
        """Keras' own, one for each name."""
        return list(self._means.values())

    def update(
        self, values: Mapping[str, tf.Tensor], weights: Mapping[str, tf.Tensor] | None = None
    ) -> None:
        """Adds one step's values, inside or outside a replica.

        Args:
            values: () floats by name.
            weights: How much each counts, 1 where absent; a share of few examples counts little.
        """
        for name, value in values.items():
            self._means[name].update_state(value, (weights or {}).get(name))

    def result(self) -> dict[str, float]:
        """The means since the last reset."""
        return {name: float(mean.result()) for name, mean in self._means.items()}

    def reset(self) -> None:
        """Starts a new interval."""
        for mean in self._means.values():
            mean.reset_state()


def metric_names(model: Network, train_mode: str, labelled: bool = True) -> tuple[str, ...]:
    """The scalars that a step reports, under the reference's names where it has them.

    Args:
        model: Whose step.
        train_mode: What the step does.
        labelled: Whether any training image has a label; a student learns without.
    """
    names = ["train/weight_decay", "train/total_loss"]
    if train_mode == "pretrain":
        names += ["train/contrast_loss", "train/contrast_acc", "train/contrast_entropy"]
    if train_mode == "distill":
        names += ["train/distill_loss", "train/distill_agreement"]
    if model.linear_head is not None and labelled:
        names += ["train/supervised_loss", "train/supervised_acc"]
    return tuple(names)
