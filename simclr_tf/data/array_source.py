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
from simclr_tf.errors import InputError, first_line, require

ARRAYS = "arrays"  # their name
Arrays = Any  # an array, or a mapping of the names of splits to arrays
ValueRange = tuple[float, float]
_Bounded = dict[str, tuple[np.ndarray, ValueRange | None]]  # by split, see `_Split.bounds`

_MOST_OF_RGB = 4  # channels: gray, gray with alpha, RGB, RGBA
_HASHED_AT_ONCE = 256  # images
_MOST_CLASSES = 2**20
_INTEGERS = {"uint8": (0.0, 255.0), "uint16": (0.0, 65_535.0)}
_FLOAT32_EXACT = ("uint8", "uint16", "int8", "int16", "float16", "float32")


@dataclasses.dataclass(frozen=True)
class _Split:
    images: np.ndarray  # (N, H, W, C)
    labels: np.ndarray  # int64 (N,), -1 without; or (N, C) with several classes
    order: np.ndarray  # int64 (N,): the position of each record's image
    bounds: ValueRange | None = (
        None  # what becomes 0 and 1; None: bytes, which are read as they are
    )


@dataclasses.dataclass(frozen=True)
class ArraySource:
    """See `simclr_tf.data.sources.Source`, and `from_arrays`, which makes it.

    The id of an image is its split and its position there: `train/17`. Images stay in memory in
    the type they came in; those of more than 8 bits become float32 when they are read.
    """

    content: Mapping[str, _Split]
    class_names: tuple[str, ...] | None
    num_classes: int | None
    multi_label: bool = False
    channels: int = 3
    name: str = ARRAYS
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
        """Of all pixels and labels, and of how the pixels are read."""
        found = hashlib.sha256()
        for name, split in self.content.items():
            found.update(f"{name} {split.images.shape} {split.labels.shape}".encode())
            if split.bounds is not None:
                found.update(f" {split.images.dtype.name} {split.bounds}".encode())
            for first in range(0, len(split.images), _HASHED_AT_ONCE):
                some = split.images[first : first + _HASHED_AT_ONCE]
                found.update(np.ascontiguousarray(some).data)
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
        bounds = [one.bounds for one in self.content.values()]
        branches = [
            lambda held=held, at=at: _to_unit_range(tf.gather(held, position), at)
            for held, at in zip(self._held, bounds, strict=True)
        ]
        image = branches[0]() if len(branches) == 1 else tf.switch_case(
            tf.cast(split, tf.int32), branches
        )  # fmt: skip
        image = tf.ensure_shape(image, (None, None, self.channels))
        return {"id": record["id"], "image": image, "label": record["label"]}

    def examples(self, split: str, setting: str = "train_split") -> tf.data.Dataset:
        """Pixels (H, W, C), uint8 or float32 in [0, 1], in the order of `records`."""
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
    value_range: ValueRange | None = None,
    class_names: Sequence[str] | None = None,
    channels: int | None = None,
) -> ArraySource:
    """A data set of images in memory.

    Images of up to four channels are read as RGB of 8 bits, by the rule of
    `simclr_tf.data.pixels`. Images of five and more, or of as many as `channels` says, keep their
    channels and their depth: uint8 stays, other types become float32 in [0, 1] image by image, so
    that large arrays are not held a second time in another type.

    Example:
        `simclr_tf.from_arrays({"train": x, "test": x_test}, {"train": y, "test": y_test})`

    Args:
        images: (N, H, W, C), or (N, H, W) of one channel. uint8, or uint16 in [0, 65535], or
            floating values in [0, 1], or anything with a `value_range`. One array is the split
            `train`; a mapping names its splits.
        labels: (N,) whole numbers of 0 or more, or (N, C) of 0 and 1 with several classes an
            image; of the same form as `images`. None: there are none.
        value_range: What becomes black and white; see `simclr_tf.data.pixels`. Where channels are
            kept, what becomes 0 and 1, for bytes too; values beyond it are refused.
        class_names: Of all classes, in order.
        channels: How many channels the images have, which are kept then; 3 reads gray, gray with
            alpha, RGB and RGBA as RGB. None is 3 for up to four channels.

    Raises:
        InputError: Another shape or type, no images, another number of channels, values beyond the
            range of their type, or labels that don't fit.
    """
    by_split = images if isinstance(images, Mapping) else {"train": images}
    require(len(by_split) > 0, "images", "must have at least one split", [])
    if value_range is not None:
        check_range(value_range)
    if labels is None:
        of_split: Mapping[str, Any] = {}
    else:
        of_split = labels if isinstance(labels, Mapping) else {"train": labels}
        require(set(of_split) == set(by_split), "labels", "must have the splits of the images: "
                f"{', '.join(by_split)}", ", ".join(of_split))  # fmt: skip
    arrays = {name: _array(name, array, channels) for name, array in by_split.items()}
    kept = _kept_channels(arrays, channels)
    shown = _in_rgb(arrays, value_range) if kept is None else _kept(arrays, value_range)
    content = {}
    for name, (found, bounds) in shown.items():
        order = np.random.default_rng(0).permutation(len(found))
        own = _labels(name, of_split.get(name), len(found))
        content[name] = _Split(found, own, order, bounds)
    widths = {split.labels.shape[1:] for split in content.values()}
    require(len(widths) == 1, "labels", "must have the same shape in every split", sorted(widths))
    several = bool(widths.pop())
    count = _num_classes(content, several) if of_split else None
    names, count = _named_classes(class_names, count, several)
    return ArraySource(content, names, count, several, kept or 3)


def with_labels(
    source: ArraySource, labels: Arrays, class_names: Sequence[str] | None = None
) -> ArraySource:
    """The same images with other labels.

    Args:
        source: The images.
        labels: See `from_arrays`; an array where there is one split.
        class_names: See `from_arrays`.

    Raises:
        InputError: Labels that don't fit.
    """
    of_split = labels if isinstance(labels, Mapping) else {"train": labels}
    require(set(of_split) == set(source.content), "labels", "must have the splits of the images: "
            f"{', '.join(source.content)}", ", ".join(of_split))  # fmt: skip
    content = {
        name: dataclasses.replace(split, labels=_labels(name, of_split[name], len(split.images)))
        for name, split in source.content.items()
    }
    several = any(split.labels.ndim > 1 for split in content.values())
    names, count = _named_classes(class_names, _num_classes(content, several), several)
    return dataclasses.replace(
        source, content=content, class_names=names, num_classes=count, multi_label=several
    )


def check_range(value_range: ValueRange) -> None:
    """Refuses what is no pair of finite numbers, the first below the second."""
    try:
        low, high = (float(bound) for bound in value_range)
    except (TypeError, ValueError):
        low = high = np.nan
    require(bool(np.isfinite(high - low)) and low < high, "value_range",
            "must be (LOW, HIGH), two finite numbers, the first below the second",
            value_range)  # fmt: skip


def _array(name: str, array: Any, channels: int | None) -> np.ndarray:
    """(N, H, W, C) or (N, H, W) numbers, in the machine's byte order."""
    where = f"images[{name!r}]"
    try:
        found = np.asarray(array)
    except ValueError as error:
        raise InputError(where, "must be an array, or arrays of one shape (resize them first)",
                         first_line(error)) from error  # fmt: skip
    require(found.ndim in (3, 4) and found.size > 0, where,
            "must be of shape (N, H, W, C) or (N, H, W), and not empty",
            found.shape)  # fmt: skip
    require(found.dtype.kind in "uif", where, "must hold numbers", found.dtype.name)
    one = channels != 1 and found.ndim == 3 and found.shape[-1] in (3, 4)
    require(not one, where, "must be of shape (N, H, W, C): one image alone is images[None], and "
            "channels=1 says that they are gray", found.shape)  # fmt: skip
    native = found.dtype.newbyteorder("=")
    return found.astype(np.float64 if native.itemsize > 8 else native, copy=False)


def _kept_channels(arrays: Mapping[str, np.ndarray], channels: int | None) -> int | None:
    """How many channels the images keep; None where they are read as RGB."""
    counts = {name: one.shape[-1] if one.ndim == 4 else 1 for name, one in arrays.items()}
    known = channels is None or (isinstance(channels, int | np.integer) and channels >= 1)
    require(known, "channels", "must be a whole number of 1 or more, or None", channels)
    for name, count in counts.items():
        where, shape = f"images[{name!r}]", arrays[name].shape
        if channels is None:
            require(not _looks_transposed(shape), where, "must be of shape (N, H, W, C), not "
                    "(N, C, H, W): use np.moveaxis(images, 1, -1), or say "
                    f"channels={count}", shape)  # fmt: skip
            continue
        fits = count == channels or (channels == 3 and count <= _MOST_OF_RGB)
        hint = ", or use np.moveaxis(images, 1, -1)" if shape[1] == channels else ""
        require(fits, "channels", f"must be {count}, the last number of the shape {shape} of "
                f"{where}{hint}", channels)  # fmt: skip
    if channels == 3 or (channels is None and max(counts.values()) <= _MOST_OF_RGB):
        return None
    require(len(set(counts.values())) == 1, "images",
            "must have the same number of channels in every split", counts)  # fmt: skip
    return next(iter(counts.values()))


def _looks_transposed(shape: tuple[int, ...]) -> bool:
    """Whether the channels seem to come first: few of them, or before a square."""
    if len(shape) != 4 or shape[-1] <= _MOST_OF_RGB:
        return False
    return shape[1] <= _MOST_OF_RGB or shape[1] < shape[2] == shape[3]


def _to_rgb(name: str, array: np.ndarray, value_range: ValueRange | None) -> np.ndarray:
    """uint8 (N, H, W, 3)."""
    if array.dtype == np.uint8 and array.ndim == 4 and array.shape[-1] == 3:
        return array  # as it is, not copied
    made = np.empty((*array.shape[:3], 3), np.uint8)
    try:
        for at, one in enumerate(array):
            finite = one.dtype.kind != "f" or bool(np.isfinite(one).all())
            require(finite, f"images[{name!r}]", "must be finite", f"NaN or infinity in image {at}")
            made[at] = pixels.to_rgb(pixels.to_bytes(one, value_range))
    except ValueError as error:
        reason = str(error).replace("--value_range=LOW:HIGH", "value_range=(LOW, HIGH)")
        raise InputError(f"images[{name!r}]", "must hold values whose range is known",
                         reason) from error  # fmt: skip
    return made


def _in_rgb(arrays: Mapping[str, np.ndarray], value_range: ValueRange | None) -> _Bounded:
    """The arrays, uint8 (N, H, W, 3), without bounds."""
    return {name: (_to_rgb(name, one, value_range), None) for name, one in arrays.items()}


def _kept(arrays: Mapping[str, np.ndarray], value_range: ValueRange | None) -> _Bounded:
    """The arrays, (N, H, W, C) of their own type, and what becomes 0 and 1 in them."""
    as_they_are = value_range is None and all(one.dtype == np.uint8 for one in arrays.values())
    found: _Bounded = {}
    for name, array in arrays.items():
        bounds = None if as_they_are else _bounds(name, array, value_range)
        found[name] = (array if array.ndim == 4 else array[..., None], bounds)
    return found


def _bounds(name: str, array: np.ndarray, value_range: ValueRange | None) -> ValueRange:
    """What becomes 0 and 1; no value lies beyond."""
    where = f"images[{name!r}]"
    own = (0.0, 1.0) if array.dtype.kind == "f" else _INTEGERS.get(array.dtype.name)
    low, high = value_range or own or (np.nan, np.nan)
    require(np.isfinite(low), where, "must hold values whose range is known: give "
            "value_range=(LOW, HIGH)", array.dtype.name)  # fmt: skip
    least, most = array.min(), array.max()  # NaN where there is one
    require(bool(np.isfinite(least) and np.isfinite(most)), where,
            "must hold finite numbers", "NaN or infinity")  # fmt: skip
    of_what = (
        "value_range" if value_range else "range of its type, or value_range=(LOW, HIGH) given"
    )
    require(bool(low <= least and most <= high), where,
            f"must lie in [{low:g}, {high:g}], the {of_what}",
            f"values in [{least:g}, {most:g}]")  # fmt: skip
    return float(low), float(high)


def _to_unit_range(image: tf.Tensor, bounds: ValueRange | None) -> tf.Tensor:
    """float32 in [0, 1]; bytes without bounds as they are."""
    if bounds is None:
        return image
    exact = image.dtype.name in _FLOAT32_EXACT and all(np.float32(one) == one for one in bounds)
    dtype = np.float32 if exact else np.float64
    low, high = (dtype(bound) for bound in bounds)
    return tf.cast((tf.cast(image, dtype) - low) / (high - low), tf.float32)


def _labels(name: str, array: Any, count: int) -> np.ndarray:
    if array is None:
        return np.full(count, -1, np.int64)
    found = np.asarray(array)
    where = f"labels[{name!r}]"
    require(found.ndim in (1, 2) and len(found) == count, where,
            f"must be of shape ({count},) or ({count}, classes), as there are images",
            found.shape)  # fmt: skip
    require(found.dtype.kind in "ui", where, "must be whole numbers", found.dtype.name)
    require(found.shape[1:] != (1,) or found.max() <= 1, where,
            f"must be of shape ({count},): use labels[:, 0]", found.shape)  # fmt: skip
    if found.ndim == 1:
        require(found.min() >= 0, where, "must be 0 or more", int(found.min()))
        require(found.max() < _MOST_CLASSES, where, f"must be below {_MOST_CLASSES:,}: the numbers "
                "of classes, from 0", int(found.max()))  # fmt: skip
    else:
        require(set(np.unique(found)) <= {0, 1}, where, "must be 0 and 1 with several classes",
                np.unique(found)[:5])  # fmt: skip
    return found.astype(np.int64)


def _num_classes(content: Mapping[str, _Split], several: bool) -> int:
    if several:
        return next(iter(content.values())).labels.shape[1]
    return 1 + max(int(split.labels.max()) for split in content.values())


def _named_classes(
    class_names: Sequence[str] | None, count: int | None, several: bool
) -> tuple[tuple[str, ...] | None, int | None]:
    """Names, and the number of classes, of which the last may have no image."""
    if class_names is None:
        return None, count
    require(count is not None and len(class_names) >= count, "class_names",
            f"must name all {count or 0} classes of the labels", len(class_names))  # fmt: skip
    require(not several or len(class_names) == count, "class_names",
            f"must have one name for each of the {count} columns of labels",
            len(class_names))  # fmt: skip
    return tuple(class_names), len(class_names)
