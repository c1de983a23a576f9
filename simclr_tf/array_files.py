"""Arrays in files of others, whose declared sizes are looked at before they are unpacked."""

from __future__ import annotations

import math
import os
import stat
import zipfile
import zlib
from typing import IO

import numpy as np

from simclr_tf.errors import require_valid

# What reading a damaged or hostile file can raise.
ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    NotImplementedError,  # packed in an unknown way
    RuntimeError,  # encrypted
    MemoryError,
)
# Features hardly get smaller by packing; ids and predictions can.
_LARGEST_FACTOR, _SMALL_BYTES = 100, 2**26
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def check_declared(declared: int, size: int) -> None:
    """Refuses a file of `size` bytes that says it unpacks to far more than it has.

    Raises:
        ValueError: It declares over 64 MiB and over 100 times its size.
    """
    fits = declared <= max(_SMALL_BYTES, _LARGEST_FACTOR * size)
    require_valid(fits, f"its {size:,} bytes declare {declared:,}")


def open_npz(path: str | os.PathLike[str]) -> np.lib.npyio.NpzFile:
    """Opens a local `.npz` file, whose arrays are then read one by one.

    Raises:
        FileNotFoundError: There is none.
        ValueError or another of `ERRORS`: It is a pipe, no archive of arrays, damaged, or declares
            sizes that it can't have.
    """
    found = os.stat(path)
    require_valid(stat.S_ISREG(found.st_mode), "it is no regular file")
    with open(path, "rb") as file:
        magic = np.lib.format.MAGIC_PREFIX
        require_valid(file.read(len(magic)) != magic, "it holds a single array")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        check_declared(sum(member.file_size for member in members), found.st_size)
        for member in members:
            with archive.open(member) as content:
                declared = _declared_bytes(content)
            require_valid(declared <= member.file_size,
                          f"{member.filename} declares {declared:,} bytes")  # fmt: skip
    arrays = np.load(path, allow_pickle=False)
    assert isinstance(arrays, np.lib.npyio.NpzFile)
    return arrays


def _declared_bytes(content: IO[bytes]) -> int:
    """Of an array in the format of NumPy."""
    version = np.lib.format.read_magic(content)
    require_valid(version in _HEADERS, f"it has an array of version {version}")
    shape, _, dtype = _HEADERS[version](content)
    return math.prod(shape) * dtype.itemsize
