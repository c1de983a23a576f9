"""Images in a plain folder.

Layouts, recognised in this order:

* `train/`, `test/`, `validation/` (or `val/`, `valid/`), each as below; other folders without
  images may lie beside them.
* One sub-folder per class with the images directly in it: one split, `train`.
* Anything else (images side by side, or nested deeper, or a single sub-folder): one split,
  `train`, without labels.

Files and folders whose name starts with a dot are ignored, and so is every file that does not end
in one of `EXTENSIONS`, in any case.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import pathlib
import re
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

from simclr_tf.data import limits
from simclr_tf.data import splits as split_arithmetic
from simclr_tf.data.reading import FILES, Reading
from simclr_tf.errors import InputError, require
from simclr_tf.files import check_length

EXTENSIONS = (".jpg", ".jpeg", ".png", ".gif", ".bmp")
SPLIT_FOLDERS = {
    "train": "train",
    "test": "test",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
}


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
        renamed = re.sub(r"\bval(id)?\b", "validation", split)
        return split_arithmetic.ranges(renamed, split_arithmetic.split_infos(self.splits), setting)

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


def open_folder(path: str, setting: str, reading: Reading = FILES) -> FolderSource:
    """Looks for images below `path`.

    Args:
        path: The folder.
        setting: Name of the setting that holds the path, for errors.
        reading: How the files become pixels.

    Raises:
        InputError: No such folder, no image in it, a class in one split only, or what is named like
            an image but can't be one (see `limits.file_problem`).
    """
    root = pathlib.Path(path).expanduser()
    check_length(root, setting)
    require(root.is_dir(), setting, "must name an existing folder", path)
    files = sorted(_image_files(root), key=_order)
    if not files:
        raise InputError(setting, f"must name a folder with images ({', '.join(EXTENSIONS)})", path)
    content = _content(files, setting, path)
    return FolderSource(root, content, _class_names(content, setting), reading=reading)


def _order(parts: tuple[str, ...]) -> bytes:
    """Sorts by a hash of the path: a slice of a split or its first images hold all classes."""
    return hashlib.sha1(os.fsencode("/".join(parts)), usedforsecurity=False).digest()


def _image_files(root: pathlib.Path) -> Iterator[tuple[str, ...]]:
    """Relative paths as tuples of names; follows links, but never enters a folder twice."""
    entered = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = pathlib.Path(folder).relative_to(root).parts
        for name in files:
            if not name.startswith(".") and name.lower().endswith(EXTENSIONS):
                path = os.path.join(folder, name)
                problem = limits.file_problem(path)
                require(problem is None, path, problem or "", name)
                yield (*below, name)


def _content(files: list[tuple[str, ...]], setting: str, path: str) -> dict[str, _Split]:
    """Groups the files by split."""
    strays = [parts for parts in files if len(parts) == 1 or parts[0] not in SPLIT_FOLDERS]
    in_classes = any(len(parts) > 2 for parts in files if parts[0] in SPLIT_FOLDERS)
    # Merging strays with labelled splits would put test images into training, and drop all labels.
    require(not (strays and in_classes), setting, "must hold images in its split folders only",
            os.path.join(path, *min(strays, default=("",))))  # fmt: skip
    if strays:
        return {"train": _split(files, 0)}
    folders = sorted({parts[0] for parts in files}, key=list(SPLIT_FOLDERS).index)
    names = [SPLIT_FOLDERS[folder] for folder in folders]
    require(len(set(names)) == len(names), setting,
            f"must hold one validation folder only, not {', '.join(folders)}", path)  # fmt: skip
    return {
        SPLIT_FOLDERS[folder]: _split([parts for parts in files if parts[0] == folder], 1)
        for folder in folders
    }


def _split(files: list[tuple[str, ...]], depth: int) -> _Split:
    """A split whose folder lies `depth` levels below the root."""
    paths = tuple(os.sep.join(parts) for parts in files)
    labeled = all(len(parts) == depth + 2 for parts in files)
    classes = tuple(parts[depth] for parts in files) if labeled else None
    return _Split(paths, classes)


def _class_names(content: Mapping[str, _Split], setting: str) -> tuple[str, ...] | None:
    """The classes of the training split, sorted; a single class tells nothing: no labels."""
    reference = "train" if "train" in content else next(iter(content))
    first = content[reference]
    if first.classes is None or len(set(first.classes)) < 2:
        return None
    names = tuple(sorted(set(first.classes)))
    for split, described in content.items():
        unknown = sorted(set(described.classes or ()) - set(names))
        require(not unknown, setting,
                f"must hold the same classes in every split; {split} has classes that "
                f"{reference} lacks", unknown)  # fmt: skip
    return names
