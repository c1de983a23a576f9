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
        ("explore --embeddings=x.npz", ["--mode=explore", "--embeddings=x.npz"]),
        ("embed --mode embed", ["--mode", "embed"]),
        ("train --model_dir mode", ["--mode=train_then_eval", "--model_dir", "mode"]),
        ("embed --bogus=1", ["--mode=embed", "--bogus=1"]),
        ("help embed", ["--mode=embed", "--help"]),
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
        ("explore", "simclr explore: error: --embeddings must name a file that mode=embed wrote"),
        ("outliers", "use `simclr explore`"),
        ("embed --mode=train", "--mode must be embed with this command"),
        ("embed --flagfile=FLAGS", "--mode must be embed with this command"),
        ("train --help=daat", "--help must be one of"),
        ("recipes nothing", "--recipe must be one of"),
        ("embed", "simclr embed: error: --dataset must name the images"),
    ],
)
def test_bad_input(line, text, capsys, tmp_path):
    (tmp_path / "flags").write_text("--mode=neighbors")
    words = line.replace("FLAGS", f"{tmp_path}/flags").split()
    assert subcommands.main(words) == console.BAD_INPUT
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
    for command in (
        "train",
        "evaluate",
        "embed",
        "neighbors",
        "explore",
        "study",
        *subcommands._OTHERS,
    ):
        assert f"  simclr {command}" in out


def test_help_names_the_installed_command(capsys):
    for words in (["train", "--help"], ["embed", "--help", "--bogus=1"], ["export", "--help"]):
        assert subcommands.main(words) == 0
        out = capsys.readouterr().out
        assert f"simclr {words[0]} --" in out
        assert "run.py" not in out and "python -m" not in out
