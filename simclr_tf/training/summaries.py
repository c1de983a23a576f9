"""Figures of a run under the reference implementation's names: TensorBoard and other loggers."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from simclr_tf.training.loggers import Safe


class Summaries:
    """Scalars, notes and a picture of the augmented views, as TensorBoard's events and elsewhere.

    Args:
        folder: Where the events go.
        loggers: Hears all of it too, and is closed with it; see `open_loggers`.
    """

    def __init__(self, folder: str, loggers: Safe | None = None):
        self._loggers = loggers or Safe({})
        # Nobody can guess the file's name, and put a link in its place.
        suffix = f".{uuid.uuid4().hex[:8]}.v2"
        self._writer = tf.summary.create_file_writer(folder, filename_suffix=suffix)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes scalars by tag."""
        self._loggers.scalars(step, values)
        with self._writer.as_default(step=step):
            for tag, value in values.items():
                tf.summary.scalar(tag, value)

    def views(self, step: int, grid: np.ndarray) -> None:
        """Writes a picture (H, W, 3) uint8 under the tag `image`."""
        with self._writer.as_default(step=step):
            tf.summary.image("image", grid[np.newaxis])
        self._loggers.picture(step, grid)

    def note(self, step: int, text: str) -> None:
        """Writes a sentence under the tag `note`."""
        with self._writer.as_default(step=step):
            tf.summary.text("note", text)
        self._loggers.note(step, text)

    def flush(self) -> None:
        """Makes what was written visible to readers."""
        self._writer.flush()

    def close(self) -> None:
        """Flushes and closes everything."""
        self._writer.close()
        self._loggers.close()
