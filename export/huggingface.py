"""Writes a folder as a repository of Hugging Face: card with front matter, settings, weights.

README.md           the model card, with what the site shows beside it
config.json         the record of the export
model.safetensors   the weights, with the record in their metadata
encoder.py          the network in PyTorch
"""

from __future__ import annotations

import json
import os

import tensorflow as tf

from simclr_tf.files import write_json, write_text_atomically
from simclr_tf.models.network import Network

from .card import model_card, network_name
from .history import History
from .module import plain_copy
from .saved_model import describe
from .torch_file import usage, write_safetensors_file, write_torch_module

WEIGHTS = "model.safetensors"
_TAGS = ("simclr", "self-supervised-learning", "contrastive-learning", "resnet", "tensorflow",
         "keras", "pytorch")  # fmt: skip


def write_repository(model: Network, folder: str, history: History) -> None:
    """Writes the four files; `load_encoder(folder)` reads them back.

    Args:
        model: Any built model with a ResNet.
        folder: Where they shall stand; need not exist.
        history: What is known about the model.

    Raises:
        InputError: The encoder is no ResNet.
    """
    record = describe(plain_copy(model), history)
    tf.io.gfile.makedirs(folder)
    pytorch = usage(record).replace("encoder.safetensors", WEIGHTS)
    card = model_card(record, history, f"{_IN_SIMCLR_TF}\n{pytorch.rstrip()}")
    text = f"{_front_matter(history)}\n{card}"
    write_text_atomically(os.path.join(folder, "README.md"), text)
    config = {"model_type": "simclr_tf", "architectures": [network_name(record["model"])], **record}
    write_json(os.path.join(folder, "config.json"), config)
    write_safetensors_file(model, os.path.join(folder, WEIGHTS), history)
    write_torch_module(folder)


def _front_matter(history: History) -> str:
    """What Hugging Face reads of a card: YAML, of which JSON is a part."""
    values = {
        "library_name": "simclr_tf",
        "pipeline_tag": "image-feature-extraction",
        "tags": list(_TAGS),
    }
    dataset = str(history.settings.get("dataset") or "")
    if dataset and ":" not in dataset:  # a name, no folder of somebody's
        values["datasets"] = [dataset]
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]
    return "\n".join(["---", *lines, "---", ""])


_IN_SIMCLR_TF = """\
## How to load it

In TensorFlow and Keras, where this folder is on Hugging Face (the path of a local copy goes to
`load_encoder` as it is):

```python
import huggingface_hub
import simclr_tf

folder = huggingface_hub.snapshot_download("OWNER/NAME")
encoder = simclr_tf.load_encoder(folder)
embeddings = encoder(images)["final_avg_pool"]  # images: (N, H, W, 3), float32 in [0, 1]
```
"""
