"""Figures as SVG inside a page, in the page's colours and type."""

from __future__ import annotations

import io
import re

import matplotlib
from markupsafe import Markup, escape
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# What figures draw in, and the page's own colours, which follow light and dark.
_THEMED = {
    "#000000": "currentColor",
    "#0072b2": "var(--bar)",  # the first of `curves.COLORS`, too dark on dark
    "#e2e2e2": "var(--line)",
    "#555555": "var(--muted)",
    "#333333": "currentColor",
    "#cccccc": "var(--line)",
}
_MOST_ENLARGED = 1.7  # px of a wide screen for each of the figure's points
_SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "report", "font.size": 10.0}


def inline(figure: Figure, name: str, description: str) -> Markup:
    """A figure as an `svg` element that scales with its column.

    Args:
        figure: Drawn in black on white; made see-through here.
        name: Distinguishes it on the page: letters, digits and dashes.
        description: What a screen reader says of it.
    """
    with matplotlib.rc_context(_SETTINGS):
        figure.patch.set_alpha(0)
        for axes in figure.axes:
            axes.patch.set_alpha(0)
        buffer = io.StringIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r'style="[^"]*"', lambda found: _themed(found[0]), text)
    # Ids are the page's: those of two figures must differ.
    text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", text)
    # Text without a colour of its own, and of the page's family.
    text = re.sub(r"font: ([\d.]+px) [^;\"]+", r"font-size: \1", text)
    text = re.sub(r" ?font-family: [^;\"]+;?", "", text)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    assert size is not None
    widest = round(_MOST_ENLARGED * float(size[1]))
    opening = (
        f'<svg class="chart" role="img" aria-label="{escape(description)}" {size[0]} '
        f'style="max-width: {widest}px" '
        'xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return Markup(re.sub(r"<svg.*?>", lambda _: opening, text, count=1, flags=re.DOTALL))


def _themed(style: str) -> str:
    for color, themed in _THEMED.items():
        style = re.sub(re.escape(color), themed, style, flags=re.IGNORECASE)
    return style
