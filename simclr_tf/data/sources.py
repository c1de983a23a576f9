"""Where images come from: one interface over TFDS, folders and the embedded sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import tensorflow as tf

from simclr_tf.config import DataConfig
from simclr_tf.errors import require

FOLDER = "folder"


class Source(Protocol):
    """A data set whose images are still encoded.

    Records and examples come in a fixed order. A record is what has to be held to shuffle, an
    example has the bytes of the image: for TFDS both are the same, for a folder the record is a
    path, so that shuffling it costs no memory.

    Attributes:
        name: Name of the data set, for messages.
        splits: Number of images per split.
        num_classes: None without labels.
        class_names: None without labels, or when the data set does not tell them.
        record_bytes: Mean size of a record, an estimate.
        always_cached: Small enough to be kept in memory, still encoded, without being asked.
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
    def record_bytes(self) -> int: ...  # noqa: D102

    @property
    def always_cached(self) -> bool: ...  # noqa: D102

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
        """Dicts with `id` (string), `label` (int64, -1 without label) and what `read` needs."""
        ...

    def read(self, record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The example of a record: `id`, `image` (encoded, string) and `label`; for graphs."""
        ...

    def examples(self, split: str, setting: str = "train_split") -> tf.data.Dataset:
        """Examples as `read` returns them.

        An id is unique and does not depend on the split expression that led to it.
        """
        ...

    def location(self, example_id: str) -> str:
        """Where a user finds the example: the path of the file, or the data set and the id."""
        ...


def open_source(config: DataConfig) -> Source:
    """Opens the data set of `config`; downloads or prepares it only where it must be.

    Raises:
        InputError: Unknown data set, absent folder, no images, no network when it is needed.
    """
    # Imported here: reading a folder needs no builder, and TFDS takes seconds to import.
    name, _, path = config.dataset.partition(":")
    if name == FOLDER:
        from simclr_tf.data import folder_source

        if not path:
            require(bool(config.data_dir), "data_dir",
                    "must name the folder with the images when dataset=folder",
                    config.data_dir)  # fmt: skip
        return folder_source.open_folder(
            path or str(config.data_dir), "dataset" if path else "data_dir"
        )
    from simclr_tf.data import tfds_source

    return tfds_source.open_tfds(config.dataset, config.data_dir)
