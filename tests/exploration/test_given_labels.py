import numpy as np
import pytest

from simclr_tf.errors import InputError
from simclr_tf.exploration.given_labels import with_labels
from simclr_tf.retrieval.embeddings import Embeddings

IDS = ["a.png", "b.png", "=1+1.png", "two\nlines.png", "ü 写.png"]


def content(labels=None, names=None):
    return Embeddings(IDS, labels, names, np.eye(5, dtype=np.float32), {})


def named(found):
    return [found.label_name(row) for row in range(len(found.ids))]


def read(tmp_path, text, **given):
    said = []
    (tmp_path / "labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    found = with_labels(content(**given), str(tmp_path / "labels.csv"), said.append)
    return named(found), said


def test_labels_of_a_table(tmp_path):
    text = 'id,label\na.png,cat\n"two\nlines.png",dog\n=1+1.png,cat\n'
    assert read(tmp_path, text) == (["cat", None, "cat", "dog", None], [])


def test_what_a_page_writes(tmp_path):
    text = "id,mark,group\na.png,keep,\n'=1+1.png,,cat\nü 写.png,drop,dog\n"
    assert read(tmp_path, text)[0] == [None, None, "cat", None, "dog"]


def test_labels_of_a_spreadsheet(tmp_path):
    text = b"\xef\xbb\xbfLabel,ID\r\ncat,a.png\r\n\r\n"
    assert read(tmp_path, text)[0] == ["cat", None, None, None, None]


def test_labels_beside_those_of_the_file(tmp_path):
    labels = np.array([0, 1, 1, -1, 0])
    text = "id,label\nb.png,owl\n=1+1.png,\nnobody.png,owl\n"
    found, said = read(tmp_path, text, labels=labels, names=("cat", "dog"))
    assert found == ["cat", "owl", None, None, "cat"]
    assert said == [f"note: 1 row of {tmp_path}/labels.csv name no image in the file"]


def test_numbers_as_labels(tmp_path):
    assert read(tmp_path, "id,label\na.png,7\nb.png,10\n", labels=np.array([3, 3, 3, 3, 3]))[0] == [
        "7",
        "10",
        "3",
        "3",
        "3",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have a head with the columns id and label"),
        ("a.png,cat\n", "must have a head"),
        ("id,label\n", "must hold at least one label"),
        ("id,label\nx.png,cat\n", "must name images by their ids"),
        ("id,label\na.png\n", "line 2 has not"),
        ("id,label\na.png,cat\na.png,dog\n", "must give each id one label"),
        ('id,label\n"a.png,cat\n', "must be a CSV file in UTF-8"),
        (b"id,label\n\xff,cat\n", "must be a CSV file in UTF-8"),
    ],
)
def test_bad_tables(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value) and caught.value.name == "labels"


def test_no_table(tmp_path):
    with pytest.raises(InputError, match="must name an existing CSV file"):
        with_labels(content(), str(tmp_path / "nothing.csv"), print)
