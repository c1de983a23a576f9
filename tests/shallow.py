"""A "ResNet-18" of four residual blocks, for tests of what is around the encoder.

Tracing the same eight blocks again and again is most of what such tests cost. `tests/conftest.py`
says which tests get it; programs of their own call `install`, or are started by
`python -m tests.shallow run.py --mode=train ...`.
"""

from __future__ import annotations

import runpy
import sys

from simclr_tf.config import BLOCKS_PER_GROUP

DEPTH = 18
WHOLE, BLOCKS = BLOCKS_PER_GROUP[DEPTH], (1, 1, 1, 1)  # of each group


def install(shallow: bool = True) -> None:
    """Makes every ResNet-18 that is built from now on shallow, or whole again."""
    BLOCKS_PER_GROUP[DEPTH] = BLOCKS if shallow else WHOLE


def installed() -> bool:
    """Whether a ResNet-18 is shallow now."""
    return BLOCKS_PER_GROUP[DEPTH] == BLOCKS


if __name__ == "__main__":
    install()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
