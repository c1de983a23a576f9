import json
import pathlib

import numpy as np
import pytest

from simclr_tf.errors import InputError
from simclr_tf.protocols import scoreboard
from simclr_tf.protocols.context import Row, Section
from simclr_tf.settings.protocols import PROTOCOLS


def read(context, name="result.json"):
    return json.loads((pathlib.Path(context.folder) / name).read_text())


def test_every_protocol_has_its_module():
    assert tuple(scoreboard.MODULES) == PROTOCOLS
    assert all(callable(module.run) for module in scoreboard.MODULES.values())


def test_frozen_protocols_of_a_plain_callable(make_context, pixels, no_pictures, eager):
    said = []
    context = make_context(
        pixels, protocols="linear,knn,logreg", linear_epochs=1, linear_batch_size=64,
        logreg_values=2, map_points=20, say=said.append,
    )  # fmt: skip
    sections = scoreboard.evaluate(context)
    assert list(sections) == ["linear", "knn", "logreg"]
    stored = read(context)["protocols"]
    assert list(stored) == ["linear", "knn", "logreg"]
    accuracy = sections["logreg"].metrics["top_1_accuracy"]
    assert stored["logreg"]["top_1_accuracy"] == accuracy
    assert stored["logreg"]["seconds"] >= 0 and stored["linear"]["rows"]
    board = (pathlib.Path(context.folder) / "scoreboard.md").read_text()
    assert "Linear evaluation" in board and "kNN, weighted" in board
    assert (pathlib.Path(context.folder) / "map.png").exists()
    assert "Logistic regression (B.8)" in "\n".join(said)


def test_what_is_done_stays_when_a_later_protocol_fails(make_context, pixels, monkeypatch):
    def fail(context):
        raise InputError("dataset", "must be something else", "x")

    monkeypatch.setattr(scoreboard.MODULES["logreg"], "run", fail)
    context = make_context(pixels, protocols="knn,logreg", map_points=0)
    with pytest.raises(InputError):
        scoreboard.evaluate(context)
    assert list(read(context)["protocols"]) == ["knn"]


@pytest.mark.parametrize("protocol", ["semi_supervised", "finetune", "supervised", "distill"])
def test_training_a_foreign_encoder_is_refused_before_anything_runs(make_context, pixels, protocol):
    context = make_context(pixels, protocols=f"knn,{protocol}")
    with pytest.raises(InputError, match="SimCLR network"):
        scoreboard.evaluate(context)
    assert not pathlib.Path(context.folder).exists()


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [("test_split", "nothing", "eval_split"), ("train_split", "nothing", "train_split")],
)
def test_a_missing_split_is_named(make_context, pixels, field, value, name):
    with pytest.raises(InputError) as error:
        scoreboard.check(make_context(pixels, protocols="knn", **{field: value}))
    assert error.value.name == name


def test_nested_numbers_become_scalars():
    found = dict(scoreboard._numbers({"a": 1, "b": {"c": 0.5, "d": "x", "e": [1]}}))
    assert found == {"a": 1.0, "b/c": 0.5}


def write(folder, name, labels, predictions):
    place = folder / "predictions"
    place.mkdir(parents=True, exist_ok=True)
    np.savez(place / f"{name}.npz", labels=labels, predictions=predictions)


def test_comparison_of_two_evaluations(make_context, pixels, tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 400)
    good, bad = labels.copy(), labels.copy()
    good[:40], bad[:200] = -1, -1
    context = make_context(pixels, folder=str(tmp_path / "a"))
    write(tmp_path / "a", "linear", labels, good)
    write(tmp_path / "b", "linear", labels, bad)
    write(tmp_path / "a", "knn", labels, good)
    write(tmp_path / "b", "knn", labels[::-1], good)
    section = scoreboard.compare(context, str(tmp_path / "b"))
    assert section.metrics["linear"]["difference"] == pytest.approx(0.4)
    assert section.metrics["linear"]["p_value"] < 1e-3
    assert [row.what for row in section.rows] == ["linear"]
    assert "knn is not compared" in section.notes[0]


def test_a_comparison_needs_predictions(make_context, pixels, tmp_path):
    context = make_context(pixels, protocols="knn", compare_with=str(tmp_path))
    with pytest.raises(InputError, match="compare_with must hold the predictions"):
        scoreboard.check(context)


def test_sections_are_recorded_with_their_time(make_context, pixels):
    context = make_context(pixels)
    section = Section("Title", (Row("a", "1 %", "b"),), {"x": 0.5}, ("note",))
    scoreboard.record(context, "knn", section, 1.26)
    assert read(context)["protocols"]["knn"] == {
        "title": "Title", "seconds": 1.3, "notes": ["note"], "x": 0.5,
        "rows": [{"what": "a", "result": "1 %", "how": "b"}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"test_split": "train[:50]"}, "eval_split"),
        ({"train_split": "train+test"}, "eval_split"),
        ({"validation_split": "test"}, "validation_split"),
        ({"validation_split": "train[:10]"}, "validation_split"),
    ],
)
def test_an_image_with_two_parts_to_play_is_refused(make_context, pixels, fields, name):
    with pytest.raises(InputError, match="must share no image with") as error:
        scoreboard.check(make_context(pixels, protocols="knn", **fields))
    assert error.value.name == name


def test_one_table_is_of_one_thing(make_context, pixels, no_pictures):
    first = make_context(pixels, protocols="knn", knn_neighbors="1", map_points=0)
    scoreboard.evaluate(first)
    said = []
    other = make_context(pixels, protocols="logreg", logreg_values=1, map_points=0,
                         test_split="test[100:150]", say=said.append)  # fmt: skip
    scoreboard.evaluate(other)
    assert list(read(other)["protocols"]) == ["logreg"]
    assert read(other)["evaluated"]["test_split"] == "test[100:150]"
    stored = pathlib.Path(other.path("predictions")).iterdir()
    assert {path.name for path in stored} == {"logreg.npz"}
    assert any("they are replaced" in line for line in said)


def test_neighbours_can_be_compared_and_notes_are_shown(make_context, pixels, tmp_path):
    settings = {"protocols": "knn", "knn_neighbors": "1,5", "map_points": 0}
    scoreboard.evaluate(make_context(pixels, folder=str(tmp_path / "a"), **settings))
    said = []
    context = make_context(pixels, folder=str(tmp_path / "b"), test_split="test[:99]",
                           compare_with=str(tmp_path / "a"), say=said.append,
                           **settings)  # fmt: skip
    section = scoreboard.evaluate(context)["comparison"]
    assert section.rows == () and any("test images differ" in line for line in said)
    same = make_context(pixels, folder=str(tmp_path / "c"), compare_with=str(tmp_path / "a"),
                        **settings)  # fmt: skip
    found = scoreboard.evaluate(same)["comparison"].metrics
    assert found["knn_5_weighted"] == {"difference": 0.0, "p_value": 1.0}
