"""What is measured on a GPU; the card itself is not at hand."""

from __future__ import annotations

import json
import pathlib
import subprocess

import pytest

from benchmarks import gpu
from benchmarks.speed import protocol, timing

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("torch", [None, "python3"])
def test_each_side_has_the_card_to_itself_and_every_ratio_its_sides(torch):
    for network in gpu.networks("GPU", 1024):
        sides = gpu.sides_of(network, "GPU", torch, {"dataset": "folder", "data_dir": "x"})
        assert all(side.fresh for side in sides)
        keys = {series.key for side in sides for series in side.series.values()}
        for one in gpu.comparisons_of(network):
            assert (one.case, one.setting, one.side, one.unit) in keys
            anchor = (one.case, one.setting, one.anchor, one.anchor_unit or one.unit)
            assert (anchor in keys) == (torch is not None or one.anchor != gpu.TORCH)
        steps = [one for side in sides if "jit" in (one := side.words[-1]) or "cuda" in one]
        steps = [json.loads(one) for one in steps]
        assert len(steps) == 2 + (torch is not None)
        assert all(one["batches"] == list(network.pairs) for one in steps)
        assert [one.get("jit_compile") for one in steps[:2]] == [False, True]


def test_batches_are_halved_until_one_fits():
    assert gpu.networks("GPU", 100)[1].pairs == [100, 50, 25, 12, 6, 3, 1]
    tried = []

    def make(pairs):
        tried.append(pairs)
        if pairs > 25:
            raise MemoryError
        return lambda count: None

    found = timing.largest(make, [100, 50, 25, 12], 1, 3, MemoryError)()
    assert tried == [100, 50, 25]
    assert found["pairs"] == [25.0] and len(found["pairs/s"]) == 3
    with pytest.raises(protocol.UnavailableError, match="not even 50 pairs"):
        timing.largest(make, [100, 50], 1, 3, MemoryError)


@pytest.mark.parametrize(
    ("words", "said"),
    [([], "benchmarks/gpu.sh WHEELS DATA OUT"), (["nowhere", ".", "out"], "not a folder: nowhere")],
)
def test_the_script_says_what_it_needs(words, said, tmp_path):
    done = subprocess.run([str(REPOSITORY / "benchmarks" / "gpu.sh"), *words], cwd=tmp_path,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 2 and said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_without_a_card_nothing_is_begun(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit):
        gpu.read_command_line([f"--output={tmp_path / 'out'}"])
    assert "--device=GPU needs an NVIDIA card" in capsys.readouterr().err
