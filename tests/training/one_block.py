"""A "ResNet-18" of one residual block, for tests in which the encoder is only what is trained.

A step of it is traced in a third of the time that the four blocks of `tests/shallow.py` take.
Programs of their own call `install`, or are started by
`python -m tests.training.one_block run.py --mode=train ...`.
"""

from __future__ import annotations

import runpy
import sys

from simclr_tf.config import BLOCKS_PER_GROUP
from tests import shallow

ONE = (1, 0, 0, 0)
EVERY_KIND = (2, 1, 0, 0)  # with and without a projected shortcut, with and without stride


def install(blocks: tuple[int, int, int, int] = ONE) -> None:
    """So many blocks in each group of every ResNet-18 that is built from now on."""
    BLOCKS_PER_GROUP[shallow.DEPTH] = blocks


if __name__ == "__main__":
    install()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
