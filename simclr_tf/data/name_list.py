"""Subsets that are published as lists of image names, one file name a line.

The authors of the paper gave out their 1 % and 10 % of ImageNet so: `n04235860_14959.JPEG`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from simclr_tf.data.folder_scan import HEIC_SUFFIXES, SUFFIXES
from simclr_tf.data.folder_source import FolderSource
from simclr_tf.data.sources import Source, WrappedSource
from simclr_tf.errors import InputError, one_line, require

_MOST_BYTES = 2**28  # ImageNet's 1.3 million names take 30 MB
_FIRST_BYTES = 4096


def is_name_list(path: str) -> bool:
    """Whether the first line of a file names an image."""
    try:
        with open(path, "rb") as file:
            lines = file.read(_FIRST_BYTES).split(b"\n")
    except OSError:
        return False
    first = next((line.strip() for line in lines if line.strip()), b"")
    return first.lower().endswith(tuple(one.encode() for one in SUFFIXES | HEIC_SUFFIXES))


def read_names(path: str) -> list[str]:
    """The names in a list, without blank lines.

    Raises:
        InputError: The file can't be read, or holds a name twice.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InputError(path, f"must be a list of image names ({one_line(error)})",
                         path) from None  # fmt: skip
    require(len(content) <= _MOST_BYTES, path, "must be a list of image names of at most 256 MiB",
            f"{len(content)} bytes or more")  # fmt: skip
    names = [os.fsdecode(line.strip()) for line in content.split(b"\n") if line.strip()]
    twice = len(names) - len(set(names))
    require(twice == 0, path, "must not hold the same name twice", f"{twice} repeated names")
    return names


def find_ids(path: str, source: Source, split: str, ids: Sequence[str]) -> list[str]:
    """The ids of the images that a list names, in its order.

    A name is that of the file, alone or with folders before it: the last parts of the image's path
    in a folder, of the file name that TFDS keeps of it elsewhere.

    Args:
        path: The list.
        source: The data set.
        split: The split expression that must hold all its images.
        ids: Ids of that split.

    Raises:
        InputError: The data set does not know file names; a name is of no image of the split, or of
            several.
    """
    names = read_names(path)
    name_of = _file_names(source, split, ids)
    require(name_of is not None, path, f"must hold ids instead of names (a subset file): "
            f"{source.name} does not keep the names of its files", names[0])  # fmt: skip
    assert name_of is not None
    by_tail = _by_tail(name_of, {_depth(name) for name in names})
    nothing: Sequence[str] = ()
    found = [by_tail.get(name, nothing) for name in names]
    absent = [name for name, matches in zip(names, found, strict=True) if not matches]
    require(not absent, path, f"must list images of {split} of {source.name} only; {len(absent)} "
            f"of {len(names)} names are of none", _some(absent))  # fmt: skip
    several = [name for name, matches in zip(names, found, strict=True) if len(matches) > 1]
    require(not several, path, f"must name each image by enough of its path: {len(several)} of "
            f"{len(names)} names are of several images", _some(several))  # fmt: skip
    chosen = [matches[0] for matches in found]
    require(len(set(chosen)) == len(chosen), path, "must not name the same image twice",
            len(chosen) - len(set(chosen)))  # fmt: skip
    return chosen


def _file_names(source: Source, split: str, ids: Sequence[str]) -> Mapping[str, str] | None:
    """File names by id, None where the data set does not know them."""
    while isinstance(source, WrappedSource):
        source = source.base
    if isinstance(source, FolderSource):
        return {example_id: example_id for example_id in ids}
    from simclr_tf.data.tfds_source import TfdsSource  # takes seconds to import

    names = source.file_names(split) if isinstance(source, TfdsSource) else None
    return None if names is None else {example_id: names[example_id] for example_id in ids}


def _by_tail(name_of: Mapping[str, str], depths: set[int]) -> dict[str, list[str]]:
    """Ids by the last parts of their names, for each number of parts."""
    found: dict[str, list[str]] = {}
    for example_id, name in name_of.items():
        parts = name.split("/")
        for depth in depths:
            if depth <= len(parts):
                found.setdefault("/".join(parts[-depth:]), []).append(example_id)
    return found


def _depth(name: str) -> int:
    return name.count("/") + 1


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
