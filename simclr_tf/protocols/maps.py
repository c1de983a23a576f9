"""Pictures of the features themselves: a t-SNE map, and the TensorBoard projector."""

from __future__ import annotations

import dataclasses

import numpy as np

from simclr_tf.distribution import Part
from simclr_tf.files import is_remote
from simclr_tf.protocols.context import Context
from simclr_tf.report import embedding_map, evaluation_plots, pictures, projector

_THUMBNAIL = 32  # px
_FEWEST = 3


def write_maps(context: Context) -> None:
    """Writes `map.png` and `projector/` for the first `map_points` test images.

    `tensorboard --logdir <folder>` shows the latter under Projector.
    """
    limit = context.settings.map_points
    features = context.features(context.test_split, setting="eval_split")
    if min(features.features.shape) < _FEWEST:
        context.say("note: there is no map of fewer than three images or dimensions")
        return
    labels = features.labels
    vectors = np.asarray(features.features[:limit], np.float32)
    points, indices = embedding_map.embedding_map(vectors, context.seed, limit)
    evaluation_plots.plot_embedding_map(
        context.path("map.png"),
        points,
        None if labels is None else labels[indices],
        context.source.class_names,
        f"{context.settings.endpoint}, t-SNE of {len(points)} test images",
    )
    if is_remote(context.folder):
        context.say("note: TensorBoard's projector reads local folders only: there are no points "
                    "for it")  # fmt: skip
        return
    projector.write_projector(
        context.path("projector"),
        vectors,
        None if labels is None else labels[: len(vectors)],
        context.source.class_names,
        thumbnails(context, len(vectors)),
    )


def thumbnails(context: Context, count: int) -> np.ndarray:
    """The first `count` test images at thumbnail size, uint8 (count, 32, 32, 3)."""
    small = dataclasses.replace(context.images, image_size=_THUMBNAIL)
    batches = small.eval_batches(context.test_split, count)(Part())
    images = np.concatenate([batch["image"] for batch in batches.as_numpy_iterator()])
    return np.round(pictures.in_rgb(images[:count]) * 255).astype(np.uint8)
