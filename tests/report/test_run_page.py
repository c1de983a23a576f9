"""The page says what the folder holds, and holds together whatever is missing."""

import html.parser
import itertools
import json
import os
import re
import urllib.parse

import numpy as np
import pytest

from simclr_tf.report import comparison, curves, kept, run_page
from simclr_tf.report.run_record import read_run

from .conftest import made_up_examples
from .test_run_record import PARTS
from .test_unlabelled import METRICS

_VOID = {"meta", "link", "img", "br", "path", "circle", "use", "rect"}


class _Outline(html.parser.HTMLParser):
    """Checks that elements are closed; collects ids, references and text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.used, self.words, self.addresses = [], [], set(), [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag not in _VOID:
            self.open.append(tag)
        if "id" in found:
            self.ids.append(found["id"])
        for name in ("aria-labelledby", "aria-describedby"):
            self.used |= set((found.get(name) or "").split())
        self.addresses += [found[name] for name in ("src", "href") if name in found]
        if tag == "img":
            assert found["alt"]
        if found.get("role") == "img":
            assert found["aria-label"]

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in _VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def _outline(text):
    found = _Outline(text)
    assert len(found.ids) == len(set(found.ids))
    assert found.used <= set(found.ids)
    for address in found.addresses:  # nothing is loaded from elsewhere
        assert address.startswith(("data:", "#")) or not re.match(r"\w+:|//|/", address), address
    return found


def test_a_whole_run(run_folder):
    folder = run_folder()
    path = run_page.write_report(folder)
    assert path == str(folder / "report.html")
    text = (folder / "report.html").read_text()
    outline = _outline(text)
    words = " ".join(" ".join(outline.words).split())
    for expected in (
        "finished, 60 steps", "75.0 %", "untrained 25.0 %", "Linear evaluation", "90 epochs",
        "--recipe=quickstart", "--train_steps=60", "A Processor, 2 cores", "crop 50 %",
        "hue turned by +8°", "Nearest neighbours", "Accuracy per class", "Confusion",
        "1.50 GiB", "saved_model/60", "130 pairs/s",
    ):  # fmt: skip
        assert expected in words, expected
    assert "<b>owl</b>" not in text and "&lt;b&gt;owl&lt;/b&gt;" in text
    assert "What is not here" not in words
    for link in (one for one in outline.addresses if not one.startswith(("data:", "#"))):
        assert os.path.exists(folder / link), link
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)


@pytest.mark.parametrize("place", ["", "pages"])
def test_it_goes_where_it_is_asked_to(place, run_folder, tmp_path, monkeypatch):
    """Its links lead to the run's files from there."""
    monkeypatch.chdir(tmp_path)
    os.makedirs("pages")
    path = os.path.join(place, "x.html")
    assert run_page.write_report(run_folder(), path) == path
    text = (tmp_path / path).read_text()
    assert "finished" in text
    links = [one for one in _outline(text).addresses if not one.startswith(("data:", "#"))]
    assert links
    for link in links:
        assert os.path.exists(os.path.join(place, urllib.parse.unquote(link))), link


@pytest.mark.parametrize("left", [(), *itertools.combinations(PARTS, 1), PARTS[1:]])
def test_whatever_is_missing_the_page_is_whole(drawn_once, run_folder, left):
    folder = run_folder()
    for name in set(PARTS) - set(left):
        (folder / name).unlink()
    outline = _outline(run_page.run_html(read_run(folder)))
    words = " ".join(outline.words)
    assert "What is not here" in words
    for name in set(PARTS) - set(left):
        assert f"There is no {name} (yet)." in words


def test_a_run_that_is_at_it(run_folder):
    run = read_run(run_folder())
    run.about.update(step=20, total_steps=60)
    assert run_page.status(run) == "training, step 20 of 60"
    run.about["starts"] = run.about["starts"] + [{**run.about["starts"][0], "step": 12}]
    assert ("Started", "2 times, at steps 0, 12") in run_page.facts(run)


@pytest.mark.parametrize(
    "name, content",
    [
        ("report/about.json", {"starts": "x"}),
        ("report/about.json", {"starts": [3]}),
        ("report/about.json", {"starts": [{"hardware": 5}]}),
        ("report/about.json", {"step": "y"}),
        ("report/about.json", {"starts": [{"hardware": {"memory_gib": "lots"}}]}),
        ("report/about.json", {"starts": [{"hardware": {"cores": 1, "gpus": 5}}]}),
        ("result.json", {"protocols": [1]}),
        ("result.json", {"eval/linear_probe_accuracy": 10**400}),
        ("result.json", {"protocols": {"a": {"title": "A", "rows": [], "notes": 5}}}),
        ("result.json", {"protocols": {"a": {"title": "A", "rows": [{"what": "x"}]}}}),
    ],
)
def test_files_of_another_form_become_notes(drawn_once, run_folder, name, content):
    folder = run_folder()
    (folder / name).write_text(json.dumps(content))
    words = " ".join(_outline(run_page.run_html(read_run(folder))).words)
    assert re.search(f"{name} can't be (read|shown)", words) and "Learning curves" in words


def _damaged_examples():
    whole = made_up_examples()
    yield "labels in two dimensions", whole._replace(labels=np.zeros((30, 2), int))
    yield "labels that are no classes", whole._replace(labels=np.full(30, 0.5))
    yield "a class below none", whole._replace(labels=np.full(30, -50))
    yield "points of four dimensions", whole._replace(points=np.zeros((30, 4)))
    yield "features in one dimension", whole._replace(now=np.zeros(30))
    yield "images without channels", whole._replace(images=np.zeros((30, 8, 8), np.uint8))
    yield "nothing at all", type(whole)(*(
        value[:0] if isinstance(value, np.ndarray) else value for value in whole))  # fmt: skip


@pytest.mark.parametrize("what, examples", _damaged_examples())
def test_odd_examples_become_a_note(drawn_once, run_folder, what, examples):
    folder = run_folder()
    examples.write(str(folder))
    words = " ".join(_outline(run_page.run_html(read_run(folder))).words)
    assert re.search("report/examples.npz can't be (read|shown)", words)
    assert "Accuracy per class" in words and "Augmented views" in words
    comparison.comparison_html([read_run(folder), read_run(run_folder("other"))], str(folder))


@pytest.mark.parametrize("views, verb", [
    (kept.ViewSamples(np.zeros((2, 8, 8, 3)), np.zeros((2, 2, 8, 8, 3)), [[[], []]] * 2, 0),
     "read"),
    (kept.ViewSamples(np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 2, 8, 8, 3), np.uint8),
                      [[[], []]], 0), "shown"),
])  # fmt: skip
def test_odd_views_become_a_note(drawn_once, run_folder, views, verb):
    folder = run_folder()
    views.write(str(folder))
    words = " ".join(_outline(run_page.run_html(read_run(folder))).words)
    assert f"report/views.npz can't be {verb}" in words and "Accuracy per class" in words


@pytest.mark.parametrize("labels", [kept.no_classes(5), np.zeros(0, int)])
def test_predictions_of_nothing_become_a_note(drawn_once, run_folder, labels):
    folder = run_folder()
    kept.Predictions(labels, {"eval/linear_probe_accuracy": labels}, 1).write(str(folder))
    words = " ".join(_outline(run_page.run_html(read_run(folder))).words)
    assert "report/predictions.npz can't be shown" in words


def test_a_single_test_image(drawn_once, run_folder):
    folder = run_folder()
    made_up_examples(count=1).write(str(folder))
    words = " ".join(_outline(run_page.run_html(read_run(folder))).words)
    assert "nan" not in words and "Nearest neighbours" not in words and "Map of" in words


def test_any_name_of_a_folder(run_folder, monkeypatch):
    names = ("cost_$5_{a$", "_under", "<script>alert(1)<script>", "#0072b2", "a b")
    folders = [run_folder(name) for name in names]
    for folder in folders:
        curves.plot_learning_curves(folder, folder / "curves.png")
        with monkeypatch.context() as patch:
            patch.setattr(curves, "draw_curves", lambda series: [])  # they don't hold the name
            words = _outline(run_page.run_html(read_run(folder))).words
        assert folder.name in words
    text = comparison.comparison_html([read_run(one) for one in folders], str(folders[0]))
    words = [word.strip("\u200b ") for word in _outline(text).words]
    for name in names:
        assert words.count(name) > 3, name  # in tables and in legends


def test_the_best_predictions_are_shown(run_folder):
    run = read_run(run_folder())
    assert run_page.preferred(run.predictions)[0] == "eval/linear_probe_accuracy"
    assert run_page.preferred(None) is None


def test_the_verdict_without_labels_and_a_map_of_pictures(run_folder):
    folder = run_folder()
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**result, **METRICS}))
    made_up_examples()._replace(labels=kept.no_classes(30)).write(str(folder))
    text = (folder / run_page.write_report(folder)).read_text()
    words = " ".join(" ".join(_outline(text).words).split())
    assert "healthy A view finds its image in 12.2 %" in words
    assert "Finds the other view among 256" in words and text.count('<use href="#sheet"') == 30


def test_the_command_trains_anew_and_does_not_resume(run_folder):
    folder = run_folder()
    text = (folder / run_page.write_report(folder)).read_text()
    words = "".join(_outline(text).words)
    assert f"--model_dir={folder}_again" in words and f"--model_dir={folder} " not in words
