"""A "ResNet-18" of few residual blocks, for tests of what is around the encoder.

Tracing the same eight blocks again and again is most of what such tests cost. `tests/conftest.py`
says which tests get how many; the programs that they start have as many (tests/warm.py), and may
call `install` themselves.
"""

from __future__ import annotations

from simclr_tf.config import BLOCKS_PER_GROUP

Blocks = tuple[int, ...]  # of each of the four groups

DEPTH = 18
WHOLE: Blocks = BLOCKS_PER_GROUP[DEPTH]
FOUR: Blocks = (1, 1, 1, 1)
ONE: Blocks = (1, 0, 0, 0)  # traced in a third of the time of four
EVERY_KIND: Blocks = (2, 1, 0, 0)  # with and without a projected shortcut and a stride
ALL_GROUPS: Blocks = (2, 1, 1, 1)  # the same, in a network that loaders and exports know


def install(blocks: Blocks = FOUR) -> None:
    """So many blocks in each group of every ResNet-18 that is built from now on."""
    BLOCKS_PER_GROUP[DEPTH] = blocks


def installed() -> Blocks:
    """The blocks of each group of a ResNet-18 now."""
    return BLOCKS_PER_GROUP[DEPTH]
