"""What a run's encoder makes of images without labels, beside the encoder it started from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tf_keras as keras

from simclr_tf.data import pipeline
from simclr_tf.data.images import Images
from simclr_tf.data.sources import Source
from simclr_tf.data.views import ViewRecipe
from simclr_tf.evaluation.encoders import FrozenEncoder, from_model
from simclr_tf.evaluation.quality import Quality, quality
from simclr_tf.models.endpoints import FINAL_ENDPOINT, PROJECTED_ENDPOINT
from simclr_tf.models.network import build_model
from simclr_tf.settings import by_name
from simclr_tf.settings.augment import AugmentConfig
from simclr_tf.settings.model import ModelConfig
from simclr_tf.settings.view_text import Views
from simclr_tf.weights import keras_encoders

_MOST_IMAGES, _BATCH = 1000, 100
_LINES = {
    "effective_rank": "effective rank", "rank_share": "as a share of the dimensions",
    "spread": "spread, 1 fills the sphere", "uniformity": "uniformity, low is spread out",
    "mean_cosine": "mean cosine between images", "dead_share": "share of dead dimensions",
    "alignment": "distance of two views, squared", "retrieval": "finds the other view",
}  # fmt: skip


class RunQuality(NamedTuple):
    """Figures of an encoder and of the one that its run started from.

    Attributes:
        trained: Of h, what the encoder returns.
        untrained: The same before training.
        projected: Of z, what the contrastive loss compares, after training; None without a head.
        num_images: How many images of the run it was computed on.
    """

    trained: Quality
    untrained: Quality
    projected: Quality | None
    num_images: int

    def __str__(self) -> str:
        head = f"{f'{self.num_images} images':32} {'untrained':>10} {'trained':>10}"
        rows = [
            f"{text:32} {getattr(self.untrained, name):10.3f} {getattr(self.trained, name):10.3f}"
            for name, text in _LINES.items()
        ]
        return "\n".join([head, *rows])


def run_quality(
    config: Mapping[str, Any],
    encoder: FrozenEncoder,
    untrained: FrozenEncoder,
    source: Source,
    views: Views | None,
) -> RunQuality:
    """The figures of a run, on at most 1,000 of its images and two fixed views of each.

    Args:
        config: The record of the run.
        encoder: Trained.
        untrained: The same before training.
        source: The images.
        views: What makes the views, where no text can carry it.
    """
    split, size = str(config["train_split"]), encoder.image_size
    count = min(_MOST_IMAGES, source.num_examples(split))
    batch = min(_BATCH, count)
    known = by_name.setting_names(AugmentConfig)
    augment = by_name.build_config(AugmentConfig, {
        name: config[name] for name in known if name in config and name != "augment_on"
    })  # fmt: skip
    recipe = ViewRecipe(augment, size, count=2, distorted=True, views=views)
    stream = pipeline.Stream(split, batch, seed=int(config.get("seed", 0)))
    pairs = pipeline.train_batches(source, stream, recipe.maker()).take(count // batch)
    shown = list(pairs.as_numpy_iterator())
    images = Images(source, size, batch)
    found = {}
    for name, one in (("trained", encoder), ("untrained", untrained)):
        plain = one.extractor(images.job).features(images.eval_batches(split, count))
        found[name] = quality(plain.features, *_of_views(one, shown, FINAL_ENDPOINT))
    projected = None
    if encoder.model is not None and encoder.model.projection_head is not None:
        wanted = encoder.extractor(images.job, PROJECTED_ENDPOINT)
        plain = wanted.features(images.eval_batches(split, count))
        projected = quality(plain.features, *_of_views(encoder, shown, PROJECTED_ENDPOINT))
    return RunQuality(found["trained"], found["untrained"], projected, count)


def _of_views(
    encoder: FrozenEncoder, batches: list[dict[str, np.ndarray]], endpoint: str
) -> list[np.ndarray]:
    """An endpoint of both views of all images, (N, D) each."""
    return [
        np.concatenate([np.asarray(encoder.encode(b[name])[endpoint]) for b in batches])
        for name in ("view_0", "view_1")
    ]


def first_encoder(config: Mapping[str, Any], folder: str) -> FrozenEncoder:
    """The encoder with the weights that the run started from, where that was not --checkpoint.

    Args:
        config: The record of the run.
        folder: Of the run.
    """
    size = int(config["image_size"])
    known = by_name.setting_names(ModelConfig)
    given = {name: config[name] for name in known if name in config}
    model = by_name.build_config(ModelConfig, {**given, "precision": "float32"})
    keras.utils.set_random_seed(int(config.get("seed", 0)))

    def body() -> keras.Model:
        found = keras_encoders.run_body(folder)
        assert isinstance(found, keras.Model)
        return found

    make_body = None if model.encoder.is_resnet else body
    return from_model(build_model(model, None, size, make_body), size, "untrained encoder")
