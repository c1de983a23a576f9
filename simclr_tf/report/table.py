"""The small table that a run ends with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simclr_tf.errors import require
from simclr_tf.report import accuracies
from simclr_tf.units import format_duration, format_percent

Row = tuple[str, str]


def format_table(rows: Sequence[Row], title: str) -> str:
    """Rows of (name, value) as aligned plain text under a title, for a terminal.

    Names are aligned left. Values are aligned left too, since numbers, times and paths mix.
    Values of several lines keep their indentation.
    """
    width = max((len(name) for name, _ in rows), default=0)
    lines = [title, "-" * len(title)]
    for name, value in rows:
        first, *rest = value.splitlines() or [""]
        lines.append(f"{name:<{width}}  {first}".rstrip())
        lines.extend(f"{'':<{width}}  {line}".rstrip() for line in rest)
    return "\n".join(lines)


def format_markdown_table(
    rows: Sequence[Row], title: str, header: tuple[str, str] = ("", "")
) -> str:
    """The same rows as a Markdown table; `|` and line ends inside cells are escaped."""
    lines = [f"**{title}**", "", _markdown_row(header), "|---|---|"]
    return "\n".join(lines + [_markdown_row(row) for row in rows])


def summary_rows(
    metrics: Mapping[str, float],
    *,
    num_classes: int | None = None,
    before: tuple[str, Mapping[str, float]] | None = None,
    losses: Mapping[str, float] | None = None,
    timings: Mapping[str, float] | None = None,
    places: Mapping[str, str] | None = None,
) -> list[Row]:
    """What the table at the end of a run says, in its order.

    Args:
        metrics: Of the trained encoder, under the names of `simclr_tf.evaluation.evaluate`;
            accuracies that are absent get no row.
        num_classes: Adds the accuracy of guessing, 1 / classes.
        before: What the encoder before training is called, and the same metrics of it; leave out
            those of its linear head, which nobody trained.
        losses: Figures of the last training steps by name ("Contrastive loss").
        timings: Seconds by name ("Training").
        places: Paths by name ("Checkpoints").
    """
    require(num_classes is None or num_classes >= 1, "num_classes", "must be at least 1",
            num_classes)  # fmt: skip
    rows = _accuracy_rows(metrics, num_classes)
    if before is not None:
        rows += _accuracy_rows(before[1], num_classes, f", {before[0]}")
    if num_classes is not None:
        rows.append(("Chance", format_percent(1 / num_classes)))
    rows += [(name, f"{value:.3f}") for name, value in (losses or {}).items()]
    rows += [(name, format_duration(seconds)) for name, seconds in (timings or {}).items()]
    return rows + list((places or {}).items())


def _accuracy_rows(
    metrics: Mapping[str, float], num_classes: int | None, suffix: str = ""
) -> list[Row]:
    return [(accuracies.title(name) + suffix, format_percent(metrics[name]))
            for name in accuracies.ordered(metrics, num_classes)]  # fmt: skip


def _markdown_row(row: Row) -> str:
    cells = (cell.replace("|", "\\|").replace("\n", "<br>") for cell in row)
    return "| " + " | ".join(cells) + " |"
