"""Pillow's decoders in graphs."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.data import by_pillow, formats
from tests.data import files

TIFF = files.encode(files.PICTURE, "TIFF", exif=files.exif(6))


def test_pixels_and_lengths_in_a_pipeline():
    images = tf.data.Dataset.from_tensors(TIFF).repeat(3)
    images = images.map(lambda e: (by_pillow.decode(e), by_pillow.lengths(e)), 2)
    assert images.element_spec[0].shape.as_list() == [None, None, 3]
    for image, lengths in images.as_numpy_iterator():
        np.testing.assert_array_equal(image, formats.decode(TIFF))
        assert tuple(lengths) == (60, 40) == image.shape[:2]


def test_errors_are_one_line():
    for function in (by_pillow.decode, by_pillow.lengths):
        images = tf.data.Dataset.from_tensors(TIFF[:90]).map(function)
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            next(iter(images))
        assert "Traceback" not in str(caught.value)


def test_options_arrive():
    deep = files.deep_png(files.DEEP // 16)
    found = by_pillow.decode(tf.constant(deep), value_range=(0.0, 4095.0), ratio=4)
    assert found.shape == (10, 15, 3) and found.numpy().max() > 200
    assert by_pillow.decode(tf.constant(deep)).numpy().max() < 17


_OTHER = """
import sys
import tensorflow as tf
import simclr_tf.data.by_pillow
graph = tf.compat.v1.GraphDef.FromString(open(sys.argv[1], "rb").read())
with tf.Graph().as_default() as other, tf.compat.v1.Session() as session:
    tf.import_graph_def(graph, name="")
    print(session.run("result:0").sum())
"""


def test_graphs_run_in_another_process(tmp_path):
    """As on the workers of a tf.data service."""
    traced = tf.function(lambda: tf.identity(by_pillow.decode(tf.constant(TIFF)), name="result"))
    graph = traced.get_concrete_function().graph
    (tmp_path / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())
    command = [sys.executable, "-c", _OTHER, str(tmp_path / "graph.pb")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) == int(formats.decode(TIFF).sum())
