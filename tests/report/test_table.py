"""The table at the end of a run."""

import pytest

from simclr_tf.errors import InputError
from simclr_tf.report.table import format_markdown_table, format_table, summary_rows

ROWS = [("Linear head", "56.2 %"), ("Chance", "10.0 %"), ("Files", "a\nb")]


def test_plain_table_is_aligned():
    assert format_table(ROWS, "Result") == (
        "Result\n------\nLinear head  56.2 %\nChance       10.0 %\nFiles        a\n             b"
    )


def test_empty_table():
    assert format_table([], "Nothing") == "Nothing\n-------"


def test_markdown_table():
    assert format_markdown_table([("a|b", "1\n2")], "T", ("what", "value")).splitlines() == [
        "**T**",
        "",
        "| what | value |",
        "|---|---|",
        "| a\\|b | 1<br>2 |",
    ]


def test_summary_in_its_order():
    metrics = {
        "eval/knn_200_accuracy": 0.5,
        "eval/label_top_5_accuracy": 0.9,
        "eval/knn_20_accuracy": 0.52,
        "eval/label_top_1_accuracy": 0.562,
        "eval/regularization_loss": 0.1,
    }
    rows = summary_rows(
        metrics, num_classes=10,
        before=("untrained encoder",
                {"eval/knn_20_accuracy": 0.21, "eval/linear_probe_accuracy": 0.3}),
        timings={"Training": 65}, places={"Checkpoints": "runs/a"},
    )  # fmt: skip
    assert rows == [
        ("Linear head, top-1", "56.2 %"),
        ("Linear head, top-5", "90.0 %"),
        ("kNN, k = 20", "52.0 %"),
        ("kNN, k = 200", "50.0 %"),
        ("Logistic regression on frozen features, untrained encoder", "30.0 %"),
        ("kNN, k = 20, untrained encoder", "21.0 %"),
        ("Chance", "10.0 %"),
        ("Training", "1 min 05 s"),
        ("Checkpoints", "runs/a"),
    ]


def test_summary_of_an_unlabeled_run():
    assert summary_rows({}, places={"Curves": "x.png"}) == [("Curves", "x.png")]


def test_summary_without_classes():
    with pytest.raises(InputError):
        summary_rows({}, num_classes=0)
