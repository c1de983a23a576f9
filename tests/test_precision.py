"""What `precision=auto` means on hardware that is not here."""

from __future__ import annotations

import pytest
import tensorflow as tf

from simclr_tf import precision

ONE_DEVICE = tf.distribute.get_strategy()
# The lines that matter of Linux's file, of a Zen 4, a Zen 2, a Sapphire Rapids, and of an Arm CPU.
ZEN_4 = "processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_bf16 avx512_vnni\nbugs\t\t:\n"
ZEN_2 = "processor\t: 0\nflags\t\t: fpu sse4_2 avx2 fma\n"
SAPPHIRE_RAPIDS = "flags\t\t: fpu amx_bf16 avx512_bf16 amx_tile\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd bf16\n"


@pytest.mark.parametrize(
    ("text", "expected", "reason"),
    [
        (ZEN_4, "bfloat16", "the CPU has avx512_bf16"),
        (SAPPHIRE_RAPIDS, "bfloat16", "the CPU has avx512_bf16 and amx_bf16"),
        (ZEN_2, "float32", "the CPU shows neither avx512_bf16 nor amx_bf16"),
        (ARM, "float32", "neither"),
        ("", "float32", "neither"),
        (None, "float32", "neither"),
    ],
)
def test_a_cpu_says_what_it_can(tmp_path, monkeypatch, text, expected, reason):
    path = tmp_path / "cpuinfo"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(precision, "CPU_INFO", str(path))
    chosen = precision.choose(ONE_DEVICE)
    assert chosen.precision == expected
    assert reason in chosen.reason
    assert precision.resolve("auto", ONE_DEVICE) == expected
    assert precision.resolve("bfloat16", ONE_DEVICE) == "bfloat16"


@pytest.mark.parametrize(
    ("capabilities", "expected", "reason"),
    [
        ([(8, 0)], "bfloat16", "compute capability 8.0"),
        ([(9, 0), (8, 6)], "bfloat16", "compute capability 8.6"),
        ([(7, 5)], "float32", "compute capability 7.5, bfloat16 takes 8.0"),
        ([(10, 0), (7, 0)], "float32", "compute capability 7.0"),
        ([None], "float32", "unknown capability"),
    ],
)
def test_the_weakest_gpu_decides(monkeypatch, capabilities, expected, reason):
    details = [{"compute_capability": one} if one else {} for one in capabilities]
    listed = range(len(details))
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: [*listed])
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [*listed])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details.__getitem__)
    chosen = precision.choose(ONE_DEVICE)
    assert chosen.precision == expected
    assert reason in chosen.reason


def test_a_tpu_computes_in_bfloat16(monkeypatch):
    monkeypatch.setattr(tf.distribute, "TPUStrategy", type(ONE_DEVICE))
    assert precision.choose(ONE_DEVICE).precision == "bfloat16"
