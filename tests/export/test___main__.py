"""The command line: what it passes on, what it says, its exit status."""

from __future__ import annotations

import os

import pytest

from simclr_tf.errors import InputError
from simclr_tf.export import __main__ as command
from simclr_tf.export import bundle, import_checkpoint


@pytest.fixture
def calls(monkeypatch):
    """Stands in for the work."""
    made = []

    def export_checkpoint(checkpoint, output, formats, **settings):
        made.append((checkpoint, output, formats, settings))
        return [output]

    def convert(source, output, **settings):
        made.append((source, output, settings))
        return f"{output}/ckpt-0"

    monkeypatch.setattr(bundle, "export_checkpoint", export_checkpoint)
    monkeypatch.setattr(import_checkpoint, "convert", convert)
    return made


@pytest.mark.parametrize(
    ("words", "formats"),
    [
        ("", ["saved_model"]),
        ("--format=hub", ["hub"]),
        ("--format=hub,keras --format=saved_model", ["hub", "keras", "saved_model"]),
    ],
)
def test_formats(calls, words, formats, capsys):
    assert command.main(["--checkpoint=a", "--output=b", *words.split()]) == 0
    assert calls[0][:3] == ("a", "b", formats)
    assert capsys.readouterr().out == "wrote b\n"


def test_settings_are_passed_on(calls):
    line = "--checkpoint=~/a --output=~/b --overwrite --image_size=64 --ft_proj_selector=0"
    assert command.main(line.split()) == 0
    checkpoint, output, _, settings = calls[0]
    assert (checkpoint, output) == (os.path.expanduser("~/a"), os.path.expanduser("~/b"))
    assert settings["overwrite"] and settings["image_size"] == 64
    assert (settings["ft_proj_selector"], settings["sk_ratio"]) == (0, None)


def test_import(calls, capsys):
    line = "import --source=a --output=b --overwrite --sk_ratio=0.5"
    assert command.main(line.split()) == 0
    source, output, settings = calls[0]
    assert (source, output) == ("a", "b")
    assert settings["overwrite"]
    assert (settings["ft_proj_selector"], settings["sk_ratio"]) == (None, 0.5)
    assert capsys.readouterr().out == "wrote b/ckpt-0\n"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--output=b", "--checkpoint is needed"),
        ("--checkpoint=a", "--output is needed"),
        ("import --source=a", "--output is needed"),
        ("import --output=b", "--source is needed"),
        ("--checkpoint=a --output=b --colour=1", "colour"),
        ("--checkpoint=a --output=b --image_size=big", "--image_size"),
        ("--checkpoint=a --output=b hub", "--name=value"),
        ("import --source=a --output=b --format=hub", "format"),
    ],
)
def test_a_bad_command_line_is_one_line(calls, capsys, line, told):
    assert command.main(line.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("python -m export: error: ") and error.count("\n") == 1
    assert told in error
    assert not calls


def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, capsys):
    line = f"--checkpoint={tmp_path}/absent --output={tmp_path}/b"
    assert command.main(line.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("python -m export: error: --checkpoint must") and error.count("\n") == 1
    assert command.main([*line.split(), "--format=onyx"]) == 2
    assert (
        "--format must be one of saved_model, serving, hub, keras, onnx" in capsys.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError):
        command.main([*line.split(), "--debug"])


def test_flags_may_stand_in_a_file(monkeypatch, tmp_path, capsys):
    taken = []
    monkeypatch.setattr(bundle, "export_checkpoint", lambda *a, **k: taken.append(a) or [])
    (tmp_path / "file").write_text("# mine\n--checkpoint=a\n--output=b\n")
    assert command.main([f"--flagfile={tmp_path}/file"]) == 0
    assert taken == [("a", "b", ["saved_model"])]
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert command.main([f"--flagfile={tmp_path}/binary"]) == 2
    assert "error: --flagfile must be a readable text" in capsys.readouterr().err


def test_other_failures_and_interrupts_have_their_own_status(monkeypatch, capsys):
    for error, status in ((OSError("disk full"), 1), (KeyboardInterrupt(), 130)):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(bundle, "export_checkpoint", fail)
        assert command.main(["--checkpoint=a", "--output=b"]) == status
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("words", [[], ["--help"], ["import", "--help"]])
def test_help_names_every_flag(words, capsys):
    assert command.main(words) == 0
    text = capsys.readouterr().out
    names = {*command._define_export(), *command._define_import()} - {"help", "?"}
    assert all(f"--{name}" in text for name in names if not name.startswith("help"))
    assert max(map(len, text.splitlines())) <= 100


def test_published_encoders_are_listed_without_tensorflow(calls, capsys, monkeypatch):
    monkeypatch.setattr(command.startup, "load_tensorflow", lambda: pytest.fail("it is loaded"))
    assert command.main(["list"]) == 0
    assert "simclrv2/r152_3x_sk1/supervised" in capsys.readouterr().out
    assert command.main(["list", "simclrv1/r50_1x/pretrained"]) == 0
    assert "gs://simclr-checkpoints/simclrv1/pretrain/1x/hub" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("list r50_1x_sk2", "such as simclrv2/r50_1x_sk"),
        ("list a b", "at most one name"),
        ("list --output=b", "at most one name"),
        ("lsit", "did you mean list?"),
    ],
)
def test_a_bad_list_is_one_line(calls, capsys, line, told):
    assert command.main(line.split()) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_where_fetched_weights_go(calls, monkeypatch, tmp_path):
    from simclr_tf.weights import archives

    seen = []

    def export_checkpoint(*words, **settings):
        seen.append(archives.cache_path())
        return []

    monkeypatch.setattr(bundle, "export_checkpoint", export_checkpoint)
    assert command.main(["--checkpoint=a", "--output=b", f"--cache_dir={tmp_path}"]) == 0
    assert seen == [str(tmp_path)] and archives.cache_path() != str(tmp_path)
