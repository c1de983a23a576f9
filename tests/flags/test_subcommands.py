import pytest

from simclr_tf import console
from simclr_tf.flags import program, subcommands


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train", ["--mode=train_then_eval"]),
        ("train --mode=train --seed=1", ["--mode=train", "--seed=1"]),
        ("embed --output=x", ["--mode=embed", "--output=x"]),
        ("evaluate", ["--mode=evaluate"]),
        ("--mode=study", ["--mode=study"]),
    ],
)
def test_commands_are_modes(line, words, monkeypatch):
    heard = []
    monkeypatch.setattr(program, "main", lambda words, name: heard.append(list(words)) or 0)
    assert subcommands.main(line.split()) == 0
    assert heard == [words]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("trian", "did you mean train?"),
        ("finetune", "use `simclr train --train_mode=finetune`"),
        ("knn", "use `simclr evaluate --protocols=knn`"),
        ("embed --mode=train", "--mode must be embed with this command"),
        ("recipes nothing", "--recipe must be one of"),
        ("embed", "simclr embed: error: --dataset must name the images"),
    ],
)
def test_bad_input(line, text, capsys):
    assert subcommands.main(line.split()) == console.BAD_INPUT
    error = capsys.readouterr().err
    assert text in error and error.startswith("simclr") and error.count("\n") == 1


def test_recipes(capsys, tmp_path):
    assert subcommands.main(["recipes"]) == 0
    assert "cifar10_cpu   " in capsys.readouterr().out
    (tmp_path / "mine.flags").write_text("# Mine\n--train_steps=3\n")
    assert subcommands.main(["recipes", "quickstart", str(tmp_path / "mine.flags")]) == 0
    out = capsys.readouterr().out
    assert "--dataset=patterns" in out and "# Mine" in out


def test_without_words_it_lists_its_commands(capsys):
    assert subcommands.main([]) == 0
    out = capsys.readouterr().out
    for command in ("train", "evaluate", "embed", "neighbors", "study", *subcommands._OTHERS):
        assert f"  simclr {command}" in out
