"""Which images, and how they are read."""

from __future__ import annotations

import dataclasses
import math
import re

from simclr_tf.cluster import SERVICE_FORM, is_service
from simclr_tf.errors import InputError, require, require_choice
from simclr_tf.settings.checks import IMAGE_SIZE, Range, check_settings, limited

DATA_SHARDINGS = ("auto", "batch", "split")
ANTIALIAS = ("auto", "on", "off")
MOST_HELD_OUT = Range(0, 0.9)
_RANGE = re.compile(r"([^:]+):([^:]+)")


def parse_range(text: str | None, setting: str = "value_range") -> tuple[float, float] | None:
    """The bounds that `LOW:HIGH` names, None for None.

    Raises:
        InputError: They are no two finite numbers, the first below the second.
    """
    if text is None:
        return None
    form = "must be LOW:HIGH, the values that become black and white, like 0:4095"
    found = _RANGE.fullmatch(text)
    require(found is not None, setting, form, text)
    try:
        low, high = (float(part) for part in found.groups())  # type: ignore[union-attr]
    except ValueError as error:
        raise InputError(setting, form, text) from error
    require(math.isfinite(high - low) and low < high, setting, form, text)
    return low, high


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which images, and how they are read.

    `dataset` is a TFDS name with optional config (`cifar10`, `imagenet2012_subset/1pct`), one of
    the embedded sets `patterns` and `digits`, `folder` (with `data_dir`) or `folder:PATH`.
    Splits are TFDS split expressions (`train[:10%]`). `eval_split=None` takes `validation` as the
    reference does, `test` where there is no such split, or else `holdout`, and without any of these
    evaluates nothing and says so. `holdout` is the share of a folder or of arrays that no training
    sees, by a hash of the ids: None is 0.1 where there are at least 200 images, no split for tests
    and no `eval_split`, and else 0; of fewer than 600 images it is as much as makes about 60
    (`simclr_tf.data.holdout`).
    `label_subset` trains on a class-balanced part of `train_split` (B.5): `1%`, `25_per_class`, or
    the path of a subset file.

    `image_size` is the side of the images that the encoder is made for: exports, evaluation and
    embeddings have it. `train_image_size` is that of the training views where it differs. Smaller
    views cost less, and a crop of part of an image shows its things larger than the whole image
    does, which a larger one makes good (Touvron et al., arXiv 1906.06423).

    With several input pipelines (one per host), `data_sharding=batch` has each of them go through
    all records and decode its part of every global batch, which is then the same on any number of
    hosts; with `split` each reads an equal part of the split and nothing else. `auto` takes `split`
    where the split does not fit into the shuffle buffer. `data_service` (`grpc://host:port`) moves
    decoding and augmentation to the workers of a tf.data service. Reads that fail for a passing
    reason are tried again up to `read_retries` times in a row, with growing pauses.

    `value_range` (`LOW:HIGH`) tells what becomes black and white where images have more than 8 bits
    a channel; None takes the range of their type, see `simclr_tf.data.pixels`. `antialias` averages
    crops of more than twice the side of their view instead of sampling them as the reference does:
    `auto` for folders, `on` or `off` for any data set.

    Example:
        >>> data = simclr_tf.DataConfig(dataset="folder:photos", image_size=64)
        >>> simclr_tf.RunConfig("runs/a", data=data).data.image_size
        64
    """

    dataset: str = "imagenet2012"
    data_dir: str | None = None
    train_split: str = "train"
    label_subset: str | None = None
    eval_split: str | None = None
    holdout: float | None = limited(None, MOST_HELD_OUT)
    image_size: int = limited(224, IMAGE_SIZE)
    train_image_size: int | None = limited(None, IMAGE_SIZE)
    cache_dataset: bool = False
    skip_bad_images: bool = False
    data_sharding: str = "auto"
    data_service: str | None = None
    read_retries: int = limited(5, Range(0, 1000))
    value_range: str | None = None
    antialias: str = "auto"

    @property
    def view_size(self) -> int:
        """Side of the training views."""
        return self.train_image_size or self.image_size

    def __post_init__(self) -> None:
        check_settings(self)
        parse_range(self.value_range)
        require_choice("antialias", self.antialias, ANTIALIAS)
        require(bool(self.dataset), "dataset", "must name a data set", self.dataset)
        require_choice("data_sharding", self.data_sharding, DATA_SHARDINGS)
        service = self.data_service
        require(service is None or is_service(service), "data_service", SERVICE_FORM, service)
        require(bool(self.train_split), "train_split", "must name a split", self.train_split)
        require(self.label_subset != "", "label_subset", "must name a subset", self.label_subset)
        require(self.eval_split != "", "eval_split", "must name a split", self.eval_split)
