"""The command repeats the run."""

import shlex

import pytest

from simclr_tf.flags import parsing
from simclr_tf.report.command import changes, command_line, plain
from simclr_tf.settings import by_name, recipes


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
    config = {**by_name.flatten(first.config), "class_names": ["a"]}
    command = shlex.split(command_line(config, first.flags))
    assert command[:2] == ["python", "run.py"]
    again = parsing.parse_command_line(command[2:])
    assert again.config == first.config and again.mode == first.mode


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
