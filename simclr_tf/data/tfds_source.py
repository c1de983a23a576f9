"""Data sets of TensorFlow Datasets, the embedded ones among them."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import logging
import os
import re
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core.naming import camelcase_to_snakecase

from simclr_tf.data import embedded, limits, tfrecords, trust
from simclr_tf.data import splits as split_arithmetic
from simclr_tf.data.reading import STORED, Reading
from simclr_tf.errors import InputError, require
from simclr_tf.files import is_remote

_UNKNOWN_RECORD_BYTES = 100_000  # where the data set does not tell its size: an ImageNet JPEG
# What TFDS calls the name of an image's file: imagenet2012, oxford_iiit_pet, voc ...
_FILE_NAMES = ("file_name", "filename", "image/file_name", "image/filename")
_DTYPES, _CHANNELS = ("uint8", "uint16", "float32"), (1, 3, 4)
_SMALL_BYTES = 2**28  # on disk: CIFAR has 60 to 200 MB


@dataclasses.dataclass(frozen=True)
class TfdsSource:
    """See `simclr_tf.data.sources.Source`. Ids are TFDS's own: name of the shard and position.

    Labels come from a feature `label`. Where there is none but a list `labels` instead, the data
    set is multi-label. With a second list `labels_no_difficult` (VOC 2007, whose rules leave
    objects that are hard to recognise out of account) a class that is in the first list only is
    not to be counted for that image, neither as present nor as absent.
    """

    builder: tfds.core.DatasetBuilder
    name: str
    chosen: Reading = STORED
    channels: int = 3

    @property
    def splits(self) -> dict[str, int]:
        """Number of images per split."""
        return {name: info.num_examples for name, info in self._infos.items()}

    @property
    def num_classes(self) -> int | None:
        """None without a feature `label` or `labels` that holds classes."""
        return None if self._classes is None else int(self._classes.num_classes)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """None without labels."""
        return None if self._classes is None else tuple(self._classes.names)

    @property
    def multi_label(self) -> bool:
        """Whether images have a list of classes, and no single one."""
        return "label" not in self._features and tfrecords.class_list(self.builder.info) is not None

    @property
    def record_bytes(self) -> int:
        """Mean size of a record over all splits."""
        return self._bytes // max(sum(self.splits.values()), 1) or _UNKNOWN_RECORD_BYTES

    @property
    def image_shape(self) -> tuple[int, int] | None:
        """What the builder declares."""
        height, width = self._features["image"].shape[:2]
        return None if height is None or width is None else (height, width)

    @property
    def reading(self) -> Reading:
        """As chosen, with the type and the channels that the feature `image` declares."""
        feature = self._features["image"]
        dtype, channels = np.dtype(feature.np_dtype).name, feature.shape[-1]
        return dataclasses.replace(self.chosen, dtype=dtype, channels=channels)

    @property
    def always_cached(self) -> bool:
        """Whether the whole set is small."""
        return 0 < self._bytes <= _SMALL_BYTES

    def ranges(self, split: str, setting: str = "train_split") -> list[split_arithmetic.Range]:
        """The images of a split expression as (name of the split, first, end) of each term."""
        return split_arithmetic.ranges(split, self._infos, setting)

    def num_examples(self, split: str, setting: str = "train_split") -> int:
        """Number of images in a split expression."""
        return split_arithmetic.count(self.ranges(split, setting))

    def records(self, split: str, setting: str = "train_split") -> tf.data.Dataset:
        """Examples: what TFDS stores of an image is read at once."""
        return self.examples(split, setting)

    def read(self, record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The record itself."""
        return record

    def examples(self, split: str, setting: str = "train_split") -> tf.data.Dataset:
        """Encoded images, in the order of the shards."""
        self.ranges(split, setting)
        if tfrecords.is_readable(self.builder.info):
            return tfrecords.examples(self.builder.info, split, self.record_bytes)
        return self._examples_by_tfds(split)

    def file_names(self, split: str) -> dict[str, str] | None:
        """The names of the files that the images came from by id; None where TFDS keeps none."""
        feature = next((name for name in _FILE_NAMES if name in self._features), None)
        if feature is None:
            return None
        with _without_deprecation_notes():
            dataset = self.builder.as_dataset(
                split=split,
                shuffle_files=False,
                decoders=tfds.decode.PartialDecoding({feature: True}),
                read_config=tfds.ReadConfig(add_tfds_id=True, try_autocache=False),
            )
        found = dataset.as_numpy_iterator()
        return {os.fsdecode(one["tfds_id"]): os.fsdecode(one[feature]) for one in found}

    def location(self, example_id: str) -> str:
        """Data set and id."""
        return f"{self.name} ({example_id})"

    def files(self, split: str, setting: str = "train_split") -> list[str]:
        """Paths of the shards."""
        self.ranges(split, setting)
        return [os.fspath(part.filename) for part in self._infos[split].file_instructions]

    def _examples_by_tfds(self, split: str) -> tf.data.Dataset:
        names = ["image", *self._label_features]
        with _without_deprecation_notes():
            dataset = self.builder.as_dataset(
                split=split,
                shuffle_files=False,
                decoders=tfds.decode.PartialDecoding(
                    dict.fromkeys(names, True), decoders={"image": tfds.decode.SkipDecoding()}
                ),
                read_config=tfds.ReadConfig(add_tfds_id=True, try_autocache=False),
            )
        return dataset.map(self._as_example)

    def _as_example(self, stored: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        given = [tf.cast(stored[name], tf.int64) for name in self._label_features]
        checks = [tfrecords.check_classes(part, self.num_classes) for part in given]
        with tf.control_dependencies(checks):
            if self.multi_label:
                label = _multi_hot(given, self.num_classes)
            else:
                label = tf.identity(given[0]) if given else tf.constant(-1, tf.int64)
        image = limits.replace_large_pngs(stored["image"][None])[0]
        return {"id": stored["tfds_id"], "image": image, "label": label}

    @property
    def _label_features(self) -> list[str]:
        """Names of the features that the label is made of."""
        if not self.multi_label:
            return [] if self.num_classes is None else ["label"]
        return [name for name in ("labels", "labels_no_difficult") if name in self._features]

    @property
    def _classes(self) -> tfds.features.ClassLabel | None:
        label = self._features.get("label")
        if label is None:
            return tfrecords.class_list(self.builder.info)
        return label if isinstance(label, tfds.features.ClassLabel) else None

    @property
    def _bytes(self) -> int:
        return sum(info.num_bytes or 0 for info in self._infos.values())

    @property
    def _infos(self) -> tfds.core.SplitDict:
        return self.builder.info.splits

    @property
    def _features(self) -> dict[str, tfds.features.FeatureConnector]:
        return dict(self.builder.info.features)


def open_tfds(dataset: str, data_dir: str | None, reading: Reading = STORED) -> TfdsSource:
    """Opens a data set by its TFDS name, e.g. `cifar10` or `imagenet2012_subset/1pct`.

    What is prepared is only read. An embedded set is prepared below `data_dir`, or
    `embedded.default_data_dir()`; any other is downloaded by TFDS.

    Args:
        dataset: TFDS name with optional config and version.
        data_dir: TFDS folder; None for TFDS's default, which honours $TFDS_DATA_DIR.
        reading: How images become pixels, but for what the data set itself declares.

    Raises:
        InputError: Unknown name, no images in it, a damaged description, or not prepared and not
            downloadable.
    """
    path = dataset.startswith((os.sep, "."))
    images = path and not os.path.isfile(os.path.join(dataset, "dataset_info.json"))
    require(not (images and os.path.isdir(dataset)), "dataset", "must be the name of a data set; a "
            f"folder of images is folder:{dataset}", dataset)  # fmt: skip
    builder = _builder(dataset, data_dir)
    if not builder.data_path.exists():
        _download(builder, dataset)
    with _refusing_damage(dataset):
        features = dict(builder.info.features)
        lengths = {name: info.shard_lengths for name, info in dict(builder.info.splits).items()}
    sound = lengths and all(name and min(found, default=0) >= 0 for name, found in lengths.items())
    require(bool(sound), "dataset", f"must have splits with the numbers of their images in "
            f"{os.fspath(builder.data_path / 'dataset_info.json')}", lengths)  # fmt: skip
    require(isinstance(features.get("image"), tfds.features.Image), "dataset",
            "must have a feature `image` that holds an image, "
            f"{dataset} has {', '.join(features)}", dataset)  # fmt: skip
    feature = features["image"]
    known = np.dtype(feature.np_dtype).name in _DTYPES and feature.shape[-1] in _CHANNELS
    require(known, "dataset", "must have images of 1, 3 or 4 channels of uint8, uint16 or float32",
            f"{dataset}: {feature.np_dtype}, {feature.shape}")  # fmt: skip
    return TfdsSource(builder, dataset, reading)


def is_prepared(dataset: str, data_dir: str | None) -> bool:
    """Whether `open_tfds` would find a data set without downloading it; see there."""
    if dataset in embedded.BUILDERS:
        return True  # drawn, or shipped with scikit-learn
    try:
        return bool(_builder(dataset, data_dir).data_path.exists())
    except InputError:
        return False


def prepared_dir(dataset: str, data_dir: str | None) -> epath.Path | None:
    """Where a data set lies prepared; looks at the disk only and never downloads.

    Args:
        dataset: TFDS name, with its config if it has several; without version.
        data_dir: TFDS folder; None for TFDS's default, which honours $TFDS_DATA_DIR.

    Returns:
        The folder of its newest version, which `open_tfds` takes as `data_dir`, or None.
    """
    root = epath.Path(data_dir or tfds.core.constants.DATA_DIR).expanduser() / dataset
    if not root.is_dir():
        return None
    versions = [
        tfds.core.Version(folder.name)
        for folder in root.iterdir()
        if tfds.core.Version.is_valid(folder.name) and (folder / "dataset_info.json").exists()
    ]
    return root / str(max(versions)) if versions else None


def _builder(dataset: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
    is_embedded = dataset in embedded.BUILDERS
    default = embedded.default_data_dir() if is_embedded else tfds.core.constants.DATA_DIR
    root = epath.Path(data_dir or default).expanduser()
    with _refusing_damage(dataset), trust.only_features_of_tfds():
        is_version = data_dir is not None and (root / "dataset_info.json").exists()
        if not is_remote(root):
            name = re.split("[/:]", dataset)[0]
            trust.check_texts(root if is_version else root / camelcase_to_snakecase(name))
        if is_embedded:
            return embedded.prepare(dataset, data_dir)
        if is_version:
            builder = tfds.builder_from_directory(data_dir)
        else:
            builder = tfds.builder(dataset, data_dir=data_dir, try_gcs=False)
        builder.info  # noqa: B018  # reads the descriptions, within the block
        return builder


@contextlib.contextmanager
def _refusing_damage(dataset: str) -> Iterator[None]:
    """Turns whatever TFDS, or the code of one of hundreds of data sets, raises into one line."""
    try:
        yield
    except InputError:
        raise
    except tfds.core.DatasetNotFoundError as error:
        raise InputError(
            "dataset", f"must name a known data set{_similar(dataset)}", dataset
        ) from error
    except Exception as error:
        raise InputError(
            "dataset", "must be a data set that TFDS can open, with a whole dataset_info.json and "
            f"features.json where it is prepared ({_one_line(error)})", dataset,
        ) from error  # fmt: skip


def _similar(dataset: str) -> str:
    """A clause that lists the nearest names."""
    known = {*embedded.BUILDERS, "folder", *tfds.list_builders()}
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


def _multi_hot(lists: list[tf.Tensor], num_classes: int | None) -> tf.Tensor:
    """1 for the classes of the last list, -1 for those of the first alone, else 0; int64 (C,)."""
    hits = [
        tf.reduce_any(tf.one_hot(classes, num_classes, True, False, dtype=tf.bool), axis=0)
        for classes in lists
    ]  # (C,) each
    counted, present = tf.cast(hits[-1], tf.int64), tf.cast(hits[0], tf.int64)
    return tf.ensure_shape(2 * counted - present, (num_classes,))


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
