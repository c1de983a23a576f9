"""The command repeats the run."""

import shlex

import pytest

from simclr_tf.flags import parsing, subcommands
from simclr_tf.report.command import changes, command_line, next_commands, plain
from simclr_tf.settings import by_name, commands, recipes


@pytest.mark.parametrize(
    "words",
    [
        ["--model_dir=runs/a b", "--train_steps=7", "--temperature=0.3"],
        ["--recipe=cifar10_cpu", "--data_dir=/data", "--model_dir=x", "--keep_best=eval/knn"],
        ["--train_epochs=3", "--model_dir=x"],
        ["--train_epochs=3", "--train_steps=200", "--model_dir=x"],  # as many as the recipe's
        ["--recipe=imagenet_r50", "--dataset=cifar10", "--model_dir=x"],
        ["--tpu_name=a", "--use_tpu=False", "--eval_steps=3", "--model_dir=x"],
        ["--dataset=patterns", "--model_dir=x", "--image_size=32", "--optimizer=adam"],
    ],
)
def test_the_command_gives_the_same_settings(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = parsing.parse_command_line(words)
    config = {**by_name.flatten(first.config), "class_names": ["a"], "train_images": 7}
    command = shlex.split(command_line(config, first.flags))
    assert command[:2] == ["python", "run.py"]
    again = parsing.parse_command_line(command[2:])
    values, others = (by_name.flatten(one.config) for one in (first, again))
    counts = commands.reads(first.mode) - commands.idle(first.mode, values).keys()
    assert {name for name in values if values[name] != others[name]}.isdisjoint(counts)
    assert again.mode == first.mode and len(counts) > 50


def test_only_what_differs_is_named():
    run = recipes.recipe("quickstart", model_dir="m", train_steps=5)
    assert changes(by_name.flatten(run), "quickstart") == {"model_dir": "m", "train_steps": 5}
    assert "train_steps" in changes(by_name.flatten(run), "a recipe of another version")


def test_from_python_without_flags():
    run = recipes.recipe("quickstart", model_dir="m")
    command = command_line(by_name.flatten(run), {})
    assert command.startswith("python run.py --mode=train ") and "--dataset=" in command


def test_plain():
    assert plain(0.30000000001) == "0.3" and plain(7) == "7" and plain(None) == "None"


def test_the_next_commands_can_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in next_commands("runs/a b").values():
        python, minus, program, command, *flags = shlex.split(words)
        assert (python, minus, program) == ("python", "-m", "simclr_tf")
        if command in subcommands._MODES:
            flags = [flag.replace("a b", "a").replace("IMAGES", ".") for flag in flags]
            if command == "evaluate":
                flags.append("--dataset=patterns")  # a run has recorded its own
            parsing.parse_command_line([f"--mode={command}", *flags])
        else:
            assert command in subcommands._OTHERS and any("runs/a b" in flag for flag in flags)


def test_a_recipe_in_a_file_is_written_out(tmp_path):
    path = tmp_path / "mine.flags"
    path.write_text("--dataset=digits\n--train_steps=7\n")
    command = parsing.parse_command_line([f"--recipe={path}", "--model_dir=x"])
    line = command_line(by_name.flatten(command.config), command.flags)
    assert "--recipe" not in line and "--dataset=digits" in line and "--train_steps=7" in line
