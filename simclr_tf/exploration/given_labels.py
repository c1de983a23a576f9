"""Labels from a table: of a spreadsheet, or what was marked on a page."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence

import numpy as np

from simclr_tf.console import Say
from simclr_tf.errors import InputError, require
from simclr_tf.exploration.table import cell_text
from simclr_tf.files import check_local, read_regular
from simclr_tf.retrieval.embeddings import Embeddings
from simclr_tf.units import format_count

COLUMNS = ("label", "group")
_MAX_BYTES = 2**28


def with_labels(content: Embeddings, path: str, say: Say) -> Embeddings:
    """The embeddings with the labels that a table gives; those that it does not name stay.

    The table is a CSV file with a head that names a column `id`, and `label` or `group` (as the
    page writes it). An empty label takes away the one that the file of embeddings has.

    Args:
        content: The embeddings.
        path: The table, UTF-8.
        say: Receives lines for the user.

    Raises:
        InputError: It can't be read, lacks a column, gives an id two labels, or names no image.
    """
    given = _read(os.path.expanduser(path))
    rows = {cell_text(name): row for row, name in enumerate(content.ids)}
    rows |= {name: row for row, name in enumerate(content.ids)}
    known = {name: label for name, label in given.items() if name in rows}
    require(bool(known), "labels", "must name images by their ids in the file of embeddings (such "
            f"as {content.ids[0]!r})", next(iter(given), None))  # fmt: skip
    texts = [content.label_name(row) for row in range(len(content.ids))]
    for name, label in known.items():
        texts[rows[name]] = label or None
    unknown = len(given) - len(known)
    if unknown:
        say(f"note: {format_count(unknown, 'row')} of {path} name no image in the file")
    labels, names = _numbered(texts, content.label_names or ())
    return content._replace(labels=labels, label_names=names)


def _read(path: str) -> dict[str, str]:
    check_local(path, "labels")
    try:
        text = read_regular(path, _MAX_BYTES).decode("utf-8-sig")
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except FileNotFoundError:
        raise InputError("labels", "must name an existing CSV file", path) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError("labels", f"must be a CSV file in UTF-8 ({error})", path) from None
    head = [name.strip().lower() for name in lines[0]] if lines else []
    column = next((name for name in COLUMNS if name in head), None)
    require("id" in head and column is not None, "labels", "must have a head with the columns id "
            "and label (or group)", head[:10])  # fmt: skip
    assert column is not None
    at, of = head.index("id"), head.index(column)
    found: dict[str, str] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        require(len(line) == len(head), "labels", f"must have {len(head)} cells in each line, as "
                f"its head has; line {number} has not", len(line))  # fmt: skip
        name, label = line[at], line[of].strip()
        require(found.get(name, label) == label, "labels", "must give each id one label; "
                f"{name!r} has two", (found.get(name), label))  # fmt: skip
        found[name] = label
    require(bool(found), "labels", "must hold at least one label", path)
    return found


def _numbered(
    texts: Sequence[str | None], first: Sequence[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels as numbers, with their names; known names keep theirs."""
    used = {text for text in texts if text is not None}
    names = [*first, *sorted(used - set(first))]
    numbers = {name: number for number, name in reversed(list(enumerate(names)))}
    labels = [-1 if text is None else numbers[text] for text in texts]
    return np.array(labels, np.int64), tuple(names)
