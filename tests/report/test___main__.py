"""The command line."""

import os

import pytest

from simclr_tf.report.__main__ import main

pytestmark = pytest.mark.usefixtures("drawn_once")


def test_one_run(run_folder, capsys):
    folder = run_folder()
    assert main([str(folder)]) == 0
    assert (folder / "report.html").is_file()
    assert capsys.readouterr().out == f"{folder}{os.sep}report.html\n"


def test_several(run_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([str(run_folder("a")), str(run_folder("b"))]) == 0
    assert (tmp_path / "comparison.html").is_file()
    assert main(["a", "b", "--output=other.html"]) == 0
    assert (tmp_path / "other.html").is_file()


@pytest.mark.parametrize("words", [["nowhere"], ["run", "nowhere"]])
def test_bad_input_is_one_line(run_folder, tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    run_folder("run")
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "nowhere" in error
    assert not (tmp_path / "comparison.html").exists()


@pytest.mark.parametrize("place", ["result.json", "pages/", ""])
def test_a_place_that_is_no_page(place, run_folder, capsys, monkeypatch):
    folder = run_folder()
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*")), (folder / "result.json").read_text()
    assert main([str(folder), f"--output={place}"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--output must" in error
    assert before == (sorted(folder.rglob("*")), (folder / "result.json").read_text())


def test_a_name_that_is_no_text(tmp_path, capsys):
    assert main([str(tmp_path / "caf\udce9")]) == 2
    assert "run must have a name in UTF-8" in capsys.readouterr().err


def test_a_place_that_cannot_be_written(run_folder, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert main([str(run_folder()), f"--output={tmp_path}/file/x.html"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    for place in (str(tmp_path), "foo://x/y.html", f"{tmp_path}/{'x' * 300}.html"):
        assert main([str(run_folder()), f"--output={place}"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "--output must be" in error


@pytest.mark.parametrize("runs", [["a"], ["a", "b"]])
def test_a_page_of_somebody_elses_is_not_replaced(runs, run_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    place = tmp_path / ("a/report.html" if len(runs) == 1 else "comparison.html")
    for name in runs:
        run_folder(name)
    place.write_text("<!doctype html><title>mine</title>")
    assert main(runs) == 2
    assert "--output must lead elsewhere" in capsys.readouterr().err
    assert place.read_text() == "<!doctype html><title>mine</title>"
    place.unlink()
    assert main(runs) == main(runs) == 0  # our own page is replaced


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (ValueError("odd"), 1, "ValueError: odd (--debug: traceback)"),
        (PermissionError(13, "Permission denied", "x"), 1, "[Errno 13] Permission denied: 'x'"),
    ],
)
def test_every_end_is_one_line(error, status, said, run_folder, monkeypatch, capsys):
    def end(*_):
        raise error

    monkeypatch.setattr("simclr_tf.report.run_page.write_report", end)
    assert main([str(run_folder())]) == status
    assert capsys.readouterr().err == f"simclr_tf.report: error: {said}\n"


@pytest.mark.parametrize(("words", "said"), [([], "RUN"), (["a", "--colour=1"], "--colour=1")])
def test_words_that_it_does_not_know_are_one_line(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.count("\n") == 1
    assert error.startswith("python -m simclr_tf.report: error: ") and said in error
