"""The ONNX file: names, open axes, and the numbers of ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from simclr_tf.export import onnx_file

onnx = pytest.importorskip("onnx", reason="pip install 'simclr_tf[onnx]'")
pytest.importorskip("tf2onnx", reason="pip install 'simclr_tf[onnx]'")
runtime = pytest.importorskip("onnxruntime", reason="pip install 'simclr_tf[onnx]'")


@pytest.fixture(scope="module")
def written(live, tmp_path_factory):
    path, said = tmp_path_factory.mktemp("onnx") / "encoder.onnx", []
    onnx_file.write_onnx_file(live, str(path), 16, said.append)
    return path, said


def test_in_and_outputs_have_names_and_open_axes(written):
    graph = onnx.load(str(written[0])).graph
    shapes = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
              for v in (*graph.input, *graph.output)}  # fmt: skip
    assert shapes == {
        "images": ["batch", "height", "width", 3], "embedding": ["batch", 32],
        "logits": ["batch", 3],
    }  # fmt: skip
    assert {node.domain for node in graph.node} <= {"", "ai.onnx"}


@pytest.mark.parametrize(("count", "side"), [(1, 16), (5, 33)])
def test_onnx_runtime_computes_the_network(written, live, count, side):
    images = np.random.default_rng(0).random((count, side, side, 3), np.float32)
    session = runtime.InferenceSession(str(written[0]))
    embedding, logits = session.run(["embedding", "logits"], {"images": images})
    expected = live(images)
    np.testing.assert_allclose(embedding, expected["final_avg_pool"], atol=1e-5)
    np.testing.assert_allclose(logits, expected["logits_sup"], atol=1e-5)


def test_the_deviation_is_said(written):
    assert "deviates by" in written[1][0] and "onnxruntime" in written[1][0]


def test_a_wrong_conversion_is_not_written(live, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "deviation", lambda *_: 0.1)
    with pytest.raises(RuntimeError, match="deviates"):
        onnx_file.write_onnx_file(live, str(tmp_path / "encoder.onnx"), 16)
    assert list(tmp_path.iterdir()) == []
