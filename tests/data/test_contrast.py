import re

import numpy as np
import pytest

from simclr_tf.data import contrast
from simclr_tf.data.array_source import from_arrays

NOISE = np.random.default_rng(0).integers(0, 256, (20, 40, 40, 3), np.uint8)
COLOURS = np.arange(20, dtype=np.uint8)[:, None, None, None] * 12 + np.zeros_like(NOISE)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (np.zeros_like(NOISE), "all 16 images that were looked at are black"),
        (NOISE[:1] * 0, "the only image is black"),
        (COLOURS, "of one colour"),
        (NOISE // 25, r"almost black, with values up to 0\.0\d\d of 1: --value_range"),
        (NOISE[[3] * 20], "are the same"),
    ],
)
def test_images_that_show_nothing(images, says):
    found = contrast.note(from_arrays(images), "train")
    assert found is not None and re.search(says, found), found


@pytest.mark.parametrize(
    "images", [NOISE, NOISE // 4, np.concatenate([COLOURS[:19], NOISE[:1]]), NOISE[:1]]
)
def test_others_are_taken(images):
    assert contrast.note(from_arrays(images), "train") is None


def test_arrays_of_other_channels():
    deep = np.zeros((20, 9, 9, 5), np.uint16)
    found = contrast.note(from_arrays(deep, channels=5), "train")
    assert found is not None and "black" in found
