"""The page as a parser of HTML sees it, and what its scripts read."""

import base64
import html.parser
import json

import numpy as np
import pytest

from simclr_tf.exploration import findings, page, table
from simclr_tf.report.page import MARK
from simclr_tf.retrieval.neighbors import choose_space

VOID = {"meta", "link", "input", "br", "img", "hr"}


class Reader(html.parser.HTMLParser):
    """Checks that elements are closed, and keeps ids, addresses, text and scripts."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.addresses, self.text, self.scripts = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.addresses += [found[name] for name in ("src", "href") if name in found]
        if tag not in VOID:
            self.open.append((tag, found))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        inside = self.open[-1][0] if self.open else ""
        if inside == "script":
            self.scripts.append((self.open[-1][1].get("id"), data))
        elif inside != "style":
            self.text.append(data)


def read(text):
    reader = Reader()
    reader.feed(text)
    assert reader.open == [] and len(set(reader.ids)) == len(reader.ids)
    return reader


def data_of(reader):
    return json.loads("".join(text for name, text in reader.scripts if name == "data"))


def unpacked(text, kind):
    return np.frombuffer(base64.b64decode(text), kind)


def made(content, **settings):
    space = choose_space(content.vectors, "centred", None)
    found = findings.find(content, space)
    reader = read(page.page_html("My photos", content, found, space, table="x y.csv", **settings))
    return reader, data_of(reader), found


@pytest.fixture(scope="module")
def whole(planted):
    labels = planted.kind.copy()
    labels[[5, 200]] = 3, 1
    labels[::10] = -1
    return made(planted.content(labels, tuple("abcdef"), dataset="folder:/nowhere"))


def test_what_the_scripts_read(whole, planted):
    _, data, found = whole
    assert data["ids"] == planted.ids and data["count"] == data["total"] == 244
    near = unpacked(data["near"], "<i4").reshape(244, data["k"])
    np.testing.assert_array_equal(near, found.neighbors.indices[:, :12])
    similar = unpacked(data["similar"], "i1").reshape(244, 12) / 100
    np.testing.assert_allclose(similar, found.neighbors.similarities[:, :12], atol=0.0051)
    places = unpacked(data["places"], "<u2").reshape(244, 2).astype(float)
    expected = found.places - found.places.min(axis=0)
    np.testing.assert_allclose(places / 65535, expected / expected.max(), atol=1e-4)
    np.testing.assert_array_equal(unpacked(data["group"], "<u2"), found.groups.group)
    assert len(data["colors"]) == found.groups.number == len(data["groups"])
    label = unpacked(data["label"], "<i4")
    assert data["classes"] == list("abcdef") and label[5] == 3 and label[10] == -1


def test_the_lists(whole, planted):
    _, data, found = whole
    assert [one["size"] for one in data["groups"]] == np.bincount(found.groups.group).tolist()
    for number, one in enumerate(data["groups"]):
        assert len(one["typical"]) == 9
        assert found.groups.rank[one["typical"]].tolist() == list(range(1, 10))
        assert set(found.groups.group[one["typical"]].tolist()) == {number}
    (copies,) = data["duplicates"]
    assert copies["rows"] == planted.copies and data["kept"] == [0] and copies["size"] == 4
    assert data["outliers"][0][0] == planted.outlier and len(data["outliers"]) >= 8
    assert {row for row, _, _ in data["suspects"]} >= {5}
    assert dict((row, name) for row, name, _ in data["suspects"])[5] == "a"
    assert data["to_label"] == found.to_label.tolist()


def test_the_page_needs_nothing_from_elsewhere(whole):
    reader, data, _ = whole
    text = " ".join(" ".join(reader.text).split())
    own = {f"#{name}" for name in reader.ids} | {"data:,", "x%20y.csv"}
    assert set(reader.addresses) - own == {"https://arxiv.org/abs/2202.02794"}  # a link
    scripts = "".join(script for _, script in reader.scripts)
    assert "fetch(" not in scripts and "XMLHttpRequest" not in scripts and "import(" not in scripts
    assert "What is in 244 images" in text and "6 groups" in text
    assert "0 of 244, those of the lists" not in text and "Pictures: 0 of 244" in text
    assert data["folder"] == "" and data["small"]["sheets"] == []


def test_every_place_that_scripts_fill_is_there(whole):
    reader, _, _ = whole
    wanted = {"data", "map", "map-says", "map-title", "chosen", "legend", "groups", "duplicates",
              "outliers", "suspects", "next", "drop-copies", "download", "clear", "marks-say", "in",
              "out", "all", "colors", "find"}  # fmt: skip
    assert wanted <= set(reader.ids)


def test_pages_carry_our_mark(planted):
    content = planted.content()._replace(ids=planted.ids[:3], vectors=planted.vectors[:3])
    space = choose_space(content.vectors, "centred", None)
    found = findings.find(content, space)
    text = page.page_html("<b>" + "x" * 200, content, found, space)
    assert MARK in text.encode()[:1024] and "<b>x" not in text


@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("equal", [True, False])
def test_a_few_images(planted, count, equal):
    vectors = np.ones((count, 16), np.float32) if equal else planted.vectors[:count]
    content = planted.content()._replace(ids=planted.ids[:count], vectors=vectors)
    reader, data, _ = made(content)
    assert data["count"] == count and data["k"] == count - 1
    assert "too few images for groups" in " ".join(reader.text)
    assert "suspects" not in reader.ids and "next" in reader.ids


def test_hostile_names_are_text(planted):
    names = ["</script><script>alert(1)</script>", "<!--<script>", "\ud800", "a\u2028b"]
    content = planted.content(np.zeros(4, np.int64), ("</script>",), dataset="<i>x\u202e\x1b")
    content = content._replace(ids=names, vectors=planted.vectors[:4])
    reader, data, _ = made(content)
    assert len(reader.scripts) >= 2 and [name for name, _ in reader.scripts].count("data") == 1
    assert data["ids"] == [names[0], names[1], "\\ud800", names[3]]
    assert data["classes"] == ["</script>"]
    assert not any(character in text for text in reader.text for character in "\u202e\x1b")


def test_of_very_many_images_a_part_is_shown(planted, monkeypatch):
    """Those of the lists among them, and no neighbour that is not there."""
    monkeypatch.setattr(page, "MOST_POINTS", 150)
    monkeypatch.setattr(page, "MOST_THUMBNAILS", 120)
    monkeypatch.setattr(page, "_SIDES", ((120, 8),))
    reader, data, found = made(planted.content())
    assert data["count"] == len(data["ids"]) == 150 and data["total"] == 244
    rows = [planted.ids.index(name) for name in data["ids"]]
    near = unpacked(data["near"], "<i4").reshape(150, 12)
    for at, row in enumerate(rows):
        expected = [rows.index(j) if j in rows else -1 for j in found.neighbors.indices[row, :12]]
        assert near[at].tolist() == expected
    assert [rows[at] for at in data["to_label"]] == found.to_label.tolist()
    assert rows[data["outliers"][0][0]] == planted.outlier
    text = " ".join(" ".join(reader.text).split())
    assert "The page has 150 of 244 images" in text and "as the page would be too large" in text


def test_tables_and_pages_know_names_of_classes(planted):
    content = planted.content(planted.kind, ("one",))
    assert [table.class_name(content, label) for label in (0, 5)] == ["one", "5"]
