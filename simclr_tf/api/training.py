"""`pretrain` and `finetune`: a run from Python, by the code of `--mode=train`."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tf_keras as keras

from simclr_tf import console
from simclr_tf.api.run import Run, architecture, as_path
from simclr_tf.automatic.recipe import settle
from simclr_tf.console import Say
from simclr_tf.data import holdout
from simclr_tf.data.any_source import as_source
from simclr_tf.data.array_source import ArraySource
from simclr_tf.data.sources import Source
from simclr_tf.data.trust import FOLDER
from simclr_tf.errors import InputError, require
from simclr_tf.experiment import Given
from simclr_tf.models.keras_encoder import taken_shape
from simclr_tf.modes import training
from simclr_tf.settings import by_name, commands, overrides, recipes
from simclr_tf.settings.data import DataConfig
from simclr_tf.settings.model import OWN
from simclr_tf.settings.operations import Step
from simclr_tf.settings.run import RunConfig
from simclr_tf.settings.view_text import Views, as_views
from simclr_tf.weights.load import read_model_config

_LARGEST_DEFAULT = 224  # px
_WARMUP_SHARE = 0.1  # of a run, at most, where nobody says how long


def pretrain(
    images: Any,
    *,
    encoder: keras.Model | str | None = None,
    views: Views | Sequence[Step] | str | None = None,
    labels: Any = None,
    model_dir: str | os.PathLike[str] | None = None,
    steps: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    recipe: str | None = None,
    budget: str | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    value_range: tuple[float, float] | None = None,
    class_names: Sequence[str] | None = None,
    say: Say = console.say,
    **settings: Any,
) -> Run:
    """Trains an encoder on images without labels.

    It resumes, writes and distributes as `run.py` does: the same call goes on where the run in
    `model_dir` stopped.

    Example:
        >>> run = simclr_tf.pretrain(images, encoder=my_model, steps=2000, batch_size=128,
        ...                          model_dir="runs/cells")  # doctest: +SKIP
        >>> vectors = run.embed(new_images)  # doctest: +SKIP

    Args:
        images: A folder, the name of a data set, an array (N, H, W, C), arrays by split, a
            `tf.data.Dataset` of images, or a source; see `simclr_tf.data.any_source.as_source`.
        encoder: A tf_keras model from images (N, H, W, C), floats in [0, 1], to features or a map,
            trained in place; or a name, see `EncoderConfig`; None: the ResNet of the settings.
        views: A list of operations of `simclr_tf.views` and of functions of an image (and a seed),
            its text, or `views.Views` of two lists; None is the policy of the settings.
        labels: (N,) whole numbers, of arrays: for the linear head that is trained beside the
            encoder and teaches it nothing.
        model_dir: Folder of the run; None makes a new one in `runs`.
        steps: Optimizer steps.
        epochs: Passes over the images; `steps` overrides them.
        batch_size: Images per step; None: 512, or all where there are fewer.
        recipe: Settings to start from, see `simclr_tf.recipe`; `auto` chooses them by the images,
            the machine and `budget`.
        budget: How long the training may take with `auto`: `10m`, `1h`, `8h`; None is an hour.
        callbacks: Of tf_keras; see `simclr_tf.training.callbacks.Callbacks`.
        value_range: What becomes black and white where the type of the values does not tell.
        class_names: Of the labels.
        say: Receives lines for the user.
        **settings: Any others of `RunConfig` by name, as the flags of `run.py`. Without
            `image_size` it is that of the encoder or of the images (at most 224) where they have
            one. Without `warmup_epochs` the warm-up takes at most a tenth of the run.

    Returns:
        The run.

    Raises:
        InputError: Bad images, encoder, settings or folder.
        NonFiniteLossError: A loss or gradient became NaN or infinite.
        KeyboardInterrupt: After a checkpoint.
    """
    lengths = _lengths(settings, steps=steps, epochs=epochs, batch_size=batch_size)
    chosen = settings | lengths
    chosen |= {} if model_dir is None else {"model_dir": as_path(model_dir, "model_dir")}
    model, own = _checked_model(encoder), None if views is None else as_views(views)
    if encoder is not None:
        chosen["encoder"] = encoder if model is None else _own_name(model)
    chosen |= {} if own is None else {"views": own.text}
    channels = chosen.get("channels") or taken_shape(model)[-1]
    source = as_source(images, labels, value_range, class_names, channels,
                       chosen.get("data_dir"), say)  # fmt: skip
    named, name = isinstance(images, str | os.PathLike), {"dataset": _dataset_name(source)}
    chosen |= _named(os.fspath(images), value_range) if named else name
    chosen.setdefault("channels", source.channels)
    heard = [callbacks] if isinstance(callbacks, keras.callbacks.Callback) else callbacks or ()
    given = Given(None if named else source, model, own, tuple(heard))
    with _in_short_names(lengths):
        run = _config(source, model, chosen, _base(recipe, budget, chosen, source, given, say))
        flags = {**by_name.flatten(run), "mode": "train", "budget": budget}
        training.train(run, None, flags, say, given)
    return Run(run.model_dir, source=given.source, encoder=model, say=say)


def finetune(
    checkpoint: Run | str | os.PathLike[str], images: Any, labels: Any = None, **settings: Any
) -> Run:
    """Trains an encoder and a linear head on labelled images (section 4.2 and B.5 of the paper).

    Example:
        >>> tuned = simclr_tf.finetune(run, images, labels, steps=500, label_subset="1%",
        ...                            learning_rate=0.05)  # doctest: +SKIP

    Args:
        checkpoint: The encoder to start from: a run, or whatever else `load_model` reads, the name
            of a published encoder among it.
        images: As in `pretrain`.
        labels: As in `pretrain`; None for a data set that has its own.
        **settings: As in `pretrain`, `label_subset` and `fine_tune_after_block` among them. The
            architecture is that of the checkpoint.

    Returns:
        The run.

    Raises:
        InputError: As in `pretrain`.
    """
    path = as_path(checkpoint, "checkpoint")
    known = architecture(by_name.flatten(read_model_config(path)))
    return pretrain(
        images,
        labels=labels,
        **{**known, "optimizer": "momentum", **settings, "checkpoint": path},
        train_mode="finetune",
    )


def _base(
    recipe: str | None,
    budget: str | None,
    settings: dict[str, Any],
    source: Source,
    given: Given,
    say: Say,
) -> dict[str, Any]:
    """What a recipe sets."""
    automatic = recipe in recipes.AUTOMATIC
    require(automatic or budget is None, "budget", "needs recipe="
            f"{' or '.join(map(repr, recipes.AUTOMATIC))}", budget)  # fmt: skip
    if recipe is None:
        return {}
    if not automatic:
        return recipes.recipe_values(recipe)
    if "image_size" not in settings and (side := taken_shape(given.encoder)[0]) is not None:
        settings["image_size"] = side
    found = settle(recipe, settings, budget, say, dataclasses.replace(given, source=source))
    settings.update({"image_size": found["image_size"]} if "image_size" in found else {})
    return found


def _config(
    source: Source, model: keras.Model | None, settings: dict[str, Any], base: dict[str, Any]
) -> RunConfig:
    """The settings of a run of these images, beside those of a recipe."""
    known = {**base, **settings}
    data = DataConfig(holdout=known.get("holdout"), eval_split=known.get("eval_split"))
    source = holdout.hold_out(source, holdout.share_of(source, data))
    settings.setdefault("model_dir", _new_folder(source))
    if "image_size" not in settings and (size := _image_size(source, model)) is not None:
        settings["image_size"] = size
    for name in overrides.switched_off(base, settings):
        del base[name]
    defaults = by_name.setting_defaults(RunConfig)
    for name in sorted(settings.keys() - defaults.keys() - {"model_dir"}):
        raise InputError(name, "is not a setting of a run", settings[name])
    values = {**defaults, **base, **settings}
    idle = commands.idle("train", values)
    for name in sorted(idle.keys() & settings.keys()):
        if settings[name] != defaults[name]:
            raise InputError(name, f"has no effect with {idle[name]}", settings[name])
    if "train_batch_size" not in {**base, **settings}:
        images = source.num_examples(values["train_split"])
        values["train_batch_size"] = max(2, min(values["train_batch_size"], images))
    if "warmup_epochs" not in {**base, **settings}:
        values["warmup_epochs"] = _warmup(values, source)
    return by_name.build_filled(RunConfig, values)


def _lengths(settings: Mapping[str, Any], **short: Any) -> dict[str, Any]:
    """The settings that have a shorter name here, of what was given."""
    require("dataset" not in settings, "dataset", "must be left out beside images",
            settings.get("dataset"))  # fmt: skip
    chosen = {}
    for name, value in short.items():
        if value is None:
            continue
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        require(whole, name, "must be a whole number of at least 1", value)
        setting = f"train_{name}"
        require(setting not in settings, name, f"must be left out beside {setting}, the same "
                "setting", value)  # fmt: skip
        chosen[setting] = value
    return chosen


@contextlib.contextmanager
def _in_short_names(lengths: Mapping[str, Any]) -> Iterator[None]:
    """Errors name `batch_size` where that was given, not the setting that it stands for."""
    try:
        yield
    except InputError as error:
        if error.name not in lengths:
            raise
        name = error.name.removeprefix("train_")
        raise InputError(name, error.constraint, error.received) from None


def _checked_model(encoder: Any) -> keras.Model | None:
    """A model that was handed over; None for a name and without any."""
    if encoder is None or isinstance(encoder, str):
        return None
    kind = f"{type(encoder).__module__}.{type(encoder).__qualname__}"
    require(isinstance(encoder, keras.Model), "encoder", "must be a tf_keras model (`import "
            "tf_keras as keras`), or a name", kind)  # fmt: skip
    return encoder


def _warmup(values: Mapping[str, Any], source: Source) -> float:
    """The default warm-up, shortened where it would be most of the run."""
    steps = max(1, source.num_examples(values["train_split"]) // values["train_batch_size"])
    epochs = values["train_steps"] / steps if values["train_steps"] else values["train_epochs"]
    return min(float(values["warmup_epochs"]), round(_WARMUP_SHARE * epochs, 6))


def _named(name: str, value_range: tuple[float, float] | None) -> dict[str, Any]:
    """The settings of a folder or data set that is opened by its name."""
    path = os.path.expanduser(name)
    dataset = f"{FOLDER}:{path}" if os.path.isdir(path) else name
    bounds = None if value_range is None else ":".join(str(float(one)) for one in value_range)
    return {"dataset": dataset, **({} if bounds is None else {"value_range": bounds})}


def _dataset_name(source: Source) -> str:
    """Arrays are known by their content: a run goes on with the same ones only."""
    if isinstance(source, ArraySource):
        return f"{source.name}:{source.digest[:12]}"
    return source.name


def _new_folder(source: Source) -> str:
    name = re.sub(r"[^\w.-]+", "_", os.path.basename(source.name.rstrip("/"))) or "run"
    return os.path.join("runs", f"{name}-{datetime.datetime.now():%Y%m%d-%H%M%S}")


def _image_size(source: Source, model: keras.Model | None) -> int | None:
    if (side := taken_shape(model)[0]) is not None:
        return side
    shape = source.image_shape
    return None if shape is None else min(*shape, _LARGEST_DEFAULT)


def _own_name(model: Any) -> str:
    """The name of a model without the number that Keras adds in each process."""
    name = str(getattr(model, "name", type(model).__name__))
    return OWN + (re.sub(r"_\d+$", "", name) or "model")
