from __future__ import annotations

import json

import pytest

from benchmarks import scaling_model


def _run(capsys, *words: str) -> tuple[int, str, str]:
    try:
        status = scaling_model.main(words)
    except SystemExit as ended:
        status = ended.code
    return status, *capsys.readouterr()


def _rows(printed: str) -> dict[str, list[str]]:
    cells = [[cell.strip(" *") for cell in line.strip("|").split("|")]
             for line in printed.splitlines() if line.startswith("|")]  # fmt: skip
    return {row[0]: row[1:] for row in cells if len(row) == 7 and row[0] != "kernels"}


def test_the_parts_add_up_and_everything_is_called_a_model(capsys):
    status, printed, errors = _run(capsys)
    assert (status, errors) == (0, "")
    assert printed.startswith("A model") and "not measured here" in printed
    rows = _rows(printed)
    names = list(rows)
    whole = names.index("GPU, all of these")
    parts = [name for name in names[:whole] if name.startswith(("conv", "batch", "ReLU", "con",
                                                "update", "gradient", "BN", "embed"))]  # fmt: skip
    assert len(parts) == 9
    for column in range(-4, 0):
        shown = sum(float(rows[name][column].replace(",", "")) for name in parts)
        assert shown == pytest.approx(float(rows["GPU, all of these"][column]), abs=0.5)


def test_the_sentences_follow_the_figures(capsys):
    slow = _run(capsys, "--host_pairs_per_core=5", "--host_part_pairs_per_core=1e5")[1]
    last = slow.strip().splitlines()[-1]
    host, device = last.split(" With ")[1:]
    assert host.startswith("all augmentation on the host (5 pairs/s a core, 112 cores)")
    assert host.count("the bottleneck is host input") == 2
    assert "host input" not in device
    assert device.count("1 cores keep the GPUs fed") == 2
    other = _run(capsys, "--gpu=A100", "--gpus=4", "--pairs_per_gpu=100", "--host_cores=7")[1]
    assert "4 x A100" in other and "a step of 400 pairs" in other and "7 cores)" in other


def test_the_json_holds_what_is_printed(capsys, tmp_path):
    path = tmp_path / "found.json"
    status, printed, _ = _run(capsys, f"--json={path}", "--share=0.2,0.4")
    assert status == 0
    found = json.loads(path.read_text())
    assert "not measured here" in found["label"]
    assert found["settings"]["share"] == [0.2, 0.4]
    assert found["sentences"] in printed
    assert len(found["estimates"]) == 8
    for one in found["estimates"]:
        assert one["device_seconds"] == pytest.approx(sum(part["seconds"] for part in one["parts"]))
        waited = max(one["device_seconds"], one["host_seconds"], one["copy_seconds"])
        assert one["seconds"] == waited
        assert f"{1e3 * one['device_seconds']:,.1f}" in printed or one["place"] == "device"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--depth=49", "--depth must be one of 18, 34, 50, 101, 152, 200. Received: 49"),
        ("--gpus=-1", "--gpus must be a finite number above 0. Received: -1"),
        ("--gpu=K80", "--gpu must be one of A100, H100. Received: 'K80'"),
        ("--host_pairs_per_core=0", "--host_pairs_per_core must be a finite number above 0"),
        ("--share=0.9,0.1", "--share must be LOW,HIGH with 0 < LOW <= HIGH <= 1"),
        ("--share=0.9", "argument --share: invalid LOW,HIGH value: '0.9'"),
        ("--peak=fast", "argument --peak: invalid float value: 'fast'"),
        ("--measure_host=/nowhere", "--measure_host must be a folder that holds train/CLASS/*.jpg"),
        ("--nothing", "unrecognized arguments: --nothing"),
    ],
)
def test_bad_input_is_one_line(capsys, word, message):
    status, printed, errors = _run(capsys, word)
    assert status == 2
    assert printed == ""
    assert message in errors
    assert len(errors.strip().splitlines()) == 1


def test_a_file_that_cannot_be_written_is_one_line(capsys, tmp_path):
    (tmp_path / "file").touch()
    status, _, errors = _run(capsys, f"--json={tmp_path / 'file' / 'found.json'}")
    assert status == 1
    assert errors.startswith("--json could not be written:")
    assert len(errors.strip().splitlines()) == 1
