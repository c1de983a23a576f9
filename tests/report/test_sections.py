"""Numbers on the page, against loops."""

import numpy as np
import pytest

from simclr_tf.report import kept, sections

from .conftest import made_up_examples


def test_neighbors_against_a_loop():
    examples = made_up_examples()
    found = sections.neighborhoods(examples, ["a", "b", "c"])
    unit = examples.now / np.linalg.norm(examples.now, axis=1, keepdims=True)
    same = []
    for i in range(30):
        others = sorted(
            (j for j in range(30) if j != i), key=lambda j, i=i: -float(unit[i] @ unit[j])
        )
        same += [examples.labels[j] == examples.labels[i] for j in others[:6]]
        for query in found.queries:
            if query.index == i:
                assert [one.index for one in query.now] == others[:6]
                assert [one.same for one in query.now] == same[-6:]
    assert found.now == pytest.approx(np.mean(same)) and found.now > 0.95 > found.before
    assert len(found.queries) == 8 and {query.name for query in found.queries} == {"a", "b", "c"}


def test_few_or_unlabeled_examples():
    unlabeled = made_up_examples(count=3)._replace(labels=kept.no_classes(3))
    found = sections.neighborhoods(unlabeled, None)
    assert found.count == 2 and found.now is None
    assert found.queries[0].before[0].same is None and found.queries[0].name == ""
    points = sections.embedding_points(unlabeled, None)
    assert {point.color for point in points} == {"none"} and points[0].text == "no label"


def test_a_class_of_one_image_counts_for_no_share():
    examples = made_up_examples(count=13, classes=3)
    alone = examples._replace(labels=np.where(np.arange(13) == 12, 3, examples.labels))
    unit = alone.now / np.linalg.norm(alone.now, axis=1, keepdims=True)
    same = []
    for i in range(12):
        others = sorted((j for j in range(13) if j != i), key=lambda j, i=i: -unit[i] @ unit[j])
        same += [alone.labels[j] == alone.labels[i] for j in others[:6]]
    assert sections.neighborhoods(alone, None).now == pytest.approx(np.mean(same))
    only_one_each = examples._replace(labels=np.arange(13))
    assert sections.neighborhoods(only_one_each, None).now is None


def test_points_fill_the_map_and_tell_the_class():
    points = sections.embedding_points(made_up_examples(), ["a", "b", "c"])
    width, height = sections.map_size()
    assert min(point.x for point in points) == 20 and max(point.x for point in points) == width - 20
    assert all(20 <= point.y <= height - 20 for point in points)
    assert points[0].text == "a, as the linear head says"
    assert points[1].text == "b, the linear head says a"
    flat = made_up_examples()._replace(points=np.zeros((30, 2)))
    assert np.isfinite([point.x for point in sections.embedding_points(flat, None)]).all()


def test_colors_differ():
    for count in (0, 3, 10, 100):
        colors = sections.class_colors(count)
        assert len(set(colors)) == count
        assert all(len(color) == 7 for color in colors)


def _predictions(labels, found):
    labels, found = np.asarray(labels), np.asarray(found)
    return kept.Predictions(labels, {"x": found}, 1), found


def test_per_class_accuracy():
    predictions, found = _predictions([0, 0, 0, 1, 2, 2, -1], [0, 0, 1, 1, 0, 0, 2])
    rows = sections.per_class(predictions, found, ["a", "b", "c"])["rows"]
    assert [(row["name"], row["text"], row["count"]) for row in rows] == [
        ("b", "100.0 %", 1), ("a", "66.7 %", 3), ("c", "0.0 %", 2)]  # fmt: skip
    labels = np.arange(100)
    many = sections.per_class(*_predictions(labels, np.where(labels < 50, labels, 0)), None)
    assert len(many["rows"]) == 40 and many["left_out"] == 60
    assert many["rows"][0]["share"] == 1 and many["rows"][-1]["share"] == 0


def test_confusion():
    predictions, found = _predictions([0, 0, 0, 1, -1], [0, 0, 1, 1, 2])
    table = sections.confusion(predictions, found, ["a", "b", "c"])
    assert table["counts"] == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert table["shares"][0] == pytest.approx([2 / 3, 1 / 3, 0])
    labels = np.repeat(np.arange(30), 4)
    wrong = labels.copy()
    wrong[8:11] = 7  # three of class 2
    wrong[0] = 1
    pairs = sections.confusion(*_predictions(labels, wrong), None)["pairs"]
    assert pairs == [{"true": "class 2", "found": "class 7", "count": 3},
                     {"true": "class 0", "found": "class 1", "count": 1}]  # fmt: skip
    large = np.array([99_999, 99_998])  # no matrix of all classes is made
    assert len(sections.confusion(*_predictions(large, large[::-1]), None)["pairs"]) == 2


def test_scoreboard():
    rows = sections.scoreboard({"eval/knn_20_accuracy": 0.5, "untrained/knn_20_accuracy": 0.25,
                                "eval/label_top_1_accuracy": 0.4})  # fmt: skip
    assert rows == [{"title": "Linear head, top-1", "value": "40.0 %", "before": ""},
                    {"title": "kNN, k = 20", "value": "50.0 %", "before": "25.0 %"}]  # fmt: skip
