"""What a representation keeps (Table 3): small MLPs predict from features what an image underwent.

The paper asks this of h, the encoder's output, and of z = g(h), the projection head's. The loss
teaches g to forget what the augmentations change, so h knows more.

Two things differ from the paper's experiment. Its networks for rotation, noise and Sobel filtering
had that operation among the pretraining augmentations; here any encoder is asked as it is, so z may
keep more of what its head was never taught to drop. And its h and z were equally wide (2048), where
most heads end in 128 numbers. The paper describes neither the MLPs nor the strength of the noise.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from simclr_tf.augment import color, seeds, studied
from simclr_tf.errors import InputError, require
from simclr_tf.evaluation.features import FINAL_ENDPOINT, Batches, Extractor, Features
from simclr_tf.models.endpoints import PROJECTED_ENDPOINT

HIDDEN_UNITS = 256
MAX_TRAIN_EXAMPLES = 20_000
_VALIDATION_SHARE = 0.1
_TRAIN, _TEST = 0, 1
_ORDER, _OPERATION = 0, 1  # what a seed is for

Apply = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Attribute:
    """Something that an image underwent, which a representation may or may not show.

    Attributes:
        name: Short name, the key of results.
        title: The question, for tables.
        num_values: How many values there are; guessing gets 1 / num_values.
        apply: From an image, float32 (S, S, 3) in [0, 1], a value, int32 scalar in
            [0, num_values), and a seed, int64 (2,), to the image that has the value, float32
            (S, S, 3). Called inside tf.data.
        paper_h: Accuracy in [0, 1] from h in Table 3; None for what the paper lacks.
        paper_z: From g(h).
    """

    name: str
    title: str
    num_values: int
    apply: Apply
    paper_h: float | None = None
    paper_z: float | None = None


class AttributeTable(NamedTuple):
    """Accuracies in [0, 1] by attribute name, then `h` or `z`; a sentence for what was left out."""

    accuracies: dict[str, dict[str, float]]
    notes: list[str]


def _color(image: tf.Tensor, value: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
    return tf.cond(value == 0, lambda: tf.identity(image), lambda: color.to_grayscale(image))


def _rotation(image: tf.Tensor, value: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
    return studied.rotate(image, value)


def _noise(image: tf.Tensor, value: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.cond(
        value == 0, lambda: tf.identity(image), lambda: studied.gaussian_noise(image, seed)
    )


def _sobel(image: tf.Tensor, value: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
    return tf.cond(value == 0, lambda: tf.identity(image), lambda: studied.sobel(image))


ATTRIBUTES = (
    Attribute("color", "color vs grayscale", 2, _color, 0.993, 0.974),
    Attribute("rotation", "rotation by 0, 90, 180, 270 degrees", 4, _rotation, 0.676, 0.256),
    Attribute("noise", "original vs corrupted by noise", 2, _noise, 0.995, 0.596),
    Attribute("sobel", "original vs Sobel filtered", 2, _sobel, 0.966, 0.563),
)


def attribute_batches(
    batches: Batches, attribute: Attribute, seed: int = 0, part: int = 0
) -> Batches:
    """Gives every image one value of an attribute, which becomes its label.

    The values are balanced: of every `num_values` consecutive images each gets another value, in an
    order of its own. They depend on (seed, part, position among the real images) alone.

    Args:
        batches: Elements as in `Extractor.features`, `{'image': (B, S, S, 3)}` float32 in [0, 1]
            with optional `'weight'` (B,).
        attribute: One of `ATTRIBUTES`, or one's own. Color vs grayscale means nothing on images
            that are gray already (such as handwritten digits): both values look alike, and chance
            is the best that an encoder can get.
        seed: In [0, 2^31).
        part: Number of the data set, in [0, 2^24), so that training and test images at the same
            position get different random numbers.

    Returns:
        The batches with changed images and `'label'` int64 (B,). Padding (weight 0) stays as it
        is; its label is 0.
    """
    if not isinstance(batches, tf.data.Dataset):  # a function of the host's part
        return lambda host: attribute_batches(batches(host), attribute, seed, part)

    def number(count: tf.Tensor, batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tuple]:
        real = _real(batch)  # (B,)
        positions = count + tf.cumsum(tf.cast(real, tf.int64), exclusive=True)  # (B,)
        return count + tf.math.count_nonzero(real), (batch, real, positions)

    def change(
        batch: dict[str, tf.Tensor], real: tf.Tensor, positions: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        images = batch["image"]  # (B, S, S, 3)
        changed, values = tf.map_fn(
            lambda row: _with_value(row[0], row[1], attribute, seed, part),
            (images, positions),
            fn_output_signature=(
                tf.TensorSpec(images.shape[1:], tf.float32), tf.TensorSpec([], tf.int64)
            ),
        )  # fmt: skip
        changed = tf.where(real[:, None, None, None], changed, images)
        return {**batch, "image": changed, "label": tf.where(real, values, 0)}

    numbered = batches.scan(tf.constant(0, tf.int64), number)
    return numbered.map(change, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _real(batch: dict[str, tf.Tensor]) -> tf.Tensor:
    """Which rows are images rather than padding, bool (B,)."""
    if "weight" in batch:
        return batch["weight"] != 0
    return tf.fill(tf.shape(batch["image"])[:1], True)


def _with_value(
    image: tf.Tensor, position: tf.Tensor, attribute: Attribute, seed: int, part: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The image (S, S, 3) with the value that its position gets, and the value, int64 scalar."""
    block, place = position // attribute.num_values, position % attribute.num_values
    order_seed = seeds.example_seed(seed, part, block, _ORDER)
    order = tf.argsort(tf.stack(seeds.uniforms(order_seed, attribute.num_values)))  # (values,)
    value = order[place]
    changed = attribute.apply(image, value, seeds.example_seed(seed, part, position, _OPERATION))
    return tf.ensure_shape(changed, image.shape), tf.cast(value, tf.int64)


def predict_attribute(
    train_features: np.ndarray,
    train_values: np.ndarray,
    test_features: np.ndarray,
    test_values: np.ndarray,
    seed: int = 0,
    max_epochs: int = 60,
) -> float:
    """Test accuracy of a small MLP: one hidden layer of ReLUs on standardised features.

    scikit-learn's `MLPClassifier` by Adam, in batches of N / 100 limited to 16 ... 200. It stops
    when the accuracy on a tenth of the training examples has not risen for 5 epochs and takes the
    best weights; below 1000 examples, of which a tenth would judge poorly, when the training loss
    no longer falls. It runs on the host, in memory, in float32: 20,000 x 2048 features take a
    minute or two on 2 cores, and more than some 10^5 examples belong elsewhere.

    Args:
        train_features: (N, D) finite floats.
        train_values: (N,) integers; at least two values.
        test_features: (M, D) finite floats.
        test_values: (M,) integers.
        seed: Decides the initial weights, the order and what is held back.
        max_epochs: Passes over the training examples at most.

    Returns:
        Accuracy in [0, 1].

    Raises:
        InputError: Shapes do not fit, values are not finite, or there is only one value.
    """
    from sklearn.exceptions import ConvergenceWarning  # Slow to import, needed only here.
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import StandardScaler

    train_x, train_y = _checked("train_features", train_features, train_values)
    test_x, test_y = _checked("test_features", test_features, test_values)
    require(train_x.shape[1] == test_x.shape[1], "test_features",
            f"must have the training features' {train_x.shape[1]} dimensions",
            test_x.shape[1])  # fmt: skip
    values, counts = np.unique(train_y, return_counts=True)
    require(len(values) >= 2, "train_values", "must hold at least two values", values.tolist())
    scaler = StandardScaler().fit(train_x)
    classifier = MLPClassifier(
        hidden_layer_sizes=(HIDDEN_UNITS,),
        batch_size=min(max(len(train_x) // 100, 16), 200, len(train_x)),
        early_stopping=len(train_x) >= 1000 and counts.min() * _VALIDATION_SHARE >= 1,
        validation_fraction=_VALIDATION_SHARE,
        n_iter_no_change=5,
        max_iter=max_epochs,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # max_epochs is a choice
        classifier.fit(scaler.transform(train_x), train_y)
    return float(np.mean(classifier.predict(scaler.transform(test_x)) == test_y))


def _checked(name: str, rows: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows, values = np.asarray(rows, np.float32), np.asarray(values)
    require(rows.ndim == 2 and rows.size > 0, name, "must have shape (N, D)", rows.shape)
    require(values.shape == (len(rows),), f"values of {name}", f"must have shape ({len(rows)},)",
            values.shape)  # fmt: skip
    finite = np.isfinite(rows).all(axis=1)  # (N,)
    if not finite.all():
        raise InputError(name, "must be finite", f"NaN or infinity at example {np.argmin(finite)}")
    return rows, values.astype(np.int64)


def attribute_table(
    extractor: Extractor,
    train_batches: Batches,
    test_batches: Batches,
    attributes: Sequence[Attribute] = ATTRIBUTES,
    seed: int = 0,
    limits: tuple[int | None, int | None] = (MAX_TRAIN_EXAMPLES, None),
    on_batch: Callable[[int], None] | None = None,
) -> AttributeTable:
    """Table 3 of the paper for any frozen encoder: one pass over both data sets per attribute.

    Args:
        extractor: Gives h as `final_avg_pool`, and z as `proj_head_output` where there is a
            projection head.
        train_batches: Images without augmentation that the MLPs learn from; labels are not needed.
        test_batches: Images that they are judged by.
        attributes: What is asked.
        seed: Decides values, noise and the MLPs.
        limits: Use only the first so many training and test images; None takes all. The paper's
            number is not known; see `predict_attribute` for what is feasible.
        on_batch: Called after each batch with the number of images extracted so far, both data sets
            and all attributes together.

    Returns:
        Accuracies by attribute, `h` and `z`. Without a projection head `z` is left out and a note
        says so.

    Raises:
        InputError: See `Extractor.features`.
    """
    sources = ((train_batches, _TRAIN, limits[0]), (test_batches, _TEST, limits[1]))
    accuracies: dict[str, dict[str, float]] = {}
    done = 0
    for attribute in attributes:
        found: list[Features] = []
        for batches, part, limit in sources:
            features = extractor.features(
                attribute_batches(batches, attribute, seed, part), _shifted(on_batch, done), limit
            )
            done += len(features.features)
            found.append(features)
        accuracies[attribute.name] = _accuracies(found[0], found[1], seed)
    return AttributeTable(accuracies, _notes(accuracies))


def _shifted(on_batch: Callable[[int], None] | None, done: int) -> Callable[[int], None] | None:
    return None if on_batch is None else lambda count: on_batch(done + count)


def _accuracies(train: Features, test: Features, seed: int) -> dict[str, float]:
    """Accuracy from each of the endpoints that were extracted, by `h` and `z`."""
    assert train.labels is not None and test.labels is not None
    return {
        symbol: predict_attribute(
            train.endpoints[name], train.labels, test.endpoints[name], test.labels, seed
        )
        for symbol, name in zip("hz", (FINAL_ENDPOINT, PROJECTED_ENDPOINT), strict=True)
        if name in train.endpoints
    }


def _notes(accuracies: dict[str, dict[str, float]]) -> list[str]:
    if all("z" in found for found in accuracies.values()):
        return []
    return [f"z = g(h) is left out: the encoder has no projection head ({PROJECTED_ENDPOINT})."]
