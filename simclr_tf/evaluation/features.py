"""Features of a whole data set, extracted once by a frozen encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

from simclr_tf.errors import InputError, require

FINAL_ENDPOINT = "final_avg_pool"
LOGITS_ENDPOINT = "logits_sup"

EncoderOutput: TypeAlias = tf.Tensor | Mapping[str, tf.Tensor]


class Features(NamedTuple):
    """Features of N examples, in the order of the data set.

    Attributes:
        features: (N, D) float32; the first of the endpoints that were asked for.
        labels: (N,) int64, or None where the data set has none.
        endpoints: Every endpoint asked for, by name, (N, ...) float32.
    """

    features: np.ndarray
    labels: np.ndarray | None
    endpoints: dict[str, np.ndarray]

    @property
    def logits(self) -> np.ndarray | None:
        """(N, classes) float32 output of the linear head, or None where it was not extracted."""
        return self.endpoints.get(LOGITS_ENDPOINT)


def extract_features(
    encode: Callable[[tf.Tensor], EncoderOutput],
    batches: tf.data.Dataset,
    on_batch: Callable[[int], None] | None = None,
    *,
    endpoints: Sequence[str] = (FINAL_ENDPOINT,),
    optional_endpoints: Sequence[str] = (),
    max_examples: int | None = None,
) -> Features:
    """Runs a frozen encoder once over a data set.

    `encode` is traced once, for the shape that the data set declares, and must already stand for
    inference (`lambda images: model(images, training=False)`).

    Args:
        encode: Maps images (B, S, S, 3), float32 in [0, 1], to features (B, D) or to a mapping
            of endpoints. A bare tensor counts as the first of `endpoints`.
        batches: Elements `{'image': (B, S, S, 3)}` with optional `'label'` (B,) and `'weight'`
            (B,). Weight 0 marks padding, which is dropped: N counts the real examples exactly.
            Labels that are negative throughout (as in unlabeled TFDS splits) count as absent.
        on_batch: Called after each batch with the number of examples extracted so far.
        endpoints: Names that the encoder must give.
        optional_endpoints: Names that are taken along where the encoder gives them.
        max_examples: Stop after so many examples; None takes all.

    Returns:
        Features of N examples.

    Raises:
        InputError: An endpoint is missing, images are not float32, there is no example, only some
            of them are labeled, or a feature is NaN or infinite (with the example's index).
    """
    require(len(endpoints) > 0, "endpoints", "must name at least one endpoint", list(endpoints))
    if max_examples is not None:
        require(max_examples >= 1, "max_examples", "must be at least 1", max_examples)
    spec = batches.element_spec["image"]
    require(spec.dtype == tf.float32, "batches", "must hold float32 images in [0, 1]",
            spec.dtype.name)  # fmt: skip
    step = tf.function(
        lambda images: _select(encode(images), endpoints, optional_endpoints),
        input_signature=[tf.TensorSpec(spec.shape, tf.float32)],
        autograph=False,  # Errors pass as they are; a Keras model needs no conversion.
    )
    parts: dict[str, list[np.ndarray]] = {}
    labels: list[np.ndarray] = []
    count = 0
    for batch in batches:
        rows = _real_rows(batch, None if max_examples is None else max_examples - count)
        for name, values in step(batch["image"]).items():
            array = np.asarray(values, np.float32)[rows]  # (rows, D)
            _refuse_non_finite(name, array, first_index=count)
            parts.setdefault(name, []).append(array)
        if "label" in batch:
            labels.append(np.asarray(batch["label"], np.int64)[rows])
        count += len(rows)
        if on_batch is not None:
            on_batch(count)
        if count == max_examples:
            break
    require(count > 0, "batches", "must hold at least one example", count)
    arrays = {name: np.concatenate(chunks) for name, chunks in parts.items()}
    return Features(arrays[endpoints[0]], _labels_or_none(labels), arrays)


def _select(
    output: EncoderOutput, endpoints: Sequence[str], optional: Sequence[str]
) -> dict[str, tf.Tensor]:
    if not isinstance(output, Mapping):
        output = {endpoints[0]: output}
    missing = [name for name in endpoints if name not in output]
    if missing:
        raise InputError(
            "endpoints", f"must be among the encoder's outputs {sorted(output)}", missing
        )
    names = [*endpoints, *(name for name in optional if name in output)]
    return {name: tf.cast(output[name], tf.float32) for name in names}


def _real_rows(batch: Mapping[str, tf.Tensor], at_most: int | None) -> np.ndarray:
    if "weight" in batch:
        rows = np.flatnonzero(np.asarray(batch["weight"]) != 0)
    else:
        rows = np.arange(batch["image"].shape[0])
    return rows[:at_most]


def _refuse_non_finite(name: str, array: np.ndarray, first_index: int) -> None:
    finite = np.isfinite(array).all(axis=tuple(range(1, array.ndim)))  # (rows,)
    if not finite.all():
        row = int(np.argmin(finite))
        value = array[row][~np.isfinite(array[row])].flat[0]
        raise InputError(name, f"must be finite at example {first_index + row}", float(value))


def _labels_or_none(chunks: Sequence[np.ndarray]) -> np.ndarray | None:
    if not chunks:
        return None
    labels = np.concatenate(chunks)  # (N,)
    absent = labels < 0
    if absent.all():
        return None
    if absent.any():
        index = int(np.argmax(absent))
        raise InputError(
            "label", f"must be 0 or more for all examples or for none (example {index})",
            int(labels[index]),
        )  # fmt: skip
    return labels
