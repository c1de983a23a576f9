"""Files of PyTorch: read without executing anything, damaged ones refused in one line."""

from __future__ import annotations

import json
import pickle
import struct

import numpy as np
import pytest

from simclr_tf.errors import InputError
from simclr_tf.weights import torch_files

WITHOUT = "pip install 'simclr_tf[safetensors]'"


@pytest.fixture
def save():
    return pytest.importorskip("safetensors.numpy", reason=WITHOUT).save_file


def test_values_and_record_come_back(save, tmp_path):
    values = {"a.weight": np.arange(6, dtype=np.float16).reshape(2, 3), "b": np.ones(2)}
    save(values, tmp_path / "x.safetensors", {"simclr_tf": '{"format": 1}'})
    file = torch_files.open_torch_file(str(tmp_path / "x.safetensors"))
    assert file.shapes == {"a.weight": (2, 3), "b": (2,)} and file.record == {"format": 1}
    for name, value in values.items():
        assert file.read(name).dtype == np.float32
        np.testing.assert_array_equal(file.read(name), value)


def test_files_of_others_have_no_record(save, tmp_path):
    save({"a": np.ones(1)}, tmp_path / "x.safetensors", {"format": "pt"})
    assert torch_files.read_record(str(tmp_path / "x.safetensors")) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"short", struct.pack("<Q", 2**60) + b"{}", struct.pack("<Q", 4) + b"nope",
     struct.pack("<Q", 60) + json.dumps({"a": {"dtype": "F32", "shape": [2**40],
                                               "data_offsets": [0, 4]}}).encode()],
)  # fmt: skip
def test_damaged_files_are_refused(save, tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"must be a readable \.safetensors"):
        torch_files.open_torch_file(str(path))


def test_a_damaged_record_is_refused(save, tmp_path):
    save({"a": np.ones(1)}, tmp_path / "x.safetensors", {"simclr_tf": "{"})
    with pytest.raises(InputError, match="must be JSON"):
        torch_files.read_record(str(tmp_path / "x.safetensors"))


def test_what_is_a_file_of_pytorch(tmp_path):
    for name in ("a.safetensors", "b.pth", "c.ckpt", "d.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert torch_files.is_torch_file(str(tmp_path / "b.pth"))
    assert not torch_files.is_torch_file(str(tmp_path / "d.txt"))
    assert not torch_files.is_torch_file(str(tmp_path / "model.ckpt"))  # TensorFlow's prefixes
    assert torch_files.file_in(str(tmp_path)) == str(tmp_path / "a.safetensors")
    (tmp_path / "e.safetensors").write_bytes(b"x")
    assert torch_files.file_in(str(tmp_path)) is None
    assert torch_files.file_in(str(tmp_path / "absent")) is None


class Executed:
    def __reduce__(self):
        return (print, ("executed",))


def test_pickles_are_not_executed(tmp_path, capfd):
    torch = pytest.importorskip("torch", reason="pip install 'simclr_tf[torch]'")
    tensor = torch.ones(2)
    torch.save({"a": tensor, "b": Executed()}, tmp_path / "zip.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Executed()))
    for name in ("zip.pth", "plain.pth"):
        with pytest.raises(InputError, match=r"weights_only=True .*safetensors"):
            torch_files.open_torch_file(str(tmp_path / name))
    assert "executed" not in capfd.readouterr().out


@pytest.mark.parametrize("old", [False, True])
def test_state_dicts_lie_at_any_depth(tmp_path, old):
    torch = pytest.importorskip("torch", reason="pip install 'simclr_tf[torch]'")
    content = {"epoch": 3, "state_dict": {"conv.weight": torch.ones(2, dtype=torch.bfloat16)},
               "trunk": {"x": {"y": torch.zeros(1)}}, 7: torch.ones(1)}  # fmt: skip
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=not old)
    file = torch_files.open_torch_file(str(tmp_path / "x.pth"))
    assert file.shapes == {"state_dict.conv.weight": (2,), "trunk.x.y": (1,)}
    np.testing.assert_array_equal(file.read("state_dict.conv.weight"), [1, 1])


def test_without_pytorch_it_is_one_line(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "x.pth").write_bytes(b"x")
    with pytest.raises(InputError, match=r"pip install 'simclr_tf\[torch\]'"):
        torch_files.open_torch_file(str(tmp_path / "x.pth"))
