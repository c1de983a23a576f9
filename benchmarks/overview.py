"""The picture at the top of the README: `python -m benchmarks.overview --model_dir=RUN`.

Drawn from what the page of a finished run keeps: training images with two views each, and the
nearest neighbours of test images before and after training.
"""

from __future__ import annotations

import matplotlib.figure
import numpy as np
from matplotlib import patches

from benchmarks import command
from simclr_tf.report import kept

_IMAGES, _QUERIES, _NEIGHBOURS = 4, 4, 5
_SAME, _OTHER = "#1a7f37", "#cf222e"
_GAP = 0.12  # between images, whose side is 1


def draw(model_dir: str, output: str) -> None:
    """Draws the picture of a run with labels.

    Args:
        model_dir: The run.
        output: A .png file.

    Raises:
        InputError: The run keeps no examples.
    """
    samples, examples = kept.read_views(model_dir), kept.read_examples(model_dir)
    width = 3 + 1.2 + 1 + 2 * (_NEIGHBOURS + 0.6)
    step = 1 + _GAP
    figure = matplotlib.figure.Figure(
        figsize=(0.62 * width * step, 0.62 * (_QUERIES * step + 0.75)), dpi=110
    )
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axes.set_axis_off()

    def show(image: np.ndarray, column: float, row: int, frame: str | None = None) -> None:
        left, top = column * step, -row * step
        axes.imshow(image, extent=(left, left + 1, top - 1, top), interpolation="nearest")
        if frame:
            axes.add_patch(patches.Rectangle(
                (left, top - 1), 1, 1, fill=False, edgecolor=frame, linewidth=2.5,
                linestyle="-" if frame == _SAME else (0, (2, 1.5)),
            ))  # fmt: skip

    def title(text: str, column: float) -> None:
        axes.text(column * step, 0.22, text, fontsize=12, va="bottom")

    title("an image, and two views of it", 0)
    for row in range(_IMAGES):
        for column, image in enumerate((samples.originals[row], *samples.views[:, row][:2])):
            show(image, column + (0.25 if column else 0), row)
    begin = 4.2
    title("test image", begin)
    title("nearest before training", begin + 1.6)
    title("nearest after training", begin + 2.2 + _NEIGHBOURS)
    for row, query in enumerate(_queries(examples.labels)):
        show(examples.images[query], begin, row)
        for features, first in ((examples.before, 1.6), (examples.now, 2.2 + _NEIGHBOURS)):
            for place, found in enumerate(_nearest(features, query)):
                same = examples.labels[found] == examples.labels[query]
                column = begin + first + place
                show(examples.images[found], column, row, _SAME if same else _OTHER)
    axes.set_xlim(-0.1, (begin + 2.3 + 2 * _NEIGHBOURS) * step)
    axes.set_ylim(-_QUERIES * step, 0.65)
    axes.set_aspect("equal")
    figure.savefig(output, facecolor="white")


def _queries(labels: np.ndarray) -> list[int]:
    """The first image of each of the first classes."""
    classes = np.unique(labels)[:_QUERIES]
    return [int(np.flatnonzero(labels == one)[0]) for one in classes]


def _nearest(features: np.ndarray, query: int) -> list[int]:
    """The images of the largest cosine similarity to one, itself left out."""
    values = features.astype(np.float64)
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    order = np.argsort(-(unit @ unit[query]), kind="stable")
    return [int(one) for one in order if one != query][:_NEIGHBOURS]


def main() -> None:
    """Runs the command line."""
    parser = command.Parser(description=__doc__)
    parser.add_argument("--model_dir", required=True, help="a finished run with its page")
    parser.add_argument("--output", default="docs/images/overview.png")
    given = parser.parse_args()
    draw(given.model_dir, given.output)


if __name__ == "__main__":
    command.end(main)
