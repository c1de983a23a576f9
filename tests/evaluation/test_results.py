"""Result files."""

import json
import os

import numpy as np
import pytest

from simclr_tf.errors import InputError
from simclr_tf.evaluation.results import add_figures, is_same, write_protocol, write_results

METRICS = {"eval/label_top_1_accuracy": np.float32(0.5), "eval/regularization_loss": 0.25}


def test_both_files(tmp_path):
    write_results(tmp_path / "run", METRICS, np.int64(10))
    write_results(tmp_path / "run", {"eval/knn_20_accuracy": 1}, 20)
    assert sorted(os.listdir(tmp_path / "run")) == [
        "result.json",
        "result_10.json",
        "result_20.json",
    ]
    read = {p.name: json.loads(p.read_text()) for p in (tmp_path / "run").iterdir()}
    assert read["result_10.json"] == {
        "eval/label_top_1_accuracy": 0.5,
        "eval/regularization_loss": 0.25,
        "global_step": 10,
    }
    assert (
        read["result.json"]
        == read["result_20.json"]
        == {
            "eval/knn_20_accuracy": 1.0,
            "global_step": 20,
        }
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), np.float32("-inf")])
def test_non_finite_metrics_are_refused_by_name(tmp_path, bad):
    with pytest.raises(InputError, match="eval/knn_20_accuracy must be finite at step 3"):
        write_results(tmp_path, {**METRICS, "eval/knn_20_accuracy": bad}, 3)
    assert os.listdir(tmp_path) == []


ABOUT = {"encoder": "a", "global_step": 7, "dataset": "digits"}


def stored(folder):
    return json.loads((folder / "result.json").read_text())


def test_sections_of_protocols_add_up_and_other_metrics_stay(tmp_path):
    write_results(tmp_path, {"eval/knn_20_accuracy": 0.5}, 7)
    write_protocol(tmp_path, "knn", {"plain": {"k_1": 0.25}}, ABOUT)
    sections = write_protocol(tmp_path, "linear", {"top_1_accuracy": 0.75}, ABOUT)
    assert list(sections) == ["knn", "linear"]
    assert stored(tmp_path)["eval/knn_20_accuracy"] == 0.5
    assert stored(tmp_path)["protocols"]["knn"] == {"plain": {"k_1": 0.25}}
    assert stored(tmp_path)["evaluated"] == ABOUT
    write_results(tmp_path, {"eval/knn_20_accuracy": 0.6}, 7)
    assert stored(tmp_path)["eval/knn_20_accuracy"] == 0.6
    assert len(stored(tmp_path)["protocols"]) == 2


@pytest.mark.parametrize("change", [{"encoder": "b"}, {"global_step": 8}, {"dataset": "cifar10"}])
def test_sections_of_something_else_are_dropped(tmp_path, change):
    write_protocol(tmp_path, "knn", {"plain": 0.25}, ABOUT)
    assert is_same(tmp_path, ABOUT) and not is_same(tmp_path, {**ABOUT, **change})
    assert list(write_protocol(tmp_path, "linear", {"x": 1}, {**ABOUT, **change})) == ["linear"]


def test_sections_of_an_earlier_step_go_with_a_later_result(tmp_path):
    write_protocol(tmp_path, "knn", {"plain": 0.25}, ABOUT)
    write_results(tmp_path, {"eval/knn_20_accuracy": 0.6}, 9)
    assert "protocols" not in stored(tmp_path)


@pytest.mark.parametrize(
    "damage", ["[1", "[]", '{"global_step": "7"}', '{"protocols": [1]}', '{"evaluated": 5}']
)
def test_a_damaged_result_file_is_set_aside_and_said(tmp_path, damage):
    said: list[str] = []
    for write in (
        lambda: write_protocol(tmp_path, "knn", {"plain": 0.25}, ABOUT, said.append),
        lambda: write_results(tmp_path, METRICS, 7, said.append),
    ):
        (tmp_path / "result.json").write_text(damage)
        write()
        assert stored(tmp_path)["global_step"] == 7
    assert [line.rpartition("kept as ")[2] for line in said] == [
        str(tmp_path / "result.json.damaged"), str(tmp_path / "result.json.damaged-2"),
    ]  # fmt: skip
    for name in ("result.json.damaged", "result.json.damaged-2"):
        assert (tmp_path / name).read_text() == damage


def test_figures_without_labels_stand_beside_the_metrics_of_their_step(tmp_path):
    def read(name):
        return json.loads((tmp_path / name).read_text())

    figures, metrics = {"quality/h_retrieval": 0.5}, {"eval/knn_20_accuracy": 0.25}
    add_figures(tmp_path, figures, 10)
    assert read("result.json") == {**figures, "global_step": 10}
    write_results(tmp_path, metrics, 10)
    both = {**figures, **metrics, "global_step": 10}
    assert read("result.json") == both
    add_figures(tmp_path, figures, 10)  # a finished run that is started again
    assert read("result.json") == both
    assert read("result_10.json") == both
    write_results(tmp_path, metrics, 20)  # another encoder, whose figures nobody knows
    assert read("result.json") == {**metrics, "global_step": 20}
    add_figures(tmp_path, figures, 10)  # an older one changes nothing
    assert read("result.json") == {**metrics, "global_step": 20}
    add_figures(tmp_path, figures, 30)
    assert read("result.json") == {**figures, "global_step": 30}
