"""Which data sets a record of somebody else's may name, and which classes a prepared one.

Records are the metadata of a file of embeddings and the flags of a run. TFDS imports code by the
name of a data set (`namespace:name`) and by the names of feature classes, and downloads what is not
there. Standard library only, until a file is read.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import stat
import threading
from collections.abc import Iterator
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
_ONLY_TFDS = (f"must name feature classes of {_CLASSES[:-1]} only, as others are code that would "
              "be imported")  # fmt: skip
_importing = threading.RLock()
_MAX_TEXT_BYTES = 2**24  # of a description, or of the names of classes


def recorded_name(dataset: Any) -> str:
    """A data set that a record names, where its name alone runs no code.

    Raises:
        InputError: It is no `folder:PATH`, no embedded set and no name of TFDS itself.
    """
    plain = isinstance(dataset, str) and "\0" not in dataset
    require(plain, "dataset", "must be given: what is recorded is no name", dataset)
    known = dataset in EMBEDDED or _in_folder(dataset) or _PLAIN.fullmatch(dataset)
    require(bool(known), "dataset", "must be given: the recorded one is neither folder:PATH nor a "
            "name of TFDS itself", dataset)  # fmt: skip
    return dataset


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
        InputError: See `recorded_name`; or it is not prepared in `data_dir`, or without that in the
            folder of TFDS.
    """
    name = recorded_name(dataset)
    require(data_dir is None or (isinstance(data_dir, str) and "\0" not in data_dir), "data_dir",
            "must be given: what is recorded is no path", data_dir)  # fmt: skip
    if name in EMBEDDED:
        return name, None
    for place in (name.partition(":")[2] if _in_folder(name) else "", data_dir or ""):
        require(remote or not is_remote(place), "data_dir", "must be given: the recorded one is "
                "not local", place)  # fmt: skip
    place = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    if not _in_folder(name) and not is_remote(place):
        folder = pathlib.Path(place).expanduser()
        found = (folder / re.split("[/:]", name)[0]).is_dir()
        require(found or (folder / "dataset_info.json").is_file(), "data_dir",
                f"must be given: {name} is not prepared in "
                f"{'the recorded one' if data_dir else 'the folder of TFDS'}", place)  # fmt: skip
    return name, data_dir


def _in_folder(dataset: str) -> bool:
    kind, _, path = dataset.partition(":")
    return kind == FOLDER and bool(path or dataset == FOLDER)


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


@contextlib.contextmanager
def only_features_of_tfds() -> Iterator[None]:
    """Within the block TFDS imports no classes of features but its own.

    Files of prepared data sets name them in several ways (also in JSON within JSON), so this stands
    where TFDS imports. A class that the program has imported itself is fine.

    Raises:
        InputError: A data set names another class.
    """
    from tensorflow_datasets.core.features import feature

    connector = feature.FeatureConnector
    original = connector.__dict__["cls_from_name"]

    def checked(cls: Any, python_class_name: str) -> Any:
        known = python_class_name in cls._registered_features
        require(known or python_class_name.startswith(_CLASSES), "dataset", _ONLY_TFDS,
                python_class_name)  # fmt: skip
        return original.__func__(cls, python_class_name)

    with _importing:
        connector.cls_from_name = classmethod(checked)
        try:
            yield
        finally:
            connector.cls_from_name = original


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
            raise InputError(name, _ONLY_TFDS, found)
    for item in value.values():
        _check_classes(item, name)
