"""The same figures on two replicas as on one device."""

import json
import pathlib
import sys

from tests import warm


def test_two_replicas_find_what_one_device_finds(tmp_path):
    root = pathlib.Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "tests.protocols.replicas_program", str(tmp_path)]
    done = warm.run(command, cwd=root, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["replicas"] == 2
    report = found["report"]
    assert set(report) == {"features", "labels", "kernel", "finetuned", "logits", "score_labels",
                           "knn"}  # fmt: skip
    assert report["features"]["shape"][0] == report["score_labels"]["shape"][0] == 70
    for name in ("labels", "score_labels"):
        assert report[name]["deviation"] == 0, name
    # Features that differ in their last bits may decide one near tie otherwise.
    assert report["knn"]["deviation"] < 1.01 / 70
    for name in ("features", "kernel", "finetuned", "logits"):
        assert report[name]["deviation"] < 1e-5, name
