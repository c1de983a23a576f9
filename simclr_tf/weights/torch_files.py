"""Tensors in files of PyTorch: safetensors, and state dicts as `torch.save` writes them.

Nothing in such a file is executed: safetensors holds numbers alone, and of pickles `torch.load`
takes with `weights_only=True` tensors and plain containers, or refuses them.
"""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from simclr_tf.errors import InputError, first_line, require
from simclr_tf.json_files import parse_json

SAFETENSORS = ".safetensors"
_PICKLES = (".pt", ".pth", ".pth.tar", ".torch", ".ckpt", ".bin")
RECORD = "simclr_tf"  # in the metadata of safetensors files of ours: the record of an export
_MOST_NESTED = 16


class TorchFile(NamedTuple):
    """An open file.

    Attributes:
        path: Of the file.
        shapes: Of its tensors of numbers by name, in PyTorch's order of axes; the names in nested
            dictionaries are joined by dots.
        read: From a name to its value, float32.
        record: What our export wrote into it, None in files of others.
    """

    path: str
    shapes: dict[str, tuple[int, ...]]
    read: Callable[[str], np.ndarray]
    record: dict[str, Any] | None


def is_torch_file(path: str) -> bool:
    """Whether a local path is, by its name, a file of PyTorch."""
    return path.endswith((SAFETENSORS, *_PICKLES)) and os.path.isfile(path)


def file_in(folder: str) -> str | None:
    """The only safetensors file in a local folder, as in a repository of Hugging Face."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(SAFETENSORS))
    except OSError:
        return None
    paths = [os.path.join(folder, name) for name in names]
    return paths[0] if len(paths) == 1 and os.path.isfile(paths[0]) else None


def open_torch_file(path: str) -> TorchFile:
    """Lists the tensors of a file; values are read when they are asked for.

    Raises:
        InputError: It can't be read, or the package that reads it is not installed.
    """
    return _open_safetensors(path) if path.endswith(SAFETENSORS) else _open_pickle(path)


def _open_safetensors(path: str) -> TorchFile:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise InputError("checkpoint", "is read by safetensors: pip install "
                         "'simclr_tf[safetensors]'", path) from None  # fmt: skip

    def fail(error: Exception) -> InputError:
        return InputError("checkpoint", f"must be a readable .safetensors ({first_line(error)})",
                          path)  # fmt: skip

    try:
        file = safe_open(path, "numpy")
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise fail(error) from None

    def read(name: str) -> np.ndarray:
        try:
            return file.get_tensor(name).astype(np.float32)
        except (SafetensorError, OSError, ValueError, TypeError) as error:
            raise fail(error) from None

    record = parse_json(metadata[RECORD], path) if RECORD in metadata else None
    return TorchFile(path, shapes, read, record)


def _open_pickle(path: str) -> TorchFile:
    try:
        import torch
    except ImportError:
        raise InputError("checkpoint", "is read by PyTorch: pip install 'simclr_tf[torch]', or "
                         "save it as .safetensors where PyTorch is", path) from None  # fmt: skip
    try:
        content = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except (pickle.UnpicklingError, RuntimeError, OSError, ValueError, EOFError, KeyError,
            AttributeError, TypeError) as error:  # fmt: skip
        raise InputError(
            "checkpoint", "must be a state dict of tensors, which torch.load opens with "
            f"weights_only=True ({first_line(error)}); save the tensors alone, best as "
            ".safetensors", path) from None  # fmt: skip
    tensors = dict(_tensors(content, torch.Tensor))
    require(bool(tensors), "checkpoint", "must hold tensors by name", path)
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    return TorchFile(path, shapes, lambda name: tensors[name].float().numpy(), None)


def _tensors(
    content: Any, tensor: type, name: str = "", depth: int = 0
) -> Iterator[tuple[str, Any]]:
    """The tensors in nested dictionaries with their joined names."""
    if isinstance(content, tensor):
        yield name, content
    elif isinstance(content, Mapping) and depth < _MOST_NESTED:
        for key, value in content.items():
            if isinstance(key, str):
                yield from _tensors(value, tensor, f"{name}.{key}" if name else key, depth + 1)


def read_record(path: str) -> dict[str, Any] | None:
    """What our export wrote into a file; None for files of others. No tensor is read.

    Raises:
        InputError: See `open_torch_file`.
    """
    return open_torch_file(path).record if path.endswith(SAFETENSORS) else None
