import numpy as np
import pytest
import tensorflow as tf

from simclr_tf import capacity
from simclr_tf.automatic import facts
from simclr_tf.data.array_source import from_arrays
from simclr_tf.data.sources import open_source
from simclr_tf.errors import InputError
from simclr_tf.job import Job
from simclr_tf.settings.data import DataConfig


def test_a_folder_is_looked_at(tmp_path):
    for number, (height, width) in enumerate([(40, 90), (50, 44), (60, 60)]):
        pixels = np.zeros((height, width, 3), np.uint8)
        (tmp_path / f"{number}.png").write_bytes(tf.io.encode_png(pixels).numpy())
    source = open_source(DataConfig(dataset=f"folder:{tmp_path}"))
    assert facts.pictures_of(source, "train") == (3, 44, 3)
    (tmp_path / "1.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    with pytest.raises(InputError, match="1.png"):
        facts.pictures_of(source, "train")


def test_arrays_say_it_themselves():
    source = from_arrays(np.zeros((9, 20, 30, 4), np.uint8), channels=4)
    assert facts.pictures_of(source, "train[:5]") == (5, 20, 4)


def test_this_machine():
    found = facts.machine_of(Job())
    assert found.kind == "CPU" and found.devices == 1
    assert found.cores >= 1 and found.memory == capacity.physical_bytes()


@pytest.mark.parametrize(
    ("machine", "text"),
    [
        (("CPU", 1, 2, 0, True), "2 CPU cores, bfloat16"),
        (("CPU", 1, 1, 0, False), "1 CPU core, float32"),
        (("GPU", 1, 16, 0, True), "1 GPU, bfloat16"),
        (("GPU", 12, 16, 0, True), "12 GPUs, bfloat16"),
    ],
)
def test_a_machine_in_words(machine, text):
    assert str(facts.Machine(*machine)) == text


def test_memory_of_gpus_is_asked_of_the_driver(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 24576\necho 8192\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert facts._gpu_bytes() == 8192 * 2**20
    program.write_text("#!/bin/sh\nexit 3\n")
    assert facts._gpu_bytes() is None
