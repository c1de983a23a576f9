"""Features of a whole data set, extracted once by a frozen encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf

from simclr_tf.data import retry
from simclr_tf.distribution import Part
from simclr_tf.errors import InputError, require, require_choice
from simclr_tf.job import Job
from simclr_tf.models.endpoints import FINAL_ENDPOINT, LOGITS_ENDPOINT

_READ_RETRIES = 5  # failed reads in a row

EncoderOutput: TypeAlias = tf.Tensor | Mapping[str, tf.Tensor]
# A data set, or what makes each host's part of one, which several hosts need.
Batches: TypeAlias = tf.data.Dataset | Callable[[Part], tf.data.Dataset]


class Features(NamedTuple):
    """Features of N examples, in the order of the data set.

    Attributes:
        features: (N, D) float32; the first of the endpoints that were asked for.
        labels: (N,) int64, (N, C) for a data set with several labels an image, None without.
        endpoints: Every endpoint asked for, by name, (N, ...) float32.
    """

    features: np.ndarray
    labels: np.ndarray | None
    endpoints: dict[str, np.ndarray]

    @property
    def logits(self) -> np.ndarray | None:
        """(N, classes) float32 output of the linear head, or None where it was not extracted."""
        return self.endpoints.get(LOGITS_ENDPOINT)


class FeatureBatch(NamedTuple):
    """What an encoder gave for the n real examples of one batch.

    Attributes:
        endpoints: (n, ...) float32 by name.
        labels: (n,) or, for several labels an image, (n, C) int64; None without labels.
    """

    endpoints: dict[str, np.ndarray]
    labels: np.ndarray | None


class Extractor:
    """A frozen encoder on the devices of a job, traced once for each shape of images.

    A deep network takes seconds to trace, so an extractor is handed on to whoever asks the same
    encoder again. The traces live as long as it does.

    Example:
        `Extractor(lambda images: model(images, training=False)).features(batches)`

    Args:
        encode: Maps images (B, S, S, 3), float32 in [0, 1], to features (B, D) or to a mapping
            of endpoints. A bare tensor counts as the first of `endpoints`. It must stand for
            inference.
        job: Every batch is split over its replicas; the result is in the order of the data set all
            the same. None computes on one device.
        endpoints: Names that the encoder must give.
        optional: Names that are taken along where the encoder gives them.

    Raises:
        InputError: No endpoint is named.
    """

    def __init__(
        self,
        encode: Callable[[tf.Tensor], EncoderOutput],
        job: Job | None = None,
        endpoints: Sequence[str] = (FINAL_ENDPOINT,),
        optional: Sequence[str] = (),
    ):
        require(len(endpoints) > 0, "endpoints", "must name at least one endpoint", list(endpoints))
        self._encode, self._job = encode, job
        self._endpoints, self._optional = tuple(endpoints), tuple(optional)
        self._steps: dict[tuple[Any, ...], Callable[[tf.Tensor], dict[str, tf.Tensor]]] = {}
        self._gathered: Callable[..., Any] | None = None

    def features(
        self,
        batches: Batches,
        on_batch: Callable[[int], None] | None = None,
        max_examples: int | None = None,
    ) -> Features:
        """The features of a whole data set, in memory.

        Args:
            batches: Elements `{'image': (B, S, S, 3)}` with optional `'label'` (B,) or (B, C) and
                `'weight'` (B,). Weight 0 marks padding, which is dropped: N counts the real
                examples exactly. Labels that are negative throughout (as in unlabeled TFDS splits)
                count as absent. Or a function from a host's `Part` to such elements for each of its
                replicas.
            on_batch: Called after each batch with the number of examples extracted so far.
            max_examples: Stop after so many examples; None takes all.

        Returns:
            Features of N examples.

        Raises:
            InputError: An endpoint is missing, images are not float32, there is no example, only
                some of them are labeled, or a feature is NaN or infinite (with the example's
                index).
        """
        return collect(self.iterate(batches, max_examples), self._endpoints[0], on_batch)

    def iterate(self, batches: Batches, max_examples: int | None = None) -> Iterator[FeatureBatch]:
        """The same batch by batch: the memory taken does not grow with the data set."""
        if max_examples is not None:
            require(max_examples >= 1, "max_examples", "must be at least 1", max_examples)
        count = 0
        for outputs, batch in self._outputs(batches):
            size = len(outputs[self._endpoints[0]])
            rows = _real_rows(batch, size, None if max_examples is None else max_examples - count)
            arrays = {}
            for name, values in outputs.items():
                arrays[name] = np.asarray(values, np.float32)[rows]  # (n, ...)
                _refuse_non_finite(name, arrays[name], first_index=count)
            labels = np.asarray(batch["label"], np.int64)[rows] if "label" in batch else None
            count += len(rows)
            yield FeatureBatch(arrays, labels)
            if count == max_examples:
                return

    def _outputs(
        self, batches: Batches
    ) -> Iterator[tuple[dict[str, tf.Tensor], Mapping[str, tf.Tensor]]]:
        """The selected endpoints of every batch beside the rest of it, whole and in order."""
        whole = batches if isinstance(batches, tf.data.Dataset) else batches(Part())
        spec = whole.element_spec["image"]
        require(spec.dtype == tf.float32, "batches", "must hold float32 images in [0, 1]",
                spec.dtype.name)  # fmt: skip
        job = self._job
        if job is None or job.replicas == 1:
            step = self._step(spec.shape)
            for batch in retry.resume_iteration(whole.skip, retry.Backoff(_READ_RETRIES)):
                yield step(batch["image"]), batch
            return
        gathered = self._over_replicas(job.strategy)
        for batch in retry.resume_iteration(
            lambda taken: _distributed(batches, job, taken), retry.Backoff(_READ_RETRIES)
        ):
            yield gathered(batch)

    def _select(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """The endpoints of images, float32."""
        return _select(self._encode(images), self._endpoints, self._optional)

    def _step(self, shape: tf.TensorShape) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
        """`_select` as a traced function of images of one shape."""
        if tuple(shape) not in self._steps:
            # Errors pass as they are without AutoGraph; a Keras model needs no conversion.
            self._steps[tuple(shape)] = tf.function(
                self._select, input_signature=[tf.TensorSpec(shape, tf.float32)], autograph=False
            )
        return self._steps[tuple(shape)]

    def _over_replicas(self, strategy: tf.distribute.Strategy) -> Callable[..., Any]:
        if self._gathered is None:

            @tf.function(autograph=False)
            def gathered(batch: Mapping[str, Any]) -> tuple[Any, Any]:
                outputs = strategy.run(self._select, args=(batch["image"],))
                rest = {name: value for name, value in batch.items() if name != "image"}
                # Replicas hold consecutive parts of the batch: gathering restores its order.
                return tf.nest.map_structure(
                    lambda value: strategy.gather(value, axis=0), (outputs, rest)
                )

            self._gathered = gathered
        return self._gathered


def _distributed(batches: Batches, job: Job, taken: int) -> Any:
    """What is left of the batches, divided over the replicas, after so many."""
    if isinstance(batches, tf.data.Dataset):
        # Every host would read all of it.
        require(job.workers == 1, "batches",
                "must be a function of the host's part with several workers", batches)  # fmt: skip
        return job.strategy.experimental_distribute_dataset(batches.skip(taken))

    def what_is_left(part: Part) -> tf.data.Dataset:
        return batches(part).skip(taken * part.replicas // part.count)

    return job.distribute(what_is_left)


def collect(
    batches: Iterator[FeatureBatch],
    first: str | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> Features:
    """All batches in memory.

    Args:
        batches: At least one.
        first: The endpoint that is `Features.features`; None takes the first there is.
        on_batch: Called after each batch with the number of examples so far.

    Raises:
        InputError: There is no example, or only some of them are labeled.
    """
    parts: dict[str, list[np.ndarray]] = {}
    labels: list[np.ndarray] = []
    count = 0
    for batch in batches:
        for name, values in batch.endpoints.items():
            parts.setdefault(name, []).append(values)
        if batch.labels is not None:
            labels.append(batch.labels)
        count += len(next(iter(batch.endpoints.values())))
        if on_batch is not None:
            on_batch(count)
    require(count > 0, "batches", "must hold at least one example", count)
    arrays = {name: np.concatenate(chunks) for name, chunks in parts.items()}
    return Features(arrays[first or next(iter(arrays))], labels_or_none(labels), arrays)


def _select(
    output: EncoderOutput, endpoints: Sequence[str], optional: Sequence[str]
) -> dict[str, tf.Tensor]:
    if not isinstance(output, Mapping):
        output = {endpoints[0]: output}
    for name in endpoints:
        require_choice("endpoint", name, sorted(output))
    names = [*endpoints, *(name for name in optional if name in output)]
    return {name: tf.cast(output[name], tf.float32) for name in names}


def _real_rows(batch: Mapping[str, tf.Tensor], size: int, at_most: int | None) -> np.ndarray:
    if "weight" in batch:
        rows = np.flatnonzero(np.asarray(batch["weight"]) != 0)
    else:
        rows = np.arange(size)
    return rows[:at_most]


def _refuse_non_finite(name: str, array: np.ndarray, first_index: int) -> None:
    finite = np.isfinite(array).all(axis=tuple(range(1, array.ndim)))  # (rows,)
    if not finite.all():
        row = int(np.argmin(finite))
        value = array[row][~np.isfinite(array[row])].flat[0]
        raise InputError(name, f"must be finite at example {first_index + row}", float(value))


def labels_or_none(chunks: Sequence[np.ndarray]) -> np.ndarray | None:
    """The labels of all batches in one array; None where there are none, or all are negative.

    Raises:
        InputError: Only some of the examples are labeled.
    """
    if not chunks:
        return None
    labels = np.concatenate(chunks)  # (N,) or (N, C)
    if labels.ndim == 2:  # -1 means there that a class does not count for an image
        return labels
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
