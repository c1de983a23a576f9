"""What an embedded data set gives away without training: `python -m benchmarks.shortcuts`.

Linear classifiers on raw pixels, on colour histograms and on the features of the recipe's untrained
encoder, all trained and tested on the standard splits. High figures would mean that a contrastive
run could score without learning anything.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from benchmarks import command
from simclr_tf import experiment
from simclr_tf.evaluation import linear
from simclr_tf.evaluation.features import Extractor
from simclr_tf.settings import recipes


def _images(found: experiment.Experiment, split: str) -> tuple[np.ndarray, np.ndarray]:
    """All images of a split, (N, S, S, 3) float32 in [0, 1], and their labels (N,)."""
    pixels = Extractor(lambda images: tf.identity(images), endpoints=("image",))
    features = pixels.features(found.images.eval_batches(split))
    assert features.labels is not None
    return features.features, features.labels


def measure(dataset: str) -> dict[str, float]:
    """Test accuracy of a linear classifier, by kind of feature."""
    run = recipes.recipe("quickstart", dataset=dataset, model_dir="runs/none")
    found = experiment.prepare(run, trains=True)
    model = experiment.make_model(found)
    encode = tf.function(lambda images: model.encoder(images)["final_avg_pool"])

    def encoded(images: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [encode(images[i : i + 250]).numpy() for i in range(0, len(images), 250)]
        )

    kinds = {
        "raw pixels": linear.raw_pixel_features,
        "colour histograms": linear.color_histogram_features,
        "untrained encoder": encoded,
    }
    (train, train_labels), (test, test_labels) = _images(found, "train"), _images(found, "test")
    return {
        kind: linear.linear_probe(function(train), train_labels, function(test), test_labels)
        for kind, function in kinds.items()
    }


def main() -> None:
    """Prints one line per kind of feature."""
    parser = command.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="patterns", choices=("patterns", "digits"))
    for kind, accuracy in measure(parser.parse_args().dataset).items():
        print(f"{kind:<20} {100 * accuracy:.1f} %")


if __name__ == "__main__":
    command.end(main)
