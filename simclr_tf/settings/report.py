"""Settings of the pages that runs leave; like `simclr_tf.config`, without TensorFlow."""

from __future__ import annotations

import dataclasses

from simclr_tf.settings.checks import Range, check_settings, limited


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """`report.html` in the folder of a run.

    Attributes:
        report: Whether it is written.
        report_examples: Test images whose neighbours and places on a map it shows, before and
            after training.
    """

    report: bool = True
    # t-SNE takes a minute for so many, and the page megabytes
    report_examples: int = limited(400, Range(2, 5000))

    def __post_init__(self) -> None:
        check_settings(self)
