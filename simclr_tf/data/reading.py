"""How the files of a data set become pixels."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

READING = "reading"  # the name of `Reading.record` in files
RARE_KINDS = frozenset(("GIF", "BMP", "WEBP"))


@dataclasses.dataclass(frozen=True)
class Reading:
    """What is decided once for a data set, so that each of its images is read in the same way.

    Attributes:
        value_range: What becomes black and white where values have more than 8 bits, see
            `simclr_tf.data.pixels`; None for the range of their type.
        as_stored: As TFDS decodes the feature `image`, whose results are published: alpha is
            dropped and orientation ignored.
        antialias: Whether crops of more than twice the side of their view are averaged, not
            sampled; they are decoded at reduced size then.
        with_python: Whether Pillow may decode what TensorFlow can't: not in exported graphs.
        dtype: What TFDS has encoded in PNGs: uint8, uint16 or float32.
        channels: Of what TFDS has encoded, 1, 3 or 4; None for files of any kind.
        kinds: Of `RARE_KINDS` those that TensorFlow decodes here. Files of the others are Pillow's:
            a pipeline starts the sooner the fewer kinds its graph knows.
    """

    value_range: tuple[float, float] | None = None
    as_stored: bool = False
    antialias: bool = False
    with_python: bool = True
    dtype: str = "uint8"
    channels: int | None = None
    kinds: frozenset[str] = RARE_KINDS

    @property
    def is_plain(self) -> bool:
        """Whether what TFDS has encoded is what TensorFlow decodes to three channels."""
        return self.dtype == "uint8" and self.channels != 4

    @property
    def is_published(self) -> bool:
        """Whether pixels are those of the reference and of TFDS, as in every release of ours."""
        return self.as_stored and self.is_plain and not self.antialias

    @property
    def identity(self) -> str:
        """What differs where pixels may."""
        return repr(dataclasses.astuple(self)[:-1])  # without `kinds`

    def record(self) -> dict[str, Any]:
        """What tells how to read other files in the same way, for JSON."""
        bounds = None if self.value_range is None else list(self.value_range)
        return {"value_range": bounds, "antialias": self.antialias}


def recorded_reading(found: Any) -> Reading | None:
    """How files are read by a `Reading.record`; None if it is none.

    Args:
        found: As in a file, which may be anybody's; None for files older than such records, whose
            images were sampled.
    """
    match found:
        case None:
            return FILES
        case {"value_range": None, "antialias": bool(antialias)}:
            return Reading(antialias=antialias)
        case {"value_range": [low, high], "antialias": bool(antialias)}:
            numbers = all(type(bound) in (int, float) for bound in (low, high))
            if numbers and -math.inf < low < high < math.inf:
                return Reading((float(low), float(high)), antialias=antialias)
    return None


FILES = Reading()  # of any kind, nothing known of them
EXPORTED = Reading(with_python=False)
STORED = Reading(as_stored=True)
