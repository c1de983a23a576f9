"""Fig. 6: crops share their colours, distorted crops do not."""

from __future__ import annotations

import numpy as np

from simclr_tf.studies import histograms
from tests.studies import made_up


def test_distortion_tells_crops_of_one_image_apart(monkeypatch):
    crops = histograms.sample_crops(made_up.base())
    assert crops.shape == (2, 2, 5, 32, 32, 3) and crops.min() >= 0 and crops.max() <= 1
    spread = crops.mean(axis=(3, 4)).std(axis=2).mean(axis=(1, 2))  # of the crops' mean colours
    assert spread[1] > 1.5 * spread[0]
    monkeypatch.setattr(histograms, "sample_crops", lambda _: crops)
    figure = histograms.pixel_histograms(made_up.base())
    assert len(figure.axes) == 20, "a panel for every crop"
    counts = [sum(bar.get_height() for bar in axes.patches) for axes in figure.axes]
    np.testing.assert_array_equal(counts, 32 * 32 * 3)
