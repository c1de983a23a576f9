"""Pictures of what was found: neighbours of a query, groups of near-duplicates."""

from __future__ import annotations

import contextlib
import io
import os
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from simclr_tf.errors import require
from simclr_tf.files import write_bytes_atomically

_DPI = 120
_TILE, _GAP, _CAPTION, _MARGIN, _TITLE = 1.5, 0.22, 0.66, 0.3, 0.75  # inches
_QUERY_TILE = 2 * _TILE + _GAP  # the query spans two columns
_COLUMNS = 5
_LINE_CHARACTERS, _NOTE_CHARACTERS = 23, 26  # of a line below a tile
_SEPARATORS = "/ _-"
_TITLE_CHARACTERS, _TITLE_LETTER = 100, 0.088  # at most so many, of so many inches
_DUPLICATE, _ABSENT = "#D55E00", "#D9D9D9"
# Families with the scripts that the usual font lacks, where the system has one of them.
_MORE_FONTS = ("Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans", "WenQuanYi Zen Hei",
               "Hiragino Sans", "PingFang SC", "Yu Gothic", "Microsoft YaHei", "Noto Sans Arabic",
               "Noto Sans Devanagari", "Noto Emoji", "Arial Unicode MS")  # fmt: skip


class Tile(NamedTuple):
    """One image of a picture.

    Attributes:
        image: uint8 (H, W, 3) of any size, None where there is none: a gray tile takes its place.
        name: File name or id.
        note: What stands in bold above the name, such as the similarity.
        is_duplicate: Drawn with a coloured frame.
    """

    image: np.ndarray | None
    name: str
    note: str = ""
    is_duplicate: bool = False


def save_neighbors(
    path: str | os.PathLike[str], title: str, query: Tile, neighbors: Sequence[Tile]
) -> None:
    """Draws the query on the left and its neighbours in rows on the right, in order.

    Args:
        path: The PNG, written atomically.
        title: Stands on top.
        query: Drawn large.
        neighbors: At least one.

    Raises:
        InputError: No neighbours.
    """
    require(len(neighbors) > 0, "neighbors", "must be at least one", len(neighbors))
    columns = min(_COLUMNS, len(neighbors))
    rows = -(-len(neighbors) // columns)
    left = _MARGIN + _QUERY_TILE + 2 * _GAP
    width = left + columns * (_TILE + _GAP) - _GAP + _MARGIN
    height = _TITLE + max(rows * (_TILE + _CAPTION), _QUERY_TILE + _CAPTION) + _MARGIN
    page = _Page(width, height, title)
    page.draw(query, _MARGIN, _TITLE, _QUERY_TILE, at_top=True)
    for index, tile in enumerate(neighbors):
        row, column = divmod(index, columns)
        page.draw(tile, left + column * (_TILE + _GAP), _TITLE + row * (_TILE + _CAPTION), _TILE)
    page.save(path)


def save_groups(
    path: str | os.PathLike[str], title: str, groups: Sequence[Sequence[Tile]], columns: int = 7
) -> None:
    """Draws one group a row, as many of its images as fit.

    Args:
        path: The PNG, written atomically.
        title: Stands on top.
        groups: At least one, none empty.
        columns: Images of a row; what is left out is counted behind them.

    Raises:
        InputError: No group, or an empty one.
    """
    require(len(groups) > 0 and min(map(len, groups)) > 0, "groups", "must hold images",
            [len(group) for group in groups][:10])  # fmt: skip
    widest = min(columns, max(map(len, groups)))
    width = 2 * _MARGIN + widest * (_TILE + _GAP) - _GAP + 0.6
    height = _TITLE + len(groups) * (_TILE + _CAPTION) + _MARGIN
    page = _Page(width, height, title)
    for row, group in enumerate(groups):
        top = _TITLE + row * (_TILE + _CAPTION)
        for column, tile in enumerate(group[:columns]):
            page.draw(tile, _MARGIN + column * (_TILE + _GAP), top, _TILE)
        if len(group) > columns:
            more = f"+{len(group) - columns}"
            left = _MARGIN + columns * (_TILE + _GAP)
            page.text(more, left, top + _TILE / 2, size=12, horizontal="left", vertical="center")
    page.save(path)


class _Page:
    """A white page on which things are placed in inches from its upper left corner."""

    def __init__(self, width: float, height: float, title: str):
        title = _shorten(title, _TITLE_CHARACTERS)
        width = max(width, 2 * _MARGIN + _TITLE_LETTER * len(title))
        self._width, self._height = width, height
        self._figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")
        self._canvas = FigureCanvasAgg(self._figure)
        installed = set(font_manager.get_font_names())
        self._fonts = ["DejaVu Sans", *(name for name in _MORE_FONTS if name in installed)]
        self.text(title, _MARGIN, _MARGIN, size=11, widest=width - 2 * _MARGIN, horizontal="left")

    def draw(self, tile: Tile, left: float, top: float, side: float, at_top: bool = False) -> None:
        """An image, as large as fits into a square, at its lower or upper edge; caption below."""
        placed = (left / self._width, 1 - (top + side) / self._height,
                  side / self._width, side / self._height)  # fmt: skip
        axes = self._figure.add_axes(placed)
        axes.set_axis_off()
        pixels = tile.image
        if pixels is None:
            axes.set(xlim=(0, 1), ylim=(0, 1))
            axes.add_patch(Rectangle((0, 0), 1, 1, color=_ABSENT))
            self.text("no image", left + side / 2, top + side / 2, size=9, color="#666666")
        else:
            # Small images are enlarged pixel by pixel: blur would hide what the encoder saw.
            small = max(pixels.shape[:2]) < side * _DPI
            axes.imshow(pixels, interpolation="nearest" if small else "antialiased")
            axes.set_anchor("N" if at_top else "S")
        if tile.is_duplicate:
            self._frame(axes, pixels)
        shape = (1, 1) if pixels is None else pixels.shape[:2]
        height = side * shape[0] / max(shape) if at_top else side
        self._caption(tile, left + side / 2, top + height + 0.09, side)

    def text(
        self,
        text: str,
        x: float,
        y: float,
        *,
        size: float,
        widest: float | None = None,
        horizontal: str = "center",
        vertical: str = "top",
        **style: Any,
    ) -> None:
        """Text as it is (a `$` in a file name begins no formula), smaller if it is too wide."""
        drawn = self._figure.text(
            x / self._width, 1 - y / self._height, text, fontsize=size, ha=horizontal, va=vertical,
            parse_math=False, family=self._fonts, **style,
        )  # fmt: skip
        if widest is not None:
            with _without_glyph_warnings():
                width = drawn.get_window_extent(self._canvas.get_renderer()).width / _DPI
            drawn.set_fontsize(size * min(1.0, widest / max(width, 1e-6)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the page."""
        picture = io.BytesIO()
        with _without_glyph_warnings():
            self._canvas.print_png(picture)
        write_bytes_atomically(path, picture.getvalue())

    def _frame(self, axes: Axes, pixels: np.ndarray | None) -> None:
        height, width = (1, 1) if pixels is None else pixels.shape[:2]
        corner = (0, 0) if pixels is None else (-0.5, -0.5)
        axes.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=_DUPLICATE,
                                 linewidth=3.5, clip_on=False))  # fmt: skip

    def _caption(self, tile: Tile, center: float, top: float, side: float) -> None:
        if tile.note:
            color = _DUPLICATE if tile.is_duplicate else "#222222"
            widest = side + _GAP / 2
            note = _shorten(_plain(tile.note), _NOTE_CHARACTERS)
            self.text(note, center, top, size=9, widest=widest, weight="bold", color=color)
            top += 0.17
        characters = int(_LINE_CHARACTERS * side / _TILE)
        lines = "\n".join(_wrap(tile.name, characters))
        self.text(lines, center, top, size=7.5, widest=side + _GAP / 2, color="#333333",
                  linespacing=1.15)  # fmt: skip


@contextlib.contextmanager
def _without_glyph_warnings() -> Iterator[None]:
    """A name in a script that no font here has is drawn as boxes, without a word."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _shorten(text: str, longest: int) -> str:
    """The text with its middle left out where it is too long: names differ at the end."""
    if len(text) <= longest:
        return text
    head = (longest - 1) // 3
    return f"{text[:head]}\N{HORIZONTAL ELLIPSIS}{text[-(longest - 1 - head) :]}"


def _plain(text: str) -> str:
    """Without control characters: a file name may hold a newline, which would move all else."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}"
                   for letter in text)  # fmt: skip


def _wrap(name: str, characters: int) -> list[str]:
    """One or two lines of at most so many narrow letters, broken at a separator if there is one."""
    plain = _plain(name)
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in plain)
    characters = characters * len(plain) // max(len(plain) + wide, 1)
    plain = _shorten(plain, 2 * characters)
    if len(plain) <= characters:
        return [plain]
    first = range(len(plain) - characters, characters + 1)  # lengths that leave room for the rest
    breaks = [length for length in first if plain[length - 1] in _SEPARATORS]
    length = max(breaks, default=-(-len(plain) // 2))
    return [plain[:length], plain[length:]]
