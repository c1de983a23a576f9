"""What is said of the machine is what the system says."""

import os
import sys

import numpy as np
import pytest

import simclr_tf
from simclr_tf.report import machine


def test_versions_are_those_in_use():
    found = machine.versions()
    assert found["numpy"] == np.__version__
    assert found["simclr_tf"] == simclr_tf.__version__
    assert found["python"].split(".")[:2] == [str(one) for one in sys.version_info[:2]]


@pytest.mark.skipif(not os.path.exists("/proc/meminfo"), reason="/proc is Linux's")
def test_hardware():
    found = machine.hardware()
    with open("/proc/meminfo") as file:
        kib = int(file.readline().split()[1])
    assert found["memory_gib"] == pytest.approx(kib / 2**20, rel=0.01)
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert found["processor"] and found["gpus"] == []


def test_an_unknown_processor(monkeypatch):
    monkeypatch.setattr(machine, "_CPU_INFO", "/nowhere")
    assert machine.hardware()["processor"]
