"""Packages that only some formats need: found, or named in one line, before anything is written."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from simclr_tf.errors import InputError

# Format -> the extra of pyproject.toml that has its packages, and what is imported.
_NEEDED = {
    "onnx": ("onnx", ("tf2onnx", "onnx")),
    "safetensors": ("safetensors", ("safetensors",)),
    "torch": ("safetensors", ("safetensors",)),
    "huggingface": ("safetensors", ("safetensors",)),
}


def is_installed(package: str) -> bool:
    """Whether a package can be imported; it is not."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # it was taken out of `sys.modules`
        return False


def check_installed(formats: Iterable[str]) -> None:
    """Refuses formats whose packages are missing.

    Raises:
        InputError: Says what to install.
    """
    for name in formats:
        extra, packages = _NEEDED.get(name, ("", ()))
        missing = [package for package in packages if not is_installed(package)]
        if missing:
            raise InputError("format", f"must be another one, or: pip install 'simclr_tf[{extra}]' "
                             f"({' and '.join(missing)} can't be imported here)",
                             name)  # fmt: skip
