import pytest
import tensorflow as tf

from simclr_tf import gpus
from simclr_tf.job import open_job
from simclr_tf.settings.devices import StrategyConfig


@pytest.fixture
def traces(monkeypatch, tmp_path):
    monkeypatch.setattr(gpus, "_TRACES", (f"{tmp_path}/nvidia[0-9]*",))
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


def test_no_gpu_is_nothing_to_say(traces):
    (traces / "nvidiactl").touch()
    assert gpus.unused_gpu() is None


def test_a_gpu_that_is_not_seen_is_said_with_the_command(traces, monkeypatch):
    (traces / "nvidia0").touch()
    monkeypatch.setattr(gpus, "_LIBRARIES", ("no-such-package",))
    assert 'pip install "tensorflow[and-cuda]==2.21.*"' in gpus.unused_gpu()
    monkeypatch.setattr(gpus, "_LIBRARIES", ("pytest",))
    assert "nvidia-smi" in gpus.unused_gpu()


def test_a_run_says_it(traces):
    lines = []
    open_job(StrategyConfig(strategy="one_device"), lines.append)
    assert not lines
    (traces / "nvidia0").touch()
    open_job(StrategyConfig(strategy="one_device"), lines.append)
    assert len(lines) == 1 and lines[0].startswith("note: this machine has an NVIDIA GPU")


@pytest.mark.parametrize("value", ["", "-1"])
def test_a_gpu_that_is_hidden_on_purpose_is_not(traces, monkeypatch, value):
    (traces / "nvidia0").touch()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert gpus.unused_gpu() is None


def test_a_gpu_in_use_is_not(traces, monkeypatch):
    (traces / "nvidia0").touch()
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["a GPU"])
    assert gpus.unused_gpu() is None
