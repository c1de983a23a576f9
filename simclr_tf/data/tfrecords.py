"""A fast reader of what TFDS has stored as TFRecord files.

`DatasetBuilder.as_dataset` spends several graph calls on every example. Here records are parsed in
blocks, which takes a quarter of the time: it matters where a whole split is read before the first
batch, to shuffle it. Ids and contents are those of `as_dataset` with `add_tfds_id`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable

import tensorflow as tf
import tensorflow_datasets as tfds

from simclr_tf.data import limits
from simclr_tf.data.retry import plain_reason

_BLOCK = 256  # records parsed together, fewer where they are large
_BLOCK_BYTES = 2**22
_FILES_AT_ONCE = 8
_UNKNOWN_CLASS = "a label is none of the classes"


def is_readable(info: tfds.core.DatasetInfo) -> bool:
    """Whether `examples` understands the files: TFRecord, plain image, class label or none.

    Lists of labels are left to TFDS, which knows how it stored them.
    """
    features = dict(info.features)
    label = features.get("label")
    if label is None and class_list(info) is not None:
        return False
    return (
        info.file_format == tfds.core.FileFormat.TFRECORD
        and type(features["image"]) is tfds.features.Image
        and (label is None or type(label) is tfds.features.ClassLabel)
    )


def class_list(info: tfds.core.DatasetInfo) -> tfds.features.ClassLabel | None:
    """The classes of a feature `labels` that lists the classes of an image, or None."""
    labels = dict(info.features).get("labels")
    listed = labels.feature if isinstance(labels, tfds.features.Sequence) else None
    return listed if isinstance(listed, tfds.features.ClassLabel) else None


def examples(info: tfds.core.DatasetInfo, split: str, record_bytes: int) -> tf.data.Dataset:
    """Reads a split expression.

    Args:
        info: For which `is_readable` holds.
        split: A valid split expression.
        record_bytes: Mean size of a record.

    Returns:
        Dicts with `id`, `image` (encoded; see `limits.replace_large_pngs`) and `label` (-1
        without), in a fixed order. Iterating fails where a file holds fewer records than were
        written to it, and at a label that is none of the classes.
    """
    parts = info.splits[split].file_instructions
    files = tf.data.Dataset.from_tensor_slices(
        {
            "path": [os.fspath(part.filename) for part in parts],
            "name": [os.path.basename(part.filename) for part in parts],
            "first": tf.constant([part.skip for part in parts], tf.int64),
            "take": tf.constant([part.take for part in parts], tf.int64),
        }
    )
    block = max(1, min(_BLOCK, _BLOCK_BYTES // record_bytes))
    classes = class_features(info)
    blocks = files.interleave(
        lambda part: _blocks(part, block, classes.get("label")),
        cycle_length=_FILES_AT_ONCE,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    known = tf.data.experimental.assert_cardinality(sum(part.take for part in parts))
    return blocks.unbatch().apply(known)


def class_features(info: tfds.core.DatasetInfo) -> dict[str, tfds.features.ClassLabel]:
    """The classes of every feature that holds one of them, or a list, by the feature's name."""
    found = {}
    for name, feature in dict(info.features).items():
        inner = feature.feature if isinstance(feature, tfds.features.Sequence) else feature
        if isinstance(inner, tfds.features.ClassLabel):
            found[name] = inner
    return found


def check_classes(labels: tf.Tensor, num_classes: int | None) -> tf.Operation:
    """Fails where one of the labels, int64 of any shape, is none of the classes; for graphs."""
    known = (labels >= 0) & (labels < (num_classes or tf.int64.max))
    return tf.raw_ops.Assert(condition=tf.reduce_all(known), data=[_UNKNOWN_CLASS])


def find_bad_record(info: tfds.core.DatasetInfo, split: str) -> tuple[str, int, str] | None:
    """Reads a split expression record by record, up to the first that is damaged.

    Args:
        info: Of a data set that TFDS has stored as TFRecord files.
        split: A valid split expression.

    Returns:
        Path of the file, position of the record in it and what is wrong, None if nothing is.
    """
    for part in info.splits[split].file_instructions:
        path, end = os.fspath(part.filename), part.skip + part.take
        iterator = iter(tf.data.TFRecordDataset(path).take(end).map(_parser(info)))
        for position in itertools.count():
            try:
                next(iterator)
            except StopIteration:
                if position < end:
                    return path, position, f"the file has {position} records instead of {end}"
                break
            except tf.errors.OpError as error:
                return path, position, plain_reason(error)
            except UnicodeDecodeError:  # in the error, which quotes the record
                return path, position, "it is no tf.train.Example"
    return None


def _parser(info: tfds.core.DatasetInfo) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """From a record to its labels, which are checked; fails where anything else is missing."""
    classes = class_features(info)
    readable = is_readable(info)

    def parse(record: tf.Tensor) -> dict[str, tf.Tensor]:
        if readable:
            stored = tf.io.parse_single_example(record, _features("label" in classes))
        else:
            undecoded = {"image": tfds.decode.SkipDecoding()}
            stored = info.features.deserialize_example(record, decoders=undecoded)
        found = {name: tf.cast(stored[name], tf.int64) for name in classes if name in stored}
        checks = [check_classes(part, classes[name].num_classes) for name, part in found.items()]
        with tf.control_dependencies(checks):
            return {"image": tf.identity(stored["image"])}

    return parse


def _blocks(
    part: dict[str, tf.Tensor], size: int, classes: tfds.features.ClassLabel | None
) -> tf.data.Dataset:
    """Parsed blocks of one file."""
    records = tf.data.TFRecordDataset(part["path"]).skip(part["first"]).take(part["take"])
    positions = tf.data.Dataset.range(part["first"], tf.int64.max)
    blocks = tf.data.Dataset.zip((records.batch(size), positions.batch(size)))

    def parse(serialized: tf.Tensor, position: tf.Tensor) -> dict[str, tf.Tensor]:
        position = position[: tf.shape(serialized)[0]]  # (n,)
        ids = tf.strings.join([part["name"], "__", tf.strings.as_string(position)])  # (n,)
        parsed = tf.io.parse_example(serialized, _features(classes is not None))
        images = limits.replace_large_pngs(parsed["image"])  # (n,)
        if classes is None:
            return {"id": ids, "image": images, "label": -tf.ones_like(position)}
        with tf.control_dependencies([check_classes(parsed["label"], classes.num_classes)]):
            return {"id": ids, "image": images, "label": tf.identity(parsed["label"])}

    return blocks.map(parse)


def _features(labeled: bool) -> dict[str, tf.io.FixedLenFeature]:
    features = {"image": tf.io.FixedLenFeature((), tf.string)}
    if labeled:
        features["label"] = tf.io.FixedLenFeature((), tf.int64)
    return features
