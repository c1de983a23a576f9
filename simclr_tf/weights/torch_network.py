"""The ResNet in a file of PyTorch, under our names, and how its library computes it.

A state dict holds numbers and names. How max pooling and the stem pad, and how images were scaled,
is the library's that wrote it; names tell which one that is, as far as anything does.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from simclr_tf.errors import InputError, require
from simclr_tf.settings.model import EncoderConfig
from simclr_tf.weights import torch_files, torch_names

_LINEAR = "fc"  # of torchvision
_COUNTER = "num_batches_tracked"
_MOST_LISTED = 3
_SOLO_PREFIXES = ("backbone.", "encoder.")
_SOLO_HEADS = ("projector.", "classifier.")


@dataclasses.dataclass(frozen=True)
class TorchVariables:
    """The variables of a network in a file of PyTorch; they are read one by one.

    Attributes:
        shapes: Shape by our name, with our order of axes.
        others: Names of what else is in the file: heads of the library, copies, optimizers.
        library: Whose names they are, in words.
    """

    shapes: dict[str, tuple[int, ...]]
    others: tuple[str, ...]
    library: str
    _file: torch_files.TorchFile
    _names: dict[str, str]

    @property
    def source(self) -> str:
        """The format in words."""
        kind = "safetensors file" if self._file.path.endswith(torch_files.SAFETENSORS) else (
            "PyTorch state dict")  # fmt: skip
        return f"{kind} with the names of {self.library}"

    def note(self) -> tuple[str, ...]:
        """What is in the file and not read, in one line; nothing where it is nothing."""
        if not self.others:
            return ()
        parts = dict.fromkeys(_part(name) for name in self.others)
        shown = ", ".join(list(parts)[:_MOST_LISTED]) + (", ..." * (len(parts) > _MOST_LISTED))
        return (f"not read: {len(self.others)} other tensors ({shown})",)

    def read(self, name: str) -> np.ndarray:
        """The value of the variable that we call `name`, with our order of axes.

        Raises:
            InputError: The file is damaged.
        """
        return torch_names.from_torch(self._file.read(self._names[name]))

    def settle(self, encoder: EncoderConfig) -> tuple[EncoderConfig, dict[str, str]]:
        """How the library computes an encoder of these shapes, and what of that is a guess.

        Args:
            encoder: What the shapes imply.

        Returns:
            The encoder, and by setting what was assumed.

        Raises:
            InputError: None of the libraries has such a network.
        """
        solo = self.library == "solo-learn" and encoder.stem == "cifar"
        variant, norm = ("solo_learn", "cifar10") if solo else ("torchvision", "imagenet")
        require(encoder.resnet_depth >= 50 or not encoder.projects_first, "checkpoint",
                "must be a ResNet of torchvision's kind, without a projection in the first "
                "shortcut of a ResNet-18 or 34", self._file.path)  # fmt: skip
        assumed = {"input_norm": f"assumed: images were scaled by input_norm={norm}, as is usual "
                   f"with {self.library}; nothing beside the weights tells"}  # fmt: skip
        if encoder.stem == "cifar":
            pads = 2 if solo else 1
            assumed["resnet_variant"] = (
                f"assumed: the first convolution pads by {pads} (resnet_variant={variant}), as is "
                f"usual with {self.library}; nothing beside the weights tells"
            )
        if encoder.channels != 3:
            norm = "none"
            assumed["input_norm"] = "assumed: images were not scaled (input_norm=none); nothing " \
                                    "beside the weights tells"  # fmt: skip
        return dataclasses.replace(encoder, resnet_variant=variant, input_norm=norm), assumed


def _part(name: str) -> str:
    """The part of a model that a tensor belongs to."""
    return ".".join(name.removeprefix("state_dict.").split(".")[:2])


def open_variables(path: str) -> TorchVariables:
    """Finds the encoder among the tensors of a file.

    Raises:
        InputError: It can't be read, or holds no ResNet, several, or one with unknown parts.
    """
    file = torch_files.open_torch_file(path)
    found = torch_names.without_followers(torch_names.encoders_in(file.shapes))
    if len(found) != 1:
        listed = ", ".join(f"{prefix}*" for prefix in found) or "none"
        raise InputError("checkpoint", "must hold one ResNet with names such as conv1.weight and "
                         f"layer1.0.conv1.weight, behind any prefix (found: {listed})",
                         path)  # fmt: skip
    ((prefix, plain),) = found.items()
    ours: dict[str, str] = {}
    unknown = []
    for name, stored in plain.items():
        if our := torch_names.our_name(name):
            ours[our] = stored
        elif name.startswith(("conv1.", "bn1.", "stem.", "layer")) and not name.endswith(_COUNTER):
            unknown.append(stored)
    require(not unknown, "checkpoint", "must hold a ResNet and no other parts in it (not "
            f"understood: {', '.join(unknown[:5])})", path)  # fmt: skip
    if prefix == "" and file.record is None:
        ours.update(_linear_head(file.shapes))
    taken = set(ours.values())
    others = tuple(name for name in file.shapes
                   if name not in taken and not name.endswith(_COUNTER))  # fmt: skip
    library = "simclr_tf" if file.record is not None else _library(prefix, file.shapes)
    shapes = {our: torch_names.our_shape(file.shapes[stored]) for our, stored in ours.items()}
    return TorchVariables(shapes, others, library, file, ours)


def _linear_head(shapes: dict[str, tuple[int, ...]]) -> dict[str, str]:
    """The classifier of a whole network of torchvision."""
    names = {f"linear_head/{ours}": f"{_LINEAR}.{leaf}"
             for ours, leaf in (("kernel", "weight"), ("bias", "bias"))}  # fmt: skip
    return names if all(name in shapes for name in names.values()) else {}


def _library(prefix: str, shapes: dict[str, tuple[int, ...]]) -> str:
    names = [name.removeprefix("state_dict.") for name in shapes]
    if "_feature_blocks." in prefix:
        return "VISSL"
    solo = prefix.removeprefix("state_dict.") in _SOLO_PREFIXES
    if solo and f"{prefix}conv1.weight" in shapes and any(n.startswith(_SOLO_HEADS) for n in names):
        return "solo-learn"
    if f"{prefix}conv1.weight" not in shapes or any(".shortcut." in name for name in shapes):
        return "lightly"
    return "torchvision"
