"""The encoders that Google published with the SimCLR papers, by name.

Names are `VERSION/NETWORK[/TRAINING][/FORMAT]`: `simclrv2/r50_1x_sk1` is pretrained, and the
SavedModel of the TF2 conversion. Addresses and accuracies are those of the README files and
notebooks of google-research/simclr at its last commit (383d414, 2023-05-22), and of the papers.
"""

from __future__ import annotations

import difflib
import itertools
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from simclr_tf.errors import InputError

PRETRAINED, SUPERVISED = "pretrained", "supervised"
SAVED_MODEL, CHECKPOINT, HUB = "saved_model", "tf1_checkpoint", "tf1_hub"
FORMATS = {
    SAVED_MODEL: "TF2 SavedModel",
    CHECKPOINT: "TF1 checkpoint",
    HUB: "TF1 hub module",
}
_TF1, _TF2 = "gs://simclr-checkpoints", "gs://simclr-checkpoints-tf2"
_WORDS = {
    PRETRAINED: "pretrained without labels",
    "finetuned_1pct": "fine-tuned on 1 % of the labels",
    "finetuned_10pct": "fine-tuned on 10 % of the labels",
    "finetuned_100pct": "fine-tuned on all labels",
    SUPERVISED: "supervised",
}
_VERSIONS = ("simclrv1", "simclrv2")
# Names, and what is meant for one: `simclr2/r50`, `r50_1x_sk1`, `pretrained/r50_1x_sk1`.
_LIKE_A_NAME = re.compile(r"simclr[-_]?(v?[12])?(/.*)?|([^/.~]+/)*r\d+_\dx(_sk\d)?(/.*)?")
_SHOWN = 3  # names that are near


class Published(NamedTuple):
    """An encoder that Google published.

    Example:
        >>> one = simclr_tf.published("simclrv2/r152_3x_sk1/finetuned_1pct")[0]
        >>> one.address
        'gs://simclr-checkpoints-tf2/simclrv2/finetuned_1pct/r152_3x_sk1/saved_model'

    Attributes:
        name: What `load_encoder` and `--checkpoint` take; also without its last part, or its last
            two where they are the usual ones.
        address: Where it lies.
        format: A key of `FORMATS`.
        version: `simclrv1` or `simclrv2`.
        depth: Of the ResNet.
        width: Its width multiplier.
        sk: Whether it has selective kernels.
        training: `pretrained` (with a linear head trained on the frozen encoder), `finetuned_1pct`,
            `finetuned_10pct`, `finetuned_100pct` (of ImageNet's labels) or `supervised`.
        parameters: Trainable parameters of the encoder, without heads.
        top1: ImageNet top-1 accuracy in percent by the paper, None where we have no source.
        top1_authors: What the authors' notebook measured of the TF2 conversion.
    """

    name: str
    address: str
    format: str
    version: str
    depth: int
    width: int
    sk: bool
    training: str
    parameters: int
    top1: float | None
    top1_authors: float | None


# The networks: depth, width, selective kernels -> trainable parameters, counted by this library.
_PARAMETERS = {
    (50, 1, 0): 23_508_032, (50, 1, 1): 35_215_584, (50, 2, 0): 93_907_072,
    (50, 2, 1): 140_306_048, (50, 4, 0): 375_378_176, (101, 1, 0): 42_500_160,
    (101, 1, 1): 64_662_304, (101, 2, 0): 169_771_136, (101, 2, 1): 257_132_224,
    (152, 1, 0): 58_143_808, (152, 1, 1): 88_940_896, (152, 2, 0): 232_253_568,
    (152, 2, 1): 353_398_528, (152, 3, 1): 794_704_160,
}  # fmt: skip

# Trainings of version 1, as its buckets call them; of version 2 they are called as in our names.
_FOLDERS_V1 = {
    PRETRAINED: "pretrain",
    "finetuned_10pct": "finetune_10pct",
    "finetuned_100pct": "finetune_100pct",
}
_TRAININGS_V2 = (PRETRAINED, "finetuned_1pct", "finetuned_10pct", "finetuned_100pct", SUPERVISED)

# Top-1 of the papers. Version 1 (arXiv 2002.05709): Table 6 (linear), Table 7 (10 % of the labels);
# version 2 (arXiv 2006.10029): Table 1, which the README repeats. In the order of the trainings.
_PAPER_V1 = {1: (69.3, 65.6, None), 2: (74.2, 71.7, None), 4: (76.5, 74.4, None)}
_PAPER_V2 = {
    (50, 1, 0): (71.7, 57.9, 68.4, 76.3, 76.6),
    (50, 1, 1): (74.6, 64.5, 72.1, 78.7, 78.5),
    (50, 2, 0): (75.6, 66.3, 73.9, 79.1, 77.8),
    (50, 2, 1): (77.7, 70.6, 77.0, 81.3, 79.3),
    (101, 1, 0): (73.6, 62.1, 71.4, 78.2, 78.0),
    (101, 1, 1): (76.3, 68.3, 75.1, 80.6, 79.6),
    (101, 2, 0): (77.0, 69.1, 75.8, 80.7, 78.9),
    (101, 2, 1): (79.0, 73.2, 78.8, 82.4, 80.1),
    (152, 1, 0): (74.5, 64.0, 73.0, 79.3, 78.3),
    (152, 1, 1): (77.2, 70.0, 76.5, 81.3, 79.9),
    (152, 2, 0): (77.4, 70.2, 76.6, 81.1, 79.1),
    (152, 2, 1): (79.4, 74.2, 79.4, 82.9, 80.4),
    (152, 3, 1): (79.8, 74.9, 80.1, 83.1, 80.5),
}
# Top-1 of the TF2 conversions by the authors' tf2/colabs/imagenet_results.ipynb, on a GPU.
_NOTEBOOK_V1 = {1: (69.0, 65.8, 75.6), 2: (74.2, 71.6, 79.2), 4: (76.6, 74.5, 80.8)}
_NOTEBOOK_V2 = {
    (50, 1, 0): (71.7, 58.0, 68.4, 76.3, 76.6),
    (50, 1, 1): (74.6, 64.5, 72.0, 78.6, 78.5),
    (50, 2, 0): (75.4, 66.2, 73.9, 79.1, 77.8),
    (50, 2, 1): (77.8, 70.7, 77.0, 81.3, 79.3),
    (101, 1, 0): (73.7, 62.1, 71.5, 78.2, 78.0),
    (101, 1, 1): (76.3, 68.3, 75.1, 80.7, 79.6),
    (101, 2, 0): (77.0, 69.1, 75.9, 80.8, 78.8),
    (101, 2, 1): (79.1, 73.3, 78.8, 82.4, 80.1),
    (152, 1, 0): (74.6, 64.1, 73.0, 79.3, 78.2),
    (152, 1, 1): (77.3, 70.0, 76.4, 81.3, 80.0),
    (152, 2, 0): (77.4, 70.1, 76.6, 81.1, 79.1),
    (152, 2, 1): (79.3, 74.2, 79.4, 82.9, 80.4),
    (152, 3, 1): (79.9, 74.9, 80.1, 83.1, 80.5),
}


def published(name: str = "") -> list[Published]:
    """The encoders that Google published with the SimCLR papers, in every format.

    Example:
        >>> len(simclr_tf.published()), len(simclr_tf.published("simclrv1"))
        (222, 27)
        >>> simclr_tf.published("simclrv2/r50_1x_sk1")[0].top1
        74.6

    Args:
        name: Lists those whose names begin so, in whole parts.

    Returns:
        Of each training of each network the SavedModel first, then the TF1 checkpoint and the TF1
        hub module.
    """
    start = f"{name.strip('/')}/" if name.strip("/") else ""
    return [one for one in itertools.chain(_version_1(), _version_2())
            if f"{one.name}/".startswith(start)]  # fmt: skip


def is_name(path: str) -> bool:
    """Whether a path is meant as the name of a published encoder: nothing of that name is here."""
    if _LIKE_A_NAME.fullmatch(path) is None:
        return False
    return not (os.path.exists(path) or os.path.exists(f"{path}.index"))


def address(path: str) -> str:
    """The address of a published encoder; other paths as they are.

    Args:
        path: A name, such as `simclrv2/r50_1x_sk1`, or any path. What exists here is no name.

    Raises:
        InputError: It is like a name, but none; says which are near.
    """
    return require_known(path).address if is_name(path) else path


def require_known(name: str) -> Published:
    """The encoder of a name.

    Raises:
        InputError: There is none; says which names are near.
    """
    found = _by_name().get(name.strip("/"))
    if found is None:
        listed = ", ".join(_near(name))
        raise InputError("checkpoint", "must be an existing path or the name of a published "
                         f"encoder, such as {listed} (all: simclr export list)", name)  # fmt: skip
    return found


def table(name: str = "") -> list[str]:
    """Lines for a person: a training of a network in each, or with a name each of its formats.

    Args:
        name: As of `published`, or in any spelling of one encoder.
    """
    chosen = published(name)
    if not chosen and name:
        full = require_known(name).name
        chosen = [one for one in published() if one.name == full]
    detailed = bool(name) and len({one.name.rpartition("/")[0] for one in chosen}) == 1
    rows = [("name", "parameters", "top-1", "address" if detailed else "training")]
    for one in chosen:
        if detailed or one.format == SAVED_MODEL:
            short = one.name if detailed else one.name.rpartition("/")[0]
            top1 = "" if one.top1 is None else f"{one.top1:.1f}"
            last = one.address if detailed else _WORDS[one.training]
            rows.append((short, f"{one.parameters / 1e6:.1f} M", top1, last))
    width = max(len(row[0]) for row in rows)
    lines = [f"{row[0]:<{width}}  {row[1]:>10}  {row[2]:>5}  {row[3]}" for row in rows]
    if not detailed:
        lines += ["", "Top-1 on ImageNet, in percent, by the papers; what was pretrained has a "
                  "linear head.", "Each as a TF2 SavedModel, and with /tf1_checkpoint or /tf1_hub "
                  "as that."]  # fmt: skip
    return lines


def _by_name() -> dict[str, Published]:
    """Every spelling of a name: what is usual may be left out."""
    names: dict[str, Published] = {}
    for one in published():
        version, network, *rest = one.name.split("/")
        usual = (PRETRAINED, SAVED_MODEL)
        for count in range(3):
            for chosen in itertools.combinations(rest, count):
                if all(part in usual for part in rest if part not in chosen):
                    names["/".join((version, network, *chosen))] = one
        names[one.name] = one
    return names


def _near(path: str) -> list[str]:
    """Names that a text may have been meant for, the nearest first."""

    def ordered(text: str) -> str:
        return "/".join(sorted(filter(None, re.split("[/-]", text.lower()))))

    names = sorted(_by_name(), key=len)
    if begun := [name for name in names if name.startswith(path.lower())]:
        return begun[:_SHOWN]
    short = {ordered(name): name for name in reversed(names)}
    close = difflib.get_close_matches(ordered(path), list(short), n=_SHOWN, cutoff=0.3)
    return [short[text] for text in close] or [f"{_VERSIONS[1]}/r50_1x_sk1"]


def _version_1() -> Iterator[Published]:
    for width, paper in _PAPER_V1.items():
        for index, (training, folder) in enumerate(_FOLDERS_V1.items()):
            place = f"simclrv1/{folder}/{width}x"
            top1 = (paper[index], _NOTEBOOK_V1[width][index])
            yield from _formats("simclrv1", f"r50_{width}x", (50, width, 0), training, place, top1)


def _version_2() -> Iterator[Published]:
    for network, paper in _PAPER_V2.items():
        depth, width, sk = network
        name = f"r{depth}_{width}x_sk{sk}"
        for index, training in enumerate(_TRAININGS_V2):
            place = f"simclrv2/{training}/{name}"
            top1 = (paper[index], _NOTEBOOK_V2[network][index])
            yield from _formats("simclrv2", name, network, training, place, top1)


def _formats(
    version: str,
    network: str,
    key: tuple[int, int, int],
    training: str,
    place: str,
    top1: tuple[float | None, float | None],
) -> Iterator[Published]:
    """The formats of one training of one network, which lies at `place` in both buckets."""
    addresses = {
        SAVED_MODEL: f"{_TF2}/{place}/saved_model",
        CHECKPOINT: f"{_TF1}/{place}",
        HUB: f"{_TF1}/{place}/hub",
    }
    depth, width, sk = key
    for kind, lies in addresses.items():
        name = f"{version}/{network}/{training}/{kind}"
        yield Published(name, lies, kind, version, depth, width, bool(sk), training,
                        _PARAMETERS[key], *top1)  # fmt: skip
