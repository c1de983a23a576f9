"""One small model and its SavedModel for all tests of the package."""

from __future__ import annotations

import numpy as np
import pytest
from simclr_tf.export.history import History
from simclr_tf.export.saved_model import export_encoder

from simclr_tf.config import EncoderConfig, ModelConfig, ProjectionConfig
from simclr_tf.models.network import Network

ENCODER = EncoderConfig(resnet_depth=18, width_multiplier=1 / 16, stem="cifar")


def _images(size: int = 16) -> np.ndarray:
    brightness = np.resize(np.float32([0.1, 0.4, 1.0]), [12, 1, 1, 1])
    return brightness * np.random.default_rng(0).random((12, size, size, 3), np.float32)


@pytest.fixture(scope="session")
def make_live():
    """Builds a model none of whose variables has its initial value; outputs are around 1."""

    def make(
        encoder: EncoderConfig = ENCODER, num_classes: int | None = 3, passes: int = 25, **settings
    ) -> Network:
        projection = ProjectionConfig(proj_out_dim=5, num_proj_layers=2)
        config = ModelConfig(encoder=encoder, projection=projection, **settings)
        model = Network(config, num_classes)
        rng = np.random.default_rng(1)
        for variable in model.variables:
            shape, kind = variable.shape, variable.name.split("/")[-1]
            if "kernel" in kind:
                fan_in = np.prod(shape[:-1])
                value = rng.normal(0, fan_in**-0.5, shape)
            elif "gamma" in kind or "variance" in kind:
                value = rng.uniform(0.5, 1.5, shape)
            else:
                value = rng.normal(0, 0.1, shape)
            variable.assign(value.astype(np.float32))
        for _ in range(passes):  # running statistics that let images differ
            model(_images(16 if encoder.stem == "cifar" else 64), training=True)
        return model

    return make


@pytest.fixture(scope="session")
def live(make_live) -> Network:
    return make_live()


@pytest.fixture(scope="session")
def exported(live, tmp_path_factory) -> str:
    """A SavedModel of `live` for images of 40 px; tests only read it."""
    history = History(image_size=40, class_names=("cat", "dog", "owl"), global_step=7)
    folder = str(tmp_path_factory.mktemp("export") / "module")
    return export_encoder(live, folder, history=history)


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """(12, 16, 16, 3) float32 in [0, 1], of three degrees of brightness in turn."""
    return _images()
