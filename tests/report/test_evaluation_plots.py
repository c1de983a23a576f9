"""What the pictures show is read back from the figures; the files are real PNGs."""

import sys
import time
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from simclr_tf.errors import InputError
from simclr_tf.evaluation.metrics import Reliability, confusion_matrix, reliability
from simclr_tf.report import evaluation_plots as plots

STRENGTHS = np.array([10.0, 0.01, 0.1, 1.0])
VALIDATION = np.array([0.4, 0.5, 0.8, 0.6])
LONG = "an uncommonly long class name, number "


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def figures(monkeypatch):
    """The figures of a test, which are laid out and not painted: that is most of their cost."""
    kept: list[Figure] = []

    def keep(figure, path):
        figure.draw_without_rendering()
        kept.append(figure)

    monkeypatch.setattr(plots, "_save", keep)
    return kept


@pytest.fixture
def saved_figures(monkeypatch):
    """The figures of a test, whose files are written."""
    kept: list[Figure] = []
    save = plots._save

    def keep(figure, path):
        kept.append(figure)
        save(figure, path)

    monkeypatch.setattr(plots, "_save", keep)
    return kept


def texts(axes):
    return [text.get_text() for text in axes.texts]


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def size_of(path):
    with Image.open(path) as picture:
        picture.load()
        return picture.size


# Regularisation.


@pytest.mark.parametrize("with_test", [True, False])
def test_regularization_path(tmp_path, saved_figures, with_test):
    test = VALIDATION - 0.05 if with_test else None
    path = tmp_path / "new" / "path.png"
    plots.plot_regularization_path(path, STRENGTHS, VALIDATION, test, 0.1, "top-1 accuracy")
    [axes] = saved_figures[0].axes
    assert axes.get_xscale() == "log"
    assert axes.get_ylabel() == "top-1 accuracy (%)"
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    found = lines["validation: 80.0 % at the chosen strength"]
    np.testing.assert_allclose(found, [[0.01, 50], [0.1, 80], [1, 60], [10, 40]])
    assert ("test, before the refit: 75.0 % at the chosen strength" in lines) == with_test
    assert lines["chosen strength: 0.1"][0][0] == 0.1
    assert 800 < size_of(path)[0] < 900  # About the width of a README.


@pytest.mark.parametrize("spread", [0, 0.01])
def test_a_flat_path_looks_flat(tmp_path, figures, spread):
    curve = 0.1025 + spread * np.array([0, 1, 0.5, 0])
    for test in (None, curve):
        plots.plot_regularization_path(tmp_path / "p.png", STRENGTHS, curve, test, 0.1, "top-1")
        low, high = figures[-1].axes[0].get_ylim()
        assert high - low == pytest.approx(2)
        assert (low + high) / 2 == pytest.approx(10.25 + 50 * spread)


def test_a_steep_path_fills_the_axis(tmp_path, figures):
    plots.plot_regularization_path(tmp_path / "p.png", STRENGTHS, VALIDATION, None, 0.1, "top-1")
    low, high = figures[0].axes[0].get_ylim()
    assert 30 < low < 40 and 80 < high < 90


def test_one_strength_and_diverged_ones(tmp_path):
    path = tmp_path / "path.png"
    plots.plot_regularization_path(path, STRENGTHS[:1], VALIDATION[:1], None, 10.0, "mAP")
    nan = np.array([0.4, np.nan, 0.8, 0.6])
    plots.plot_regularization_path(path, STRENGTHS, nan, nan, 1.0, "mAP")
    assert path.stat().st_size > 1000


@pytest.mark.parametrize(
    "change, text",
    [
        ({"chosen": 0.2}, "chosen must be one of the strengths"),
        ({"values": [0, 1, 2, 0.1]}, "values must be > 0"),
        ({"values": []}, "values must be > 0"),
        ({"validation": VALIDATION[:3]}, "validation must have shape"),
        ({"test": VALIDATION[:3]}, "test must have shape"),
    ],
)
def test_regularization_path_refuses(tmp_path, change, text):
    arguments = {"values": STRENGTHS, "validation": VALIDATION, "test": VALIDATION, "chosen": 0.1}
    with pytest.raises(InputError, match=text):
        plots.plot_regularization_path(
            tmp_path / "path.png", **{**arguments, **change}, metric_name="accuracy"
        )
    assert list(tmp_path.iterdir()) == []


# Confusion.


def test_confusion_with_numbers(tmp_path, figures):
    matrix = np.array([[3, 1, 0], [0, 0, 0], [1, 0, 199]])
    plots.plot_confusion(tmp_path / "c.png", matrix, ["a", "$x^2$", "c"])
    axes = figures[0].axes[0]
    shown = np.ma.filled(axes.images[0].get_array(), np.nan)
    np.testing.assert_allclose(shown, [[75, 25, 0], [np.nan] * 3, [0.5, 0, 99.5]])
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "75", (1, 0): "25", (2, 2): "100"}
    assert axes.get_title(loc="left") == "Confusion matrix: 99.0 % of 204 examples right"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", r"\$x^2\$", "c"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")


@pytest.mark.parametrize(
    "classes, named, numbers",
    [(20, True, True), (21, True, False), (40, True, False), (41, False, False)],
)
def test_confusion_of_more_classes(tmp_path, figures, classes, named, numbers):
    names = [f"{LONG}{index}" for index in range(classes)]
    plots.plot_confusion(tmp_path / "c.png", np.eye(classes, dtype=int), names)
    axes = figures[0].axes[0]
    assert (len(axes.texts) > 0) == numbers
    shown = [label.get_text() for label in axes.get_yticklabels()]
    if named:
        assert len(set(shown)) == classes  # Told apart although shortened.
        assert max(map(len, shown)) <= 24
    else:
        assert len(shown) < 12


def test_confusion_of_a_thousand_classes_is_quick(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 1000, 50_000)
    predictions = np.where(rng.random(50_000) < 0.5, labels, rng.integers(0, 1000, 50_000))
    start = time.process_time()
    plots.plot_confusion(tmp_path / "c.png", confusion_matrix(predictions, labels, 1000))
    assert time.process_time() - start < 10
    with Image.open(tmp_path / "c.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    dark = pixels.sum(-1) < 450  # The diagonal is there, not lost between pixels.
    rows = np.flatnonzero(dark.any(axis=1))
    assert len(rows) > 0.9 * (rows.max() - rows.min())


@pytest.mark.parametrize(
    "matrix, names, text",
    [
        (np.ones((2, 3)), None, r"matrix must have shape \(C, C\)"),
        (np.zeros((2, 2)), None, "matrix must hold counts above 0"),
        (np.array([[2, -1], [0, 1]]), None, "matrix must hold counts"),
        (np.eye(2), ["a"], "class_names must be 2 names"),
    ],
)
def test_confusion_refuses(tmp_path, matrix, names, text):
    with pytest.raises(InputError, match=text):
        plots.plot_confusion(tmp_path / "c.png", matrix, names)


# Reliability.


def test_reliability_picture(tmp_path, figures):
    nan = np.nan
    found = Reliability(
        np.linspace(0, 1, 5), np.array([nan, 0.4, 0.7, 0.9]), np.array([nan, 0.3, 0.75, 0.6]),
        np.array([0, 10, 20, 70]), 0.23,
    )  # fmt: skip
    plots.plot_reliability(tmp_path / "r.png", found)
    above, below = figures[0].axes
    bars = [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in above.patches]
    np.testing.assert_allclose(bars, [(25, 25, 30), (50, 25, 75), (75, 25, 60)])
    assert [bar.get_height() for bar in below.patches] == [0, 10, 20, 70]
    diagonal = [
        line.get_xydata().tolist() for line in above.lines if "confident" in line.get_label()
    ]
    assert diagonal == [[[0, 0], [100, 100]]]
    assert "23.0 %" in above.get_title(loc="left")
    assert below.get_xlabel() == "confidence (%)"


def test_reliability_of_one_bin(tmp_path):
    found = reliability(np.array([[0.5, 0.5]]), np.array([0]), bins=1)
    plots.plot_reliability(tmp_path / "r.png", found)
    assert size_of(tmp_path / "r.png")[0] > 400


# Classes.


def test_per_class(tmp_path, figures):
    plots.plot_per_class(tmp_path / "p.png", np.array([0.5, np.nan, 0.9, 0.1]), list("abcd"))
    [axes] = figures[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["d", "a", "c"]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([10, 50, 90])
    assert texts(axes) == ["10.0", "50.0", "90.0"]
    title = axes.get_title(loc="left")
    assert title == "Accuracy per class (dashed: mean, 50.0 %)\n1 without examples"


@pytest.mark.parametrize("classes, drawn", [(1, 1), (40, 40), (41, 40)])
def test_of_many_classes_the_ends_are_drawn(tmp_path, figures, classes, drawn):
    shuffled = np.random.default_rng(0).permutation(classes)
    plots.plot_per_class(tmp_path / "p.png", shuffled / classes)
    [axes] = figures[0].axes
    widths = np.array([bar.get_width() for bar in axes.patches]) * classes / 100
    everything = np.arange(classes)
    expected = everything if drawn == classes else np.r_[everything[:20], everything[-20:]]
    np.testing.assert_allclose(widths, expected, atol=1e-9)
    names = [int(label.get_text()) for label in axes.get_yticklabels()]
    np.testing.assert_array_equal(shuffled[names], expected)
    note = f"20 best and 20 worst of {classes} classes"
    assert (note in axes.get_title(loc="left")) == (drawn < classes)


@pytest.mark.parametrize("values", [[np.nan, np.nan], [], [[0.5]]])
def test_per_class_refuses(tmp_path, values):
    with pytest.raises(InputError, match="per_class must have shape"):
        plots.plot_per_class(tmp_path / "p.png", np.array(values))


# Maps.


def drawn_points(axes):
    """Each point's colour by its place."""
    found = {}
    for points in axes.collections:
        offsets, colors = np.asarray(points.get_offsets()), points.get_facecolors()
        for index, place in enumerate(offsets):
            found[tuple(place.tolist())] = tuple(colors[index % len(colors)][:3].tolist())
    return found


@pytest.mark.parametrize("classes", [1, 3, 10, 20, 21, 200])
def test_map(tmp_path, figures, classes):
    points = np.random.default_rng(0).normal(size=(400, 2))
    labels = np.arange(400) % classes
    names = [f"class {index}" for index in range(classes)]
    plots.plot_embedding_map(tmp_path / "m.png", points, labels, names, "t-SNE of h")
    [axes] = figures[0].axes
    assert axes.get_title(loc="left") == "t-SNE of h"
    colors = drawn_points(axes)
    assert len(colors) == 400
    own = [{colors[tuple(p)] for p in points[labels == c].tolist()} for c in range(classes)]
    assert all(len(used) == 1 for used in own)
    if classes <= 20:
        assert legend(axes) == names
        assert len(set().union(*own)) == min(classes, 10)
    else:
        assert axes.get_legend() is None
        assert texts(axes) == [f"{classes} classes, too many for a legend"]


@pytest.mark.parametrize("stretch", [(1, 1), (50, 1), (1, 50)])
def test_points_of_any_shape_fill_the_map(tmp_path, figures, stretch):
    points = np.random.default_rng(0).uniform(size=(400, 2)) * stretch
    names = [f"{LONG}{index}" for index in range(20)]
    plots.plot_embedding_map(tmp_path / "m.png", points, np.arange(400) % 20, names)
    [axes] = figures[0].axes
    figures[0].draw_without_rendering()
    whole = figures[0].bbox
    extent = np.ptp(axes.transData.transform(points), axis=0) / (whole.width, whole.height)
    assert extent[0] > 0.5 and extent[1] > 0.75  # The legend takes its part of the width.


def test_map_names_only_the_classes_that_are_there(tmp_path, figures):
    points = np.random.default_rng(0).normal(size=(6, 2))
    labels = np.array([2, 2, -1, 0, 0, 2])
    plots.plot_embedding_map(tmp_path / "m.png", points, labels, ["a", "b", "c"])
    [axes] = figures[0].axes
    assert legend(axes) == ["a", "c", "no label"]
    colors = [drawn_points(axes)[tuple(place)] for place in points.tolist()]
    assert colors[0] == colors[1] == colors[5] != colors[2] != colors[3] == colors[4]


def test_map_without_labels_and_of_one_point(tmp_path, saved_figures):
    plots.plot_embedding_map(tmp_path / "m.png", np.zeros((1, 2)), None)
    assert legend(saved_figures[0].axes[0]) == ["no label"]


@pytest.mark.parametrize(
    "points, labels, names, text",
    [
        (np.zeros((3, 3)), None, None, r"points must have shape \(N, 2\)"),
        (np.zeros((3, 2)), np.zeros(2, int), None, r"labels must have shape \(3,\)"),
        (np.zeros((3, 2)), np.arange(3), ["a", "b"], "labels must be below 2"),
    ],
)
def test_map_refuses(tmp_path, points, labels, names, text):
    with pytest.raises(InputError, match=text):
        plots.plot_embedding_map(tmp_path / "m.png", points, labels, names)


def test_the_global_plotting_state_stays_out_of_it(tmp_path):
    loaded = "matplotlib.pyplot" in sys.modules
    plots.plot_per_class(tmp_path / "p.png", np.array([0.5]))
    assert ("matplotlib.pyplot" in sys.modules) == loaded
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]
