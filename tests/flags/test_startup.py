"""TensorFlow loads quietly and with oneDNN."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

PROGRAM = """
import os, sys
from flags import startup
assert "tensorflow" not in sys.modules
startup.load_tensorflow()
assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1"
print("still heard", file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="its lines are shown with a GPU")
def test_nothing_is_said_and_the_error_stream_still_works():
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT, env=environment, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr == "still heard\n"
