"""Learning curves of a run as one picture, drawn from its TensorBoard event files."""

from __future__ import annotations

import contextlib
import fnmatch
import io
import os
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.util import tensor_util

from simclr_tf.errors import InputError
from simclr_tf.files import on_local_disk, write_bytes_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POINTS_PER_TAG = 5000  # More are thinned evenly at random by the reader; the last one stays.
_IN_PICTURE = 4  # panels of curves.png; the page has all
_PANEL_INCHES = (5.2, 3.2)
_SMOOTH_FROM = 100  # Curves with at least so many points get a running mean on top.


class ScalarSeries(NamedTuple):
    """One scalar of one event folder.

    Attributes:
        tag: As in TensorBoard (`train/contrast_loss`).
        folder: Folder of the event file relative to the run, `OWN_EVENTS` for the run itself.
        steps: (T,) int64, ascending.
        values: (T,) float64.
    """

    tag: str
    folder: str
    steps: np.ndarray
    values: np.ndarray


class _Panel(NamedTuple):
    title: str
    tags: dict[str, str]  # Tag -> name in the legend.
    percent: bool = False
    noisy: bool = True  # Long curves get a running mean; a schedule is drawn as it is.
    first_only: bool = False  # Draw only the first tag that the run has.


_PANELS = (
    # The linear head's loss, far larger at times, would flatten the one that trains the encoder.
    _Panel("Loss", {
        "train/contrast_loss": "contrastive",
        "train/distill_loss": "distillation",
        "train/supervised_loss": "classification",
    }, first_only=True),
    _Panel("Contrastive accuracy", {"train/contrast_acc": "training"}, percent=True),
    _Panel("Classification accuracy", {
        "train/supervised_acc": "linear head, training",
        "train/distill_agreement": "agreement with the teacher, training",
        "eval/label_top_1_accuracy": "linear head, evaluation",
        "eval/knn_20_accuracy": "kNN 20, evaluation",
        "eval/knn_200_accuracy": "kNN 200, evaluation",
        "eval/linear_probe_accuracy": "logistic regression, evaluation",
    }, percent=True),
    _Panel("Finds the other view", {
        "quality/h_retrieval": "h, colours changed",
        "quality/h_crop_retrieval": "h, colours as they are",
    }, percent=True),
    _Panel("Effective dimensions", {
        "quality/h_effective_rank": "h",
        "quality/z_effective_rank": "z",
    }),
    _Panel("Learning rate", {"learning_rate": "learning rate"}, noisy=False),
    _Panel("Pairs per second", {"train/pairs_per_second": "training"}, noisy=False),
    _Panel("Memory, GiB", {
        "memory/host_peak_gib": "host, peak",
        "memory/device_peak_gib": "GPU, peak",
    }, noisy=False),
)  # fmt: skip

# Okabe and Ito's palette: told apart with any colour vision.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

OWN_EVENTS = "."  # the `folder` of a run's own scalars; below it lie named evaluations
_EVENTS = "*events.out.tfevents*"
_RECORD_START, _RECORD_END = 12, 4  # bytes around a record: length and checksum, checksum
_LONGEST_RECORD = 2**28
_NO_WIDTH = "\u200b"
_DASHES = ("-", "--", ":", "-.")  # for the second, third and fourth six lines


def plot_learning_curves(
    model_dir: str | os.PathLike[str], output_png: str | os.PathLike[str]
) -> None:
    """Draws the first four panels for which a run has scalars, loss and accuracies before others.

    A scalar that the run does not have gets no line; a panel without lines says so.

    Args:
        model_dir: The run directory, local or remote; event files are looked for in it and
            below it.
        output_png: The picture, written atomically.

    Raises:
        InputError: `model_dir` is not a folder.
    """
    # Takes half a second to import, and a training needs it at its end only.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with on_local_disk(model_dir, is_events) as place:
        series = read_scalars(place)
    figure = Figure(figsize=(10, 7), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    name = pathlib.Path(os.path.abspath(model_dir)).name
    figure.suptitle(f"Learning curves of {name}", parse_math=False)
    with_lines = [panel for panel in _PANELS if _has_lines(panel, series)]
    without = [panel for panel in _PANELS if panel not in with_lines]
    chosen = [*with_lines, *without][:_IN_PICTURE]
    for axes, panel in zip(figure.subplots(2, 2).flat, chosen, strict=True):
        _draw_panel(axes, panel, series)
    picture = io.BytesIO()
    canvas.print_png(picture)
    write_bytes_atomically(output_png, picture.getvalue())


def draw_curves(series: Sequence[ScalarSeries]) -> list[tuple[str, Figure]]:
    """Panels as figures of their own, with their titles; those without lines are left out."""
    return _draw_panels(_PANELS, series)


def draw_comparison(series: Sequence[ScalarSeries]) -> list[tuple[str, Figure]]:
    """A panel for every scalar that has a curve, with a line for every `folder`."""
    panels = []
    series = [entry for entry in series if len(entry.steps) > 1]
    for panel in _PANELS:
        for tag, name in panel.tags.items():
            title = panel.title if len(panel.tags) == 1 else f"{panel.title}: {name}"
            panels.append(panel._replace(title=title, tags={tag: ""}))
    return _draw_panels(panels, series)


def _draw_panels(
    panels: Sequence[_Panel], series: Sequence[ScalarSeries]
) -> list[tuple[str, Figure]]:
    from matplotlib.figure import Figure

    drawn = []
    for panel in panels:
        if _has_lines(panel, series):
            figure = Figure(figsize=_PANEL_INCHES, layout="constrained")
            _draw_panel(figure.subplots(), panel, series)
            drawn.append((panel.title, figure))
    return drawn


def _has_lines(panel: _Panel, series: Sequence[ScalarSeries]) -> bool:
    return any(np.isfinite(entry.values).any() for entry in series if entry.tag in panel.tags)


def is_events(path: str) -> bool:
    """Whether a path, with `/`, is that of an event file."""
    return fnmatch.fnmatchcase(path.rpartition("/")[2], _EVENTS)


def event_files(model_dir: str | os.PathLike[str]) -> list[pathlib.Path]:
    """The event files in and below a local folder, sorted; pipes and devices are none."""
    return sorted(path for path in pathlib.Path(model_dir).rglob(_EVENTS) if path.is_file())


def read_scalars(model_dir: str | os.PathLike[str]) -> list[ScalarSeries]:
    """Every scalar in the event files in and below a local folder, sorted by tag and folder.

    Where a run was resumed and repeated some steps, the values of the later attempt count. A file
    whose end is missing (a run that was killed) gives what it holds.

    Raises:
        InputError: `model_dir` is not a folder.
    """
    root = pathlib.Path(model_dir)
    if not root.is_dir():
        raise InputError("model_dir", "must be the folder of a run", str(model_dir))
    folders = sorted({path.parent for path in event_files(root)})
    series = []
    for folder in folders:
        series += _read_folder(folder, folder.relative_to(root).as_posix())
    return sorted(series, key=lambda entry: (entry.tag, entry.folder))


def _read_folder(folder: pathlib.Path, name: str) -> list[ScalarSeries]:
    guidance = {event_accumulator.TENSORS: _POINTS_PER_TAG,
                event_accumulator.SCALARS: _POINTS_PER_TAG,
                event_accumulator.IMAGES: 1}  # fmt: skip
    with _readable(folder) as place:
        reader = event_accumulator.EventAccumulator(place, size_guidance=guidance)
        reader.Reload()
    found: dict[str, dict[int, float]] = {}
    for tag in reader.Tags()[event_accumulator.SCALARS]:
        found[tag] = {event.step: float(event.value) for event in _in_time(reader.Scalars(tag))}
    for tag in reader.Tags()[event_accumulator.TENSORS]:
        points = {}
        for event in _in_time(reader.Tensors(tag)):
            if event.tensor_proto.dtype == _STRING or event.tensor_proto.tensor_shape.dim:
                break  # Images and texts are tensors too.
            points[event.step] = float(tensor_util.make_ndarray(event.tensor_proto))
        if points:
            found[tag] = points
    return [_to_series(tag, name, points) for tag, points in found.items()]


def declares_too_much(path: pathlib.Path) -> bool:
    """Whether a record of an event file says that it is longer than memory is.

    TensorFlow's reader asks for as much at once, and the process ends. What merely breaks off is
    sound: a run was killed.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        while len(start := file.read(_RECORD_START)) == _RECORD_START:
            length = int.from_bytes(start[:8], "little")
            if file.tell() + length > size:
                return length > _LONGEST_RECORD
            file.seek(length + _RECORD_END, os.SEEK_CUR)
    return False


@contextlib.contextmanager
def _readable(folder: pathlib.Path) -> Iterator[str]:
    """The folder, or one with links to its event files where others are named like them.

    TensorBoard opens whatever has the name, and waits for ever at a pipe.
    """
    named = [path for path in folder.iterdir() if "tfevents" in path.name]
    readable = [path for path in named if path.is_file() and not declares_too_much(path)]
    if len(readable) == len(named):
        yield str(folder)
        return
    with tempfile.TemporaryDirectory() as place:
        for path in readable:
            os.symlink(path.absolute(), os.path.join(place, path.name))
        yield place


def _in_time(events: Iterable[Any]) -> list[Any]:
    """As they were written: the names of files that began in the same second do not tell."""
    return sorted(events, key=lambda event: event.wall_time)


_STRING = 7  # DT_STRING of TensorFlow's DataType.


def _to_series(tag: str, folder: str, points: dict[int, float]) -> ScalarSeries:
    steps = sorted(points)
    values = np.array([points[step] for step in steps], np.float64)
    return ScalarSeries(tag, folder, np.array(steps, np.int64), values)


def _draw_panel(axes: Axes, panel: _Panel, series: Sequence[ScalarSeries]) -> None:
    axes.set_title(panel.title, fontsize=11, loc="left")
    chosen = [entry for tag in panel.tags for entry in series if entry.tag == tag]
    chosen = [entry for entry in chosen if np.isfinite(entry.values).any()]
    if panel.first_only:
        chosen = [entry for entry in chosen if entry.tag == chosen[0].tag]
    if not chosen:
        axes.set_axis_off()
        wanted = "\n".join(panel.tags)
        axes.text(0.5, 0.5, f"This run has no values of\n{wanted}", ha="center", va="center",
                  color="#555555", fontsize=9, transform=axes.transAxes)  # fmt: skip
        return
    repeated = len({entry.tag for entry in chosen}) < len(chosen)
    for index, entry in enumerate(chosen):
        legend = panel.tags[entry.tag] or entry.folder
        if repeated and legend != entry.folder:
            legend = f"{legend} ({entry.folder})"
        if legend.startswith("_"):  # matplotlib would leave it out
            legend = _NO_WIDTH + legend
        style = COLORS[index % len(COLORS)], _DASHES[index // len(COLORS) % len(_DASHES)]
        _draw_series(axes, entry, panel, legend, *style)
    axes.set_xlabel("step", fontsize=9)
    axes.set_ylabel("%" if panel.percent else "", fontsize=9)
    axes.grid(color="#E2E2E2", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
    axes.margins(x=0.02)
    if len(chosen) > 1:
        for text in axes.legend(fontsize=8, frameon=False).get_texts():
            text.set_parse_math(False)


def _draw_series(
    axes: Axes, series: ScalarSeries, panel: _Panel, legend: str, color: str, dashes: str
) -> None:
    values = (100 if panel.percent else 1) * series.values
    if len(values) < _SMOOTH_FROM or not panel.noisy:
        marker = "o" if len(values) <= 30 else None
        axes.plot(series.steps, values, color=color, label=legend, marker=marker, markersize=3,
                  linewidth=1.4, linestyle=dashes)  # fmt: skip
        return
    axes.plot(series.steps, values, color=color, alpha=0.25, linewidth=0.7)
    axes.plot(series.steps, _running_mean(values, len(values) // 50), color=color, label=legend,
              linewidth=1.6, linestyle=dashes)  # fmt: skip


def _running_mean(values: np.ndarray, reach: int) -> np.ndarray:
    """Mean of the finite values up to `reach` points to either side; NaN where there is none."""
    kernel = np.ones(2 * reach + 1)
    finite = np.isfinite(values)
    sums = np.convolve(np.where(finite, values, 0), kernel, mode="same")
    counts = np.convolve(finite.astype(np.float64), kernel, mode="same")
    return np.divide(sums, counts, out=np.full(len(values), np.nan), where=counts > 0.5)
