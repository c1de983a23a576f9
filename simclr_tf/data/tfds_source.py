"""Data sets of TensorFlow Datasets, the embedded ones among them."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import logging
import os
import pathlib
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator

import tensorflow as tf
import tensorflow_datasets as tfds

from simclr_tf.data import embedded, tfrecords
from simclr_tf.data import splits as split_arithmetic
from simclr_tf.errors import InputError, require

_UNKNOWN_RECORD_BYTES = 100_000  # where the data set does not tell its size: an ImageNet JPEG
_SMALL_BYTES = 2**28  # on disk: CIFAR has 60 to 200 MB


@dataclasses.dataclass(frozen=True)
class TfdsSource:
    """See `simclr_tf.data.sources.Source`. Ids are TFDS's own: name of the shard and position."""

    builder: tfds.core.DatasetBuilder
    name: str

    @property
    def splits(self) -> dict[str, int]:
        """Number of images per split."""
        return {name: info.num_examples for name, info in self._infos.items()}

    @property
    def num_classes(self) -> int | None:
        """None without a feature `label` that holds classes."""
        label = self._features.get("label")
        return int(label.num_classes) if isinstance(label, tfds.features.ClassLabel) else None

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """None without labels."""
        return None if self.num_classes is None else tuple(self._features["label"].names)

    @property
    def record_bytes(self) -> int:
        """Mean size of a record over all splits."""
        return self._bytes // max(sum(self.splits.values()), 1) or _UNKNOWN_RECORD_BYTES

    @property
    def always_cached(self) -> bool:
        """Whether the whole set is small."""
        return 0 < self._bytes <= _SMALL_BYTES

    def num_examples(self, split: str, setting: str = "train_split") -> int:
        """Number of images in a split expression."""
        return split_arithmetic.count(split_arithmetic.ranges(split, self._infos, setting))

    def records(self, split: str, setting: str = "train_split") -> tf.data.Dataset:
        """Examples: what TFDS stores of an image is read at once."""
        return self.examples(split, setting)

    def read(self, record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The record itself."""
        return record

    def examples(self, split: str, setting: str = "train_split") -> tf.data.Dataset:
        """Encoded images, in the order of the shards."""
        split_arithmetic.ranges(split, self._infos, setting)
        if tfrecords.is_readable(self.builder.info):
            return tfrecords.examples(self.builder.info, split, self.record_bytes)
        return self._examples_by_tfds(split)

    def location(self, example_id: str) -> str:
        """Data set and id."""
        return f"{self.name} ({example_id})"

    def _examples_by_tfds(self, split: str) -> tf.data.Dataset:
        labeled = self.num_classes is not None
        wanted = {name: True for name in ("image", "label") if name == "image" or labeled}
        with _without_deprecation_notes():
            dataset = self.builder.as_dataset(
                split=split,
                shuffle_files=False,
                decoders=tfds.decode.PartialDecoding(
                    wanted, decoders={"image": tfds.decode.SkipDecoding()}
                ),
                read_config=tfds.ReadConfig(add_tfds_id=True, try_autocache=False),
            )
        return dataset.map(_as_example)

    @property
    def _bytes(self) -> int:
        return sum(info.num_bytes or 0 for info in self._infos.values())

    @property
    def _infos(self) -> tfds.core.SplitDict:
        return self.builder.info.splits

    @property
    def _features(self) -> dict[str, tfds.features.FeatureConnector]:
        return dict(self.builder.info.features)


def open_tfds(dataset: str, data_dir: str | None) -> TfdsSource:
    """Opens a data set by its TFDS name, e.g. `cifar10` or `imagenet2012_subset/1pct`.

    What is prepared is only read. An embedded set is prepared below `data_dir`, or
    `embedded.default_data_dir()`; any other is downloaded by TFDS.

    Args:
        dataset: TFDS name with optional config and version.
        data_dir: TFDS folder; None for TFDS's default, which honours $TFDS_DATA_DIR.

    Raises:
        InputError: Unknown name, no images in it, or not prepared and not downloadable.
    """
    if dataset in embedded.BUILDERS:
        return TfdsSource(embedded.prepare(dataset, data_dir), dataset)
    builder = _builder(dataset, data_dir)
    if not builder.data_path.exists():
        _download(builder, dataset)
    features = dict(builder.info.features)
    require(isinstance(features.get("image"), tfds.features.Image), "dataset",
            "must have a feature `image` that holds an image, "
            f"{dataset} has {', '.join(features)}", dataset)  # fmt: skip
    return TfdsSource(builder, dataset)


def _builder(dataset: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
    if data_dir is not None and (pathlib.Path(data_dir) / "dataset_info.json").is_file():
        return tfds.builder_from_directory(data_dir)
    try:
        return tfds.builder(dataset, data_dir=data_dir, try_gcs=False)
    except tfds.core.DatasetNotFoundError as error:
        raise InputError(
            "dataset", f"must name a known data set{_similar(dataset)}", dataset
        ) from error
    except Exception as error:  # whatever the code of one of hundreds of data sets raises
        raise InputError(
            "dataset", f"must be a data set that TFDS can open ({_one_line(error)})", dataset
        ) from error


def _similar(dataset: str) -> str:
    """A clause that lists the nearest names."""
    known = [*embedded.BUILDERS, "folder", *tfds.list_builders()]
    close = difflib.get_close_matches(dataset.partition("/")[0], known, n=4, cutoff=0.6)
    return f" ({', '.join(close)}?)" if close else " (TFDS name, patterns, digits, folder)"


def _download(builder: tfds.core.DatasetBuilder, dataset: str) -> None:
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
        _check_network(builder)
        builder.download_and_prepare(download_config=config)
    except Exception as error:  # no network, manual download, full disk, missing module ...
        raise InputError(
            "dataset",
            f"is not prepared in {os.fspath(builder.data_path)} and could not be downloaded: name "
            f"the folder that holds it with data_dir, or prepare it there ({_one_line(error)})",
            dataset,
        ) from error


def _check_network(builder: tfds.core.DatasetBuilder) -> None:
    """Fails at once without a network, where TFDS would retry for minutes.

    Raises:
        OSError: The host that the data set is downloaded from has no address.
    """
    hosts = {urllib.parse.urlsplit(url).hostname for url in builder.url_infos or ()}
    hosts.discard(None)
    if not hosts or builder.MANUAL_DOWNLOAD_INSTRUCTIONS:  # TFDS explains what to do by hand
        return
    if urllib.request.getproxies():  # behind a proxy names need not resolve here
        return
    host = min(hosts, key=str)
    try:
        socket.getaddrinfo(host, 443)
    except OSError as error:
        raise OSError(f"no network, {host} cannot be reached") from error


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def _as_example(stored: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    label = stored.get("label", tf.constant(-1, tf.int64))
    return {"id": stored["tfds_id"], "image": stored["image"], "label": tf.cast(label, tf.int64)}


@contextlib.contextmanager
def _without_deprecation_notes() -> Iterator[None]:
    """TFDS itself uses what TensorFlow and TFDS deprecate; a user can do nothing about it."""
    loggers = [tf.get_logger(), logging.getLogger("absl")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
