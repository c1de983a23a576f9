"""The images of a command: a source, the size they are shown in, and who reads them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable

import tensorflow as tf

from simclr_tf import capacity
from simclr_tf.augment import policy
from simclr_tf.data import decode, pipeline
from simclr_tf.data.pipeline import EvalView, Selection, Stream
from simclr_tf.data.sources import Source
from simclr_tf.data.views import ViewMaker
from simclr_tf.distribution import Part
from simclr_tf.job import Job

# What makes each host's part of some batches.
Batches = Callable[[Part], tf.data.Dataset]


@dataclasses.dataclass(frozen=True)
class Images:
    """Images as batches on the devices of a job.

    Attributes:
        source: Where they come from.
        image_size: Side of what a network sees, in pixels.
        eval_batch_size: Images per forward pass without a gradient, over all replicas.
        job: Who reads them.
    """

    source: Source
    image_size: int
    eval_batch_size: int = 256
    job: Job = dataclasses.field(default_factory=Job)

    @property
    def channels(self) -> int:
        """Of every image, 3 but for arrays that keep theirs."""
        return self.source.channels

    def train_batches(
        self, stream: Stream, views: ViewMaker, start_step: int = 0
    ) -> Iterable[dict[str, tf.Tensor]]:
        """The endless stream of batches of views from a step on; see `pipeline.train_batches`."""
        return self.job.distribute(
            lambda part: pipeline.train_batches(self.source, stream, views, start_step, part)
        )

    def eval_batches(
        self,
        split: str,
        max_examples: int | None = None,
        setting: str = "eval_split",
        view: EvalView = policy.eval_view,
    ) -> Batches:
        """A split in its order, each image once; see `pipeline.eval_batches`.

        Raises:
            InputError: The batch does not divide over the replicas, or this machine can't hold it.
        """
        self.job.check_divisible("eval_batch_size", self.eval_batch_size)
        capacity.check_images(self.eval_batch_size, self.image_size, channels=self.channels)
        selection = Selection(split, max_examples, setting)
        return lambda part: pipeline.eval_batches(
            self.source, selection, self.eval_batch_size, self.image_size, view, part
        )

    def naming_bad_image(
        self, split: str, setting: str = "train_split"
    ) -> contextlib.AbstractContextManager[None]:
        """Turns a failure of a split's images into an error that names the file."""
        return decode.naming_bad_image(self.source, split, setting)
