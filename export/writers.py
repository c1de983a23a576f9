"""What each export format writes into a folder."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence

import numpy as np

from simclr_tf.files import write_text_atomically
from simclr_tf.models.network import Network
from simclr_tf.removal import remove_tree

from . import tflite_file
from .card import model_card
from .folders import SAVED_MODEL
from .history import History
from .hub import write_archive
from .huggingface import write_repository
from .inference import check_file_size
from .keras_file import write_keras_file
from .onnx_file import write_onnx_file
from .saved_model import describe, write_saved_model
from .torch_file import (
    MODULE,
    check_torch,
    fits_torchvision,
    usage,
    write_safetensors_file,
    write_torch_module,
)

WEIGHTS = "encoder.safetensors"
_OF_TORCH = ("safetensors", "torch", "huggingface")
_IN_ONE_FILE = ("onnx", *tflite_file.FILES)


@dataclasses.dataclass(frozen=True)
class Job:
    """What is exported.

    Attributes:
        model: The network.
        history: What is known about it.
        image_size: Side of its images in pixels.
        calibration: Images for `tflite_int8`.
        say: Receives what was found.
    """

    model: Network
    history: History
    image_size: int
    calibration: np.ndarray | None
    say: Callable[[str], None]


Writer = Callable[[Job, str], list[str]]  # from a folder to the names of what was written there


def check_network(model: Network, formats: Sequence[str]) -> None:
    """Refuses formats that do not take the network, before anything is written.

    Raises:
        InputError: Names the format.
    """
    for name in formats:
        if name in _OF_TORCH:
            check_torch(model)
        if name in _IN_ONE_FILE:
            check_file_size(model, name)


def write(job: Job, folder: str, formats: Sequence[str]) -> list[str]:
    """Writes the model card and each format into a folder.

    Returns:
        The names of the files and folders in it.
    """
    record = describe(job.model, job.history)
    card = model_card(record, job.history)
    if any(name in _OF_TORCH for name in formats):
        card += f"\n## In PyTorch\n\n{usage(record)}"
    write_text_atomically(os.path.join(folder, "README.md"), card)
    names = ["README.md"]
    for name, writer in FORMATS.items():
        if name in formats:
            names += writer(job, folder)
    if "hub" in formats and "saved_model" not in formats:
        remove_tree(os.path.join(folder, "saved_model"), SAVED_MODEL)
    return list(dict.fromkeys(names))


def _saved_model(job: Job, folder: str) -> list[str]:
    write_saved_model(job.model, os.path.join(folder, "saved_model"), job.history)
    return ["saved_model"]


def _serving(job: Job, folder: str) -> list[str]:
    version = str(max(1, job.history.global_step))
    path = os.path.join(folder, "serving", version)
    write_saved_model(job.model, path, job.history, for_server=True)
    return ["serving"]


def _hub(job: Job, folder: str) -> list[str]:
    """The archive is made from the SavedModel."""
    saved_model = os.path.join(folder, "saved_model")
    if not os.path.isdir(saved_model):
        write_saved_model(job.model, saved_model, job.history)
    write_archive(saved_model, os.path.join(folder, "encoder.tar.gz"))
    return ["encoder.tar.gz"]


def _keras(job: Job, folder: str) -> list[str]:
    write_keras_file(job.model, os.path.join(folder, "encoder.keras"))
    return ["encoder.keras"]


def _onnx(job: Job, folder: str) -> list[str]:
    path = os.path.join(folder, "encoder.onnx")
    write_onnx_file(job.model, path, job.image_size, job.say)
    return ["encoder.onnx"]


def _tflite(kind: str, job: Job, folder: str) -> list[str]:
    path = os.path.join(folder, tflite_file.FILES[kind])
    calibration = job.calibration if kind == tflite_file.INT8 else None
    tflite_file.write_tflite_file(job.model, path, job.image_size, kind, calibration, job.say)
    return [tflite_file.FILES[kind]]


def _safetensors(job: Job, folder: str) -> list[str]:
    """The weights; where torchvision has no such network, also what runs them."""
    write_safetensors_file(job.model, os.path.join(folder, WEIGHTS), job.history)
    if fits_torchvision(job.model.config.encoder):
        return [WEIGHTS]
    write_torch_module(folder)
    return [WEIGHTS, MODULE]


def _torch(job: Job, folder: str) -> list[str]:
    write_safetensors_file(job.model, os.path.join(folder, WEIGHTS), job.history)
    write_torch_module(folder)
    return [WEIGHTS, MODULE]


def _huggingface(job: Job, folder: str) -> list[str]:
    write_repository(job.model, os.path.join(folder, "huggingface"), job.history)
    return ["huggingface"]


FORMATS: dict[str, Writer] = {
    "saved_model": _saved_model,
    "serving": _serving,
    "hub": _hub,
    "keras": _keras,
    "onnx": _onnx,
    **{kind: functools.partial(_tflite, kind) for kind in tflite_file.FILES},
    "safetensors": _safetensors,
    "torch": _torch,
    "huggingface": _huggingface,
}
