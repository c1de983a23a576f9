"""The peak follows what is taken."""

import numpy as np

from simclr_tf.training.memory import peak_memory


def test_the_peak_rises_with_what_is_taken():
    before = peak_memory()["memory/host_peak_gib"]
    taken = np.ones(2**27)  # 1 GiB
    after = peak_memory()
    assert taken[-1] == 1
    assert before > 0.05 and after["memory/host_peak_gib"] > 1
    assert "memory/device_peak_gib" not in after  # without a GPU
