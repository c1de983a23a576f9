"""Which data sets a record of somebody else's may name, and which classes a prepared one.

Records are the metadata of a file of embeddings and the flags of a run. TFDS imports code by the
name of a data set (`namespace:name`) and by the names of feature classes, and downloads what is not
there. Standard library only, until a file is read.
"""

from __future__ import annotations

import os
import pathlib
import re
import stat
from typing import Any

from simclr_tf.errors import InputError, require
from simclr_tf.files import is_remote
from simclr_tf.json_files import read_json

FOLDER = "folder"
EMBEDDED = ("patterns", "digits")  # drawn, or shipped with scikit-learn
# Name, config and version; neither a namespace nor settings of a builder (`name/a=b`).
_PLAIN = re.compile(r"[A-Za-z]\w*(/\w[\w.+-]*)?(:\d+\.\d+\.\d+)?", re.ASCII)
_TEXTS = [f"{place}*.{suffix}" for place in ("", "*/", "*/*/") for suffix in ("json", "txt")]
_CLASSES = "tensorflow_datasets."
_MAX_TEXT_BYTES = 2**24  # of a description, or of the names of classes


def recorded_data(dataset: Any, data_dir: Any, remote: bool = False) -> tuple[str, str | None]:
    """A data set that a record names, where opening it does no more than reading it.

    Args:
        dataset: As recorded.
        data_dir: The same.
        remote: Whether it may lie elsewhere than on a local disk.

    Returns:
        Name and folder to open it by. An embedded set is not prepared in a folder that a record
        names.

    Raises:
        InputError: It is no `folder:PATH`, no embedded set and no name of TFDS itself, or does not
            lie in `data_dir`.
    """
    plain = isinstance(dataset, str) and "\0" not in dataset
    require(plain, "dataset", "must be given: what is recorded is no name", dataset)
    require(data_dir is None or (isinstance(data_dir, str) and "\0" not in data_dir), "data_dir",
            "must be given: what is recorded is no path", data_dir)  # fmt: skip
    if dataset in EMBEDDED:
        return dataset, None
    kind, _, path = dataset.partition(":")
    in_folder = kind == FOLDER and (path or dataset == FOLDER)
    require(bool(in_folder or _PLAIN.fullmatch(dataset)), "dataset",
            "must be given: the recorded one is neither folder:PATH nor a name of TFDS itself",
            dataset)  # fmt: skip
    for place in (path if in_folder else "", data_dir or ""):
        require(remote or not is_remote(place), "data_dir", "must be given: the recorded one is "
                "not local", place)  # fmt: skip
    if not in_folder and data_dir and not is_remote(data_dir):
        folder = pathlib.Path(data_dir).expanduser()
        name = re.split("[/:]", dataset)[0]
        found = (folder / name).is_dir() or (folder / "dataset_info.json").is_file()
        require(found, "data_dir", f"must be given: {dataset} is not prepared in the recorded one",
                data_dir)  # fmt: skip
    return dataset, data_dir


def check_texts(folder: str | os.PathLike[str]) -> None:
    """Refuses a prepared data set whose texts TFDS can't read without harm.

    They are descriptions and names of classes. TFDS reads them whole, whatever they are and however
    long, and imports the classes of features that they name.

    Args:
        folder: Of a data set or of one version of it, or of any other kind.

    Raises:
        InputError: Names the file.
    """
    root = pathlib.Path(folder)
    for path in sorted(path for pattern in _TEXTS for path in root.glob(pattern)):
        if path.name == "features.json":
            _check_classes(read_json(path, _MAX_TEXT_BYTES), os.fspath(path))
        else:
            _check_size(path)


def _check_size(path: pathlib.Path) -> None:
    found = path.stat()
    require(stat.S_ISREG(found.st_mode), os.fspath(path), "must be a regular file", "another kind")
    require(found.st_size <= _MAX_TEXT_BYTES, os.fspath(path),
            f"must have at most {_MAX_TEXT_BYTES} bytes", found.st_size)  # fmt: skip


def _check_classes(value: Any, name: str) -> None:
    if isinstance(value, list):
        for item in value:
            _check_classes(item, name)
    if not isinstance(value, dict):
        return
    keys = ["pythonClassName", "python_class_name", *(["type"] if "content" in value else [])]
    for found in (value[key] for key in keys if key in value):
        if isinstance(found, str) and not found.startswith(_CLASSES):
            raise InputError(name, f"must name feature classes of {_CLASSES[:-1]} only, as others "
                             "are code that would be imported", found)  # fmt: skip
    for item in value.values():
        _check_classes(item, name)
