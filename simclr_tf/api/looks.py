"""What a run's encoder makes of images without labels, beside the encoder it started from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import tf_keras as keras

from simclr_tf.data.images import Images
from simclr_tf.data.sources import Source
from simclr_tf.evaluation.encoders import FrozenEncoder, from_model
from simclr_tf.evaluation.quality import Quality
from simclr_tf.evaluation.unlabelled import Shown, measure
from simclr_tf.evaluation.verdict import Verdict, judge
from simclr_tf.experiment import choose_eval_split
from simclr_tf.models.endpoints import FINAL_ENDPOINT, PROJECTED_ENDPOINT
from simclr_tf.models.network import build_model
from simclr_tf.settings import by_name
from simclr_tf.settings.data import DataConfig
from simclr_tf.settings.model import ModelConfig
from simclr_tf.weights import keras_encoders

_MOST_IMAGES, _BATCH = 1000, 100
_LINES = {
    "effective_rank": "effective rank", "rank_share": "as a share of the dimensions",
    "spread": "spread, 1 fills the sphere", "uniformity": "uniformity, low is spread out",
    "mean_cosine": "mean cosine between images", "dead_share": "share of dead dimensions",
    "alignment": "distance of two views, squared", "retrieval": "finds the other view",
    "crop_retrieval": "finds it, colours unchanged",
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

    @property
    def verdict(self) -> Verdict:
        """One sentence, by the rules of `simclr_tf.evaluation.verdict.judge`."""
        return judge(self.trained, self.untrained, self.projected)

    def __str__(self) -> str:
        head = f"{f'{self.num_images} images':32} {'untrained':>10} {'trained':>10}"
        rows = [
            f"{text:32} {getattr(self.untrained, name):10.3f} {getattr(self.trained, name):10.3f}"
            for name, text in _LINES.items()
        ]
        return "\n".join([head, *rows, str(self.verdict)])


def run_quality(
    config: Mapping[str, Any], encoder: FrozenEncoder, untrained: FrozenEncoder, source: Source
) -> RunQuality:
    """The figures of a run, on at most 1,000 images that it was not trained on, if there are such.

    Args:
        config: The record of the run.
        encoder: Trained.
        untrained: The same before training.
        source: The images.
    """
    held_out = choose_eval_split(DataConfig(eval_split=config.get("eval_split") or None), source)
    split = held_out or str(config["train_split"])
    count = min(_MOST_IMAGES, source.num_examples(split, "eval_split"))
    images = Images(source, encoder.image_size, _BATCH)
    shown = Shown(images, split, count)
    found, before = (
        measure(one.extractor(images.job, FINAL_ENDPOINT, (PROJECTED_ENDPOINT,)), shown)
        for one in (encoder, untrained)
    )
    return RunQuality(found["h"], before["h"], found.get("z"), count)


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
