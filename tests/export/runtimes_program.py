"""Runs exported files where neither this project nor TensorFlow can be imported.

    python runtimes_program.py RUNTIME FOLDER

FOLDER holds the files and `data.npz`: `images`, and what the network returns for them. Prints one
line of JSON: for each output the largest difference, relative to its largest value.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import sys

RUNTIME, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2])
ABSENT = ("simclr_tf", "export", "flags", "run", "tensorflow", "tf_keras")
sys.modules.update(dict.fromkeys(ABSENT))  # importing one of them is an ImportError now
BACKENDS = {"keras_jax": "jax", "keras_torch": "torch"}
if RUNTIME in BACKENDS:
    os.environ["KERAS_BACKEND"] = BACKENDS[RUNTIME]
    os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np  # noqa: E402

DATA = dict(np.load(FOLDER / "data.npz"))
IMAGES = DATA["images"]
NAMES = {"embedding": "final_avg_pool", "logits": "logits_sup"}


def compared(outputs) -> dict:
    found = {}
    for name, value in outputs.items():
        expected = DATA[NAMES.get(name, name)]
        difference = np.abs(np.asarray(value) - expected).max()
        found[NAMES.get(name, name)] = float(difference / np.abs(expected).max())
    return found


def onnxruntime() -> dict:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(FOLDER / "encoder.onnx"))
    names = [output.name for output in session.get_outputs()]
    return compared(dict(zip(names, session.run(names, {"images": IMAGES}), strict=True)))


def litert() -> dict:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(FOLDER / "encoder.tflite")).get_signature_runner("serving_default")
    return compared(runner(images=IMAGES))


def keras() -> dict:
    import keras

    assert keras.backend.backend() == BACKENDS[RUNTIME]
    model = keras.models.load_model(FOLDER / "encoder.keras")
    outputs = model(IMAGES, training=False)
    return compared({n: keras.ops.convert_to_numpy(value) for n, value in outputs.items()})


def torch() -> dict:
    return torch_module(FOLDER / "encoder.safetensors")


def huggingface() -> dict:
    """The folder as a program of others finds it: settings, weights, and code for PyTorch."""
    folder = FOLDER / "huggingface"
    head, front, _ = (folder / "README.md").read_text().split("---\n", 2)
    values = dict(re.findall(r"^(\w+): (.+)$", front, re.MULTILINE))
    assert head == "" and json.loads(values["library_name"]) == "simclr_tf"
    assert json.loads((folder / "config.json").read_text())["model_type"] == "simclr_tf"
    try:
        import huggingface_hub
    except ImportError:
        pass
    else:  # reads the front matter as its site does
        assert huggingface_hub.ModelCard.load(folder / "README.md").data.library_name == "simclr_tf"
    return torch_module(folder / "model.safetensors")


def torch_module(path: pathlib.Path) -> dict:
    import torch

    sys.path.insert(0, str(path.parent))
    import encoder

    for depth, blocks in json.loads((FOLDER / "blocks.json").read_text()).items():
        encoder.BLOCKS[int(depth)] = blocks  # of the shallow networks of the tests
    model = encoder.load(path)
    with torch.no_grad():
        outputs = model(torch.from_numpy(IMAGES).permute(0, 3, 1, 2))
    return compared({n: v.permute(0, 2, 3, 1) if v.ndim == 4 else v for n, v in outputs.items()})


def torchvision() -> dict:
    """Torchvision's own network with our weights; `plain` without the line on max pooling."""
    import safetensors.torch
    import torch
    import torchvision

    found = {}
    for name in ("plain", "documented"):
        model = torchvision.models.resnet50()
        model.fc = torch.nn.Identity()
        if name == "documented":
            model.maxpool = torch.nn.MaxPool2d(3, 2, ceil_mode=True)
        weights = safetensors.torch.load_file(FOLDER / "encoder.safetensors")
        keys = model.load_state_dict(weights, strict=False)
        assert not [key for key in keys.missing_keys if "num_batches_tracked" not in key]
        with torch.no_grad():
            value = model.eval()(torch.from_numpy(IMAGES).permute(0, 3, 1, 2))
        found[name] = compared({"embedding": value})["final_avg_pool"]
    return found


def make_torchvision() -> dict:
    """Writes networks of torchvision with random weights, and what they compute."""
    import torch
    import torchvision

    torch.manual_seed(0)
    mean, deviation = (torch.tensor(DATA[name]).reshape(1, 3, 1, 1) for name in ("mean", "std"))
    for depth in (18, 50):
        model = getattr(torchvision.models, f"resnet{depth}")().eval()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        torch.save(model.state_dict(), FOLDER / f"resnet{depth}.pth")
        model.fc = torch.nn.Identity()
        with torch.no_grad():
            images = torch.from_numpy(IMAGES).permute(0, 3, 1, 2)
            np.save(FOLDER / f"resnet{depth}.npy", model((images - mean) / deviation).numpy())
    return {}


print("\n" + json.dumps(globals()["keras" if RUNTIME in BACKENDS else RUNTIME]()))
