"""Hostile commands, bounded: `make fuzz` runs more of them, of all kinds."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from fuzz import kinds
from fuzz.case import Case, Change
from fuzz.fixtures import write_files, write_photos
from fuzz.process import Limits
from fuzz.session import Session, draw
from simclr_tf.retrieval.embeddings import EmbeddingWriter

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def fixtures(tmp_path_factory):
    """What the two quick kinds start from, made without training."""
    folder = tmp_path_factory.mktemp("fuzz") / "fixtures"
    folder.mkdir()
    write_photos(folder / "photos")
    write_files(folder / "files")
    photos = sorted((folder / "photos").rglob("*.jpg"))
    ids = [path.relative_to(folder / "photos").as_posix() for path in photos]
    vectors = np.random.default_rng(0).normal(size=(len(ids), 32)).astype(np.float32)
    labels = np.array(["dog/" in name for name in ids], np.int64)
    described = {"encoder": "run/ckpt-2", "fingerprint": "0" * 16, "endpoint": "final_avg_pool",
                 "dataset": "folder:photos", "image_size": 8}  # fmt: skip
    for name in ("new.parquet", "new.npz"):
        with EmbeddingWriter(folder / name, described, ["cat", "dog"]) as writer:
            writer.append(ids, vectors, labels)
    return folder


def _fuzz(*words: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "fuzz", *words], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, **environment}, check=False,
    )  # fmt: skip


def test_hostile_flags_and_embeddings_end_in_one_line(fixtures, tmp_path):
    done = _fuzz("--seed=19", "--cases=30", "--kinds=refused,embeddings", f"--output={tmp_path}",
                 f"--fixtures={fixtures}")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "30 cases" in done.stdout and "no findings" in done.stdout


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_a_seed_and_a_number_mean_one_case(kind, fixtures, monkeypatch):
    for module in ("weights", "records", "tfds_sets"):
        monkeypatch.setattr(f"fuzz.kinds.{module}.files_below", lambda *given: ["a.pb", "a.json"])

    def described(index):
        case = draw(kind, 1, index, fixtures)
        return case.command, [change.seed for change in case.changes]

    assert described(3) == described(3) != described(4)
    assert set(kinds.NEEDS) == set(kinds.WEIGHTS) == set(kinds.KINDS)


def _link(work, random_):
    (work / "run").mkdir()
    (work / "run" / "old").symlink_to("../../outside/docs")
    return "run/old is a link"


def _program_that_follows_links(case):
    """Stands for a program of ours: removes what lies in run/old."""
    if os.path.exists("run/old"):
        for path in pathlib.Path("run/old").glob("*.txt"):
            path.unlink()
    sys.exit(0)


def test_a_finding_is_made_smaller_and_written_down(fixtures, tmp_path, monkeypatch):
    harmless = Change(lambda work, random_: "nothing", 0)
    case = Case("links", "run.py", ("--mode=train",), extra=("--seed=1", "--knn"),
                changes=(harmless, Change(_link, 0), harmless), writes=("run",))  # fmt: skip
    monkeypatch.setattr("fuzz.process.act", _program_that_follows_links)
    monkeypatch.setitem(kinds.KINDS, "links", lambda random_, fixtures_dir: case)
    said: list[str] = []
    session = Session(tmp_path, fixtures, Limits(), said.append)
    result = session.run("links", 1, 7)
    session.close()
    assert {finding.what for finding in result.findings} == {"SENTINEL"}
    assert not session.box_folder.exists() and "SENTINEL" in said[0]
    (signature, places), *_ = session.places.items()
    written = (pathlib.Path(places[0]) / "case.txt").read_text()
    assert "links-1-7" in places[0] and signature.startswith("SENTINEL")
    assert "run.py --mode=train\n" in written
    assert written.count("\nchanged: ") == 1 and "changed: 'run/old is a link'" in written
    assert (pathlib.Path(places[0]) / "box" / "work" / "run" / "old").is_symlink()
    assert (pathlib.Path(places[0]) / "box" / "outside" / "docs" / "thesis.txt").is_file()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--kinds=flags,dances"], "no such kind: dances"),
        (["--only=flags:x:3"], "KIND:SEED:NUMBER"),
        (["--only=flags"], "KIND:SEED:NUMBER"),
    ],
)
def test_a_wrong_command_line_is_refused(words, named):
    done = _fuzz(*words)
    assert (done.returncode, named in done.stderr) == (2, True), done.stderr
