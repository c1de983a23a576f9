"""Images in memory: arrays as a data set like any other."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf.data import pixels
from simclr_tf.data import splits as split_arithmetic
from simclr_tf.data.reading import FILES, Reading
from simclr_tf.errors import InputError, require

Arrays = Any  # an array, or a mapping of the names of splits to arrays
_CHANNELS = (1, 2, 3, 4)  # gray, gray with alpha, RGB, RGBA


@dataclasses.dataclass(frozen=True)
class _Split:
    images: np.ndarray  # uint8 (N, H, W, 3)
    labels: np.ndarray  # int64 (N,), -1 without; or (N, C) with several classes
    order: np.ndarray  # int64 (N,): the position of each record's image


@dataclasses.dataclass(frozen=True)
class ArraySource:
    """See `simclr_tf.data.sources.Source`, and `from_arrays`, which makes it.

    The id of an image is its split and its position there: `train/17`.
    """

    content: Mapping[str, _Split]
    class_names: tuple[str, ...] | None
    num_classes: int | None
    multi_label: bool = False
    name: str = "arrays"
    record_bytes: int = 100
    always_cached: bool = False
    reading: Reading = FILES

    @property
    def splits(self) -> dict[str, int]:
        """Number of images per split."""
        return {name: len(split.images) for name, split in self.content.items()}

    @property
    def image_shape(self) -> tuple[int, int] | None:
        """Height and width, where all splits have the same."""
        shapes = {split.images.shape[1:3] for split in self.content.values()}
        return shapes.pop() if len(shapes) == 1 else None

    @functools.cached_property
    def digest(self) -> str:
        """Of all pixels and labels."""
        found = hashlib.sha256()
        for name, split in self.content.items():
            found.update(f"{name} {split.images.shape} {split.labels.shape}".encode())
            found.update(np.ascontiguousarray(split.images).data)
            found.update(np.ascontiguousarray(split.labels).data)
        return found.hexdigest()

    def ranges(self, split: str, setting: str = "train_split") -> list[split_arithmetic.Range]:
        """The images of a split expression as (name of the split, first, end) of each term."""
        return split_arithmetic.ranges(split, split_arithmetic.split_infos(self.splits), setting)

    def num_examples(self, split: str, setting: str = "train_split") -> int:
        """Number of images in a split expression."""
        return split_arithmetic.count(self.ranges(split, setting))

    def records(self, split: str, setting: str = "train_split") -> tf.data.Dataset:
        """Ids, places and labels, in an order that mixes what lies side by side."""
        names = list(self.content)
        parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        for name, first, end in self.ranges(split, setting):
            chosen = self.content[name]
            at = chosen.order[first:end]
            ids = np.array([f"{name}/{position}".encode() for position in at], dtype=object)
            places = np.stack([np.full_like(at, names.index(name)), at], axis=1)
            parts.append((ids, places, chosen.labels[at]))
        ids, places, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
        return tf.data.Dataset.from_tensor_slices({"id": ids, "place": places, "label": labels})

    def read(self, record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Looks up the pixels of a record."""
        split, position = tf.unstack(record["place"])
        branches = [lambda held=held: tf.gather(held, position) for held in self._held]
        image = branches[0]() if len(branches) == 1 else tf.switch_case(
            tf.cast(split, tf.int32), branches
        )  # fmt: skip
        return {"id": record["id"], "image": image, "label": record["label"]}

    def examples(self, split: str, setting: str = "train_split") -> tf.data.Dataset:
        """Pixels, uint8 (H, W, 3), in the order of `records`."""
        return self.records(split, setting).map(self.read, num_parallel_calls=tf.data.AUTOTUNE)

    @functools.cached_property
    def _held(self) -> list[tf.Tensor]:
        with tf.device("CPU:0"), tf.init_scope():
            return [tf.constant(split.images) for split in self.content.values()]

    def location(self, example_id: str) -> str:
        """Split and position."""
        name, _, position = example_id.rpartition("/")
        return f"image {position} of {name}"

    def files(self, split: str, setting: str = "train_split") -> list[str]:
        """None: nothing is read."""
        return []


def from_arrays(
    images: Arrays,
    labels: Arrays = None,
    *,
    value_range: tuple[float, float] | None = None,
    class_names: Sequence[str] | None = None,
) -> ArraySource:
    """A data set of images in memory.

    Example:
        `simclr_tf.from_arrays({"train": x, "test": x_test}, {"train": y, "test": y_test})`

    Args:
        images: (N, H, W, C) or (N, H, W): gray, gray with alpha, RGB or RGBA. uint8, or uint16 in
            [0, 65535], or floating values in [0, 1], or anything with a `value_range`. One array is
            the split `train`; a mapping names its splits.
        labels: (N,) whole numbers of 0 or more, or (N, C) of 0 and 1 with several classes an
            image; of the same form as `images`. None: there are none.
        value_range: What becomes black and white; see `simclr_tf.data.pixels`.
        class_names: Of all classes, in order.

    Raises:
        InputError: Another shape or type, no images, values beyond the range of their type, or
            labels that don't fit.
    """
    by_split = images if isinstance(images, Mapping) else {"train": images}
    require(len(by_split) > 0, "images", "must have at least one split", [])
    if labels is None:
        of_split: Mapping[str, Any] = {}
    else:
        of_split = labels if isinstance(labels, Mapping) else {"train": labels}
        require(set(of_split) == set(by_split), "labels", "must have the splits of the images: "
                f"{', '.join(by_split)}", ", ".join(of_split))  # fmt: skip
    content = {}
    for name, array in by_split.items():
        found = _pixels(name, array, value_range)
        order = np.random.default_rng(0).permutation(len(found))
        content[name] = _Split(found, _labels(name, of_split.get(name), len(found)), order)
    widths = {split.labels.shape[1:] for split in content.values()}
    require(len(widths) == 1, "labels", "must have the same shape in every split", sorted(widths))
    several = bool(widths.pop())
    count = None if not of_split else _num_classes(content, several)
    if class_names is not None:
        require(count is not None and len(class_names) >= count, "class_names",
                f"must name all {count or 0} classes of the labels", len(class_names))  # fmt: skip
        require(not several or len(class_names) == count, "class_names",
                f"must have one name for each of the {count} columns of labels",
                len(class_names))  # fmt: skip
        count = len(class_names)
    names = None if class_names is None else tuple(class_names)
    return ArraySource(content, names, count, several)


def _pixels(name: str, array: Any, value_range: tuple[float, float] | None) -> np.ndarray:
    found = np.asarray(array)
    where = f"images[{name!r}]"
    fits = found.ndim == 3 or (found.ndim == 4 and found.shape[-1] in _CHANNELS)
    require(fits and found.size > 0, where,
            "must be of shape (N, H, W, C) with C of 1 to 4, or (N, H, W), and not empty",
            found.shape)  # fmt: skip
    require(found.dtype.kind in "uif", where, "must hold numbers", found.dtype.name)
    if found.dtype == np.uint8 and found.shape[-1] == 3 and found.ndim == 4:
        return found  # as it is, not copied
    try:
        made = [pixels.to_rgb(pixels.to_bytes(one, value_range)) for one in found]
    except ValueError as error:
        reason = str(error).replace("--value_range=LOW:HIGH", "value_range=(LOW, HIGH)")
        raise InputError(where, "must hold values whose range is known", reason) from error
    return np.stack(made)


def _labels(name: str, array: Any, count: int) -> np.ndarray:
    if array is None:
        return np.full(count, -1, np.int64)
    found = np.asarray(array)
    where = f"labels[{name!r}]"
    require(found.ndim in (1, 2) and len(found) == count, where,
            f"must be of shape ({count},) or ({count}, classes), as there are images",
            found.shape)  # fmt: skip
    require(found.dtype.kind in "ui", where, "must be whole numbers", found.dtype.name)
    if found.ndim == 1:
        require(found.min() >= 0, where, "must be 0 or more", found.min())
    else:
        require(set(np.unique(found)) <= {0, 1}, where, "must be 0 and 1 with several classes",
                np.unique(found)[:5])  # fmt: skip
    return found.astype(np.int64)


def _num_classes(content: Mapping[str, _Split], several: bool) -> int:
    if several:
        return next(iter(content.values())).labels.shape[1]
    return 1 + max(int(split.labels.max()) for split in content.values())
