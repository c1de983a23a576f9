from __future__ import annotations

import pytest

from benchmarks.speed.flops import forward_flops, pair_flops


# Multiply-adds at 224 px in billions, as torchvision's documentation lists them with its models.
@pytest.mark.parametrize(
    ("depth", "published"), [(18, 1.81), (34, 3.66), (50, 4.09), (101, 7.80), (152, 11.51)]
)
def test_resnets_take_the_published_operations(depth, published):
    counted = forward_flops(depth, 224, head=(1000,)) / 2e9
    assert counted == pytest.approx(published, abs=0.006)


def test_the_cifar_stem_keeps_the_resolution():
    # By hand: stem, 4 + 3 x (1 strided + 3) convolutions of equal cost but for the strided ones.
    stem = 32 * 32 * 27 * 64
    equal = 32 * 32 * 9 * 64 * 64
    shortcut = 16 * 16 * 64 * 128
    assert forward_flops(18, 32) == 2 * (stem + 4 * equal + 3 * (equal // 2 + 3 * equal + shortcut))


def test_halving_the_width_quarters_all_but_the_stem():
    stem = 2 * 32 * 32 * 27 * 64
    rest = forward_flops(18, 32) - stem
    assert forward_flops(18, 32, width=0.5) == stem // 2 + rest // 4


def test_a_pair_is_two_images_forward_and_twice_backward():
    head = 2 * (512 * 512 + 512 * 512 + 512 * 128)
    assert pair_flops(18, 32) == 6 * (forward_flops(18, 32) + head)
