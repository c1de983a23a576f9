"""Missing packages: one line, before anything is written."""

from __future__ import annotations

import sys

import pytest

from simclr_tf.errors import InputError
from simclr_tf.export import bundle, extras


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("onnx", "tf2onnx", "onnx"), ("torch", "safetensors", "safetensors"),
     ("huggingface", "safetensors", "safetensors")],
)  # fmt: skip
def test_a_missing_package_is_named(monkeypatch, tmp_path, name, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    wanted = rf"pip install 'simclr_tf\[{extra}\]' \(.*{package}"
    with pytest.raises(InputError, match=wanted):
        bundle.export_checkpoint("absent", str(tmp_path / "out"), ["keras", name])
    assert list(tmp_path.iterdir()) == []


def test_other_formats_need_none(monkeypatch):
    for package in ("tf2onnx", "onnx", "safetensors"):
        monkeypatch.setitem(sys.modules, package, None)
    extras.check_installed(["saved_model", "keras", "tflite_int8"])


def test_is_installed():
    assert extras.is_installed("json") and not extras.is_installed("no_such_package_here")
