"""Images in a plain folder.

Layouts, recognised in this order (`simclr_tf.data.layout`):

* `train/`, `test/`, `validation/` or other names of these (`Training`, `TEST`, `val`), each as
  below; other folders without images may lie beside them.
* One sub-folder per class with the images directly in it: one split, `train`.
* Anything else (images side by side, or nested deeper, or a single sub-folder): one split,
  `train`, without labels.

Which files are images, `simclr_tf.data.folder_scan` says; what is left out is said in a line.
Files and folders whose name starts with a dot are ignored.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Collection, Iterator, Mapping

import numpy as np
import tensorflow as tf

from simclr_tf import console
from simclr_tf.data import folder_scan, layout, own_range
from simclr_tf.data import splits as split_arithmetic
from simclr_tf.data.reading import FILES, Reading
from simclr_tf.errors import InputError, require
from simclr_tf.files import check_length
from simclr_tf.text import printable_name

_MANY_SINGLE = 10  # classes


@dataclasses.dataclass(frozen=True)
class _Split:
    paths: tuple[str, ...]  # relative to the root, in the order of `_order`
    classes: tuple[str, ...] | None  # of each path


@dataclasses.dataclass(frozen=True)
class FolderSource:
    """See `simclr_tf.data.sources.Source`. The id of an image is its path below the folder."""

    root: pathlib.Path
    content: Mapping[str, _Split]
    class_names: tuple[str, ...] | None
    record_bytes: int = 200
    always_cached: bool = False
    image_shape: tuple[int, int] | None = None
    multi_label: bool = False
    channels: int = 3
    reading: Reading = FILES

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.root)

    @property
    def splits(self) -> dict[str, int]:
        """Number of images per split."""
        return {name: len(split.paths) for name, split in self.content.items()}

    @property
    def num_classes(self) -> int | None:
        """None without labels."""
        return None if self.class_names is None else len(self.class_names)

    def ranges(self, split: str, setting: str = "train_split") -> list[split_arithmetic.Range]:
        """The images of a split expression as (name of the split, first, end) of each term."""
        known = layout.with_known_splits(split)
        return split_arithmetic.ranges(known, split_arithmetic.split_infos(self.splits), setting)

    def num_examples(self, split: str, setting: str = "train_split") -> int:
        """Number of images in a split expression."""
        return split_arithmetic.count(self.ranges(split, setting))

    def records(self, split: str, setting: str = "train_split") -> tf.data.Dataset:
        """Ids and labels, in an order that depends on the paths but mixes the classes."""
        paths: list[bytes] = []
        labels: list[int] = []
        for name, first, end in self.ranges(split, setting):
            chosen = self.content[name]
            paths += [os.fsencode(path) for path in chosen.paths[first:end]]
            labels += self._labels(chosen)[first:end]
        return tf.data.Dataset.from_tensor_slices(
            {"id": np.array(paths, dtype=object), "label": np.array(labels, dtype=np.int64)}
        )

    def read(self, record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Reads the file of a record."""
        path = tf.strings.join([self._root_bytes, record["id"]], separator=os.sep)
        return {"id": record["id"], "image": tf.io.read_file(path), "label": record["label"]}

    def examples(self, split: str, setting: str = "train_split") -> tf.data.Dataset:
        """Encoded images, in the order of `records`."""
        return self.records(split, setting).map(self.read, num_parallel_calls=tf.data.AUTOTUNE)

    @functools.cached_property
    def _root_bytes(self) -> bytes:
        return os.fsencode(self.root)

    def location(self, example_id: str) -> str:
        """Path of the file."""
        return str(self.root / example_id)

    def files(self, split: str, setting: str = "train_split") -> list[str]:
        """Paths of the images."""
        return [
            self.location(path)
            for name, first, end in self.ranges(split, setting)
            for path in self.content[name].paths[first:end]
        ]

    def _labels(self, split: _Split) -> list[int]:
        if self.class_names is None or split.classes is None:
            return [-1] * len(split.paths)
        index = {name: i for i, name in enumerate(self.class_names)}
        return [index[name] for name in split.classes]


def open_folder(
    path: str, setting: str, reading: Reading = FILES, skip_bad: bool = False
) -> FolderSource:
    """Looks for images below `path`.

    Args:
        path: The folder.
        setting: Name of the setting that holds the path, for errors.
        reading: How the files become pixels.
        skip_bad: Whether what is named like an image but can't be one (see `limits.file_problem`)
            is left out, not refused.

    Raises:
        InputError: No such folder, no image in it, a class in one split only, or what is named like
            an image but can't be one.
    """
    root = pathlib.Path(path).expanduser()
    check_length(root, setting)
    require(root.is_dir(), setting, "must name an existing folder", path)
    found = folder_scan.scan(root, skip_bad)
    files = sorted(found.images, key=_order)
    left_out = found.summary(path)
    if not files:
        why = f" ({left_out})" if left_out else ""
        raise InputError(setting, f"must name a folder with images{why}", path)
    arranged = layout.arrange(files, setting, path)
    shown = _shown_names({name for split in arranged.values() for name in split.classes or ()})
    content = {
        name: _Split(
            tuple(os.sep.join(parts) for parts in split.files),
            None if split.classes is None else tuple(shown[one] for one in split.classes),
        )
        for name, split in arranged.items()
    }
    for line in _remarks(found, arranged, left_out, path):
        _say_once(path, line)
    if reading.value_range is None:
        used = own_range.own_range(own_range.sample_of(root, files))
        reading = dataclasses.replace(reading, value_range=used)
        if used is not None:
            _say_once(path, f"the images of 16 bits in {path} use fewer, by a sample: taken as "
                            f"--value_range={used[0]:.0f}:{used[1]:.0f}")  # fmt: skip
    reading = dataclasses.replace(reading, kinds=folder_scan.rare_kinds(files))
    return FolderSource(root, content, _class_names(content, setting), reading=reading)


def _shown_names(folders: Collection[str]) -> dict[str, str]:
    """Names of classes by their folders': as text, where these are not UTF-8.

    Tables, pages and figures can't show bytes. What would be called like another class keeps its
    bytes, as escapes.
    """
    shown = {name: os.fsencode(name).decode("utf-8", "replace") for name in folders}
    times = collections.Counter(shown.values())
    return {
        name: os.fsencode(name).decode("utf-8", "backslashreplace") if times[text] > 1 else text
        for name, text in shown.items()
    }


def _remarks(
    found: folder_scan.Scan,
    arranged: Mapping[str, layout.SplitFiles],
    left_out: str | None,
    path: str,
) -> Iterator[str]:
    """What a user should know of a folder, in lines."""
    if left_out is not None:
        yield left_out
    lost = layout.lost_classes(found.images, found.folders)
    if lost:
        yield f"folders of {path} without an image that is used: {', '.join(lost)}"
    for name, split in arranged.items():
        if _are_single(split.classes or ()):
            yield f"{name} has no labels: every folder of a class holds one image"
        if split.in_the_way is not None:
            way = printable_name(os.path.join(path, *split.in_the_way))
            yield f"{name} has no labels: {way} does not lie in a folder of a class"


@functools.cache
def _say_once(path: str, line: str) -> None:
    """Of a folder once: a run opens its folder several times, a notebook several folders."""
    console.say(f"note: {line}")


def _are_single(classes: Collection[str]) -> bool:
    """Whether folders hold one image each, and are too many to be a set that is only begun."""
    return len(set(classes)) == len(classes) >= _MANY_SINGLE


def _order(parts: tuple[str, ...]) -> bytes:
    """Sorts by a hash of the path: a slice of a split or its first images hold all classes."""
    return hashlib.sha1(os.fsencode("/".join(parts)), usedforsecurity=False).digest()


def _class_names(content: Mapping[str, _Split], setting: str) -> tuple[str, ...] | None:
    """The classes of the training split, sorted; None where they tell nothing.

    So it is with a single class, and where each of many has one image.
    """
    reference = "train" if "train" in content else next(iter(content))
    first = content[reference]
    if first.classes is None or len(set(first.classes)) < 2 or _are_single(first.classes):
        return None
    names = tuple(sorted(set(first.classes)))
    for split, described in content.items():
        unknown = sorted(set(described.classes or ()) - set(names))
        require(not unknown, setting,
                f"must hold the same classes in every split; {split} has classes that "
                f"{reference} lacks", unknown)  # fmt: skip
    return names
