import json
import math

import pytest

from simclr_tf.training.early_stop import EarlyStop


def watch(folder, metric="quality/h_retrieval", patience=2, said=None):
    return EarlyStop(metric, patience, str(folder), True, [].append if said is None else said)


def note(stop, values, name="quality/h_retrieval", start=1):
    for step, value in enumerate(values, start):
        stop.checkpoint(10 * step, {name: value})


@pytest.mark.parametrize(
    ("values", "stops"),
    [
        ([0.1, 0.2, 0.2], False),
        ([0.1, 0.2, 0.2, 0.1], True),
        ([0.3, 0.2, 0.4, 0.3], False),
        ([0.3, math.nan, 0.2], True),
        ([math.nan, math.nan, math.nan, math.nan], False),
    ],
)
def test_checkpoints_without_a_better_value_are_counted(tmp_path, values, stops):
    stop = watch(tmp_path)
    note(stop, values)
    assert stop.stops is stops


def test_low_losses_are_good(tmp_path):
    name = "train/contrast_loss"
    falling, rising = (watch(tmp_path / one, name) for one in "ab")
    for folder in "ab":
        (tmp_path / folder).mkdir()
    note(falling, [3.0, 2.0, 1.0], name)
    note(rising, [1.0, 2.0, 3.0], name)
    assert not falling.stops and rising.stops


def test_it_goes_on_counting_in_a_later_start(tmp_path):
    said = []
    note(watch(tmp_path), [0.5, 0.4])
    second = watch(tmp_path, said=said.append)
    note(second, [0.4], start=2)  # the checkpoint that was noted already
    assert not second.stops and not said
    note(second, [0.3], start=3)
    assert second.stops and "since step 10 (0.5): the run ends at step 30" in said[0]
    assert watch(tmp_path).stops
    assert not watch(tmp_path, "quality/z_retrieval").stops  # another figure begins anew


def test_a_damaged_file_is_set_aside(tmp_path):
    path = tmp_path / "early_stop.json"
    path.write_text("{")
    said = []
    stop = watch(tmp_path, said=said.append)
    note(stop, [0.5])
    assert said and json.loads(path.read_text())["best"] == 0.5


def test_nothing_is_watched_or_written_without_a_metric(tmp_path):
    stop = watch(tmp_path, None)
    note(stop, [3.0, 2.0, 1.0])
    assert not stop.stops and not list(tmp_path.iterdir())
