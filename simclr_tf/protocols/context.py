"""What every protocol gets, and what it gives back."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from simclr_tf.augment import policy
from simclr_tf.data.fingerprint import fingerprint
from simclr_tf.data.images import Images
from simclr_tf.data.pipeline import EvalView
from simclr_tf.data.sources import Source, divide_split
from simclr_tf.errors import InputError, require
from simclr_tf.evaluation.encoders import FrozenEncoder, frozen_state
from simclr_tf.evaluation.feature_store import FeatureStore
from simclr_tf.evaluation.features import FeatureBatch, Features
from simclr_tf.files import write_npz
from simclr_tf.job import Job
from simclr_tf.progress import Progress
from simclr_tf.settings.augment import AugmentConfig
from simclr_tf.settings.objective import DistillConfig
from simclr_tf.settings.optimizer import OptimizerConfig
from simclr_tf.settings.protocols import ProtocolConfig
from simclr_tf.settings.training import TrainConfig

PREDICTIONS_FOLDER = "predictions"


class Row(NamedTuple):
    """One line of the scoreboard."""

    what: str
    result: str
    how: str = ""


class Section(NamedTuple):
    """What a protocol found.

    Attributes:
        title: Name for people.
        rows: Lines of the scoreboard.
        metrics: Everything as JSON, for `result.json`; accuracies lie in [0, 1].
        notes: Sentences about what was skipped or limited.
    """

    title: str
    rows: tuple[Row, ...]
    metrics: dict[str, Any]
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Context:
    """An encoder, a data set, and how to evaluate.

    Attributes:
        encoder: What is evaluated.
        images: The data set, in the encoder's size, and where it computes.
        train_split: Split expression with the labelled training images.
        test_split: Split expression that counts.
        settings: Of the protocols.
        folder: Where pictures and predictions are written.
        store: Features that are extracted already.
        augment: Policy of the supervised baseline; its smallest crop holds for every training.
        optimizer: Of the supervised baseline: the encoder's own.
        train: Batch, length and seed of the encoder's training.
        distill: Temperature of the distillation.
        data_dir: Where the data sets of the transfer suite are looked for.
        ft_proj_selector: Layers of the projection head that fine-tuning keeps (SimCLRv2).
    """

    encoder: FrozenEncoder
    images: Images
    train_split: str
    test_split: str
    settings: ProtocolConfig = ProtocolConfig()
    folder: str = "."
    store: FeatureStore = dataclasses.field(default_factory=FeatureStore)
    augment: AugmentConfig = AugmentConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
    distill: DistillConfig = DistillConfig()
    data_dir: str | None = None
    ft_proj_selector: int = 0

    def __post_init__(self) -> None:
        wanted, found = self.encoder.channels, self.images.channels
        require(found == wanted, "dataset", f"must have the {wanted} channels of the encoder",
                f"{self.images.source.name} with {found}")  # fmt: skip

    @property
    def source(self) -> Source:
        """The data set."""
        return self.images.source

    @property
    def job(self) -> Job:
        """Where it computes, and its voice."""
        return self.images.job

    def say(self, text: str) -> None:
        """Tells the user a line."""
        self.job.say(text)

    @property
    def num_classes(self) -> int:
        """Classes of the data set.

        Raises:
            InputError: It has no labels.
        """
        classes = self.source.num_classes
        if classes is None:
            raise InputError("dataset", "must have labels for this protocol", self.source.name)
        return classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, or their numbers."""
        return self.source.class_names or tuple(str(i) for i in range(self.num_classes))

    @property
    def seed(self) -> int:
        """Seed of everything random."""
        return self.train.seed

    def train_parts(self) -> tuple[str, str]:
        """Split expressions to train on and to choose settings on."""
        if self.settings.validation_split is not None:
            return self.train_split, self.settings.validation_split
        return divide_split(self.source, self.train_split, self.settings.validation_fraction)

    @property
    def labelled_split(self) -> str:
        """Training and validation images together, for a last training with chosen settings."""
        if self.settings.validation_split is None:
            return self.train_split  # what is held out of it is part of it
        return f"{self.train_split}+{self.settings.validation_split}"

    def batch_size(self, wanted: int, available: int) -> int:
        """`wanted`, or as much of it as there are images, as a multiple of the replicas."""
        replicas = self.job.replicas
        size = min(wanted, available) // replicas * replicas
        require(size > 0, "train_split", f"must hold an image for each of {replicas} replicas",
                available)  # fmt: skip
        return size

    def features(
        self,
        split: str,
        *,
        view: EvalView = policy.eval_view,
        image_size: int | None = None,
        setting: str = "train_split",
    ) -> Features:
        """Frozen features of a split, extracted once however many protocols ask.

        Args:
            split: A split expression.
            view: From an image to the network's input.
            image_size: Side of the input; None takes the encoder's.
            setting: Name of the setting that holds the split expression, for errors.
        """
        endpoint, size = self.settings.endpoint, image_size or self.encoder.image_size
        images = dataclasses.replace(self.images, image_size=size)
        total = self.source.num_examples(split, setting)
        identity = {
            "encoder": self.encoder.fingerprint,
            # A callable has no fingerprint: it is told from others as long as it lives.
            "object": "" if self.encoder.fingerprint else id(self.encoder.encode),
            "data": fingerprint(self.source, split, setting),
            "split": split,
            "view": view.__name__,
            "image_size": size,
            "endpoints": [endpoint],
        }

        def make() -> Iterator[FeatureBatch]:
            batches = images.eval_batches(split, setting=setting, view=view)
            with images.naming_bad_image(split, setting):
                yield from self._with_progress(
                    self.encoder.extractor(self.job, endpoint).iterate(batches),
                    f"features of {self.source.name} {split}",
                    total,
                )

        return self.store.get(identity, make)

    def _with_progress(
        self, batches: Iterator[FeatureBatch], label: str, total: int
    ) -> Iterator[FeatureBatch]:
        count = 0
        with Progress(total, label=label, unit="images") as bar:
            for batch in batches:
                yield batch
                count += len(next(iter(batch.endpoints.values())))
                bar.update(count, count, {})

    def path(self, name: str) -> str:
        """A file in the folder of the evaluation."""
        return os.path.join(self.folder, name)

    def about(self) -> dict[str, Any]:
        """What an evaluation is of: two with the same belong into one table."""
        return {
            "encoder": self.encoder.name,
            "fingerprint": self.encoder.fingerprint,
            "global_step": self.encoder.global_step,
            "endpoint": self.settings.endpoint,
            "image_size": self.encoder.image_size,
            "dataset": self.source.name,
            "train_split": self.train_split,
            "test_split": self.test_split,
        }

    def write_predictions(self, name: str, labels: np.ndarray, scores: np.ndarray) -> None:
        """Keeps labels and predictions of a test set, for comparisons between models.

        Args:
            name: Of the protocol, and the data set where there are several.
            labels: (N,), or (N, C) with several labels an image.
            scores: (N, C) logits, kept whole with several labels, else their argmax; or the
                classes themselves, (N,).
        """
        whole = labels.ndim == 2 or scores.ndim == 1
        predicted = scores if whole else scores.argmax(axis=1)
        write_npz(self.path(os.path.join(PREDICTIONS_FOLDER, f"{name}.npz")),
                  {"labels": labels, "predictions": predicted})  # fmt: skip


@contextlib.contextmanager
def unchanged(encoder: FrozenEncoder) -> Iterator[None]:
    """Holds a protocol to its promise that the encoder, BN statistics included, stays as it is.

    Raises:
        RuntimeError: A variable changed inside the block.
    """
    before = frozen_state(encoder)
    yield
    after = frozen_state(encoder)
    changed = sorted(name for name in before if before[name] != after.get(name))
    if changed:
        raise RuntimeError(f"a frozen encoder must not change. Received changes in: {changed[:5]}")
