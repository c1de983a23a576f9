"""The spectrum of a linear head, and maps of h and z, from a study's own cells."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from simclr_tf.studies import catalogue, plan, projections
from simclr_tf.weights.locate import newest_checkpoint


def _run_of(base, **factors):
    settled = plan.settle(catalogue.study("projection_head"), base, lambda line: None)
    (cell,) = [one for one in settled.cells if dict(one.factors) == factors]
    return settled.run_of(cell, 0)


def test_the_spectrum_is_that_of_the_trained_matrix(finished):
    run = _run_of(finished[0], head="linear", dimension=128)
    reader = tf.train.load_checkpoint(newest_checkpoint(run.model_dir))
    (kernel,) = [
        reader.get_tensor(name) for name in reader.get_variable_to_shape_map()
        if "projection_head" in name and name.endswith("kernel/.ATTRIBUTES/VARIABLE_VALUE")
        and "OPTIMIZER_SLOT" not in name
    ]  # fmt: skip
    expected = np.linalg.eigvalsh(kernel @ kernel.T.astype(np.float64))[::-1]  # of W W^T
    drawn = projections.head_spectrum(run).axes[0].lines[0].get_ydata()
    np.testing.assert_allclose(drawn, np.maximum(expected, 1e-12), rtol=1e-5, atol=1e-9)


def test_maps_show_the_same_images(finished):
    figure = projections.maps_of_h_and_z(_run_of(finished[0], head="nonlinear", dimension=128))
    h, z = (axes.collections[0] for axes in figure.axes)
    assert len(h.get_offsets()) == len(z.get_offsets()) == 64
    np.testing.assert_array_equal(h.get_facecolors(), z.get_facecolors())
