"""Settings of what a run says and shows; like `simclr_tf.config`, without TensorFlow."""

from __future__ import annotations

import dataclasses

from simclr_tf.errors import require, require_choice
from simclr_tf.settings.checks import Range, check_settings, limited

LOGGERS = ("tensorboard", "csv", "jsonl", "wandb", "mlflow")


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """`report.html` in the folder of a run, its output, and where its figures go.

    Attributes:
        report: Whether it is written.
        report_examples: Test images whose neighbours and places on a map it shows, before and
            after training.
        quality_images: At most so many test images for the figures without labels, fewer in a short
            training; 0 has none, and 1 is too few.
        log_to: Where figures go, among `LOGGERS`, with commas. TensorBoard's events are always
            written, as the pages read them.
        verbose: Whether the output tells details, such as which variables are decayed.
    """

    report: bool = True
    # t-SNE takes a minute for so many, and the page megabytes
    report_examples: int = limited(400, Range(2, 5000))
    quality_images: int = limited(1000, Range(0, 5000))

    log_to: str = "tensorboard"
    verbose: bool = False

    def __post_init__(self) -> None:
        check_settings(self)
        require(self.quality_images != 1, "quality_images", "must be 0, or at least 2", 1)
        for name in self.loggers:
            require_choice("log_to", name, LOGGERS)

    @property
    def loggers(self) -> tuple[str, ...]:
        """The names in `log_to`."""
        return tuple(name.strip() for name in self.log_to.split(","))
