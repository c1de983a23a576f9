"""A chart is well-formed, themed, and its own."""

import re
import xml.etree.ElementTree as ElementTree

from matplotlib.figure import Figure

from simclr_tf.report import charts


def _figure():
    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    axes.plot([1, 2, 3], [1, 4, 9], color="#0072B2", label="a <line>")
    axes.set_title("Title & more")
    axes.grid(color="#E2E2E2")
    axes.legend()
    return figure


def test_an_inline_chart():
    svg = str(charts.inline(_figure(), "one", 'says "what" it shows'))
    root = ElementTree.fromstring(svg.replace("xlink:href", "href"))
    assert root.attrib["role"] == "img" and root.attrib["viewBox"].startswith("0 0 ")
    assert root.attrib["aria-label"] == 'says "what" it shows'
    assert "width" not in root.attrib  # scales with its column
    texts = "".join(root.itertext())
    assert "Title & more" in texts and "a <line>" in texts
    assert "currentColor" in svg and "var(--line)" in svg and "#000000" not in svg
    assert "font-family" not in svg


def test_ids_of_two_charts_differ():
    ids = [set(re.findall(r' id="([^"]+)"', str(charts.inline(_figure(), name, ""))))
           for name in ("one", "two")]  # fmt: skip
    assert ids[0] and not ids[0] & ids[1]
    svg = str(charts.inline(_figure(), "one", ""))
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', svg))
    assert used <= ids[0]


def test_the_same_figure_gives_the_same_text():
    assert charts.inline(_figure(), "one", "") == charts.inline(_figure(), "one", "")
