"""Limits of the settings."""

import pytest

from simclr_tf.errors import InputError
from simclr_tf.report.settings import ReportConfig


def test_limits():
    assert ReportConfig().report
    assert ReportConfig(report_examples=2).report_examples == 2
    for bad in (1, 5001):
        with pytest.raises(InputError, match=f"report_examples must be at least 2 and at most 5000\. Received: {bad}"):
            ReportConfig(report_examples=bad)
