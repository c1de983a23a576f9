"""Writes a ResNet for PyTorch: weights with torchvision's names, and a module that runs them.

The weights of a network that torchvision has go into its own class; `encoder.py` computes all of
ours as we do, and needs PyTorch and safetensors alone.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import tempfile
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf.errors import require
from simclr_tf.files import write_text_atomically
from simclr_tf.models.keras_encoder import KerasEncoder
from simclr_tf.models.network import Network
from simclr_tf.settings.model import EncoderConfig
from simclr_tf.weights.report import plain_name
from simclr_tf.weights.torch_files import RECORD
from simclr_tf.weights.torch_names import to_torch, torch_name

from .history import History
from .module import plain_copy
from .saved_model import describe

MODULE = "encoder.py"
_TORCHVISION_DEPTHS = (18, 34, 50, 101, 152)


def check_torch(model: Network) -> None:
    """Refuses networks that have no names in PyTorch.

    Raises:
        InputError: The encoder is no ResNet of this library.
    """
    require(not isinstance(model.encoder, KerasEncoder), "format", "must be another one than "
            "safetensors, torch and huggingface: they take ResNets",
            model.config.encoder.encoder)  # fmt: skip


def fits_torchvision(config: EncoderConfig) -> bool:
    """Whether `torchvision.models.resnetN` has the same parameters.

    Its max pooling pads otherwise unless `resnet_variant` is `torchvision`.
    """
    plain = config.sk_ratio == 0 and config.se_ratio == 0 and config.stem == "imagenet"
    first = config.projects_first == (config.resnet_depth >= 50)
    known = config.resnet_depth in _TORCHVISION_DEPTHS and config.channels == 3
    return plain and first and known and config.width_multiplier == 1


def state_dict(model: Network) -> dict[str, np.ndarray]:
    """Values of all variables by their names in PyTorch, with its order of axes."""
    return {
        torch_name(plain_name(variable)): to_torch(variable.numpy())
        for variable in plain_copy(model).variables
    }


def write_safetensors_file(model: Network, path: str, history: History) -> None:
    """Writes the weights, and the record that rebuilds the network as their metadata.

    Args:
        model: Any built model with a ResNet.
        path: Local path, or one that `tf.io.gfile` understands, ending in `.safetensors`.
        history: What is known about the model.

    Raises:
        InputError: The encoder is no ResNet.
    """
    from safetensors.numpy import save_file

    check_torch(model)
    record = describe(plain_copy(model), history)
    metadata = {"format": "pt", RECORD: json.dumps(record, sort_keys=True)}
    with tempfile.TemporaryDirectory() as folder:
        written = os.path.join(folder, "written.safetensors")
        save_file(state_dict(model), written, metadata)
        with open(written, "rb") as source, tf.io.gfile.GFile(path, "wb") as target:
            shutil.copyfileobj(source, target, 2**20)


def write_torch_module(folder: str) -> None:
    """Writes `encoder.py`, which needs nothing of this project."""
    write_text_atomically(os.path.join(folder, MODULE), module_source())


def module_source() -> str:
    """The text of `encoder.py`."""
    template = pathlib.Path(__file__).with_name("templates") / f"{MODULE}.txt"
    return template.read_text(encoding="utf-8")


def usage(record: dict[str, Any]) -> str:
    """How PyTorch takes the weights, as Markdown.

    Args:
        record: See `saved_model.describe`.
    """
    from simclr_tf.settings import by_name

    config = by_name.build_config(EncoderConfig, {
        name: record["model"][name] for name in by_name.setting_names(EncoderConfig)
    })  # fmt: skip
    text = _IN_PYTORCH
    if fits_torchvision(config):
        pooling = "" if config.pads_pool else _POOLING
        text += _IN_TORCHVISION.format(depth=config.resnet_depth, pooling=pooling)
        text += _NOTE if pooling else ""
    return text


_IN_PYTORCH = """\
In PyTorch, with `encoder.py` beside the weights (`pip install torch safetensors`):

```python
import encoder

model = encoder.load("encoder.safetensors")  # a torch.nn.Module, in eval mode
embeddings = model(images)["final_avg_pool"]  # images: (N, 3, H, W), float32 in [0, 1]
```
"""
_IN_TORCHVISION = """
The names are torchvision's:

```python
import safetensors.torch
import torch
import torchvision

model = torchvision.models.resnet{depth}()
model.fc = torch.nn.Identity()
{pooling}model.load_state_dict(safetensors.torch.load_file("encoder.safetensors"), strict=False)
```
"""
_POOLING = "model.maxpool = torch.nn.MaxPool2d(3, 2, ceil_mode=True)  # as TensorFlow pads\n"
_NOTE = """
Images go in in [0, 1], without torchvision's normalisation. The line with `MaxPool2d` makes max
pooling that of this network for images whose sides are multiples of 4; without it, or for other
sides, the embeddings deviate. `encoder.py` computes every size alike.
"""
