"""`--mode=embed`: the embedding of every image of a data set, in a file for use elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import simclr_tf
from simclr_tf import capacity
from simclr_tf.data import decode, pipeline, sources
from simclr_tf.data.images import Images
from simclr_tf.data.reading import READING
from simclr_tf.errors import require, require_choice
from simclr_tf.evaluation import encoders, features
from simclr_tf.files import is_remote
from simclr_tf.job import Job
from simclr_tf.progress import Progress
from simclr_tf.retrieval.embeddings import EmbeddingWriter, check_output, to_vectors
from simclr_tf.settings.commands import Embed
from simclr_tf.settings.data import DataConfig
from simclr_tf.weights import locate


class _Part(NamedTuple):
    """A split to embed, and the ids of its images."""

    split: str
    ids: list[str]


def embed(command: Embed, job: Job | None = None) -> str:
    """Writes id, label and embedding of every image of a data set.

    Images are seen as in evaluation (`policy.eval_view`). The file appears when all is done; an
    older file of that name is replaced then, and kept when anything goes wrong. It records encoder,
    endpoint, image size and data set, so that `mode=neighbors` finds the images and
    knows the encoder again.

    Args:
        command: What to embed, by which encoder, into which file.
        job: Where to compute, and who hears of it; None takes the present devices.

    Returns:
        The path of the file.

    Raises:
        InputError: Bad output, checkpoint, data set, split, endpoint or image; NaN in a feature.
    """
    assert command.output is not None and command.checkpoint is not None  # else refused
    data, endpoint, batch_size = command.data, command.endpoint, command.eval_batch_size
    target = str(check_output(command.output))
    job = job or Job()
    job.check_divisible("eval_batch_size", batch_size)
    capacity.check_images(batch_size, command.image_size or 1)
    source = sources.open_source(data, job.say)
    encoder = encoders.open_encoder(
        command.checkpoint, command.image_size, command.allow_foreign_graph
    )
    check_endpoint(encoder, endpoint)
    images = Images(source, encoder.image_size, batch_size, job)
    parts = _parts(source, data)
    if source.multi_label:
        job.say("note: images have several labels each: labels are left out")
    total = sum(len(part.ids) for part in parts)
    metadata = {
        **_metadata(encoder, endpoint, data, [part.split for part in parts]),
        READING: source.reading.record(),
    }
    with (
        Progress(total, label="embed", unit="images") as progress,
        EmbeddingWriter(target, metadata, _class_names(source)) as writer,
    ):
        for part in parts:
            for ids, batch in _batches(encoder.extractor(job, endpoint), images, part):
                vectors = to_vectors(batch.endpoints[endpoint])  # (n, D)
                writer.append(ids, vectors, _labels(source, batch, len(ids)))
                progress.update(writer.count, writer.count, {})
    job.say(f"{target}: {total} images, {endpoint} of {encoder.name}, "
        f"{os.path.getsize(target) / 1e6:.2f} MB")  # fmt: skip
    return target


def check_endpoint(encoder: encoders.FrozenEncoder, endpoint: str) -> None:
    """Refuses an output that the encoder does not have, by the name of our setting."""
    size = encoder.image_size
    outputs = encoder.encode(tf.zeros([1, size, size, encoder.channels]))
    require_choice("endpoint", endpoint, sorted(outputs))


def write(
    output: str | os.PathLike[str],
    encoder: encoders.FrozenEncoder,
    source: sources.Source,
    split: str,
    endpoint: str,
    rows: tuple[list[str], np.ndarray, np.ndarray | None],
) -> None:
    """Writes embeddings that are in memory.

    Args:
        output: The file.
        encoder: Whose embeddings they are.
        source: The images.
        split: A split expression.
        endpoint: Output of the encoder.
        rows: Ids, vectors (N, D), and labels (N,) or None.
    """
    folder = sources.folder_of(source)
    name = source.name if folder is None else f"{sources.FOLDER}:{folder}"
    data = DataConfig(dataset=name)
    metadata = {
        **_metadata(encoder, endpoint, data, [split]),
        READING: source.reading.record(),
    }
    with EmbeddingWriter(str(check_output(output)), metadata, _class_names(source)) as writer:
        writer.append(*rows)


def _parts(source: sources.Source, data: DataConfig) -> list[_Part]:
    if data.eval_split is not None:
        chosen = [data.eval_split]
    elif sources.is_folder(data):
        chosen = list(source.splits)
    else:
        chosen = [data.train_split]
    setting = "train_split" if data.eval_split is None else "eval_split"
    parts = []
    for name in chosen:
        with decode.naming_bad_image(source, name, setting):
            ids = pipeline.example_ids(source, pipeline.Selection(name, setting=setting))
        parts.append(_Part(name, ids))
    require(any(part.ids for part in parts), "dataset", "must hold at least one readable image",
            data.dataset)  # fmt: skip
    return [part for part in parts if part.ids]


def _batches(
    extractor: features.Extractor, images: Images, part: _Part
) -> Iterator[tuple[list[str], features.FeatureBatch]]:
    """The ids and features of a split, batch by batch."""
    done = 0
    with images.naming_bad_image(part.split):
        for batch in extractor.iterate(images.eval_batches(part.split)):
            count = len(next(iter(batch.endpoints.values())))
            yield part.ids[done : done + count], batch
            done += count


def _labels(source: sources.Source, batch: features.FeatureBatch, count: int) -> np.ndarray | None:
    """(n,), -1 in a split without labels; None where the whole data set has none."""
    if source.num_classes is None or source.multi_label:
        return None
    return np.full(count, -1, np.int64) if batch.labels is None else batch.labels


def _class_names(source: sources.Source) -> Sequence[str] | None:
    return None if source.multi_label else source.class_names


def _metadata(
    encoder: encoders.FrozenEncoder, endpoint: str, data: DataConfig, splits: Sequence[str]
) -> dict[str, Any]:
    """What finds the encoder and the images again, from any folder."""
    if sources.is_folder(data):
        folder = data.dataset.partition(":")[2] or data.data_dir or ""
        dataset, data_dir = f"{sources.FOLDER}:{_absolute(folder)}", None
    else:
        dataset, data_dir = data.dataset, data.data_dir and _absolute(data.data_dir)
    return {
        "simclr_tf_version": simclr_tf.__version__,
        "checkpoint": _lasting_path(encoder),
        "fingerprint": encoder.fingerprint,
        "global_step": encoder.global_step,
        "endpoint": endpoint,
        "image_size": encoder.image_size,
        "dataset": dataset,
        "data_dir": data_dir,
        "splits": list(splits),
    }


def _lasting_path(encoder: encoders.FrozenEncoder) -> str | None:
    """The checkpoint itself where a run was given, whose newest one is another one tomorrow."""
    if encoder.path is None or locate.is_fetched(encoder.path):
        return encoder.path
    if encoder.run_dir is not None and tf.io.gfile.isdir(encoder.path):
        location = locate.locate(encoder.path)
        found = locate.checkpoint_step(location.prefix) == encoder.global_step
        if found and location.saved_model is None:
            return _absolute(location.prefix)
    return _absolute(encoder.path)


def _absolute(path: str) -> str:
    return path if is_remote(path) else os.path.abspath(os.path.expanduser(path))
