"""All protocols on one encoder: one table, one result file, one folder of pictures."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_tf import run_folder
from simclr_tf.array_files import ERRORS as ARRAY_ERRORS
from simclr_tf.array_files import open_npz
from simclr_tf.data import splits
from simclr_tf.errors import InputError, require, require_choice
from simclr_tf.evaluation import results, significance
from simclr_tf.files import check_reachable, list_files, on_local_disk, write_text_atomically
from simclr_tf.protocols import maps
from simclr_tf.protocols.context import PREDICTIONS_FOLDER, Context, Row, Section
from simclr_tf.removal import Kind, refuse_links, remove_tree
from simclr_tf.report import scoreboard_table
from simclr_tf.settings.protocols import PROTOCOLS
from simclr_tf.training.summaries import Summaries
from simclr_tf.units import format_duration

# Protocol -> module of its name with `run(context) -> Section`.
MODULES: Mapping[str, ModuleType] = {
    name: importlib.import_module(f"simclr_tf.protocols.{name}") for name in PROTOCOLS
}
# These need no label of the data set at hand.
_WITHOUT_LABELS = ("attributes", "transfer")
# These have extracted the features of the test split, so that a map of them costs little.
_PREDICTIONS = Kind(r".+\.npz", r".+\.npz")
_WITH_TEST_FEATURES = ("linear", "knn", "logreg")


def evaluate(context: Context) -> dict[str, Section]:
    """Runs the protocols of `context.settings` one after the other.

    After each of them `result.json` and `scoreboard.md` in `context.folder` are brought up to
    date, so that a run that is stopped keeps what it has. Sections of other protocols that are in
    them already stay.

    Args:
        context: Encoder, data and settings.

    Returns:
        What each protocol found, by its name.

    Raises:
        InputError: A protocol cannot run on this encoder or data set; found before the first one
            starts wherever possible.
    """
    check(context)
    _open_folder(context)
    sections: dict[str, Section] = {}
    for name in context.settings.names:
        context.say(f"protocol {name} ...")
        sections[name] = _run(context, name, MODULES[name].run)
    if context.settings.map_points and any(name in _WITH_TEST_FEATURES for name in sections):
        maps.write_maps(context)
    other = context.settings.compare_with
    if other is not None:
        sections["comparison"] = _run(context, "comparison", lambda c: compare(c, other))
    return sections


def _run(context: Context, name: str, protocol: Callable[[Context], Section]) -> Section:
    """Runs one protocol, writes down what it found, and shows it."""
    started = time.monotonic()
    section = protocol(context)
    seconds = time.monotonic() - started
    record(context, name, section, seconds)
    for note in section.notes:
        context.say(f"note: {note}")
    context.say(scoreboard_table.plain(section.title, section.rows, format_duration(seconds)))
    return section


def _open_folder(context: Context) -> None:
    """Makes the folder; predictions in it that are of something else go, as their sections will."""
    try:
        os.makedirs(context.folder, exist_ok=True)
    except OSError as error:
        raise InputError("model_dir", f"must be a folder that can be written ({error.strerror})",
                         context.folder) from None  # fmt: skip
    refuse_links(context.folder)
    if not results.is_same(context.folder, context.about()):
        context.say("note: the results in this folder are of another encoder or other data: "
                    "they are replaced")  # fmt: skip
        folder = context.path(PREDICTIONS_FOLDER)
        require(remove_tree(folder, _PREDICTIONS), "model_dir", "must be a folder of an evaluation "
                f"(its {PREDICTIONS_FOLDER}/ holds other files)", context.folder)  # fmt: skip


def check(context: Context) -> None:
    """Refuses what a protocol would stumble over later.

    Raises:
        InputError: No labels, a missing split, no SimCLR network where one is trained, an unknown
            transfer data set, or another evaluation that is not there.
    """
    settings = context.settings
    if any(name not in _WITHOUT_LABELS for name in settings.names):
        require(context.num_classes >= 1, "dataset", "must have labels for these protocols",
                context.source.name)  # fmt: skip
    _check_endpoint(context)
    if set(settings.names) != {"transfer"}:
        _check_splits(context)
    if settings.compare_with is not None:
        _predictions(settings.compare_with, "compare_with")
    for name in settings.names:
        prepare: Callable[[Context], None] | None = getattr(MODULES[name], "check", None)
        if prepare is not None:
            prepare(context)


def _check_splits(context: Context) -> None:
    """Every split exists, and no image has two parts to play."""
    named = {"train_split": context.train_split, "eval_split": context.test_split}
    if context.settings.validation_split is not None:
        named["validation_split"] = context.settings.validation_split
    ranges = {name: context.source.ranges(split, name) for name, split in named.items()}
    for name in named:
        context.source.num_examples(named[name], name)
    for one, other in itertools.combinations(named, 2):
        require(not splits.overlap(ranges[one] + ranges[other]), other,
                f"must share no image with {one}={named[one]}", named[other])  # fmt: skip


def _check_endpoint(context: Context) -> None:
    size = context.encoder.image_size
    outputs = context.encoder.encode(tf.zeros([1, size, size, context.images.channels]))
    endpoint = context.settings.endpoint
    require_choice("endpoint", endpoint, sorted(outputs))
    rank = outputs[endpoint].shape.rank
    require(rank == 2, "endpoint", "must give features (B, D)",
            f"{endpoint} {tuple(outputs[endpoint].shape)}")  # fmt: skip


def record(context: Context, name: str, section: Section, seconds: float) -> None:
    """Adds a section to `result.json`, `scoreboard.md` and the TensorBoard events."""
    entry = {
        "title": section.title,
        "seconds": round(seconds, 1),
        "rows": [row._asdict() for row in section.rows],
        "notes": list(section.notes),
        **section.metrics,
    }
    about = context.about()
    everything = results.write_protocol(context.folder, name, entry, about, context.say)
    write_text_atomically(
        context.path(run_folder.SCOREBOARD), scoreboard_table.markdown(about, everything)
    )
    scalars = {f"eval/{name}/{key}": value for key, value in _numbers(section.metrics)}
    if scalars:
        summaries = Summaries(context.folder)
        summaries.scalars(context.encoder.global_step, scalars)
        summaries.close()


def _numbers(metrics: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """The numbers in nested mappings, by their path."""
    found: list[tuple[str, float]] = []
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, int | float):
            found.append((f"{prefix}{key}", float(value)))
    return found


def compare(context: Context, other: str) -> Section:
    """Permutation tests (B.8) between these predictions and those of another evaluation.

    Raises:
        InputError: The other folder holds no predictions.
    """
    ours, theirs = _predictions(context.folder, "model_dir"), _predictions(other, "compare_with")
    rows, metrics, notes = [], {}, []
    for name in sorted(ours.keys() & theirs.keys()):
        (labels, a), (other_labels, b) = ours[name], theirs[name]
        if not np.array_equal(labels, other_labels):
            notes.append(f"{name} is not compared: the test images differ.")
            continue
        if labels.ndim == 2:
            continue  # scores: 100,000 exchanges of a mAP would take over half an hour
        found = significance.permutation_test(a == labels, b == labels, seed=context.seed)
        metrics[name] = {"difference": found.difference, "p_value": found.p_value}
        rows.append(Row(name, f"{100 * found.difference:+.1f} points",
                        f"p = {found.p_value:.2g}, {found.exchanges} exchanges"))  # fmt: skip
    if not rows:
        notes.append("nothing to compare: no protocol was run on the same test images")
    return Section(f"Compared with {other}", tuple(rows), metrics, tuple(notes))


def _predictions(folder: str, setting: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    check_reachable(folder, setting)
    found = {}
    with on_local_disk(os.path.join(folder, PREDICTIONS_FOLDER), lambda path: True) as place:
        for name in list_files(place):
            path = os.path.join(place, name)
            with contextlib.suppress(*ARRAY_ERRORS, KeyError), open_npz(path) as file:
                found[name.removesuffix(".npz")] = (file["labels"], file["predictions"])
    if not found:
        raise InputError(setting, "must hold the predictions of an evaluation "
                         f"({PREDICTIONS_FOLDER}/)", folder)  # fmt: skip
    return found
