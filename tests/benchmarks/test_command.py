"""What the command lines of the benchmarks share."""

import pathlib
import sys

import pytest

from benchmarks import command
from simclr_tf.errors import InputError

BENCHMARKS = pathlib.Path(command.__file__).parent


def _parser():
    parser = command.Parser()
    parser.add_argument("--rows", type=command.count)
    return parser


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--no_such_flag"], "unrecognized arguments: --no_such_flag"),
        (["word"], "unrecognized arguments: word"),
        (["--row=3"], "unrecognized arguments: --row=3"),
        (["--rows=0"], "argument --rows: must be at least 1: 0"),
        (["--rows=many"], "argument --rows: invalid count value: 'many'"),
    ],
)
def test_bad_words_are_refused_in_one_line(words, why, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/x/benchmarks/knn.py", *words])
    with pytest.raises(SystemExit) as caught:
        _parser().parse_args()
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"python -m benchmarks.knn: error: {why}\n"


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (InputError("data_dir", "must exist", "x"), 2, "data_dir must exist. Received: 'x'"),
        (OSError(2, "No such file", "a\nb"), 1, "OSError|FileNotFoundError"),
        (RuntimeError("two\nlines"), 1, "RuntimeError: two lines"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_are_one_line(error, status, text, capsys):
    def main():
        raise error

    with pytest.raises(SystemExit) as caught:
        command.end(main)
    said = capsys.readouterr().err
    assert caught.value.code == status and said.count("\n") == 1
    assert any(part in said for part in text.split("|"))


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (1, 1)])
def test_the_status_is_passed_on(returned, status):
    with pytest.raises(SystemExit) as caught:
        command.end(lambda: returned)
    assert caught.value.code == status


def test_every_benchmark_ends_like_this():
    programs = [path for path in BENCHMARKS.glob("*.py") if "__main__" in path.read_text()]
    assert len(programs) >= 10
    for path in programs:
        text = path.read_text()
        assert "command.end(" in text and "argparse.ArgumentParser(" not in text, path.name
