"""The scoreboard as plain text and as Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from simclr_tf.units import format_duration

_HOW_WIDTH = 88

TableRow = Sequence[str]  # what, result, how


def plain(title: str, rows: Sequence[TableRow], time: str) -> str:
    """One protocol's lines, aligned, for a terminal."""
    heading = f"{title} ({time})" if time else title
    lines = ["", heading, "-" * len(heading)]
    width = max((len(what) for what, _, _ in rows), default=0)
    for what, result, how in rows:
        lines.append(f"{what:<{width}}  {result}".rstrip())
        lines += textwrap.wrap(how, _HOW_WIDTH, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)


def markdown(about: Mapping[str, Any], protocols: Mapping[str, Mapping[str, Any]]) -> str:
    """All protocols of a result file in one table.

    Args:
        about: What is evaluated on what: `encoder`, `global_step`, `dataset`, `train_split`,
            `test_split`, `endpoint`, `image_size`.
        protocols: Sections of `result.json`: `title`, `rows`, `notes` and `seconds` of each.
    """
    step = f", step {about['global_step']}" if about["global_step"] else ""
    lines = [
        f"# Scoreboard of {about['encoder']}{step}",
        "",
        f"{about['dataset']}: trained on `{about['train_split']}`, tested on "
        f"`{about['test_split']}`; `{about['endpoint']}` of images of {about['image_size']} px.",
        "",
        "| what | result | how | time |",
        "|---|---|---|---|",
    ]
    notes = []
    for section in protocols.values():
        time = format_duration(float(section.get("seconds", 0)))
        lines.append(_line([f"**{section['title']}**", "", "", time]))
        lines += [_line([row["what"], row["result"], row["how"], ""]) for row in section["rows"]]
        notes += list(section.get("notes", ()))
    if notes:
        lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
    return "| " + " | ".join(escaped) + " |"
