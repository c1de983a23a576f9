"""The scoreboard as one function, for notebooks."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from typing import Any

import tensorflow as tf

from simclr_tf import console
from simclr_tf.data import sources
from simclr_tf.data.images import Images
from simclr_tf.errors import InputError
from simclr_tf.evaluation.encoders import FrozenEncoder, open_encoder
from simclr_tf.job import Job
from simclr_tf.protocols import scoreboard
from simclr_tf.protocols.context import Context, Section
from simclr_tf.settings.data import DataConfig
from simclr_tf.settings.protocols import ProtocolConfig

_SETTINGS = frozenset(field.name for field in dataclasses.fields(ProtocolConfig))
_CONTEXT = frozenset({"augment", "optimizer", "train", "eval_batch_size", "ft_proj_selector"})


def evaluate_protocols(
    encoder: FrozenEncoder | str | os.PathLike[str],
    dataset: str | sources.Source,
    *,
    data_dir: str | None = None,
    train_split: str = "train",
    test_split: str = "test",
    folder: str | None = None,
    strategy: tf.distribute.Strategy | None = None,
    allow_foreign_graph: bool = False,
    say: console.Say = console.say,
    **settings: Any,
) -> dict[str, Section]:
    """Evaluates an encoder by the paper's protocols.

    Example:
        `evaluate_protocols("runs/a", "cifar10", protocols="knn,logreg", knn_neighbors="20")`

    Args:
        encoder: From `open_encoder` or `from_model`, or a path for the former.
        dataset: TFDS name, embedded set, `folder:PATH`, or a data set, e.g. from `from_arrays`.
        data_dir: Where it is prepared.
        train_split: Split expression with the labelled training images.
        test_split: Split expression that counts.
        folder: For tables, pictures and predictions; None writes to a temporary folder that goes
            with the call.
        strategy: Where to compute; None takes the present one. An encoder must have been opened in
            its scope.
        allow_foreign_graph: See `open_encoder`, for a path.
        say: Receives lines for the user.
        **settings: Fields of `ProtocolConfig`; also `augment`, `optimizer`, `train`,
            `eval_batch_size` and `ft_proj_selector` of `Context`.

    Returns:
        What each protocol found, by its name: `metrics`, and `rows` for people.

    Raises:
        InputError: Bad settings, encoder or data.
    """
    unknown = sorted(settings.keys() - _SETTINGS - _CONTEXT)
    if unknown:
        raise InputError(unknown[0], "is not a setting of the protocols", settings[unknown[0]])
    chosen = {name: value for name, value in settings.items() if name in _SETTINGS}
    others = {name: value for name, value in settings.items() if name in _CONTEXT}
    opened = encoder
    if not isinstance(opened, FrozenEncoder):
        opened = open_encoder(opened, allow_foreign_graph=allow_foreign_graph)
    job = Job(strategy or tf.distribute.get_strategy(), say)
    source = dataset
    if isinstance(source, str):
        source = sources.open_source(
            DataConfig(dataset=source, data_dir=data_dir, image_size=opened.image_size)
        )
    images = Images(source, opened.image_size, others.pop("eval_batch_size", 256), job)
    with tempfile.TemporaryDirectory() as temporary:
        context = Context(
            encoder=opened,
            images=images,
            train_split=train_split,
            test_split=test_split,
            settings=ProtocolConfig(**chosen),
            folder=folder or temporary,
            data_dir=data_dir,
            **others,
        )
        return scoreboard.evaluate(context)
