from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

from benchmarks import run
from benchmarks.speed import sides
from benchmarks.speed.cases import CASES, Case
from benchmarks.speed.figures import Comparison, Series
from benchmarks.speed.sides import Side
from tests import shallow, warm

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def _side(name: str, answer: str) -> Side:
    code = f"from benchmarks.speed.protocol import serve\nserve(lambda: lambda: {answer})"
    return Side(["-c", code], {"s": Series("lars", "update", name, "s")})


@pytest.fixture
def small_case(monkeypatch):
    """Replaces `lars` by sides that answer at once: `small_case(good, bad, ...)`."""

    def install(*sides: Side) -> None:
        comparison = Comparison("lars", "update", "s", "good", "other", at_most=0.5)
        monkeypatch.setitem(CASES, "lars", lambda options: Case(list(sides), [comparison]))
        # The test session's own handling of signals stays as it is.
        monkeypatch.setattr(run.signal, "signal", lambda number, handler: None)

    return install


def test_tables_and_json_of_the_same_run(small_case, tmp_path, capsys):
    small_case(_side("good", "{'s': [1.0, 1.0]}"), _side("other", "{'s': [4.0]}"))
    path = tmp_path / "found.json"
    assert run.main(["lars", "--size=smoke", "--rounds=2", f"--json={path}"]) == 0
    printed = capsys.readouterr().out
    assert "| lars | update | good | 1.00 s | 1.00 to 1.00 | 4 |" in printed
    assert "| good / other | 0.250 | 0.250 to 0.250 | <= 0.5 | yes |" in printed
    written = json.loads(path.read_text())
    assert written["command"] == (
        f"python -m benchmarks.run lars --size=smoke --rounds=2 --json={path}"
    )
    assert (written["size"], written["rounds"]) == ("smoke", 2)
    assert written["date"].startswith("20") and written["date"].endswith("+00:00")
    assert written["machine"]["cores"] >= 1 and written["machine"]["memory_gib"] > 0
    assert set(written["versions"]) >= {"python", "tensorflow", "tf_keras"}
    assert written["series"][0]["rounds"] == [[1.0, 1.0]] * 2
    assert written["comparisons"][0]["ratios"] == [0.25, 0.25]


def test_a_failed_side_is_a_row_and_an_exit_status(small_case, capsys):
    small_case(_side("good", "{'s': [1.0]}"), _side("other", "1 / 0"))
    assert run.main(["lars", "--size=smoke"]) == 1
    printed = capsys.readouterr().out
    assert "| lars | update | other | failed: ZeroDivisionError: division by zero |" in printed
    assert "| lars | update | good | 1.00 s |" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["speed"], "there is no case speed"),
        (["--size=huge"], "invalid choice: 'huge'"),
        (["--rounds=0"], "--rounds must be at least 1"),
        (["--reference=/nowhere"], "--reference must hold tf2/run.py: /nowhere"),
    ],
)
def test_a_bad_command_line_is_refused(words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        run.read_command_line(words)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_all_cases_are_the_default():
    given = run.read_command_line([])
    assert given.cases == list(CASES)
    assert (given.size, given.rounds) == ("short", 2)
    assert run.read_command_line(["--size=full", "--rounds=7"]).rounds == 7


def test_prepared_data_is_taken_except_in_the_smoke_size(tmp_path):
    data = tmp_path / "data"
    (data / "tfds" / "cifar10").mkdir(parents=True)
    (data / "imagenet_samples" / "cat").mkdir(parents=True)
    for size, dataset in (("full", "cifar10"), ("smoke", "patterns")):
        scratch = tmp_path / size
        scratch.mkdir()
        given = run.read_command_line(["step", f"--size={size}", f"--data_dir={data}"])
        options = run.find_data(given, scratch)
        assert options.dataset == dataset
        assert (pathlib.Path(options.photographs) / "train" / "cat").is_dir() == (size == "full")


def test_missing_photographs_are_generated(tmp_path):
    from PIL import Image

    from benchmarks.speed import images

    images.write_photographs(tmp_path, 3)
    paths = sorted(tmp_path.glob("train/*/*.jpg"))
    assert len(paths) == 3
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "JPEG" and image.mode == "RGB"
            assert 450 <= image.width < 550 and 340 <= image.height < 410
        assert 30_000 < path.stat().st_size < 200_000


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.run", *words]


def test_a_run_that_is_asked_to_end_ends_its_processes():
    # An environment variable is what all of them have in common. (Ctrl-C: test_sides.py.)
    environment = {**os.environ, "BENCHMARK_TEST": str(os.getpid())}
    running = subprocess.Popen(
        _command("lars", "--size=smoke", "--rounds=500"), cwd=REPOSITORY, env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert "round 1 of 500" in running.stderr.readline()
        assert len(_processes_with(environment["BENCHMARK_TEST"])) == 2
        running.terminate()
        _, said = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == run.INTERRUPTED
    assert said.splitlines()[-1] == "benchmarks.run: interrupted"
    assert _processes_with(environment["BENCHMARK_TEST"]) == []


def _processes_with(value: str) -> list[str]:
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"BENCHMARK_TEST={value}\0".encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue  # another user's, or ended in between
    return found


def test_the_smoke_size_runs_every_case_but_whole_runs(tmp_path, monkeypatch, capsys):
    """In float32 and with a shallow network; bfloat16 is another word for the same programs.

    Runs of whole programs are those of tests/benchmarks/speed/test_programs.py.
    """
    path = tmp_path / "smoke.json"
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setattr(sides, "Popen", warm.Program)
    shallow.install(shallow.ONE)
    monkeypatch.setattr(run.signal, "signal", lambda number, handler: None)
    cases = [name for name in CASES if name not in ("whole_run", "memory")]
    words = [*cases, "--size=smoke", f"--json={path}", "--precisions", "float32"]
    assert run.main(words) == 0, capsys.readouterr()
    series = json.loads(path.read_text())["series"]
    assert {one["case"] for one in series} == set(cases)
    assert not [one["problem"] for one in series if one["failed"]]
    measured = [one for one in series if not one["problem"]]
    assert {one["case"] for one in measured} == set(cases)
    assert all(min(one["rounds"][0]) > 0 for one in measured)
