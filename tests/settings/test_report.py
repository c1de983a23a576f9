"""Limits of the settings."""

import pytest

from simclr_tf.errors import InputError
from simclr_tf.settings.report import ReportConfig


def test_limits():
    assert ReportConfig().report
    assert ReportConfig(report_examples=2).report_examples == 2
    for bad in (1, 5001):
        said = rf"report_examples must be at least 2 and at most 5000\. Received: {bad}"
        with pytest.raises(InputError, match=said):
            ReportConfig(report_examples=bad)


def test_figures_without_labels_need_two_images():
    assert ReportConfig(quality_images=0).quality_images == 0
    with pytest.raises(InputError, match="quality_images must be 0, or at least 2"):
        ReportConfig(quality_images=1)
