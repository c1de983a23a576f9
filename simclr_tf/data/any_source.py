"""Whatever holds images as a data set: arrays, tf.data datasets, folders, names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from simclr_tf import capacity, console
from simclr_tf.data.array_source import (
    ArraySource,
    ValueRange,
    check_range,
    from_arrays,
    with_labels,
)
from simclr_tf.data.retry import plain_reason
from simclr_tf.data.sources import Source, open_source
from simclr_tf.data.trust import FOLDER
from simclr_tf.errors import InputError, require
from simclr_tf.settings.data import DataConfig
from simclr_tf.units import format_bytes

Datasets: TypeAlias = "tf.data.Dataset | Mapping[str, tf.data.Dataset]"

_TAKEN = (
    "must be an array (N, H, W, C), a list or a mapping of arrays, a tf.data.Dataset, a folder, "
    "the name of a data set, or a source"
)
_ELEMENTS = "must have elements that are an image, (image, label), or a dict with image and label"
_READS = ("records", "read", "ranges", "location")  # what tells a source


def as_source(
    images: Any,
    labels: Any = None,
    value_range: ValueRange | None = None,
    class_names: Sequence[str] | None = None,
    channels: int | None = None,
    data_dir: str | None = None,
    say: console.Say = console.say,
) -> Source:
    """Opens images of any kind.

    Example:
        `as_source("photos")`, `as_source("cifar10")`, `as_source(images, labels, channels=4)`

    Args:
        images: A source, which is taken as it is; the path of a folder; the name of a data set
            (`cifar10`, `digits`, `folder:PATH`), where no folder has this path; an array
            (N, H, W, C) or (N, H, W), a list of arrays of one shape, or a mapping of the names of
            splits to arrays, see `from_arrays`; a `tf.data.Dataset`, or a mapping to such, see
            `from_dataset`.
        labels: Of arrays, see `from_arrays`, and in the place of those of an `ArraySource`; other
            kinds have their own.
        value_range: Of folders, arrays and datasets; see `simclr_tf.data.pixels`.
        class_names: Of arrays and datasets.
        channels: Of arrays and datasets, see `from_arrays`.
        data_dir: Where the data set of a name lies or is prepared.
        say: Receives lines for the user.

    Raises:
        InputError: Something else, what does not go with it, or what these functions refuse.
    """
    named = isinstance(images, str | os.PathLike)
    opened = all(hasattr(type(images), name) for name in _READS)
    streams = _are_datasets(images)
    require(named or data_dir is None, "data_dir", "must be left out but for the name of a data "
            "set", data_dir)  # fmt: skip
    if opened or named:
        if isinstance(images, ArraySource) and labels is not None:
            images, labels, class_names = with_labels(images, labels, class_names), None, None
        kind = "a source" if opened else "a folder or the name of a data set"
        _refuse("labels", labels, f"{kind}, which has its own")
        _refuse("class_names", class_names, f"{kind}, which has its own")
        known = images.channels if opened else 3
        require(channels in (None, known), "channels", f"must be {known} with {kind}", channels)
    if opened:
        _refuse("value_range", value_range, "a source, which has its own")
        return images
    if named:
        return _open_named(os.fspath(images), value_range, data_dir, say)
    if streams:
        _refuse("labels", labels, "a tf.data.Dataset: its elements are (image, label)")
        return from_dataset(images, value_range=value_range, class_names=class_names,
                            channels=channels, say=say)  # fmt: skip
    arrays = list(images.values()) if isinstance(images, Mapping) else [images]
    taken = all(isinstance(one, Sequence) or hasattr(one, "__array__") for one in arrays)
    require(taken and not isinstance(images, bytes), "images", _TAKEN, type(images).__name__)
    return from_arrays(images, labels, value_range=value_range, class_names=class_names,
                       channels=channels)  # fmt: skip


def _refuse(name: str, value: Any, beside: str) -> None:
    require(value is None, name, f"must be left out with {beside}", type(value).__name__)


def _are_datasets(images: Any) -> bool:
    if isinstance(images, Mapping):
        return len(images) > 0 and all(map(_are_datasets, images.values()))
    return isinstance(images, tf.data.Dataset)


def _open_named(
    text: str | bytes, value_range: ValueRange | None, data_dir: str | None, say: console.Say
) -> Source:
    """A folder, or the data set of a name."""
    path = os.path.expanduser(os.fsdecode(text))
    name = os.fsdecode(text)
    if os.path.isdir(path):
        name = f"{FOLDER}:{path}"
    else:
        file = os.path.isfile(path)
        require(not file, "images", "must be a folder, not a file (load an array by numpy.load "
                "first)", name)  # fmt: skip
        written = name.startswith(("~", ".", os.sep)) or name.endswith(os.sep)
        require(not written, "images", "must be an existing folder", name)
    bounds = None
    if value_range is not None:
        check_range(value_range)
        bounds = ":".join(str(float(one)) for one in value_range)
    return open_source(DataConfig(dataset=name, data_dir=data_dir, value_range=bounds), say)


def from_dataset(
    dataset: Datasets,
    *,
    value_range: ValueRange | None = None,
    class_names: Sequence[str] | None = None,
    channels: int | None = None,
    say: console.Say = console.say,
) -> ArraySource:
    """A data set of what a `tf.data.Dataset` gives: it is read once, and copied into memory.

    The order of this one pass decides the ids, so that every epoch of a training and every
    evaluation see the same images under the same ids. Leave out `shuffle` (or give it a seed):
    training shuffles, and a run that is resumed needs the images in the same order.

    Example:
        `from_dataset(tf.data.Dataset.from_tensor_slices((images, labels)).map(resize))`

    Args:
        dataset: It has an end. Elements are an image (H, W, C), a pair (image, label), or a dict
            with `image` and, optionally, `label`, of which other entries are not read; or batches
            of these, (B, H, W, C). All images have one shape. What images and labels may be,
            `from_arrays` says; labels that are -1 throughout count as absent. One dataset is the
            split `train`; a mapping names its splits.
        value_range: See `from_arrays`; (0, 255) for what `tf.image.resize` makes of bytes.
        class_names: Of all classes, in order.
        channels: See `from_arrays`.
        say: Hears how many images are copied.

    Raises:
        InputError: No such elements, no end, no images, images of several shapes, more than half
            of this machine's memory, or what `from_arrays` refuses.
    """
    by_split = dataset if isinstance(dataset, Mapping) else {"train": dataset}
    require(len(by_split) > 0, "dataset", "must have at least one split", [])
    images: dict[str, np.ndarray] = {}
    labels: dict[str, np.ndarray] = {}
    held = 0
    for name, one in by_split.items():
        require(isinstance(one, tf.data.Dataset), "dataset", "must be a tf.data.Dataset, or a "
                "mapping of the names of splits to such", type(one).__name__)  # fmt: skip
        images[name], own = _copied(one, held)
        held += images[name].nbytes
        if own is not None:
            labels[name] = own
    count = sum(map(len, images.values()))
    say(f"the {count:,} images of the dataset, {format_bytes(held)}, are copied into memory")
    return from_arrays(images, labels or None, value_range=value_range, class_names=class_names,
                       channels=channels)  # fmt: skip


def _copied(dataset: tf.data.Dataset, held: int) -> tuple[np.ndarray, np.ndarray | None]:
    """All images (N, H, W, C) and labels, (N,) or (N, C), beside so many bytes that are held."""
    require(dataset.cardinality() != tf.data.INFINITE_CARDINALITY, "dataset",
            "must have an end: leave out repeat(), or use take(n)", "an endless one")  # fmt: skip
    parts = dataset.map(_image_and_label(dataset.element_spec))
    capacity.check_copies(held + _least_bytes(parts), "dataset", "its images")
    images: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for image, *label in _elements(parts):
        batched = image.ndim == 4
        rows = image if batched else image[None]
        require(rows.ndim == 4, "dataset", "must have images (H, W, C), or batches of these",
                image.shape)  # fmt: skip
        first = (images or [rows])[0]
        require(rows.shape[1:] == first.shape[1:], "dataset", "must have images of one shape: "
                "resize them in its map(), e.g. by tf.image.resize",
                (first.shape[1:], rows.shape[1:]))  # fmt: skip
        images.append(rows)
        labels += [np.asarray(one) if batched else np.asarray(one)[None] for one in label]
        held += rows.nbytes
        capacity.check_copies(held, "dataset", "its images so far")
    require(sum(map(len, images)) > 0, "dataset", "must have at least one image", 0)
    shapes = {one.shape[1:] for one in labels}
    require(len(shapes) <= 1, "dataset", "must have labels of one shape", sorted(shapes))
    own = np.concatenate(labels) if labels else None
    if own is not None and own.dtype.kind == "i" and (own == -1).all():
        own = None
    return np.concatenate(images), own


def _elements(parts: tf.data.Dataset) -> Iterator[tuple[np.ndarray, ...]]:
    try:
        yield from parts.as_numpy_iterator()
    except tf.errors.OpError as error:
        raise InputError("dataset", "must be readable to its end", plain_reason(error)) from error


def _image_and_label(spec: Any) -> Any:
    """From elements of this kind to (image,) or (image, label)."""
    keys: list[Any]
    if isinstance(spec, Mapping) and "image" in spec:
        keys = ["image", "label"] if "label" in spec else ["image"]
    elif isinstance(spec, tuple) and len(spec) in (1, 2):
        keys = list(range(len(spec)))
    else:
        keys = []
    chosen = [spec] if isinstance(spec, tf.TensorSpec) else [spec[key] for key in keys]
    fits = bool(chosen) and all(isinstance(one, tf.TensorSpec) for one in chosen)
    require(fits, "dataset", _ELEMENTS, spec)
    decode = "use tf.io.decode_image(image, expand_animations=False) in its map()"
    require(chosen[0].dtype != tf.string, "dataset", f"must have decoded images: {decode}",
            "strings")  # fmt: skip
    if not keys:
        return lambda image: (image,)
    if isinstance(spec, Mapping):
        return lambda element: tuple(element[key] for key in keys)
    return lambda *element: element


def _least_bytes(parts: tf.data.Dataset) -> int:
    """What all images take, 0 where the dataset does not tell their number or their shape."""
    count, spec = int(parts.cardinality()), parts.element_spec[0]
    if count < 0 or not spec.shape.is_fully_defined():
        return 0
    return count * spec.shape.num_elements() * spec.dtype.size
