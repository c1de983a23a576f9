"""Pairs of views of one's own images, for training loops that are not ours."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from simclr_tf.data import pipeline
from simclr_tf.data.any_source import as_source
from simclr_tf.data.views import ViewRecipe
from simclr_tf.errors import require
from simclr_tf.settings.augment import AugmentConfig
from simclr_tf.settings.checks import IMAGE_SIZE
from simclr_tf.settings.operations import Step
from simclr_tf.settings.view_text import Views, as_views


def view_pairs(
    images: Any,
    views: Views | Sequence[Step] | str | None = None,
    *,
    image_size: int,
    batch_size: int,
    seed: int = 0,
    labels: Any = None,
    split: str = "train",
    value_range: tuple[float, float] | None = None,
    channels: int | None = None,
) -> tf.data.Dataset:
    """Batches of two views per image, for one pass over the images.

    The n-th pass over the result has the batches of epoch n - 1 of a run with this seed; every
    loop begins a pass, and so does every repetition of `repeat`. What does not fill a batch is left
    out. For a number of steps: `repeat().take(steps)`.

    Example:
        `batches = simclr_tf.view_pairs(x, "crop flip rot90", image_size=32, batch_size=64)`,
        then `for batch in batches.repeat().take(1000): ...`

    Args:
        images: Arrays (N, H, W, C), a folder, the name of a data set, a `tf.data.Dataset`, or a
            source; see `simclr_tf.data.any_source.as_source`.
        views: A list of operations of `simclr_tf.views` and functions, its text, or a `Views` of
            two lists; None: the paper's policy.
        image_size: Side S of the views in pixels, 8 to 8192.
        batch_size: Images B of a batch, at least 1.
        seed: Decides order and views, in [0, 2^31).
        labels: Of arrays, int (N,), see `from_arrays`; None: there are none.
        split: Which images of a source, or of a mapping of arrays.
        value_range: What becomes black and white where the type of the values does not tell.
        channels: How many the images have and the views keep, see `from_arrays`; None makes red,
            green and blue of up to four.

    Returns:
        Dicts of `view_0` and `view_1`, float32 (B, S, S, C) in [0, 1], and `label`, int64 (B,), -1
        where there is none.

    Raises:
        InputError: Images, labels or sizes that can't be; views that can't be made.
    """
    known = isinstance(seed, numbers.Integral) and 0 <= seed < 2**31
    require(known, "seed", "must be a whole number in [0, 2^31)", seed)
    whole = isinstance(image_size, numbers.Integral)
    require(whole and image_size in IMAGE_SIZE, "image_size", str(IMAGE_SIZE), image_size)
    source = as_source(images, labels, value_range, channels=channels)
    available = source.num_examples(split, "split")
    require(isinstance(batch_size, numbers.Integral) and 0 < batch_size <= available, "batch_size",
            f"must be at least 1 and at most {available}, the number of images",
            batch_size)  # fmt: skip
    own = None if views is None else as_views(views)
    recipe = ViewRecipe(AugmentConfig(), int(image_size), count=2, distorted=True, views=own)
    recipe.check(source.channels)
    stream = pipeline.Stream(split, int(batch_size), seed)
    batches = pipeline.train_batches(source, stream, recipe.maker(), epochs=_next_epoch())
    return batches.apply(tf.data.experimental.assert_cardinality(available // batch_size))


def _next_epoch() -> tf.data.Dataset:
    """One number, which is 0 in the first pass over it and grows by 1 with every pass."""
    with tf.device("CPU:0"), tf.init_scope():
        passes = tf.Variable(-1, dtype=tf.int64, trainable=False)
    return tf.data.Dataset.range(1).map(lambda _: passes.assign_add(1))
