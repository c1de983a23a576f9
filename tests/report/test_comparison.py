"""Runs side by side."""

import pytest

from simclr_tf.errors import InputError
from simclr_tf.report import comparison
from simclr_tf.report.run_record import read_run

from .test_run_page import _outline


def test_the_page(run_folder, tmp_path):
    first = run_folder("a/run")
    second = run_folder("b/run", changes={"temperature": 0.5}, accuracy=0.8)
    (second / "report.html").write_text("x")
    (second / "report" / "predictions.npz").unlink()
    output = tmp_path / "pages" / "both.html"
    comparison.write_comparison([first, second], str(output))
    outline = _outline(output.read_text())
    words = " ".join(" ".join(outline.words).split())
    for expected in ("a/run", "b/run", "75.0 %", "80.0 %", "temperature", "0.2", "0.5",
                     "There is no report/predictions.npz", "Maps of"):  # fmt: skip
        assert expected in words, expected
    assert "../b/run/report.html" in outline.addresses
    assert not any("a/run" in address for address in outline.addresses)  # it has no page


def test_the_best_is_marked(run_folder):
    runs = [read_run(run_folder("a")), read_run(run_folder("b", accuracy=0.8))]
    rows = {row["title"]: row["cells"] for row in comparison.figures(runs)}
    probe = rows["Logistic regression on frozen features"]
    assert [cell["best"] for cell in probe] == [False, True]
    assert [cell["best"] for cell in rows["kNN, k = 20"]] == [True, True]
    assert rows["status"][0]["text"] == "finished, 60 steps"


def test_settings_that_differ(run_folder):
    runs = [read_run(run_folder("a")), read_run(run_folder("b", changes={"seed": 3}))]
    assert comparison.different_settings(runs) == [("seed", ["0", "3"])]
    assert comparison.different_settings(runs[:1] * 2) == []


def test_names():
    assert comparison.unique_names(["/x/a", "/x/b"]) == ["a", "b"]
    assert comparison.unique_names(["/x/1/a", "/x/2/a", "/x/2/b"]) == ["1/a", "2/a", "2/b"]
    assert comparison.unique_names(["/x/a", "/x/a"]) == ["a", "a (2)"]


def test_per_class(run_folder):
    runs = [read_run(run_folder("a")), read_run(run_folder("b"))]
    rows = {row["title"]: [cell["text"] for cell in row["cells"]]
            for row in comparison.per_class(runs)}  # fmt: skip
    assert rows["cat"] == ["100.0 %"] * 2 and rows["<b>owl</b>"] == ["0.0 %"] * 2
    runs[1].predictions = None
    rows = comparison.per_class(runs)
    assert {row["cells"][1]["text"] for row in rows} == {"–"}


def test_one_run_is_none_to_compare(run_folder, tmp_path):
    with pytest.raises(InputError, match="at least two"):
        comparison.write_comparison([run_folder()], str(tmp_path / "x.html"))
