"""The twelve data sets of the paper's transfer experiments (Table 8, B.8), in one table.

A data set is read where it lies prepared, and nothing is ever downloaded. In `data_dir` that is
either the TFDS layout, `NAME[/CONFIG]/VERSION/`, or a folder of images `NAME/` with the sub-folders
`train`, `test` and, where a validation set was published, `validation`, each with one sub-folder
per class (see `simclr_tf.data.folder_source`). Birdsnap and FGVC Aircraft are not in TFDS 4.9, so a
folder is the way to have them; should a later TFDS prepare them under these names, it is read.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from simclr_tf.data import folder_source, sources
from simclr_tf.data.reading import Reading
from simclr_tf.errors import InputError, did_you_mean, require

TOP_1 = "top-1 accuracy"
MEAN_PER_CLASS = "mean per-class accuracy"
MEAN_AVERAGE_PRECISION = "11-point mAP"

SETTING = "transfer_datasets"
ALL = "all"
HELD_OUT = 0.1  # of the training images, where no validation set is published; B.8 names no share
_DEFAULT_DATA_DIR = "~/tensorflow_datasets"


@dataclasses.dataclass(frozen=True)
class TransferDataset:
    """One data set of Table 8.

    Attributes:
        name: As in the paper.
        tfds_name: Name in TFDS, with the config of the first published split (DTD, SUN397). The
            part before `/` names its folder of images.
        metric: `TOP_1`, `MEAN_PER_CLASS` or `MEAN_AVERAGE_PRECISION` (B.8).
        num_classes: Classes.
        train_images: Training images, validation images included; this and the next number as in
            Kornblith et al., "Do Better ImageNet Models Transfer Better?", Table 1, the protocol
            that B.8 follows.
        test_images: Test images.
        accuracy_1x: Linear evaluation of ResNet-50 in percent, Table B.5. Not measured here.
        accuracy_4x: Linear evaluation of ResNet-50 (4x) in percent, Table 8. Not measured here.
        published_validation: Whether a validation set was published (split `validation`). If not,
            the share `HELD_OUT` of the training images serves as one, unless a folder of images
            has one.
        tfds_test: The split with the published test images in TFDS.
        note: What TFDS does differently from the publication.
    """

    name: str
    tfds_name: str
    metric: str
    num_classes: int
    train_images: int
    test_images: int
    accuracy_1x: float
    accuracy_4x: float
    published_validation: bool = False
    tfds_test: str = "test"
    note: str = ""

    @property
    def folder(self) -> str:
        """Name of its folder of images in `data_dir`; the short name for settings and files."""
        return self.tfds_name.partition("/")[0]

    @property
    def multi_label(self) -> bool:
        """Whether an image is of several classes."""
        return self.metric == MEAN_AVERAGE_PRECISION


class TransferSplits(NamedTuple):
    """Split expressions of an opened data set (B.8).

    Attributes:
        train: To fit on while settings are chosen.
        validation: To choose them on.
        train_and_validation: To fit on again with the chosen ones.
        test: What counts, used once.
    """

    train: str
    validation: str
    train_and_validation: str
    test: str


TRANSFER_DATASETS = (
    TransferDataset(
        "Food-101", "food101", TOP_1, 101, 75_750, 25_250, 68.4, 76.9,
        tfds_test="validation", note="TFDS calls the published test images `validation`",
    ),
    TransferDataset("CIFAR-10", "cifar10", TOP_1, 10, 50_000, 10_000, 90.6, 95.3),
    TransferDataset("CIFAR-100", "cifar100", TOP_1, 100, 50_000, 10_000, 71.6, 80.2),
    TransferDataset("Birdsnap", "birdsnap", TOP_1, 500, 47_386, 2_443, 37.4, 48.4),
    TransferDataset(
        "SUN397", "sun397/standard-part1-120k", TOP_1, 397, 19_850, 19_850, 58.8, 65.9,
        note="TFDS reduces images to 120,000 pixels and leaves two broken ones out",
    ),
    TransferDataset("Cars", "cars196", TOP_1, 196, 8_144, 8_041, 50.3, 60.0),
    TransferDataset(
        "Aircraft", "fgvc_aircraft", MEAN_PER_CLASS, 100, 6_667, 3_333, 50.3, 61.2,
        published_validation=True,
    ),
    TransferDataset(
        "VOC2007", "voc/2007", MEAN_AVERAGE_PRECISION, 20, 5_011, 4_952, 80.5, 84.2,
        published_validation=True,
    ),
    TransferDataset(
        "DTD", "dtd", TOP_1, 47, 3_760, 1_880, 74.5, 78.9,
        published_validation=True, note="TFDS has the first of the ten published splits",
    ),
    TransferDataset(
        "Pets", "oxford_iiit_pet", MEAN_PER_CLASS, 37, 3_680, 3_369, 83.6, 89.2,
        note="TFDS and the publishers' list have 3,669 test images",
    ),
    TransferDataset(
        "Caltech-101", "caltech101", MEAN_PER_CLASS, 102, 3_060, 6_084, 90.3, 93.9,
        note="no split is published; TFDS draws 30 images of each class, the background class "
        "included, for training as B.8 does, with a seed of its own, and leaves one file that is "
        "no JPEG out: 3,059 and 6,085 images",
    ),
    TransferDataset(
        "Flowers", "oxford_flowers102", MEAN_PER_CLASS, 102, 2_040, 6_149, 91.2, 95.0,
        published_validation=True,
    ),
)  # fmt: skip


def find_transfer_dataset(name: str, setting: str = SETTING) -> TransferDataset:
    """A row of the table by the paper's name, the TFDS name or the folder's, in any case.

    Args:
        name: `Aircraft`, `fgvc_aircraft`, `sun397`, `sun397/standard-part1-120k`, ...
        setting: Name of the setting that holds it, for errors.

    Raises:
        InputError: No such data set; lists those that there are.
    """
    wanted = name.casefold()
    for dataset in TRANSFER_DATASETS:
        names = (
            dataset.name,
            dataset.tfds_name,
            dataset.folder,
            dataset.tfds_name.replace("/", ""),
        )
        if wanted in {known.casefold() for known in names}:
            return dataset
    folders = [dataset.folder for dataset in TRANSFER_DATASETS]
    raise InputError(setting, f"must name data sets of {', '.join(folders)}, or {ALL}"
                     + did_you_mean(wanted, folders), name)  # fmt: skip


def present(
    data_dir: str | os.PathLike[str] | None, names: Sequence[str] = (ALL,), setting: str = SETTING
) -> tuple[list[TransferDataset], list[TransferDataset]]:
    """Which data sets lie prepared in `data_dir`; looks at names of folders only.

    Args:
        data_dir: TFDS folder; None for TFDS's default, which honours $TFDS_DATA_DIR.
        names: As in `find_transfer_dataset`, or `all`.
        setting: Name of the setting that holds the names, for errors.

    Returns:
        Those that `open_transfer` can open, and those that are absent, in the order of the names
        (of Table 8 for `all`).

    Raises:
        InputError: An unknown name.
    """
    asked = dict.fromkeys(
        dataset
        for name in names
        for dataset in (
            TRANSFER_DATASETS if name == ALL else [find_transfer_dataset(name, setting)]
        )
    )
    found = {dataset: _place(dataset, data_dir) is not None for dataset in asked}
    return [d for d, here in found.items() if here], [d for d, here in found.items() if not here]


def open_transfer(
    dataset: TransferDataset,
    data_dir: str | os.PathLike[str] | None,
    held_out: float = HELD_OUT,
) -> tuple[sources.Source, TransferSplits]:
    """Opens a data set where it lies and resolves its splits; never downloads.

    Args:
        dataset: A row of the table.
        data_dir: As in `present`.
        held_out: Share of the training images to choose settings on where no validation set was
            published, or where a folder has none.

    Returns:
        The images, and the split expressions to use them by.

    Raises:
        InputError: Not prepared there, a split is missing, or its labels are of the wrong kind.
    """
    place = _place(dataset, data_dir)
    if place is None:
        raise InputError("data_dir", f"must hold {dataset.name}, prepared as {dataset.tfds_name} "
                         f"by TFDS or as a folder of images {dataset.folder}/",
                         os.fspath(data_dir or _default_data_dir()))  # fmt: skip
    source = _open(dataset, place)
    _check_labels(dataset, source, place)
    return source, _splits(dataset, source, place, held_out)


class _Place(NamedTuple):
    path: str
    is_folder: bool  # of images; else prepared by TFDS


def _default_data_dir() -> str:
    return os.environ.get("TFDS_DATA_DIR") or os.path.expanduser(_DEFAULT_DATA_DIR)


def _place(dataset: TransferDataset, data_dir: str | os.PathLike[str] | None) -> _Place | None:
    from simclr_tf.data.tfds_source import prepared_dir  # TFDS takes seconds to import

    root = os.path.expanduser(os.fspath(data_dir or _default_data_dir()))
    prepared = prepared_dir(dataset.tfds_name, root)
    if prepared is not None:
        return _Place(os.fspath(prepared), False)
    images = pathlib.Path(root) / dataset.folder
    # A folder can't say that an image is of several classes.
    if not dataset.multi_label and all((images / name).is_dir() for name in ("train", "test")):
        return _Place(str(images), True)
    return None


def _open(dataset: TransferDataset, place: _Place) -> sources.Source:
    from simclr_tf.data.tfds_source import open_tfds

    if place.is_folder:
        return folder_source.open_folder(place.path, "data_dir", Reading(antialias=True))
    return open_tfds(dataset.tfds_name, place.path)


def _check_labels(dataset: TransferDataset, source: sources.Source, place: _Place) -> None:
    require(source.num_classes is not None, place.path,
            f"must have labels, it is read as {dataset.name}", source.num_classes)  # fmt: skip
    wanted = "several labels" if dataset.multi_label else "one label"
    require(source.multi_label == dataset.multi_label, place.path,
            f"must have {wanted} per image, it is read as {dataset.name}",
            f"multi_label={source.multi_label}")  # fmt: skip


def _splits(
    dataset: TransferDataset, source: sources.Source, place: _Place, held_out: float
) -> TransferSplits:
    test = "test" if place.is_folder else dataset.tfds_test
    for split in ("train", test):
        require(split in source.splits, place.path,
                f"must have a split {split}, it is read as {dataset.name}",
                list(source.splits))  # fmt: skip
    divided = dataset.published_validation or place.is_folder  # TFDS's Food-101 names its test so
    if divided and "validation" in source.splits:
        return TransferSplits("train", "validation", "train+validation", test)
    train, validation = sources.divide_split(source, "train", held_out)
    return TransferSplits(train, validation, "train", test)
