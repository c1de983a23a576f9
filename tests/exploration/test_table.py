import csv
import io

import pytest

from simclr_tf.exploration import findings, table
from simclr_tf.retrieval.neighbors import choose_space


def rows_of(content, found):
    return list(csv.DictReader(io.StringIO(table.csv_table(content, found), newline="")))


@pytest.fixture(scope="module")
def made(planted):
    labels = planted.kind.copy()
    labels[[5, 200]] = 3, 1
    labels[::10] = -1
    content = planted.content(labels, tuple("abcdef"), dataset="folder:/some where/photos")
    space = choose_space(planted.vectors, "centred", None)
    return content, findings.find(content, space)


def test_a_row_for_each_image(made, planted):
    content, found = made
    rows = rows_of(content, found)
    assert [row["id"] for row in rows] == content.ids
    assert rows[3]["path"] == "/some where/photos/photos/003.png"
    assert [int(row["group"]) for row in rows] == (found.groups.group + 1).tolist()
    assert [float(row["x"]) for row in rows] == pytest.approx(found.places[:, 0], abs=1e-3)
    copies = [row["id"] for row in rows if row["duplicate_group"] == "1"]
    assert copies == [content.ids[row] for row in planted.copies]
    assert sum(row["keep_of_duplicates"] == "1" for row in rows) == 1
    assert rows[planted.outlier]["outlier_rank"] == "1"
    assert rows[planted.outlier]["is_outlier"] == "1"
    first = found.neighbors.indices[8, 0]
    assert rows[8]["nearest"] == content.ids[first]
    assert float(rows[8]["nearest_similarity"]) == pytest.approx(
        planted.units[8] @ planted.units[first], abs=1e-4
    )


def test_labels_and_lists(made):
    content, found = made
    rows = rows_of(content, found)
    assert rows[5]["label"] == "d" and rows[5]["suggested_label"] == "a"
    assert float(rows[5]["label_doubt"]) > 0.9 and rows[5]["label_doubt_rank"] in ("1", "2")
    assert rows[10]["label"] == rows[10]["label_doubt"] == "" and rows[10]["suggested_label"]
    ranked = {int(row["label_next_rank"]): row["id"] for row in rows if row["label_next_rank"]}
    assert [ranked[rank] for rank in sorted(ranked)] == [content.ids[one] for one in found.to_label]


def test_strange_ids_stay_one_cell(planted):
    """As they were, but for the mark in front of what a spreadsheet would compute."""
    ids = ['a,"b".png', "two\nlines.png", "=cmd|'/c calc'!A1", "-1.png", "+1", "@x", "half \ud800",
           "\u202egpj.exe"]  # fmt: skip
    content = planted.content()._replace(ids=ids, vectors=planted.vectors[:8])
    found = findings.find(content, choose_space(content.vectors, "centred", None))
    text = table.csv_table(content, found)
    text.encode("utf-8")
    read = [row["id"] for row in csv.DictReader(io.StringIO(text, newline=""))]
    assert read == [*ids[:2], "'=cmd|'/c calc'!A1", "'-1.png", "'+1", "'@x", "half \\ud800", ids[7]]
    assert rows_of(content, found)[0]["path"] == ""


def test_tables_begin_with_their_mark(made):
    assert table.csv_table(*made).encode().startswith(table.MARK)
