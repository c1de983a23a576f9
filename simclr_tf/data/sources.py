"""Where images come from: one interface over TFDS, folders and the embedded sets."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import tensorflow as tf

from simclr_tf import console
from simclr_tf.console import Say
from simclr_tf.data.reading import Reading
from simclr_tf.data.trust import FOLDER
from simclr_tf.errors import require
from simclr_tf.files import check_local, check_reachable
from simclr_tf.settings.data import DataConfig, parse_range

if TYPE_CHECKING:
    from simclr_tf.data.searches import Searches


class Source(Protocol):
    """A data set whose images are still encoded, or pixels in memory.

    Records and examples come in a fixed order. A record is what has to be held to shuffle, an
    example has the bytes of the image: for TFDS both are the same, for a folder the record is a
    path, so that shuffling it costs no memory.

    Attributes:
        name: Name of the data set, for messages.
        splits: Number of images per split.
        num_classes: None without labels.
        class_names: None without labels, or when the data set does not tell them.
        multi_label: Whether an image may be of several classes; labels are vectors then.
        record_bytes: Mean size of a record, an estimate.
        always_cached: Small enough to be kept in memory, still encoded, without being asked.
        image_shape: Height and width that all images share, which TFDS stores; None where they
            differ or may be of any format.
        channels: Of the pixels that images become: 3, but for arrays that keep theirs.
        reading: How the files become pixels.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def splits(self) -> Mapping[str, int]: ...  # noqa: D102

    @property
    def num_classes(self) -> int | None: ...  # noqa: D102

    @property
    def class_names(self) -> tuple[str, ...] | None: ...  # noqa: D102

    @property
    def multi_label(self) -> bool: ...  # noqa: D102

    @property
    def record_bytes(self) -> int: ...  # noqa: D102

    @property
    def always_cached(self) -> bool: ...  # noqa: D102

    @property
    def image_shape(self) -> tuple[int, int] | None: ...  # noqa: D102

    @property
    def channels(self) -> int: ...  # noqa: D102

    @property
    def reading(self) -> Reading: ...  # noqa: D102

    def ranges(self, split: str, setting: str = "train_split") -> list[tuple[str, int, int]]:
        """The images of a split expression as (name of the split, first, end) of each term.

        Raises:
            InputError: No such split, or nothing in it.
        """
        ...

    def num_examples(self, split: str, setting: str = "train_split") -> int:
        """Number of images in a split expression.

        Args:
            split: A TFDS split expression, for folders too.
            setting: Name of the setting that holds it, for errors.

        Raises:
            InputError: No such split, or nothing in it.
        """
        ...

    def records(self, split: str, setting: str = "train_split") -> tf.data.Dataset:
        """Dicts with `id` (string), `label` and what `read` needs.

        The label is an int64 scalar, -1 without label. With `multi_label` it is int64 (C,): 1 for
        a class of the image, 0 for a class that is absent, -1 for one that is not to be counted.
        """
        ...

    def read(self, record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The example of a record: `id`, `image` and `label`; for graphs.

        The image is encoded (string), or pixels (H, W, channels): uint8 or float32 in [0, 1].
        """
        ...

    def examples(self, split: str, setting: str = "train_split") -> tf.data.Dataset:
        """Examples as `read` returns them.

        An id is unique and does not depend on the split expression that led to it.
        """
        ...

    def location(self, example_id: str) -> str:
        """Where a user finds the example: the path of the file, or the data set and the id."""
        ...

    def files(self, split: str, setting: str = "train_split") -> list[str]:
        """Paths of the files that a split expression is read from."""
        ...


@dataclasses.dataclass(frozen=True)
class WrappedSource:
    """A source that passes on another one; what differs is overridden in sub-classes."""

    base: Source

    def changes(self, split: str) -> bool:
        """Whether it shows other images or labels of a split expression than the wrapped one."""
        return True

    @property
    def name(self) -> str:
        """Of the wrapped source."""
        return self.base.name

    @property
    def splits(self) -> Mapping[str, int]:
        """Number of images per split."""
        return self.base.splits

    @property
    def num_classes(self) -> int | None:
        """Of the wrapped source."""
        return self.base.num_classes

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Of the wrapped source."""
        return self.base.class_names

    @property
    def multi_label(self) -> bool:
        """Of the wrapped source."""
        return self.base.multi_label

    @property
    def record_bytes(self) -> int:
        """Of the wrapped source."""
        return self.base.record_bytes

    @property
    def always_cached(self) -> bool:
        """Of the wrapped source."""
        return self.base.always_cached

    @property
    def image_shape(self) -> tuple[int, int] | None:
        """Of the wrapped source."""
        return self.base.image_shape

    @property
    def channels(self) -> int:
        """Of the wrapped source."""
        return self.base.channels

    @property
    def reading(self) -> Reading:
        """Of the wrapped source."""
        return self.base.reading

    def ranges(self, split: str, setting: str = "train_split") -> list[tuple[str, int, int]]:
        """The images of a split expression as (name of the split, first, end) of each term."""
        return self.base.ranges(split, setting)

    def num_examples(self, split: str, setting: str = "train_split") -> int:
        """Number of images in a split expression."""
        return self.base.num_examples(split, setting)

    def records(self, split: str, setting: str = "train_split") -> tf.data.Dataset:
        """See `Source.records`."""
        return self.base.records(split, setting)

    def read(self, record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """See `Source.read`."""
        return self.base.read(record)

    def examples(self, split: str, setting: str = "train_split") -> tf.data.Dataset:
        """Encoded images, in the order of `records`."""
        return self.records(split, setting).map(self.read, num_parallel_calls=tf.data.AUTOTUNE)

    def location(self, example_id: str) -> str:
        """Where a user finds the example."""
        return self.base.location(example_id)

    def files(self, split: str, setting: str = "train_split") -> list[str]:
        """Paths of the files that a split expression is read from."""
        return self.base.files(split, setting)


@dataclasses.dataclass(frozen=True)
class UnlabeledSource(WrappedSource):
    """A source without its labels, e.g. to pretrain on a multi-label data set."""

    def changes(self, split: str) -> bool:
        """No part of it has labels either."""
        return False

    @property
    def num_classes(self) -> int | None:
        """None."""
        return None

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """None."""
        return None

    @property
    def multi_label(self) -> bool:
        """False."""
        return False

    def records(self, split: str, setting: str = "train_split") -> tf.data.Dataset:
        """Records whose label is -1."""
        no_label = tf.constant(-1, tf.int64)
        return self.base.records(split, setting).map(lambda record: {**record, "label": no_label})


def folder_of(source: Source) -> str | None:
    """The folder whose images a source reads, None for another data set."""
    from simclr_tf.data.folder_source import FolderSource

    while isinstance(source, WrappedSource):
        source = source.base
    return str(source.root) if isinstance(source, FolderSource) else None


def lookup_table(ids: Sequence[str]) -> tf.lookup.StaticHashTable:
    """True for the ids; on the host, where input pipelines run."""
    with tf.device("CPU:0"):
        keys = tf.constant([os.fsencode(example_id) for example_id in ids])  # (K,)
        content = tf.lookup.KeyValueTensorInitializer(keys, tf.ones_like(keys, tf.bool))
        return tf.lookup.StaticHashTable(content, default_value=False)


def require_single_label(source: Source, setting: str = "dataset") -> None:
    """Refuses a multi-label data set where every image must be of one class.

    Args:
        source: The data set.
        setting: Name of the setting that names the data set, for errors.

    Raises:
        InputError: An image of the data set may be of several classes.
    """
    require(not source.multi_label, setting,
            "must have one label per image here, not several", source.name)  # fmt: skip


def divide_split(
    source: Source, split: str, fraction: float, setting: str = "train_split"
) -> tuple[str, str]:
    """`splits.divide` for a split expression of a source: what is kept, and what is held out.

    Raises:
        InputError: As in `splits.divide`.
    """
    from simclr_tf.data import splits

    return splits.divide_ranges(source.ranges(split, setting), fraction, split, setting)


def is_folder(config: DataConfig) -> bool:
    """Whether a folder of images is meant."""
    return config.dataset.partition(":")[0] == FOLDER


def open_source(
    config: DataConfig, say: Say = console.say, searches: Searches | None = None
) -> Source:
    """Opens the data set of `config`; downloads or prepares it only where it must be.

    A `data_dir` that is given has to exist: a mistyped one would be made, and filled. With
    `skip_bad_images` what can't be decoded is left out, once it is asked for.

    Example:
        >>> source = simclr_tf.open_source(simclr_tf.DataConfig(dataset="patterns"))
        >>> source.splits
        {'train': 8000, 'test': 2000}

    Args:
        config: The data set.
        say: Hears what is left out.
        searches: Where what was found to be undecodable is kept; None to search anew.

    Raises:
        InputError: Unknown data set, absent folder, no images, no network when it is needed.
    """
    whole = _open_whole(config)
    if not config.skip_bad_images:
        return whole
    from simclr_tf.data import excluding  # it is a wrapper of this module's

    return excluding.ExcludingSource(whole, say, searches)


def _open_whole(config: DataConfig) -> Source:
    # Imported here: reading a folder needs no builder, and TFDS takes seconds to import.
    name, _, path = config.dataset.partition(":")
    value_range = parse_range(config.value_range)
    if name == FOLDER:
        from simclr_tf.data import folder_source

        if not path:
            require(bool(config.data_dir), "data_dir",
                    "must name the folder with the images when dataset=folder",
                    config.data_dir)  # fmt: skip
        setting = "dataset" if path else "data_dir"
        check_local(path or str(config.data_dir), setting)
        reading = Reading(value_range, antialias=config.antialias != "off")
        return folder_source.open_folder(
            path or str(config.data_dir), setting, reading, config.skip_bad_images
        )
    if config.data_dir is not None:
        check_reachable(config.data_dir, "data_dir")
        exists = tf.io.gfile.isdir(os.path.expanduser(config.data_dir))
        require(exists, "data_dir", "must be an existing folder (make it first to prepare data "
                "sets in it)", config.data_dir)  # fmt: skip
    from simclr_tf.data import tfds_source

    reading = Reading(value_range, as_stored=True, antialias=config.antialias == "on")
    return tfds_source.open_tfds(config.dataset, config.data_dir, reading)
