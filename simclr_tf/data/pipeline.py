"""Batches of views for training, and of images for evaluation.

Training: records -> order of the epoch -> bytes -> decode once -> all views -> batch. Everything
that decides a batch follows from (seed, step): a run that resumes at a step sees what the
uninterrupted run would have seen.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from simclr_tf.augment import policy
from simclr_tf.augment.images import unit_range
from simclr_tf.augment.seeds import example_seed
from simclr_tf.data import service as service_lib
from simclr_tf.data import splits
from simclr_tf.data.decode import decode_stored
from simclr_tf.data.reduced import eval_image
from simclr_tf.data.sources import Source, WrappedSource, require_single_label
from simclr_tf.data.views import Example, ViewMaker
from simclr_tf.distribution import Part
from simclr_tf.errors import InputError, require

EvalView = Callable[[tf.Tensor, int], tf.Tensor]  # (image uint8, image_size) -> view

SHUFFLE_BYTES = 2**31  # splits whose records fit into so much memory are shuffled as a whole
DECODED_BYTES = 2**28  # cached splits of one image shape that fit into this are cached as pixels
_MIN_BUFFER = 4_096  # records
_HASH_BUCKETS = 2**62
_CORES = os.cpu_count() or 1
_EPOCHS = 2**24  # more than any run has, see `example_seed`


class Stream(NamedTuple):
    """How a training reads its images.

    Attributes:
        split: A split expression.
        batch_size: Global batch size B.
        seed: Seed of the run.
        cache: Keep the images in memory after the first pass, decoded where that takes little;
            small data sets always are.
        sharding: `batch` or `split`, see `resolve_sharding`.
        service: `grpc://host:port` of a tf.data service that computes the same batches. Its
            workers hold a shuffle buffer for each of the parts they divide a batch into.
    """

    split: str
    batch_size: int
    seed: int = 0
    cache: bool = False
    sharding: str = "batch"
    service: str | None = None


class Selection(NamedTuple):
    """Images that are looked at once, in their order.

    Attributes:
        split: A split expression.
        max_examples: Use only the first so many.
        setting: Name of the setting that holds the split expression, for errors.
    """

    split: str
    max_examples: int | None = None
    setting: str = "eval_split"


def steps_per_epoch(
    source: Source, split: str, batch_size: int, setting: str = "train_split"
) -> int:
    """Full batches in one pass over the split; the rest of a pass is left out.

    Args:
        source: The data set.
        split: A split expression.
        batch_size: Global batch size.
        setting: Name of the setting that holds the split expression, for errors.

    Raises:
        InputError: Fewer images than a batch.
    """
    available = source.num_examples(split, setting)
    if available < batch_size:
        raise InputError(
            "train_batch_size",
            f"must not exceed the {available} images of split {split} of {source.name}",
            batch_size,
        )
    return available // batch_size


def resolve_sharding(source: Source, split: str, cache: bool, setting: str) -> str:
    """What the setting `data_sharding` means for a split.

    Args:
        source: The data set.
        split: A split expression.
        cache: As in `Stream`.
        setting: `auto`, `batch` or `split`.

    Returns:
        `batch` or `split`. `auto` is `batch` where all records of the split fit into the memory
        that shuffles them (cached and small data sets, folders) or where it can't be divided.

    Raises:
        InputError: No such split, or nothing in it.
    """
    if setting != "auto":
        return setting
    whole = _shuffle_buffer(source, split, cache or source.always_cached)
    if whole == source.num_examples(split) or not _can_be_divided(source, split):
        return "batch"
    return "split"


def train_batches(
    source: Source,
    stream: Stream,
    views: ViewMaker,
    start_step: int = 0,
    part: Part = Part(),
    epochs: tf.data.Dataset | None = None,
) -> tf.data.Dataset:
    """An endless stream of batches, each image once per epoch and never twice in a batch.

    Every epoch has an order of its own, which depends on (seed, epoch) alone. It is a full shuffle
    for folders, cached splits and splits of up to `SHUFFLE_BYTES`; larger ones (ImageNet) go
    through a buffer of that size. Batches never cross the end of an epoch.

    There is one input pipeline per host; each delivers the rows of its own replicas. With
    `sharding="batch"` the global batches are the same on any number of pipelines. With `split`
    each reads an equal part of the split only, which it shuffles by (seed, epoch, index).

    Args:
        source: The data set.
        stream: Which of its images, and in which batches.
        views: Makes all views of an image, of fixed size S, from one decoding.
        start_step: Step that the first batch belongs to.
        part: Of this input pipeline. What others deliver is not decoded.
        epochs: Numbers of the epochs to deliver, int64, each from its first step on; None: all,
            from that of `start_step`.

    Returns:
        For every step R / count elements, one for each replica of this pipeline, in order; replica
        r has the rows [r B / R, (r + 1) B / R) of the global batch. Dicts with `view_0`, `view_1`,
        ... (B / R, S, S, C) as `views` makes them, and `label`, int64 (B / R,), -1 where unlabeled.

    Raises:
        InputError: Fewer images than a batch, a batch or split that cannot be divided, an
            unreachable service, or a multi-label data set.
    """
    require_single_label(source)
    rows = _rows_per_element(stream.batch_size, part, "train_batch_size")
    steps = steps_per_epoch(source, stream.split, stream.batch_size)
    share = _share(source, stream, part)
    ordered, read = _ordered(source, stream, share, steps, start_step, epochs)
    numbered = stream.service is not None
    views = views.of_shape(source.image_shape, source.reading, source.channels)
    make = _maker(ordered, read, views, stream.seed, numbered)

    def piece(index: int, count: int, rows: int) -> tf.data.Dataset:
        return _finish(make(_part_of_batches(ordered, share.batch_size, index, count), rows))

    if stream.service is None:
        return piece(share.index, share.count, rows)
    own = share.batch_size // share.count
    parts = service_lib.number_of_parts(own)
    batches = service_lib.through_service(
        lambda p: piece(share.index * parts + p, share.count * parts, own // parts),
        stream.service, parts, first=share.index * own, step_size=share.batch_size,
    )  # fmt: skip
    return _finish(batches if own == rows else batches.rebatch(rows, drop_remainder=True))


def _maker(
    ordered: tf.data.Dataset,
    read: Callable[[Example], Example],
    views: ViewMaker,
    seed: int,
    numbered: bool,
) -> Callable[[tf.data.Dataset, int], tf.data.Dataset]:
    """What makes batches of so many rows of views from elements of `_part_of_batches`."""
    record = ordered.element_spec[1]
    cached = "image" in record and record["image"].dtype != tf.string  # as pixels
    if cached and views.takes_batches and not numbered:  # nothing is left for an image alone
        of_rows = _rows_to_views(views, seed)
        return lambda mine, rows: mine.batch(rows, drop_remainder=True).map(
            of_rows, num_parallel_calls=_CORES
        )
    to_views = _to_views(read, views, seed, numbered)

    def make(mine: tf.data.Dataset, rows: int) -> tf.data.Dataset:
        batches = mine.map(to_views, num_parallel_calls=_CORES).batch(rows, drop_remainder=True)
        return batches.map(views.of_batch, num_parallel_calls=tf.data.AUTOTUNE)

    return make


def _rows_to_views(views: ViewMaker, seed: int) -> Callable[..., Example]:
    """`_to_views` for the positions of rows (B,) and their epochs and examples, of pixels."""

    def to_views(positions: tf.Tensor, entries: tuple[tf.Tensor, Example]) -> Example:
        epochs, examples = entries
        seeds = view_seeds(seed, epochs[:, None], examples["id"][:, None], views.count)
        batch = {name: examples[name] for name in ("image", "label")}
        return views.of_batch({**batch, "seeds": seeds})

    return to_views


def _to_views(
    read: Callable[[Example], Example], views: ViewMaker, seed: int, numbered: bool
) -> Callable[[tf.Tensor, tuple[tf.Tensor, Example]], Example]:
    """From a row's position and (epoch, record) to its views, with the position if `numbered`."""

    def to_views(position: tf.Tensor, entry: tuple[tf.Tensor, Example]) -> Example:
        epoch, record = entry
        example = read(record)
        seeds = view_seeds(seed, epoch, example["id"], views.count)
        counted = {service_lib.POSITION: position} if numbered else {}
        made = views.of_image(example["image"], seeds)
        return {**made, "label": example["label"], **counted}

    return tf.function(to_views) if numbered else to_views  # traced once, for all parts


def view_seeds(seed: int, epoch: int | tf.Tensor, example_id: tf.Tensor, views: int) -> tf.Tensor:
    """The seeds of the views of the example with the given id in an epoch.

    Returns:
        int64 (views, 2); (B, views, 2) for epochs and ids (B, 1).
    """
    example_hash = tf.strings.to_hash_bucket_fast(example_id, _HASH_BUCKETS)
    return example_seed(seed, epoch, example_hash, tf.range(views, dtype=tf.int64))


def eval_batches(
    source: Source,
    selection: Selection,
    batch_size: int,
    image_size: int,
    view_fn: EvalView = policy.eval_view,
    part: Part = Part(),
) -> tf.data.Dataset:
    """One pass over a split in its fixed order, every image counted exactly once.

    The last batch is filled up with zeros of weight 0, so all shapes are static and all pipelines
    deliver as many elements.

    Args:
        source: The data set.
        selection: Which of its images.
        batch_size: Global batch size B.
        image_size: Size S of the result, whatever the size of the images.
        view_fn: From an image (H, W, C), uint8 or float32 in [0, 1], and S to float32 (S, S, C).
        part: Of this input pipeline. What others deliver is not decoded.

    Returns:
        For each of the ceil(N / B) batches R / count elements, one for each replica of this
        pipeline, as in `train_batches`. Dicts with `image`, float32 (B / R, S, S, C); `label`,
        int64 (B / R,), -1 where unlabeled, or (B / R, C) of a multi-label data set, see
        `Source.records`; `weight`, float32 (B / R,), 1 for an image and 0 for filling.

    Raises:
        InputError: No such split, nothing in it, or a batch that cannot be divided.
    """
    index, count = part.index, part.count
    rows = _rows_per_element(batch_size, part, "eval_batch_size")
    records, read = _eval_records(source, selection)
    total = source.num_examples(selection.split, selection.setting)
    total = total if selection.max_examples is None else min(total, selection.max_examples)

    unchanged = policy.is_identity(view_fn, source.image_shape, image_size)

    def to_image(_: tf.Tensor, record: Example) -> Example:
        example = read(record)
        if unchanged:
            image = decode_stored(example["image"], source.reading)
        else:
            image = eval_image(example["image"], view_fn, image_size, source.reading)
        image = tf.ensure_shape(image, (image_size, image_size, source.channels))
        return {"image": image, "label": example["label"], "weight": tf.constant(1.0)}

    mine = _part_of_batches(records, batch_size, index, count)
    images = mine.map(to_image, num_parallel_calls=_CORES)
    own = batch_size // count
    in_last = min(max(total % batch_size - index * own, 0), own)
    batches = -(-total // batch_size)
    missing = batches * own - (total // batch_size * own + in_last)
    filling = tf.data.Dataset.from_tensors(_zeros(images.element_spec)).repeat(missing)
    elements = images.concatenate(filling).batch(rows, drop_remainder=True)
    if unchanged:  # still bytes
        elements = elements.map(lambda batch: {**batch, "image": unit_range(batch["image"])})
    known = tf.data.experimental.assert_cardinality(batches * own // rows)
    return _finish(elements.apply(known))


def example_ids(source: Source, selection: Selection) -> list[str]:
    """The ids of the images of `eval_batches` with the same arguments, in the same order.

    No image is decoded, and those of a folder are not read.

    Raises:
        InputError: No such split, or nothing in it.
    """
    records, _ = _eval_records(source, selection)
    ids = records.map(lambda record: record["id"])
    return [os.fsdecode(example_id) for example_id in ids.as_numpy_iterator()]


def _eval_records(
    source: Source, selection: Selection
) -> tuple[tf.data.Dataset, Callable[[Example], Example]]:
    """The records of an evaluation in their order, and the function that reads one."""
    total = source.num_examples(selection.split, selection.setting)
    records, read = _records(source, selection.split, cache=False, setting=selection.setting)
    records = records.apply(tf.data.experimental.assert_cardinality(total))
    most = selection.max_examples
    return records if most is None else records.take(most), read


def _records(
    source: Source, split: str, cache: bool, setting: str = "train_split"
) -> tuple[tf.data.Dataset, Callable[[Example], Example]]:
    """What is shuffled, and the function that reads it: nothing is left to read in a cache.

    A cache holds files as they are, or pixels where `DECODED_BYTES` allows.
    """
    records = source.records(split, setting)
    if not cache:
        return records, source.read
    shape = source.image_shape
    pixels = source.num_examples(split, setting) * math.prod((*(shape or ()), source.channels))
    decoded = shape is not None and pixels <= DECODED_BYTES

    def read(record: Example) -> Example:
        example = source.read(record)
        if decoded:
            image = decode_stored(example["image"], source.reading)
            whole = (*(shape or ()), source.channels)
            example = {**example, "image": tf.ensure_shape(image, whole)}
        return example

    records = records.map(read, num_parallel_calls=_CORES).cache()
    return records, lambda example: example


def _rows_per_element(batch_size: int, part: Part, setting: str) -> int:
    """Rows of a replica, of which each pipeline has as many."""
    require(part.replicas % part.count == 0, "replicas",
            f"must be a multiple of the {part.count} input pipelines", part.replicas)  # fmt: skip
    require(batch_size % part.replicas == 0, setting,
            f"must be divisible by the {part.replicas} parts it is divided into",
            batch_size)  # fmt: skip
    return batch_size // part.replicas


def _can_be_divided(source: Source, split: str) -> bool:
    """Whether the parts of a split expression are parts of its images.

    Sources that leave out images or labels of one split expression know that expression only.
    """
    while isinstance(source, WrappedSource):
        if source.changes(split):
            return False
        source = source.base
    return True


@dataclasses.dataclass(frozen=True)
class _Share:
    """What an input pipeline delivers: part `index` of `count` of every batch of a split.

    Attributes:
        split: The split expression that is read.
        batch_size: Rows of its batches.
        index: Which part is delivered.
        count: Of how many.
        order: Sets its order apart from that of other pipelines.
    """

    split: str
    batch_size: int
    index: int
    count: int
    order: int = 0


def _share(source: Source, stream: Stream, part: Part) -> _Share:
    """A part of the batches of the whole split or, if `divided`, the batches of a part of it.

    As many steps fit into a part of the split: floor(floor(N / W) / (B / W)) = floor(N / B).
    """
    if stream.sharding != "split" or part.count == 1:
        return _Share(stream.split, stream.batch_size, part.index, part.count)
    require(_can_be_divided(source, stream.split), "data_sharding",
            "must be batch where images or labels are left out", "split")  # fmt: skip
    own = splits.equal_part(source.ranges(stream.split), part.index, part.count)
    return _Share(own, stream.batch_size // part.count, 0, 1, order=part.index)


def _ordered(
    source: Source,
    stream: Stream,
    share: _Share,
    steps: int,
    start_step: int,
    epochs: tf.data.Dataset | None,
) -> tuple[tf.data.Dataset, Callable[[Example], Example]]:
    """Pairs (epoch, record) from a step on, and the function that reads a record."""
    cache, seed = stream.cache or source.always_cached, stream.seed
    records, read = _records(source, share.split, cache)
    buffer = _shuffle_buffer(source, share.split, cache)
    start_epoch, done = divmod(start_step, steps)

    def order_of_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        shuffled = _shuffle(records, buffer, seed, epoch + share.order * _EPOCHS)
        skipped = tf.where(epoch == start_epoch, tf.constant(done * share.batch_size, tf.int64), 0)
        ordered = shuffled.take(steps * share.batch_size).skip(skipped)
        # Zipped, not mapped: a function call per record would cost more than reading it.
        return tf.data.Dataset.zip((tf.data.Dataset.from_tensors(epoch).repeat(), ordered))

    if epochs is None:
        epochs = tf.data.Dataset.range(start_epoch, tf.int64.max)
    return epochs.flat_map(order_of_epoch), read


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
    """Of every run of `batch_size` elements those of part `index`, as (position, element)."""
    numbered = ordered.enumerate()
    if count == 1:
        return numbered
    size = batch_size // count
    return numbered.filter(lambda position, _: position % batch_size // size == index)


def _zeros(spec: Any) -> Any:
    return tf.nest.map_structure(lambda part: tf.zeros(part.shape, part.dtype), spec)


def _finish(batches: tf.data.Dataset) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    # Without tuning AUTOTUNE is min(16, cores). In TensorFlow 2.21 the end of an iterator whose
    # data set is tuned can wait for the tuner's next turn, which is as far away as the iterator
    # is old, up to a minute (docs/performance.md).
    options.autotune.enabled = False
    # Parts of a batch are handed out here (`shard`), not by the distribution strategy.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)
