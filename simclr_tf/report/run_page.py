"""`report.html`: the page of one run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from simclr_tf import run_folder
from simclr_tf.evaluation import verdict
from simclr_tf.evaluation.evaluate import LINEAR_PROBE, TOP_1
from simclr_tf.files import is_remote, write_text_atomically
from simclr_tf.report import (
    accuracies,
    charts,
    command,
    curves,
    kept,
    page,
    pictures,
    sections,
    unlabelled,
)
from simclr_tf.report.kept import Predictions
from simclr_tf.report.projector import sprite_image
from simclr_tf.report.run_record import RunRecord, read_run
from simclr_tf.settings.model import RESNET
from simclr_tf.units import format_percent, format_rate

_SHOWN_SETTINGS = ("dataset", "train_split", "image_size", "encoder", "resnet_depth",
                   "width_multiplier", "train_mode", "train_batch_size", "optimizer",
                   "learning_rate", "temperature", "seed")  # fmt: skip


def write_report(
    folder: str | os.PathLike[str], output: str | os.PathLike[str] | None = None
) -> str:
    """Writes the page of a run.

    Args:
        folder: Of the run.
        output: The page; None writes `report.html` into the folder. Links are relative to that.

    Returns:
        The path of the page.

    Raises:
        InputError: It is not the folder of a run.
    """
    path = os.fspath(output) if output else os.path.join(os.fspath(folder), run_folder.REPORT)
    write_text_atomically(path, run_html(read_run(folder), os.path.dirname(path)))
    return path


def _settings(config: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """What the page lists; of a ResNet its size, of another encoder its name."""
    is_resnet = config.get("encoder", RESNET) == RESNET
    hidden = {"encoder"} if is_resnet else {"resnet_depth", "width_multiplier"}
    return [(name, config[name]) for name in _SHOWN_SETTINGS
            if name in config and name not in hidden]  # fmt: skip


def run_html(run: RunRecord, place: str | None = None) -> str:
    """The page of a run, to lie in the folder `place`; in the run's own when None."""
    examples = run.shown(kept.EXAMPLES, lambda: _examples(run), None)
    names = run.class_names
    return page.render(
        "run.html.j2",
        run=run,
        title=run.name,
        status=status(run),
        updated=str(run.about.get("updated", "")).replace("T", " "),
        settings=_settings(run.config),
        next_commands=command.next_commands(run.folder, bool(sections.scoreboard(run.metrics))),
        command=run.shown("The command", lambda: _command(run), None),
        facts=run.shown(kept.ABOUT, lambda: facts(run), list[tuple[str, str]]()),
        links=[(link, address(run.folder, link.file, place)) for link in run.links],
        logdir=shlex.quote(run.folder),
        charts=run.shown(
            "Curves", lambda: curve_charts(curves.draw_curves(run.scalars)), list[Markup]()
        ),
        scoreboard=sections.scoreboard(run.metrics, None if names is None else len(names)),
        looked_at=_looked_at(run),
        verdict=verdict.of_metrics(run.metrics),
        quality=unlabelled.shown(run.metrics),
        chance=format_percent(1 / len(names)) if names else None,
        protocols=list(run.result.get("protocols", {}).values()),
        views=run.shown(kept.VIEWS, lambda: _views(run), None),
        examples=examples,
        points_json=None
        if examples is None
        else page.json_in_page(
            {
                "columns": examples["columns"],
                "texts": [point.text for point in examples["points"]],
                "pixelated": examples["width"] <= pictures.EXAMPLE_SIDE,
            }
        ),
        predictions=run.shown(kept.PREDICTIONS, lambda: _predictions(run), None),
    )


def address(folder: str, path: str, place: str | None) -> str:
    """Where a page in the folder `place` (the run's own when None) finds a file of a run."""
    if place is None or place == folder:
        return path
    file = os.path.join(folder, path)
    if is_remote(folder) or is_remote(place):
        return file
    return os.path.relpath(file, place).replace(os.sep, "/")


def _looked_at(run: RunRecord) -> str:
    """Which images the examples are; runs of older versions have looked at test images."""
    noted = run.about.get("looked_at")
    return noted if noted in (kept.TRAINED_ON, kept.HELD_OUT) else kept.TESTS


def _command(run: RunRecord) -> str | None:
    if not run.config:
        return None
    folder = f"{str(run.config.get('model_dir', run.folder)).rstrip('/')}_again"
    return command.command_line({**run.config, "model_dir": folder}, run.flags)


def _predictions(run: RunRecord) -> dict[str, Any] | None:
    chosen = preferred(run.predictions)
    if chosen is None or run.predictions is None:
        return None
    name, classes = chosen
    return {
        "title": accuracies.title(name),
        "step": run.predictions.step,
        "per_class": sections.per_class(run.predictions, classes, run.class_names),
        "confusion": sections.confusion(run.predictions, classes, run.class_names),
    }


def status(run: RunRecord) -> str:
    """Where the run stands, in a few words."""
    step, total = run.about.get("step"), run.about.get("total_steps")
    if step is None or total is None:
        return "progress unknown"
    return f"finished, {step} steps" if step >= total else f"training, step {step} of {total}"


def facts(run: RunRecord) -> list[tuple[str, str]]:
    """On what the last start of the run computed, how fast, in how much memory."""
    starts = run.about.get("starts", [])
    last = starts[-1] if starts else {}
    machine = last.get("hardware", {})
    rows = []
    if machine:
        rows.append(("Processor", f"{machine.get('processor')}, {machine.get('cores')} cores"))
        if machine.get("memory_gib"):
            rows.append(("Memory", f"{machine['memory_gib']:.0f} GiB"))
        rows.append(("GPUs", ", ".join(machine.get("gpus", ())) or "none"))
    for title, key in (("Devices", "devices"), ("Precision", "precision")):
        if last.get(key):
            rows.append((title, str(last[key])))
    rows += [(name, version) for name, version in last.get("versions", {}).items()]
    if len(starts) > 1:
        begun = ", ".join(str(one.get("step")) for one in starts)
        rows.append(("Started", f"{len(starts)} times, at steps {begun}"))
    rows += throughput(run)
    return rows


def throughput(run: RunRecord) -> list[tuple[str, str]]:
    """Median pairs a second and peaks of memory."""
    rows = []
    for title, tag, unit in (("Speed, median", "train/pairs_per_second", "pairs/s"),
                             ("Host memory, peak", "memory/host_peak_gib", "GiB"),
                             ("GPU memory, peak", "memory/device_peak_gib", "GiB")):  # fmt: skip
        values = [one.values for one in run.scalars if one.tag == tag]
        finite = np.concatenate([np.empty(0), *(one[np.isfinite(one)] for one in values)])
        if len(finite):
            value = np.median(finite) if unit == "pairs/s" else np.max(finite)
            rows.append((title, f"{format_rate(float(value))} {unit}"))
    return rows


def curve_charts(figures: Sequence[tuple[str, Figure]]) -> list[Markup]:
    """Learning curves as charts, with what they show in words for a screen reader."""
    return [
        charts.inline(figure, f"curve-{index}", _in_words(title, figure))
        for index, (title, figure) in enumerate(figures)
    ]


def _in_words(title: str, figure: Any) -> str:
    """First and last value of each line of a chart."""
    said = []
    for line in figure.axes[0].get_lines():
        values = np.asarray(line.get_ydata(), np.float64)
        values = values[np.isfinite(values)]
        if len(values) and not line.get_label().startswith("_"):
            said.append(f"{line.get_label()} from {values[0]:.3g} to {values[-1]:.3g}")
    return f"{title}: " + ("; ".join(said) or "no values")


def preferred(predictions: Predictions | None) -> tuple[str, np.ndarray] | None:
    """The classes of the best evaluation there is, with the name of their accuracy."""
    if predictions is None:
        return None
    names = [name for name in (LINEAR_PROBE, TOP_1) if name in predictions.classes]
    return (names[0], predictions.classes[names[0]]) if names else None


def _views(run: RunRecord) -> dict[str, Any] | None:
    if run.views is None:
        return None
    images = []
    for index, original in enumerate(run.views.originals):
        views = [
            {"uri": pictures.data_uri(view[index]), "operations": operations[index]}
            for view, operations in zip(run.views.views, run.views.operations, strict=True)
        ]
        images.append({"original": pictures.data_uri(original), "views": views})
    side = max(run.views.originals.shape[1:3])
    return {"images": images, "epoch": run.views.epoch, "pixelated": side <= pictures.EXAMPLE_SIDE}


def _examples(run: RunRecord) -> dict[str, Any] | None:
    if run.examples is None:
        return None
    examples, names = run.examples, run.class_names
    sheet, (height, width) = sprite_image(examples.images)
    labels = [int(label) for label in np.unique(examples.labels) if label >= 0]
    colors = sections.class_colors(max(labels, default=-1) + 1)
    return {
        "sheet": pictures.sheet_uri(sheet),
        "columns": sheet.shape[1] // width,
        "width": width,
        "height": height,
        "count": len(examples.images),
        "step": examples.step,
        "points": sections.embedding_points(examples, names),
        "size": sections.map_size(),
        "legend": [(label, sections.class_name(label, names), colors[label]) for label in labels],
        "neighborhoods": sections.neighborhoods(examples, names),
    }
