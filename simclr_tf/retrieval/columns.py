"""What a file of embeddings holds, whatever its format, and how a format fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np


class Columns(NamedTuple):
    """The content of a file.

    Attributes:
        ids: N texts.
        labels: (N,) int64, -1 where an image has none; None where no image has one.
        vectors: (N, D) float32.
        header: JSON text with everything else.
    """

    ids: list[str]
    labels: np.ndarray | None
    vectors: np.ndarray
    header: str


class ForeignFileError(ValueError):
    """The file is readable but not one of ours; the text says what is missing."""


class RowWriter(Protocol):
    """What writes one format to a file that nobody reads before `finish` has returned."""

    def append(self, ids: Sequence[str], labels: np.ndarray | None, vectors: np.ndarray) -> None:
        """Adds n rows: n ids, (n,) int64 labels or None, (n, D) float32."""
        ...

    def finish(self) -> None:
        """Completes the file."""
        ...

    def close(self) -> None:
        """Releases what is open, complete or not; further calls do nothing."""
        ...
