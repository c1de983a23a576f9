"""Batches of views for training, and of images for evaluation.

Training: records -> order of the epoch -> bytes -> decode once -> all views -> batch. Everything
that decides a batch follows from (seed, step): a run that resumes at a step sees what the
uninterrupted run would have seen.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from simclr_tf.augment.seeds import example_seed
from simclr_tf.data.decode import decode_image
from simclr_tf.data.sources import Source, require_single_label
from simclr_tf.errors import InputError, require

TrainView = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # (image uint8, seed) -> view
EvalView = Callable[[tf.Tensor, int], tf.Tensor]  # (image uint8, image_size) -> view
Example = dict[str, tf.Tensor]

SHUFFLE_BYTES = 2**31  # splits whose records fit into so much memory are shuffled as a whole
_MIN_BUFFER = 4_096  # records
_HASH_BUCKETS = 2**62


def steps_per_epoch(
    source: Source, split: str, batch_size: int, num_excluded: int = 0, setting: str = "train_split"
) -> int:
    """Full batches in one pass over the split; the rest of a pass is left out.

    Args:
        source: The data set.
        split: A split expression.
        batch_size: Global batch size.
        num_excluded: Images of the split that are not used.
        setting: Name of the setting that holds the split expression, for errors.

    Raises:
        InputError: Fewer images than a batch.
    """
    available = source.num_examples(split, setting) - num_excluded
    if available < batch_size:
        raise InputError(
            "train_batch_size",
            f"must not exceed the {available} images of split {split} of {source.name}",
            batch_size,
        )
    return available // batch_size


def train_batches(
    source: Source,
    split: str,
    *,
    batch_size: int,
    view_fns: Sequence[TrainView],
    seed: int,
    start_step: int = 0,
    cache: bool = False,
    excluded_ids: Sequence[str] = (),
    shard: tuple[int, int] = (0, 1),
    multi_label: bool = False,
) -> tf.data.Dataset:
    """An endless stream of batches, each image once per epoch and never twice in a batch.

    Every epoch has an order of its own, which depends on (seed, epoch) alone. It is a full shuffle
    for folders, cached splits and splits of up to `SHUFFLE_BYTES`; larger ones (ImageNet) go
    through a buffer of that size. Batches never cross the end of an epoch.

    Args:
        source: The data set.
        split: A split expression.
        batch_size: Global batch size B.
        view_fns: One function per view: from a uint8 image (H, W, 3) and a seed, int64 (2,), to a
            view of fixed size S. All views of an image come from one decoding.
        seed: Seed of the run.
        start_step: Step that the first batch belongs to.
        cache: Keep the encoded images in memory after the first pass; small data sets always are.
        excluded_ids: Ids of images of the split to leave out.
        shard: (index, count): of every global batch, deliver part `index` of `count` equal parts.
            Other parts are not decoded.
        multi_label: Whether the caller can handle the labels of a multi-label data set.

    Returns:
        Dicts with `view_0`, `view_1`, ... (B / count, S, S, 3) as the view functions return them,
        and `label`, int64 (B / count,), -1 where unlabeled; (B / count, C) of a multi-label data
        set, see `Source.records`.

    Raises:
        InputError: Fewer images than a batch, a batch that cannot be divided, or a multi-label
            data set where `multi_label` is not set.
    """
    if not multi_label:
        require_single_label(source)
    steps = steps_per_epoch(source, split, batch_size, len(excluded_ids))
    index, count = shard
    require(batch_size % count == 0, "train_batch_size",
            f"must be divisible by the {count} parts it is divided into", batch_size)  # fmt: skip
    cache = cache or source.always_cached
    records, read = _records(source, split, excluded_ids, cache)
    buffer = _shuffle_buffer(source, split, cache)
    start_epoch, done = divmod(start_step, steps)

    def order_of_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        shuffled = _shuffle(records, buffer, seed, epoch)
        skipped = tf.where(epoch == start_epoch, tf.constant(done * batch_size, tf.int64), 0)
        ordered = shuffled.take(steps * batch_size).skip(skipped)
        return ordered.map(lambda record: (epoch, record))

    def to_views(epoch: tf.Tensor, record: Example) -> Example:
        example = read(record)
        image = decode_image(example["image"])  # (H, W, 3)
        views = {
            f"view_{i}": view_fn(image, view_seed(seed, epoch, example["id"], i))  # (S, S, 3)
            for i, view_fn in enumerate(view_fns)
        }
        return {**views, "label": example["label"]}

    epochs = tf.data.Dataset.range(start_epoch, tf.int64.max)
    ordered = epochs.flat_map(order_of_epoch)
    part = _part_of_batches(ordered, batch_size, index, count)
    views = part.map(to_views, num_parallel_calls=tf.data.AUTOTUNE)
    return _finish(views.batch(batch_size // count, drop_remainder=True))


def view_seed(seed: int, epoch: int | tf.Tensor, example_id: tf.Tensor, view: int) -> tf.Tensor:
    """The seed, int64 (2,), of one view of the example with the given id (string) in an epoch."""
    example_hash = tf.strings.to_hash_bucket_fast(example_id, _HASH_BUCKETS)
    return example_seed(seed, epoch, example_hash, view)


def eval_batches(
    source: Source,
    split: str,
    *,
    batch_size: int,
    image_size: int,
    view_fn: EvalView,
    excluded_ids: Sequence[str] = (),
    max_examples: int | None = None,
    setting: str = "eval_split",
) -> tf.data.Dataset:
    """One pass over a split in its fixed order, every image counted exactly once.

    The last batch is filled up with zeros of weight 0, so all shapes are static.

    Args:
        source: The data set.
        split: A split expression.
        batch_size: Global batch size B.
        image_size: Size S of the result, whatever the size of the images.
        view_fn: From a uint8 image (H, W, 3) and S to float32 (S, S, 3).
        excluded_ids: Ids of images to leave out.
        max_examples: Use only the first so many.
        setting: Name of the setting that holds the split expression, for errors.

    Returns:
        Dicts with `image`, float32 (B, S, S, 3); `label`, int64 (B,), -1 where unlabeled, or (B, C)
        of a multi-label data set, see `Source.records`; `weight`, float32 (B,), 1 for an image and
        0 for filling.
    """
    records, read = _eval_records(source, split, excluded_ids, max_examples, setting)

    def to_image(record: Example) -> Example:
        example = read(record)
        image = view_fn(decode_image(example["image"]), image_size)
        image = tf.ensure_shape(image, (image_size, image_size, 3))
        return {"image": image, "label": example["label"], "weight": tf.constant(1.0)}

    images = records.map(to_image, num_parallel_calls=tf.data.AUTOTUNE)
    return _finish(images.batch(batch_size).map(lambda batch: _fill(batch, batch_size)))


def example_ids(
    source: Source,
    split: str,
    excluded_ids: Sequence[str] = (),
    max_examples: int | None = None,
    setting: str = "eval_split",
) -> list[str]:
    """The ids of the images of `eval_batches` with the same arguments, in the same order.

    No image is decoded, and those of a folder are not read.

    Raises:
        InputError: No such split, or nothing in it.
    """
    records, _ = _eval_records(source, split, excluded_ids, max_examples, setting)
    ids = records.map(lambda record: record["id"])
    return [os.fsdecode(example_id) for example_id in ids.as_numpy_iterator()]


def _eval_records(
    source: Source,
    split: str,
    excluded_ids: Sequence[str],
    max_examples: int | None,
    setting: str,
) -> tuple[tf.data.Dataset, Callable[[Example], Example]]:
    """The records of an evaluation in their order, and the function that reads one."""
    source.num_examples(split, setting)
    records, read = _records(source, split, excluded_ids, cache=False, setting=setting)
    return records if max_examples is None else records.take(max_examples), read


def _records(
    source: Source,
    split: str,
    excluded_ids: Sequence[str],
    cache: bool,
    setting: str = "train_split",
) -> tuple[tf.data.Dataset, Callable[[Example], Example]]:
    """What is shuffled, and the function that reads it: nothing is left to read in a cache."""
    records = source.records(split, setting)
    if excluded_ids:
        excluded = tf.constant(list(excluded_ids))  # (K,)
        records = records.filter(lambda record: tf.reduce_all(record["id"] != excluded))
    if not cache:
        return records, source.read
    records = records.map(source.read, num_parallel_calls=tf.data.AUTOTUNE).cache()
    return records, lambda example: example


def _shuffle_buffer(source: Source, split: str, cached: bool) -> int:
    """Records to hold while shuffling; cached ones are in memory anyway."""
    count = source.num_examples(split)
    fitting = SHUFFLE_BYTES // max(source.record_bytes, 1)
    return count if cached else min(count, max(fitting, _MIN_BUFFER))


def _shuffle(records: tf.data.Dataset, buffer: int, seed: int, epoch: tf.Tensor) -> tf.data.Dataset:
    """`Dataset.shuffle` with an order decided by (seed, epoch).

    The method takes no tensor as seed and mixes in the process-wide one, so the op is used itself.
    """
    flat = tf.nest.flatten(records.element_spec)
    variant = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(records),
        buffer_size=buffer,
        seed=seed + 1,  # (0, 0) would mean a random order
        seed2=epoch,
        output_types=[element.dtype for element in flat],
        output_shapes=[element.shape for element in flat],
        reshuffle_each_iteration=False,
    )
    return tf.data.experimental.from_variant(variant, records.element_spec)


def _part_of_batches(
    ordered: tf.data.Dataset, batch_size: int, index: int, count: int
) -> tf.data.Dataset:
    """Of every run of `batch_size` elements, the elements of part `index`."""
    if count == 1:
        return ordered
    size = batch_size // count

    def mine(position: tf.Tensor, _: Any) -> tf.Tensor:
        return position % batch_size // size == index

    return ordered.enumerate().filter(mine).map(lambda _, element: element)


def _fill(batch: Example, batch_size: int) -> Example:
    """Appends zeros up to `batch_size`."""
    missing = batch_size - tf.shape(batch["weight"])[0]

    def pad(tensor: tf.Tensor) -> tf.Tensor:
        paddings = [[0, missing]] + [[0, 0]] * (tensor.shape.rank - 1)
        return tf.ensure_shape(tf.pad(tensor, paddings), (batch_size, *tensor.shape[1:]))

    return {name: pad(tensor) for name, tensor in batch.items()}


def _finish(batches: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = True
    # Parts of a batch are handed out here (`shard`), not by the distribution strategy.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)
