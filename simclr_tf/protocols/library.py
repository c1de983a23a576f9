"""The scoreboard as one function, for notebooks."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from typing import Any

import tensorflow as tf

from simclr_tf import console
from simclr_tf.data import holdout
from simclr_tf.data.any_source import as_source
from simclr_tf.data.images import Images
from simclr_tf.data.sources import Source
from simclr_tf.errors import InputError
from simclr_tf.evaluation.encoders import FrozenEncoder, as_encoder
from simclr_tf.job import Job
from simclr_tf.protocols import scoreboard
from simclr_tf.protocols.context import Context, Section
from simclr_tf.settings.protocols import ProtocolConfig

_SETTINGS = frozenset(field.name for field in dataclasses.fields(ProtocolConfig)) - {"protocols"}
_SHARE_OF_FEW = 0.2
_CONTEXT = frozenset({"augment", "optimizer", "train", "eval_batch_size", "ft_proj_selector"})


def evaluate(
    encoder: FrozenEncoder | str | os.PathLike[str],
    images: Any,
    protocols: str = "knn,logreg",
    *,
    labels: Any = None,
    data_dir: str | None = None,
    train_split: str | None = None,
    test_split: str | None = None,
    folder: str | None = None,
    value_range: tuple[float, float] | None = None,
    strategy: tf.distribute.Strategy | None = None,
    allow_foreign_graph: bool = False,
    say: console.Say = console.say,
    **settings: Any,
) -> dict[str, Section]:
    """Evaluates an encoder by the paper's protocols.

    Example:
        `evaluate("runs/a", "cifar10", "knn,logreg", knn_neighbors="20")`

    Args:
        encoder: From `open_encoder` or `from_model`, or a path for the former, such as a run.
        images: Labelled; as in `simclr_tf.data.any_source.as_source`.
        protocols: With commas, among `simclr_tf.settings.protocols.PROTOCOLS`.
        labels: Of arrays.
        data_dir: Where the data set that `images` names is prepared.
        train_split: Split expression with the labelled training images; None takes `train`.
        test_split: Split expression that counts; None takes `validation`, `test`, or else
            `holdout`: a tenth of the images, of fewer than 200 a fifth; see
            `simclr_tf.data.holdout`.
        folder: For tables, pictures and predictions; None writes to a temporary folder that goes
            with the call.
        value_range: What becomes black and white where the type of the values does not tell.
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
    opened = as_encoder(encoder, allow_foreign_graph)
    job = Job(strategy or tf.distribute.get_strategy(), say)
    source = as_source(images, labels, value_range, channels=opened.channels, data_dir=data_dir,
                       say=say)  # fmt: skip
    source, test_split = _with_tests(source, test_split, say)
    shown = Images(source, opened.image_size, others.pop("eval_batch_size", 256), job)
    with tempfile.TemporaryDirectory() as temporary:
        context = Context(
            encoder=opened,
            images=shown,
            train_split=train_split or "train",
            test_split=test_split,
            settings=ProtocolConfig(protocols=protocols, **chosen),
            folder=folder or temporary,
            data_dir=data_dir,
            **others,
        )
        return scoreboard.evaluate(context)


def _with_tests(source: Source, test_split: str | None, say: console.Say) -> tuple[Source, str]:
    """The images, and the part of them to test on."""
    tested = test_split or holdout.test_split(source)
    if tested is not None:
        return source, tested
    held = holdout.hold_out(source, holdout.share_of(source) or _SHARE_OF_FEW)
    say(f"{source.name} has no split for tests: {held.splits[holdout.NAME]:,} images are held out")
    return held, holdout.NAME
