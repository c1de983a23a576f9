"""`--mode=explore` from the file to the page."""

import base64
import csv
import json
import pathlib
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from simclr_tf.errors import InputError
from simclr_tf.exploration import thumbnails
from simclr_tf.modes import explore as explore_mode
from simclr_tf.retrieval.embeddings import EmbeddingWriter
from tests.modes.asked import explore


@pytest.fixture
def photos(tmp_path):
    """Sixty images of three kinds in `photos`, and `photos.parquet`; `write(...)` makes others."""
    rng = np.random.default_rng(0)
    kind = np.repeat(np.arange(3), 20)
    vectors = (np.eye(3, 8)[kind] * 5 + rng.normal(0, 0.5, (60, 8))).astype(np.float32)
    ids = [f"{kind[row]}/{row:02}.png" for row in range(60)]
    for row, name in enumerate(ids):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), tuple(int(255 * one) for one in np.eye(3)[kind[row]])).save(path)
    with EmbeddingWriter(
        tmp_path / "photos.parquet", {"dataset": f"folder:{tmp_path / 'photos'}"}, ["a", "b", "c"]
    ) as writer:
        writer.append(ids, vectors, np.where(np.arange(60) % 2, kind, -1))
    return tmp_path


def data_of(path):
    text = pathlib.Path(path).read_text("utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    return json.loads(found[1])


def pictures_of(path):
    slots = np.frombuffer(base64.b64decode(data_of(path)["small"]["slot"]), "<i4")
    return int((slots >= 0).sum())


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_page_table_and_what_is_said(photos):
    said = []
    path = explore(str(photos / "photos.parquet"), say=said.append)
    assert path == str(photos / "photos.explore.html")
    rows = rows_of(photos / "photos.explore.csv")
    assert [row["id"] for row in rows] == data_of(path)["ids"]
    kinds = {(row["id"][0], row["group"]) for row in rows}
    assert len(kinds) == 3
    assert rows[1]["path"] == str(photos / "photos" / rows[1]["id"])
    assert pictures_of(path) == 60
    assert any(line.startswith("3 groups") for line in said)
    assert any("neighbours agree with 100.0 %" in line for line in said)
    assert any("30 of 60 images have labels; 24 are proposed" in line for line in said)
    assert said[-3].startswith(f"page: {path} (") and said[-2].endswith("photos.explore.csv")
    assert said[-1].startswith("next: ") and all("\n" not in line for line in said)


def test_it_can_be_made_again(photos):
    for _ in range(2):
        explore(str(photos / "photos.parquet"), output=str(photos / "p.html"), say=[].append)
    assert (photos / "p.csv").is_file() and not list(photos.glob(".*"))


def test_labels_of_a_table(photos):
    (photos / "labels.csv").write_text("id,group\n0/00.png,zebra\n0/01.png,b\n")
    said = []
    path = explore(str(photos / "photos.parquet"), labels=str(photos / "labels.csv"),
                   say=said.append)  # fmt: skip
    assert data_of(path)["classes"] == ["a", "b", "c", "zebra"]
    (row, suggested, _), *_ = data_of(path)["suspects"]
    assert (data_of(path)["ids"][row], suggested) == ("0/01.png", "a")


def test_images_that_moved(photos):
    shutil.move(photos / "photos", photos / "elsewhere")
    said = []
    path = explore(str(photos / "photos.parquet"), say=said.append)
    assert pictures_of(path) == 0 and any("60 images are not found" in line for line in said)
    said = []
    path = explore(str(photos / "photos.parquet"), image_folder=str(photos / "elsewhere"),
                   say=said.append)  # fmt: skip
    assert pictures_of(path) == 60 and not any(line.startswith("note") for line in said)
    assert data_of(path)["folder"] == (photos / "elsewhere").as_uri()


def test_a_limit_at_which_most_images_are_copies_is_remarked(photos):
    """Nobody shall drop them by one button without a word."""
    said = []
    path = explore(str(photos / "photos.parquet"), duplicate_similarity=0.1, say=said.append)
    assert any(line.startswith("note: most images are near-duplicates") for line in said)
    assert "Most images are near-duplicates" in pathlib.Path(path).read_text("utf-8")
    explore(str(photos / "photos.parquet"), duplicate_similarity=0.9999, say=said.append)
    assert sum("most images" in line for line in said) == 1
    assert "Most images are near-duplicates" not in pathlib.Path(path).read_text("utf-8")


def test_a_given_number_of_groups(photos):
    said = []
    path = explore(str(photos / "photos.parquet"), num_groups=5, say=said.append)
    assert len(data_of(path)["groups"]) == 5 and "5 groups (--num_groups)" in said


def test_many_images_say_what_is_being_done(photos, monkeypatch):
    monkeypatch.setattr(explore_mode, "_MANY", 50)
    said = []
    explore(str(photos / "photos.parquet"), say=said.append)
    assert [line for line in said if line.endswith(" ...")] == [
        "nearest images ...", "near-duplicates ...", "groups ...", "labels ...", "map ...",
        "pictures ..."]  # fmt: skip


@pytest.mark.parametrize("name", ["photos.explore.html", "photos.explore.csv"])
def test_files_of_others_stay(photos, name):
    (photos / name).write_text("mine")
    with pytest.raises(InputError, match="was not written by this program"):
        explore(str(photos / "photos.parquet"), say=[].append)
    assert (photos / name).read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"output": "x.htm"}, "output must end in .html with mode=explore"),
        ({"output": "/proc/nosuch/x.html"}, "output must lie in a folder that can be written"),
        ({"embeddings": "/nowhere/x.npz"}, "embeddings must name an existing file"),
        ({"embeddings": "s3://a/b.npz"}, "embeddings must be a local path"),
        ({"labels": "/nowhere/labels.csv"}, "labels must name an existing CSV file"),
        ({"num_groups": 61}, "num_groups must be at most 60"),
        ({"num_groups": 0}, "num_groups must be at least 1"),
        ({"image_folder": "nowhere"}, "dataset must be folder:PATH with an existing folder"),
        ({"similarity": "dot"}, "similarity must be one of"),
    ],
)
def test_refusals(photos, monkeypatch, change, text):
    monkeypatch.chdir(photos)
    before = sorted(path.name for path in photos.iterdir())
    with pytest.raises(InputError, match=text):
        explore(**{"embeddings": str(photos / "photos.parquet"), **change}, say=[].append)
    assert sorted(path.name for path in photos.iterdir()) == before


def test_nothing_is_written_where_something_fails(photos, monkeypatch):
    def fail(*_):
        raise RuntimeError("x")

    monkeypatch.setattr(thumbnails, "make_sheets", fail)
    monkeypatch.setattr(explore_mode.page, "make_sheets", fail)
    with pytest.raises(RuntimeError):
        explore(str(photos / "photos.parquet"), say=[].append)
    assert not list(photos.glob("*.explore.*"))


def test_nan_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", a=1)
    with pytest.raises(InputError, match="must be a complete file of embeddings"):
        explore(str(tmp_path / "x.npz"), say=[].append)


def test_names_reach_the_terminal_as_one_printable_line(tmp_path):
    ids = ["\x1b[2J\n.png", "gpj.\u202eexe", "=1+1"]
    with EmbeddingWriter(tmp_path / "x.npz", {"dataset": "a\n\x1b"}) as writer:
        writer.append(ids, np.eye(3))
    said = []
    explore(str(tmp_path / "x.npz"), say=said.append)
    assert not any(character in line for line in said for character in "\x1b\n\u202e")
    assert [row["id"] for row in rows_of(tmp_path / "x.explore.csv")] == [*ids[:2], "'=1+1"]
