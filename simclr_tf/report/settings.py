"""Settings of the pages that runs leave; like `simclr_tf.config`, without TensorFlow."""

from __future__ import annotations

import dataclasses

from simclr_tf.errors import require

_MOST_EXAMPLES = 5000  # t-SNE takes a minute for so many, and the page megabytes


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """`report.html` in the folder of a run.

    Attributes:
        report: Whether it is written.
        report_examples: Test images whose neighbours and places on a map it shows, before and
            after training.
    """

    report: bool = True
    report_examples: int = 400

    def __post_init__(self) -> None:
        require(2 <= self.report_examples <= _MOST_EXAMPLES, "report_examples",
                f"must lie between 2 and {_MOST_EXAMPLES}", self.report_examples)  # fmt: skip
