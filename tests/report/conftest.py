"""A run's folder without a training: everything a page can show, made up."""

from __future__ import annotations

import json

import numpy as np
import pytest

from simclr_tf.report import charts, curves, kept
from simclr_tf.settings import by_name, recipes
from simclr_tf.training.summaries import Summaries

CLASSES = ("cat", "dog", "<b>owl</b>")


def made_up_examples(count=30, classes=3, size=8, seed=0):
    """Examples whose classes are apart after training and not before."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    now = np.eye(classes)[labels] + rng.normal(0, 0.05, (count, classes))
    return kept.Examples(
        images=rng.integers(0, 256, (count, size, size, 3), np.uint8),
        labels=labels,
        before=rng.normal(size=(count, 5)),
        now=now,
        points=now[:, :2] * 10,
        predicted=np.where(np.arange(count) == 1, 0, labels),
        step=60,
    )


_EVENTS: dict[str, bytes] = {}


def write_events(folder):
    """The curves of every run; what TensorFlow wrote for the first is copied for the others."""
    if not _EVENTS:
        summaries = Summaries(str(folder))
        for step in range(1, 61):
            summaries.scalars(step, {"train/contrast_loss": 5 - step / 60, "learning_rate": 0.1,
                                     "train/pairs_per_second": 100.0 + step,
                                     "memory/host_peak_gib": 1.5})  # fmt: skip
        summaries.close()
        _EVENTS.update({path.name: path.read_bytes() for path in folder.glob("*tfevents*")})
    for name, content in _EVENTS.items():
        (folder / name).write_bytes(content)


def write_run(folder, *, changes=None, accuracy=0.75, seed=0):
    """Everything that a run of 60 steps leaves for its page."""
    folder.mkdir(parents=True, exist_ok=True)
    run = recipes.recipe("quickstart", model_dir=str(folder), train_steps=60, **(changes or {}))
    config = {**by_name.flatten(run), "class_names": list(CLASSES)}
    (folder / "config.json").write_text(json.dumps(config))
    flags = {"mode": "train_then_eval", "recipe": "quickstart"}
    (folder / "flags.json").write_text(json.dumps(flags))
    result = {"eval/linear_probe_accuracy": accuracy, "eval/knn_20_accuracy": 0.5,
              "untrained/knn_20_accuracy": 0.25, "global_step": 60,
              "protocols": {"linear": {"title": "Linear evaluation", "seconds": 3.0, "rows": [
                  {"what": "SGD", "result": "70.0 %", "how": "90 epochs"}]}}}  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    rng = np.random.default_rng(seed)
    write_events(folder)
    (folder / "report").mkdir(exist_ok=True)
    start = {"time": "2026-11-26T10:00:00+00:00", "step": 0, "devices": "one CPU",
             "precision": "float32", "versions": {"tensorflow": "2.21.0"},
             "hardware": {"processor": "A Processor", "cores": 2, "memory_gib": 24.0,
                          "gpus": []}}  # fmt: skip
    about = {"starts": [start], "step": 60, "total_steps": 60,
             "updated": "2026-11-26T10:05:00+00:00"}  # fmt: skip
    (folder / "report" / "about.json").write_text(json.dumps(about))
    made_up_examples(seed=seed).write(str(folder))
    originals = rng.integers(0, 256, (2, 8, 8, 3), np.uint8)
    kept.ViewSamples(originals, np.stack([originals, 255 - originals]),
                     [[["crop 50 %", "gray"], []], [["mirrored"], ["hue turned by +8°"]]],
                     epoch=0).write(str(folder))  # fmt: skip
    labels = np.arange(60) % 3
    classes = {"eval/linear_probe_accuracy": np.where(labels == 2, 1, labels),
               "eval/label_top_1_accuracy": labels}  # fmt: skip
    kept.Predictions(labels, classes, 60).write(str(folder))
    (folder / "saved_model" / "60").mkdir(parents=True, exist_ok=True)
    (folder / "saved_model" / "60" / "saved_model.pb").write_bytes(b"x")
    (folder / "ckpt-60.index").write_bytes(b"x")
    return folder


@pytest.fixture
def run_folder(tmp_path):
    """`run_folder(name, **changes)` writes a run."""
    return lambda name="run", **options: write_run(tmp_path / name, **options)


_FIGURES: list = []
_CHARTS: dict = {}


@pytest.fixture
def drawn_once(monkeypatch):
    """Every run has the curves of the first one: to draw them is most of what a page costs."""
    draw, inline = curves.draw_curves, charts.inline

    def draw_once(series):
        if series and not _FIGURES:
            _FIGURES.extend(draw(series))
        return _FIGURES if series else draw(series)

    def inline_once(figure, name, text):
        if name not in _CHARTS:
            _CHARTS[name] = inline(figure, name, text)
        return _CHARTS[name]

    monkeypatch.setattr(curves, "draw_curves", draw_once)
    monkeypatch.setattr(curves, "draw_comparison", draw_once)
    monkeypatch.setattr(charts, "inline", inline_once)
