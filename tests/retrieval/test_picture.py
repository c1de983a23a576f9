"""What the pictures show, pixel by pixel where it matters."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from simclr_tf.errors import InputError
from simclr_tf.retrieval import picture
from simclr_tf.retrieval.picture import Tile, save_groups, save_neighbors

COLORS = [(200, 0, 0), (0, 150, 0), (0, 0, 220), (150, 100, 0), (0, 140, 140), (140, 0, 140)]
FRAME = (0xD5, 0x5E, 0x00)
GRAY = (0xD9, 0xD9, 0xD9)


def plain(color, height=8, width=8):
    return np.full((height, width, 3), color, np.uint8)


def read(path):
    return np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))


def box(pixels, color):
    """Left, top, right and bottom of a colour's pixels, and their number."""
    rows, columns = np.nonzero((pixels == np.array(color, np.uint8)).all(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, len(rows)


def test_the_query_stands_left_and_neighbours_follow_in_order(tmp_path):
    tiles = [Tile(plain(color), f"{i}.png", f"0.{9 - i}") for i, color in enumerate(COLORS)]
    save_neighbors(tmp_path / "x.png", "title", Tile(plain((9, 9, 9)), "query.png"), tiles)
    pixels = read(tmp_path / "x.png")
    query = box(pixels, (9, 9, 9))
    boxes = [box(pixels, color) for color in COLORS]
    assert all(query[2] < left for left, *_ in boxes)
    assert [left for left, *_ in boxes[:5]] == sorted(left for left, *_ in boxes[:5])
    assert len({top for _, top, *_ in boxes[:5]}) == 1
    assert boxes[5][1] > boxes[0][3] and boxes[5][0] == boxes[0][0]  # the second row
    assert query[2] - query[0] > 2 * (boxes[0][2] - boxes[0][0])


@pytest.mark.parametrize(("height", "width"), [(8, 8), (10, 40), (400, 100), (1, 1), (33, 1000)])
def test_shapes_of_things_are_kept(tmp_path, height, width):
    tile = Tile(plain(COLORS[0], height, width), "a.png")
    save_neighbors(tmp_path / "x.png", "title", Tile(None, "query"), [tile])
    left, top, right, bottom, count = box(read(tmp_path / "x.png"), COLORS[0])
    assert max(right - left, bottom - top) == pytest.approx(180, abs=2)
    assert (right - left) / (bottom - top) == pytest.approx(width / height, rel=0.25)
    assert count == (right - left) * (bottom - top)


def test_a_missing_image_is_a_gray_tile(tmp_path):
    save_neighbors(tmp_path / "x.png", "title", Tile(plain(COLORS[0]), "q"), [Tile(None, "gone")])
    gray = (read(tmp_path / "x.png") == np.array(GRAY, np.uint8)).all(axis=2)
    assert (gray.sum(axis=0) > 100).sum() == pytest.approx(180, abs=2)
    assert (gray.sum(axis=1) > 100).sum() == pytest.approx(180, abs=2)


def test_duplicates_have_a_frame(tmp_path):
    query = Tile(plain(COLORS[0]), "q")
    for is_duplicate in (True, False):
        tile = Tile(plain(COLORS[1]), "a", "0.99", is_duplicate)
        save_neighbors(tmp_path / "x.png", "title", query, [tile])
        framed = (read(tmp_path / "x.png") == np.array(FRAME, np.uint8)).all(axis=2).sum()
        assert (framed > 180) == is_duplicate


def test_groups_are_rows(tmp_path):
    groups = [[Tile(plain(COLORS[3 * row + i]), "x") for i in range(3)] for row in range(2)]
    save_groups(tmp_path / "x.png", "title", groups)
    boxes = [box(read(tmp_path / "x.png"), color) for color in COLORS]
    assert len({top for _, top, *_ in boxes[:3]}) == len({top for _, top, *_ in boxes[3:]}) == 1
    assert boxes[3][1] > boxes[0][3]
    assert [entry[0] for entry in boxes[:3]] == [entry[0] for entry in boxes[3:]]


def test_of_a_large_group_some_are_drawn(tmp_path):
    group = [Tile(plain(color), "x") for color in COLORS]
    save_groups(tmp_path / "x.png", "title", [group], columns=4)
    pixels = read(tmp_path / "x.png")
    assert [(pixels == np.array(color, np.uint8)).all(axis=2).any() for color in COLORS] == [
        True, True, True, True, False, False]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["$a_1$ $", "写真/ねこ.jpg", "a\nb\tc", "emoji \N{SMILING FACE WITH OPEN MOUTH}.png", "",
     "x" * 500, "\\udce9.jpg", "100%_{}\\frac.png"],
)  # fmt: skip
def test_any_name_can_be_drawn(tmp_path, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_neighbors(tmp_path / "x.png", name, Tile(plain(COLORS[0]), name), [Tile(None, name)])
        save_groups(tmp_path / "y.png", name, [[Tile(None, name), Tile(None, name)]])
    assert read(tmp_path / "x.png").shape[2] == read(tmp_path / "y.png").shape[2] == 3


def test_long_names_do_not_widen_the_picture(tmp_path):
    sizes = []
    for name in ("a", "b" * 300, "W" * 40, "写" * 40):
        tile = Tile(None, name, f"0.999  {name}")
        save_neighbors(tmp_path / "x.png", "title", tile, [tile] * 3)
        pixels = read(tmp_path / "x.png")
        sizes.append(pixels.shape)
        assert (pixels[:, :20] == 255).all() and (pixels[:, -20:] == 255).all()
    assert len(set(sizes)) == 1


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("", [""]),
        ("a.jpg", ["a.jpg"]),
        ("copies/again.jpg", ["copies/", "again.jpg"]),
        ("abcdefghijklmnop", ["abcdefgh", "ijklmnop"]),
        ("abcdefghijklmnopqrstuvwxyz", ["abcdef\N{HORIZONTAL ELLIPSIS}nop", "qrstuvwxyz"]),
        ("写" * 10, ["写写写写写", "写写写写写"]),
        ("写真のねこ", ["写真のねこ"]),
        ("a\nb", ["a\N{REPLACEMENT CHARACTER}b"]),
    ],
)
def test_captions_have_two_lines_at_most(name, lines):
    assert picture._wrap(name, 10) == lines


def test_bad_input(tmp_path):
    with pytest.raises(InputError, match="neighbors must be at least one"):
        save_neighbors(tmp_path / "x.png", "title", Tile(None, "q"), [])
    for groups in ([], [[]]):
        with pytest.raises(InputError, match="groups must hold images"):
            save_groups(tmp_path / "x.png", "title", groups)
    assert list(tmp_path.iterdir()) == []
