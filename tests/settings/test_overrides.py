"""A given setting counts, whatever a recipe or an earlier start had set against it."""

import json

import pytest

from simclr_tf.config import AugmentConfig
from simclr_tf.errors import InputError
from simclr_tf.flags import definitions, parsing
from simclr_tf.settings import by_name, overrides, recipes
from simclr_tf.settings.commands import COMMANDS


def test_the_table_holds_settings_only():
    known = {name for one in COMMANDS.values() for name in by_name.setting_names(one)}
    for winner, losers in overrides.OVERRIDES.items():
        assert {pattern.partition("=")[0] for pattern in (winner, *losers)} <= known


@pytest.mark.parametrize(
    ("base", "given", "off"),
    [
        ({"train_steps": 200}, {"train_epochs": 1}, {"train_steps"}),
        ({"train_steps": "200"}, {"train_epochs": 1, "train_steps": 7}, set()),  # given as well
        ({"train_epochs": 100}, {"train_steps": 7}, set()),  # decides anyway
        ({"checkpoint_steps": 50}, {"checkpoint_epochs": 2}, {"checkpoint_steps"}),
        ({"eval_split": "validation", "image_size": 224}, {"dataset": "cifar10"}, {"eval_split"}),
        ({"teacher": "a"}, {"train_mode": "pretrain"}, {"teacher"}),
        ({"teacher": "a"}, {"train_mode": "distill"}, set()),
        ({"use_tpu": "False"}, {"tpu_name": "a"}, {"use_tpu"}),
        ({"use_tpu": True}, {"tpu_name": "a"}, set()),
        ({"tpu_name": "a", "strategy": "tpu"}, {"use_tpu": False}, {"tpu_name", "strategy"}),
        ({"strategy": "mirrored"}, {"use_tpu": False}, set()),
        ({"num_logical_cpus": 2}, {"strategy": "mirrored"}, set()),
        ({"num_logical_cpus": 2}, {"strategy": "one_device"}, {"num_logical_cpus"}),
        ({"knn_bank_size": 50_000}, {"eval_steps": 2}, {"knn_bank_size"}),
        ({"report": "False"}, {"report_examples": 9}, {"report"}),
        ({"report": "True"}, {"report_examples": 9}, set()),
    ],
)
def test_what_a_given_setting_switches_off(base, given, off):
    assert set(overrides.switched_off(base, given)) == off


@pytest.mark.parametrize("name", recipes.recipe_names())
@pytest.mark.parametrize("change", ["train_epochs=3", "checkpoint_epochs=2", "dataset=cifar10",
                                    "train_mode=pretrain", "train_mode=supervised",
                                    "train_mode=finetune", "eval_steps=1"])  # fmt: skip
def test_a_flag_beside_a_recipe_counts_on_both_ways_in(name, change):
    """No flag that was not given may stand in the way of one that was."""
    setting, _, text = change.partition("=")
    line = [f"--recipe={name}", f"--{change}", "--model_dir=x"]
    by_flags = parsing.parse_command_line(line).config
    value = int(text) if text.isdecimal() else text
    assert by_flags == recipes.recipe(name, model_dir="x", **{setting: value})
    assert by_name.flatten(by_flags)[setting] == value
    if setting == "train_epochs":
        assert by_flags.train.train_steps == 0
    if setting == "dataset":
        assert by_flags.data.eval_split is None


def test_what_does_not_count_is_said():
    command = parsing.parse_command_line(["--train_epochs=1"])
    assert command.notes == (
        "--train_epochs is given: the recipe's --train_steps=200 does not count",
    )
    assert command.flags["train_steps"] == 0


def test_the_same_beside_a_recorded_run(tmp_path):
    recorded = {"dataset": "digits", "train_steps": 9, "knn_bank_size": 50_000, "image_size": 8}
    (tmp_path / "flags.json").write_text(json.dumps(recorded))
    command = parsing.parse_command_line(
        [f"--model_dir={tmp_path}", "--train_epochs=1", "--eval_steps=2"]
    )
    assert command.config.train.train_steps == 0
    assert command.config.evaluation.bank_size == 512
    assert any("the run's --train_steps=9" in note for note in command.notes)


@pytest.mark.parametrize(
    ("recorded", "line", "wanted", "notes"),
    [
        ({}, "--tpu_name=a", True, ""),
        ({}, "--use_tpu=False --tpu_name=a --tpu_zone=b", False, "--tpu_name, --tpu_zone have no"),
        ({}, "--use_tpu=False --master=a", False, "--master has no effect with --use_tpu=False"),
        ({}, "--use_tpu=False --tpu_name=", False, ""),
        ({}, "--tpu_zone=b", False, "--tpu_zone has no effect without a TPU"),
        # A run of an older version, where off was the default.
        ({"use_tpu": False, "tpu_name": "a"}, "--tpu_name=a", True, ""),
        ({"use_tpu": False, "strategy": "tpu"}, "", True, ""),
        ({"use_tpu": False, "tpu_name": "a"}, "--use_tpu=False", False, "the run's --tpu_name=a"),
    ],
)
def test_the_switch_decides_whether_there_is_a_tpu(tmp_path, recorded, line, wanted, notes):
    if recorded:
        (tmp_path / "flags.json").write_text(json.dumps({"dataset": "digits", **recorded}))
    command = parsing.parse_command_line([f"--model_dir={tmp_path}", *line.split()])
    strategy = command.config.strategy
    assert (strategy.names_tpu or strategy.strategy == "tpu") == wanted
    assert notes in " ".join(command.notes) and bool(notes) == bool(command.notes)
    assert wanted or not command.flags["tpu_name"]  # else the next start would ask for it


def test_two_switches_that_contradict_are_refused():
    with pytest.raises(InputError, match="use_tpu must not be off with strategy=tpu"):
        parsing.parse_command_line(["--use_tpu=False", "--strategy=tpu"])


def test_own_views_take_the_place_of_a_recipes_policy():
    line = ["--recipe=cifar10_r18", "--model_dir=x"]
    own = parsing.parse_command_line([*line, "--views=crop rot90"])
    assert own.config.augment == AugmentConfig(views="crop rot90")
    assert any("--color_jitter_strength=0.5 does not count" in note for note in own.notes)
    with pytest.raises(InputError, match="views must be empty with augmentation or transforms"):
        parsing.parse_command_line([*line, "--views=crop", "--transforms=sobel"])


def test_a_recorded_run_keeps_its_views_but_imports_nothing_by_itself(tmp_path):
    line, record = [f"--model_dir={tmp_path}"], {"dataset": "digits", "image_size": 8}
    (tmp_path / "flags.json").write_text(json.dumps({**record, "views": "crop rot90 | blur"}))
    assert parsing.parse_command_line(line).config.augment.views == "crop rot90 | blur"
    changed = parsing.parse_command_line([*line, "--use_blur=False"])
    assert changed.config.augment == AugmentConfig(use_blur=False)
    (tmp_path / "flags.json").write_text(json.dumps({**record, "views": "crop os:abort"}))
    with pytest.raises(InputError, match="views must be given again: the record of a run names"):
        parsing.parse_command_line(line)
    given = parsing.parse_command_line([*line, "--views=crop os:abort"])
    assert given.config.augment.views == "crop os:abort"
    judged = parsing.parse_command_line([*line, "--mode=evaluate", "--dataset=digits"])
    assert judged.config.augment.views == ""


def text_flags():
    values = definitions.define_flags()
    return [name for name in values if values[name].flag_type() == "string"]


@pytest.mark.parametrize("name", text_flags())
def test_an_empty_text_is_refused_where_it_says_nothing(name):
    words = [f"--{name}=", "--model_dir=x"] if name != "model_dir" else ["--model_dir="]
    if name in ("transforms", "views", "tpu_name", "tpu_zone", "gcp_project", "master"):
        parsing.parse_command_line(words)
    else:
        with pytest.raises(InputError, match="must not be empty") as caught:
            parsing.parse_command_line(words)
        assert caught.value.name == name


@pytest.mark.parametrize("name", ["data_dir", "feature_cache", "checkpoint", "model_dir"])
def test_nor_does_the_library_take_it(name):
    with pytest.raises(InputError, match=f"{name} must"):
        recipes.recipe("quickstart", **{name: " "})
