"""What a projection head does to the representation: its spectrum (B.4), and h beside z."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from simclr_tf import experiment as experiment_lib
from simclr_tf.evaluation.features import Extractor
from simclr_tf.experiment import Experiment
from simclr_tf.models.endpoints import FINAL_ENDPOINT, PROJECTED_ENDPOINT
from simclr_tf.models.network import Network
from simclr_tf.modes.evaluation import batches_to_evaluate
from simclr_tf.report.embedding_map import embedding_map
from simclr_tf.settings.run import RunConfig
from simclr_tf.studies import figures
from simclr_tf.weights import restore
from simclr_tf.weights.locate import newest_checkpoint

_POINTS = 1000
_CLASSES = 10


def head_spectrum(run: RunConfig) -> Figure:
    """Draws the squared singular values of a linear head's matrix W, largest first.

    They are the eigenvalues of W W^T; the paper shows that few directions of z carry most of it.
    """
    _, model = _trained(run)
    assert model.projection_head is not None
    kernel = model.projection_head.projection_layers[0].dense.kernel.numpy()  # (D, d)
    values = np.linalg.svd(kernel.astype(np.float64), compute_uv=False) ** 2
    figure, axes = figures.new_figure(9, 3.6, panels=2)
    for panel, scale in zip(axes, ("linear", "log"), strict=True):
        panel.plot(np.arange(1, len(values) + 1), np.maximum(values, 1e-12), marker=".",
                   color=figures.COLORS[0])  # fmt: skip
        panel.set_yscale(scale)
        figures.finish(panel, f"{scale} scale", "rank", "squared singular value")
    figure.suptitle(
        f"Spectrum of the linear head, {kernel.shape[0]} to {kernel.shape[1]} dimensions"
    )
    return figure


def maps_of_h_and_z(run: RunConfig) -> Figure:
    """Places h and z of the same test images on planes by t-SNE, coloured by class."""
    experiment, model = _trained(run)
    _, images = batches_to_evaluate(experiment, with_bank=False)
    encoder = Extractor(
        lambda batch: model(batch, training=False), experiment.job,
        (FINAL_ENDPOINT, PROJECTED_ENDPOINT),
    )  # fmt: skip
    found = encoder.features(images, max_examples=_POINTS)
    assert found.labels is not None
    figure, axes = figures.new_figure(10, 5, panels=2)
    for panel, endpoint, title in (
        (axes[0], FINAL_ENDPOINT, "Representation h"),
        (axes[1], PROJECTED_ENDPOINT, "Output z of the projection head"),
    ):
        points, indices = embedding_map(found.endpoints[endpoint], run.train.seed, _POINTS)
        labels = found.labels[indices]
        colors = colormaps["tab10"](labels % _CLASSES)
        panel.scatter(points[:, 0], points[:, 1], color=colors, s=8)
        panel.set_title(title, fontsize=11, loc="left")
        panel.set_xticks([])
        panel.set_yticks([])
    figure.suptitle(f"t-SNE of {len(found.features)} test images, coloured by class")
    return figure


def _trained(run: RunConfig) -> tuple[Experiment, Network]:
    """The network of a cell with the weights of its last step."""
    experiment = experiment_lib.prepare(run, trains=False)
    model = experiment_lib.make_model(experiment)
    checkpoint = newest_checkpoint(run.model_dir)
    assert checkpoint is not None  # else `run_of` gives no run
    restore.restore_weights(model, checkpoint)
    return experiment, model
