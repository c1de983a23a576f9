"""`--mode=embed`: the embedding of every image of a data set, in a file for use elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import simclr_tf
from simclr_tf import capacity, distribution
from simclr_tf.augment import policy
from simclr_tf.data import decode, pipeline, sources
from simclr_tf.errors import require, require_choice
from simclr_tf.evaluation import encoders, features
from simclr_tf.files import is_remote
from simclr_tf.modes.common import Say, print_line
from simclr_tf.report.progress import Progress
from simclr_tf.retrieval.embeddings import EmbeddingWriter, check_output, to_vectors
from simclr_tf.settings.commands import Embed
from simclr_tf.settings.data import DataConfig
from simclr_tf.text import printable_name
from simclr_tf.weights import locate

_SHOWN_BAD_IMAGES = 5


class _Part(NamedTuple):
    """A split to embed, without the images that can't be decoded."""

    split: str
    ids: list[str]
    bad_ids: list[str]


def embed(
    command: Embed, strategy: tf.distribute.Strategy | None = None, say: Say = print_line
) -> str:
    """Writes id, label and embedding of every image of a data set.

    Images are seen as in evaluation (`policy.eval_view`). The file appears when all is done; an
    older file of that name is replaced then, and kept when anything goes wrong. It records encoder,
    endpoint, image size and data set, so that `mode=neighbors` finds the images and
    knows the encoder again.

    Args:
        command: What to embed, by which encoder, into which file.
        strategy: Where to compute; None takes one device.
        say: Receives lines for the user.

    Returns:
        The path of the file.

    Raises:
        InputError: Bad output, checkpoint, data set, split, endpoint or image; NaN in a feature.
    """
    assert command.output is not None and command.checkpoint is not None  # else refused
    data, endpoint, batch_size = command.data, command.endpoint, command.eval_batch_size
    target = str(check_output(command.output))
    if strategy is not None:
        distribution.check_divisible("eval_batch_size", batch_size, strategy)
    capacity.check_images(batch_size, command.image_size or 1)
    source = sources.open_source(data)
    encoder = encoders.open_encoder(
        command.checkpoint, command.image_size, command.allow_foreign_graph
    )
    _check_endpoint(encoder, endpoint)
    parts = _parts(source, data, say)
    if source.multi_label:
        say("note: images have several labels each: labels are left out")
    total = sum(len(part.ids) for part in parts)
    metadata = _metadata(encoder, endpoint, data, [part.split for part in parts])
    with (
        Progress(total, label="embed", unit="images") as progress,
        EmbeddingWriter(target, metadata, _class_names(source)) as writer,
    ):
        for part in parts:
            for ids, batch in _batches(encoder, source, part, endpoint, batch_size, strategy):
                vectors = to_vectors(batch.endpoints[endpoint])  # (n, D)
                writer.append(ids, vectors, _labels(source, batch, len(ids)))
                progress.update(writer.count, writer.count, {})
    say(f"{target}: {total} images, {endpoint} of {encoder.name}, "
        f"{os.path.getsize(target) / 1e6:.2f} MB")  # fmt: skip
    return target


def _check_endpoint(encoder: encoders.FrozenEncoder, endpoint: str) -> None:
    """Refuses an output that the encoder does not have, by the name of our setting."""
    outputs = encoder.encode(tf.zeros([1, encoder.image_size, encoder.image_size, 3]))
    require_choice("endpoint", endpoint, sorted(outputs))


def _parts(source: sources.Source, data: DataConfig, say: Say) -> list[_Part]:
    if data.eval_split is not None:
        chosen = [data.eval_split]
    elif _is_folder(data):
        chosen = list(source.splits)
    else:
        chosen = [data.train_split]
    setting = "train_split" if data.eval_split is None else "eval_split"
    parts = []
    for name in chosen:
        bad: list[str] = []
        with decode.naming_bad_image(source, name, setting):
            if data.skip_bad_images:
                bad = decode.find_bad_examples(source.examples(name, setting))
            ids = pipeline.example_ids(source, name, bad, setting=setting)
        parts.append(_Part(name, ids, bad))
    _say_bad([source.location(bad) for part in parts for bad in part.bad_ids], say)
    require(any(part.ids for part in parts), "dataset", "must hold at least one readable image",
            data.dataset)  # fmt: skip
    return [part for part in parts if part.ids]


def _say_bad(places: Sequence[str], say: Say) -> None:
    if places:
        more = ", ..." if len(places) > _SHOWN_BAD_IMAGES else ""
        listed = ", ".join(map(printable_name, places[:_SHOWN_BAD_IMAGES]))
        say(f"note: {len(places)} undecodable images are left out: {listed}{more}")


def _batches(
    encoder: encoders.FrozenEncoder,
    source: sources.Source,
    part: _Part,
    endpoint: str,
    batch_size: int,
    strategy: tf.distribute.Strategy | None,
) -> Iterator[tuple[list[str], features.FeatureBatch]]:
    """The ids and features of a split, batch by batch."""
    images = pipeline.eval_batches(
        source,
        part.split,
        batch_size=batch_size,
        image_size=encoder.image_size,
        view_fn=policy.eval_view,
        excluded_ids=part.bad_ids,
    )
    extracted = features.iterate_features(
        encoder.encode, images, endpoints=(endpoint,), strategy=strategy
    )
    done = 0
    with decode.naming_bad_image(source, part.split):
        for batch in extracted:
            count = len(batch.endpoints[endpoint])
            yield part.ids[done : done + count], batch
            done += count


def _labels(source: sources.Source, batch: features.FeatureBatch, count: int) -> np.ndarray | None:
    """(n,), -1 in a split without labels; None where the whole data set has none."""
    if source.num_classes is None or source.multi_label:
        return None
    return np.full(count, -1, np.int64) if batch.labels is None else batch.labels


def _class_names(source: sources.Source) -> Sequence[str] | None:
    return None if source.multi_label else source.class_names


def _is_folder(data: DataConfig) -> bool:
    return data.dataset.partition(":")[0] == sources.FOLDER


def _metadata(
    encoder: encoders.FrozenEncoder, endpoint: str, data: DataConfig, splits: Sequence[str]
) -> dict[str, Any]:
    """What finds the encoder and the images again, from any folder."""
    if _is_folder(data):
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
    if encoder.path is None:
        return None
    if encoder.run_dir is not None and tf.io.gfile.isdir(encoder.path):
        location = locate.locate(encoder.path)
        found = locate.checkpoint_step(location.prefix) == encoder.global_step
        if found and location.saved_model is None:
            return _absolute(location.prefix)
    return _absolute(encoder.path)


def _absolute(path: str) -> str:
    return path if is_remote(path) else os.path.abspath(os.path.expanduser(path))
