"""Which images, and how they are read."""

from __future__ import annotations

import dataclasses

from simclr_tf.cluster import SERVICE_FORM, is_service
from simclr_tf.errors import require, require_choice
from simclr_tf.settings.checks import IMAGE_SIZE, Range, check_settings, limited

DATA_SHARDINGS = ("auto", "batch", "split")


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which images, and how they are read.

    `dataset` is a TFDS name with optional config (`cifar10`, `imagenet2012_subset/1pct`), one of
    the embedded sets `patterns` and `digits`, `folder` (with `data_dir`) or `folder:PATH`.
    Splits are TFDS split expressions (`train[:10%]`). `eval_split=None` takes `validation` as the
    reference does, `test` where there is no such split, and else evaluates nothing and says so.
    `label_subset` trains on a class-balanced part of `train_split` (B.5): `1%`, `25_per_class`, or
    the path of a subset file.

    With several input pipelines (one per host), `data_sharding=batch` has each of them go through
    all records and decode its part of every global batch, which is then the same on any number of
    hosts; with `split` each reads an equal part of the split and nothing else. `auto` takes `split`
    where the split does not fit into the shuffle buffer. `data_service` (`grpc://host:port`) moves
    decoding and augmentation to the workers of a tf.data service. Reads that fail for a passing
    reason are tried again up to `read_retries` times in a row, with growing pauses.
    """

    dataset: str = "imagenet2012"
    data_dir: str | None = None
    train_split: str = "train"
    label_subset: str | None = None
    eval_split: str | None = None
    image_size: int = limited(224, IMAGE_SIZE)
    cache_dataset: bool = False
    skip_bad_images: bool = False
    data_sharding: str = "auto"
    data_service: str | None = None
    read_retries: int = limited(5, Range(0, 1000))

    def __post_init__(self) -> None:
        check_settings(self)
        require(bool(self.dataset), "dataset", "must name a data set", self.dataset)
        require_choice("data_sharding", self.data_sharding, DATA_SHARDINGS)
        service = self.data_service
        require(service is None or is_service(service), "data_service", SERVICE_FORM, service)
        require(bool(self.train_split), "train_split", "must name a split", self.train_split)
        require(self.label_subset != "", "label_subset", "must name a subset", self.label_subset)
        require(self.eval_split != "", "eval_split", "must name a split", self.eval_split)
