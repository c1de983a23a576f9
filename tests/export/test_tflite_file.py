"""TFLite files of every kind: one signature, float32 in and out, and how far they deviate."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.errors import InputError
from simclr_tf.export import tflite_file

MOST = {  # deviation of the embedding relative to its largest value
    "tflite": 1e-5, "tflite_float16": 5e-3, "tflite_dynamic": 0.05, "tflite_int8": 0.15,
}  # fmt: skip


@pytest.fixture(scope="module")
def written(live, images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tflite")
    for kind, name in tflite_file.FILES.items():
        tflite_file.write_tflite_file(
            live, str(folder / name), 16, kind, images, say=lambda text: None
        )
    return folder


def _interpreter(written, kind):
    return tf.lite.Interpreter(model_path=str(written / tflite_file.FILES[kind]))


@pytest.mark.parametrize("kind", MOST)
def test_it_computes_the_network(written, live, images, kind):
    run = _interpreter(written, kind).get_signature_runner("serving_default")
    outputs, expected = run(images=images), live(images)["final_avg_pool"].numpy()
    found = np.abs(outputs["embedding"] - expected).max() / np.abs(expected).max()
    assert set(outputs) == {"embedding", "logits"} and outputs["embedding"].dtype == np.float32
    assert (found > 1e-5) == (kind != "tflite") and found < MOST[kind]


@pytest.mark.parametrize("kind", MOST)
def test_it_runs_without_being_resized(written, kind):
    interpreter = _interpreter(written, kind)
    interpreter.allocate_tensors()
    (taken,) = interpreter.get_input_details()
    assert taken["dtype"] == np.float32
    assert list(taken["shape"]) == [1, 16, 16, 3] and taken["shape_signature"][0] == -1


def test_eight_bits_are_eight_bits(written):
    kinds = {}
    for kind in MOST:
        details = _interpreter(written, kind).get_tensor_details()
        kinds[kind] = {np.dtype(one["dtype"]).name for one in details if one["dtype"]}
    assert "int8" not in kinds["tflite"] and "float16" in kinds["tflite_float16"]
    assert "int8" in kinds["tflite_dynamic"] and "int8" in kinds["tflite_int8"]


def test_full_quantisation_needs_images(live, tmp_path):
    with pytest.raises(InputError, match="calibration must be images"):
        tflite_file.write_tflite_file(live, str(tmp_path / "x.tflite"), 16, "tflite_int8")
    assert list(tmp_path.iterdir()) == []
