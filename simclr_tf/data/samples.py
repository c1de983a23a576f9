"""A few images of a data set, to look at: their views in an epoch, or spread all over a split."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from simclr_tf.augment import description, policy
from simclr_tf.data import decode, pipeline, reduced
from simclr_tf.data.images import Batches, Images
from simclr_tf.data.sources import Source
from simclr_tf.data.spread import spread
from simclr_tf.data.views import ViewRecipe
from simclr_tf.distribution import Part


class SampleViews(NamedTuple):
    """Training images and their views; images are float32 in [0, 1].

    Attributes:
        originals: (N, S, S, 3), the images resized for evaluation.
        views: Of the same shape for each view.
        operations: For each view of each image what was done: V lists of N lists.
    """

    originals: np.ndarray
    views: list[np.ndarray]
    operations: list[list[list[description.Applied]]]


def sample_views(
    source: Source, stream: pipeline.Stream, recipe: ViewRecipe, count: int, epoch: int
) -> SampleViews:
    """The first training images and their views in an epoch, as training sees them."""
    make, size = recipe.of_image(), recipe.image_size
    originals, augmented, described = [], [], []
    for example in source.examples(stream.split).take(count):
        encoded = example["image"]
        image = decode.decode_image(encoded, source.reading)
        originals.append(reduced.eval_image(encoded, policy.eval_view, size, source.reading))
        seeds = pipeline.view_seeds(stream.seed, epoch, example["id"], recipe.count)
        augmented.append(make(image, seeds))
        height, width = image.shape[:2]
        own = recipe.own_views
        described.append(description.describe_own(own, recipe.count) if own is not None else
                         description.describe_views(seeds, (height, width), size, recipe.policy,
                                                    recipe.distorted))  # fmt: skip
    return SampleViews(
        np.stack(originals),
        [np.stack(made) for made in zip(*augmented, strict=True)],
        [list(view) for view in zip(*described, strict=True)],
    )


def example_batches(images: Images, split: str, count: int) -> Batches:
    """A few images from all over a split, as `Images.eval_batches` gives all of them."""
    few = Images(spread(images.source, split, count, "eval_split"), images.image_size,
                 images.eval_batch_size, images.job)  # fmt: skip
    return few.eval_batches(split, count)


def view_batches(images: Images, split: str, count: int, recipe: ViewRecipe) -> list[Batches]:
    """Views of about `count` images of a split, the same at each call, as batches of images.

    Args:
        images: Whose they are.
        split: A split expression.
        count: Images, at least as many as there are replicas; a few less are taken where they can't
            be divided into equal batches.
        recipe: Of the views.

    Returns:
        For each view of an image the batches with it, in one order of images, `{"image": ...}`.
    """
    replicas = images.job.replicas
    batches_in_all = -(-count // images.eval_batch_size)
    batch = count // batches_in_all // replicas * replicas
    stream, maker = pipeline.Stream(split, batch), recipe.maker(compiled=False)

    @functools.cache  # traced once for all views
    def of_all_views(part: Part) -> tf.data.Dataset:
        made = pipeline.train_batches(images.source, stream, maker, part=part)
        return made.take(batches_in_all * (part.replicas // part.count))

    def of_view(name: str) -> Batches:
        return lambda part: of_all_views(part).map(lambda shown: {"image": shown[name]})

    return [of_view(f"view_{index}") for index in range(recipe.count)]
