"""A run in a folder, as an object."""

from __future__ import annotations

import functools
import os
import webbrowser
from collections.abc import Mapping, Sequence
from typing import Any

import tf_keras as keras

from simclr_tf import console, run_folder
from simclr_tf.api import tools
from simclr_tf.api.looks import RunQuality, first_encoder, run_quality
from simclr_tf.console import Say
from simclr_tf.data import holdout, trust
from simclr_tf.data.any_source import as_source
from simclr_tf.data.array_source import ARRAYS, ArraySource
from simclr_tf.data.sources import Source, open_source
from simclr_tf.encoder import Encoder
from simclr_tf.errors import require
from simclr_tf.evaluation.encoders import FrozenEncoder, open_encoder
from simclr_tf.json_files import find_json
from simclr_tf.models.keras_encoder import KerasEncoder
from simclr_tf.protocols.context import Section
from simclr_tf.protocols.library import evaluate
from simclr_tf.report.run_page import write_report
from simclr_tf.settings import by_name
from simclr_tf.settings.data import DataConfig
from simclr_tf.settings.model import RESNET, EncoderConfig, ProjectionConfig
from simclr_tf.training.run_config import resolved_holdout
from simclr_tf.weights import keras_encoders, locate
from simclr_tf.weights.load import load_model


class Run:
    """A run: what was trained, and what can be done with it.

    Example:
        >>> run = simclr_tf.open_run("runs/cells")  # doctest: +SKIP
        >>> run.evaluate("knn,logreg", images, labels)["knn"].metrics  # doctest: +SKIP

    Attributes:
        folder: Of the run.
        config: Its settings by name, as in `config.json`.

    Args:
        folder: Of the run.
        source: Its images, where they are known.
        encoder: The Keras model that it trained, where that is at hand.
        say: Receives lines for the user.

    Raises:
        InputError: It is not the folder of a run.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        source: Source | None = None,
        encoder: keras.Model | None = None,
        say: Say = console.say,
    ):
        self.folder = as_path(folder)
        config = run_folder.read_config(self.folder)
        require(config is not None, "folder", f"must be that of a run, with its "
                f"{run_folder.CONFIG}", self.folder)  # fmt: skip
        self.config: dict[str, Any] = config or {}
        self._source, self._encoder = source, encoder
        self._say = say
        self._opened: FrozenEncoder | None = None

    def __fspath__(self) -> str:
        return self.folder

    def __repr__(self) -> str:
        return f"<run in {self.folder}, step {self.step}>"

    @property
    def step(self) -> int:
        """The step of the newest checkpoint, 0 without any."""
        newest = locate.newest_checkpoint(self.folder)
        return 0 if newest is None else locate.checkpoint_step(newest) or 0

    @property
    def result(self) -> dict[str, Any]:
        """What evaluations of the run have written to `result.json`; {} without any."""
        return find_json(os.path.join(self.folder, run_folder.RESULT)) or {}

    @property
    def quality(self) -> RunQuality:
        """What the features tell without labels, see `simclr_tf.evaluation.quality.Quality`.

        Of at most 1,000 of the run's images; `print(run.quality)` shows a table.
        """
        return run_quality(self.config, self.frozen, self.untrained, self._own_with_tests())

    @property
    def architecture(self) -> dict[str, Any]:
        """The settings of the encoder, and of the projection head, by name."""
        return architecture(self.config)

    @functools.cached_property
    def encoder(self) -> keras.Model:
        """The trained encoder: the model that was handed over, or one like it from the files.

        Of a ResNet what `load_encoder` returns.
        """
        if self._encoder is not None:
            return self._encoder
        loaded = load_model(self.folder)
        if isinstance(loaded.model.encoder, KerasEncoder):
            return loaded.model.encoder.body
        return Encoder(loaded.model, loaded.image_size)

    @property
    def frozen(self) -> FrozenEncoder:
        """The encoder of the newest checkpoint for evaluation."""
        if self._opened is None or self._opened.global_step != self.step:
            with keras_encoders.knowing(self._encoder):
                self._opened = open_encoder(self.folder)
        return self._opened

    @functools.cached_property
    def untrained(self) -> FrozenEncoder:
        """The encoder as it was before training, for `evaluate` and `embed` beside the trained one.

        A run that started from a checkpoint has the weights here that it would have had without.

        Example:
            >>> simclr_tf.evaluate(run.untrained, "digits", "knn")  # doctest: +SKIP
        """
        with keras_encoders.knowing(self._encoder):
            return first_encoder(self.config, self.folder)

    def evaluate(
        self,
        protocols: str = "knn,logreg",
        images: Any = None,
        labels: Any = None,
        *,
        train_split: str | None = None,
        test_split: str | None = None,
        **settings: Any,
    ) -> dict[str, Section]:
        """Evaluates the encoder by the paper's protocols, see `simclr_tf.evaluate`.

        Args:
            protocols: With commas, among `simclr_tf.settings.protocols.PROTOCOLS`.
            images: As in `pretrain`; None takes those of the run.
            labels: Of arrays; those of the run's own images too.
            train_split: Split expression with the labelled training images.
            test_split: Split expression that counts.
            **settings: As in `simclr_tf.evaluate`.

        Returns:
            What each protocol found, by its name.

        Raises:
            InputError: Bad settings or data, or images without labels.
        """
        shown = images
        if images is None:
            shown, labels = self._own_with_tests(labels), None
        splits = {"train_split": train_split, "test_split": test_split}
        given = {"say": self._say, **splits, **settings}
        return evaluate(self.frozen, shown, protocols, labels=labels, **given)

    def embed(self, images: Any = None, **settings: Any) -> Any:
        """The embeddings of images, see `simclr_tf.embed`; of the run's own by default."""
        shown = self._own_images() if images is None else images
        return tools.embed(self.frozen, shown, **{"say": self._say, **settings})

    def explore(self, images: Any = None, *, split: str | None = None, **settings: Any) -> str:
        """Shows what is among images, see `simclr_tf.explore`; among the run's own by default.

        Embeddings, page and table are `explore.parquet`, `explore.html` and `explore.csv` in the
        folder of the run; `output` names another page.

        Example:
            >>> page = run.explore()  # doctest: +SKIP

        Args:
            images: As in `pretrain`; None takes those of the run.
            split: As in `simclr_tf.embed`.
            **settings: As in `simclr_tf.explore`.

        Returns:
            The path of the page.

        Raises:
            InputError: Bad images, split, labels or output.
        """
        shown = self._own_images() if images is None else images
        source = as_source(shown, channels=self.frozen.channels, say=self._say)
        given = {"say": self._say, **settings}
        file = os.path.join(self.folder, run_folder.EXPLORE)
        given.setdefault("output", f"{os.path.splitext(file)[0]}.html")
        self.embed(source, split=split, output=file, say=given["say"])
        pictured = source if isinstance(source, ArraySource) else None
        return tools.explore(file, pictured, split=split, **given)

    def export(
        self,
        output: str | os.PathLike[str],
        formats: Sequence[str] = ("saved_model",),
        overwrite: bool = False,
    ) -> list[str]:
        """Writes the newest checkpoint for other programs.

        Args:
            output: With one format the folder or file itself, else a folder with all of them.
            formats: Some of `simclr_tf.export.writers.FORMATS`: `saved_model`, `serving`, `hub`,
                `keras`, `onnx`, `tflite`, `tflite_float16`, `tflite_dynamic`, `tflite_int8`,
                `safetensors`, `torch` and `huggingface`. `tflite_int8` is scaled by the run's
                images.
            overwrite: Whether an older export is replaced.

        Returns:
            The paths that were written.

        Raises:
            InputError: An unknown format, one whose packages are missing, or the target exists.
        """
        from simclr_tf.export.bundle import export_checkpoint  # it stands on the library

        images = self._source if "tflite_int8" in formats else None
        with keras_encoders.knowing(self._encoder):
            return export_checkpoint(self.folder, os.fspath(output), tuple(formats),
                                     overwrite=overwrite, calibration=images,
                                     say=self._say)  # fmt: skip

    def show(self, open_browser: bool = True) -> str:
        """Writes the page of the run, and opens it in the browser.

        Returns:
            Its path.
        """
        path = os.path.abspath(write_report(self.folder))
        if open_browser:
            webbrowser.open(f"file://{path}")
        return path

    def _own_with_tests(self, labels: Any = None) -> Source:
        """The images of the run, those that it held out in a split of their own."""
        own = as_source(self._own_images(), labels)
        return holdout.hold_out(own, resolved_holdout(self.config))

    def _own_images(self) -> Source:
        """The images of the run."""
        if self._source is not None:
            return self._source
        dataset = str(self.config.get("dataset"))
        require(not dataset.startswith(f"{ARRAYS}:"), "images", "must be given, here or to "
                "open_run: the run was trained on arrays, which no file has", dataset)  # fmt: skip
        name, folder = trust.recorded_data(dataset, self.config.get("data_dir"))
        known = {**self.config, "dataset": name, "data_dir": folder}
        names = by_name.setting_names(DataConfig)
        chosen = {key: known[key] for key in names if key in known}
        return open_source(by_name.build_config(DataConfig, chosen), self._say)


def open_run(
    folder: str | os.PathLike[str],
    encoder: keras.Model | None = None,
    *,
    images: Any = None,
    labels: Any = None,
) -> Run:
    """Opens a run that was trained before.

    Example:
        >>> vectors = simclr_tf.open_run("runs/cells").embed(images)  # doctest: +SKIP

    Args:
        folder: Of the run.
        encoder: A model with the classes of the run's encoder, where it has such as are neither
            Keras' nor registered; it gets the trained weights.
        images: Those of the run, where they were arrays: for `quality` and other calls that take
            the run's images.
        labels: Of arrays.

    Raises:
        InputError: It is not the folder of a run.
    """
    run = Run(as_path(folder, "folder"))
    require(encoder is None or isinstance(encoder, keras.Model), "encoder",
            "must be a tf_keras model", type(encoder).__name__)  # fmt: skip
    if encoder is not None:
        with keras_encoders.knowing(encoder):
            network = load_model(run.folder).model
        require(isinstance(network.encoder, KerasEncoder), "encoder", "must be left out: the run "
                "has a ResNet of this library", encoder.name)  # fmt: skip
        keras_encoders.copy_weights(network.encoder.body, encoder)
    source = None
    if images is not None:
        source = as_source(images, labels, channels=int(run.config.get("channels", 3)))
    return Run(folder, encoder=encoder, source=source)


def architecture(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a run's settings that say what the encoder and the projection head are."""
    names = by_name.setting_names(ProjectionConfig)
    is_resnet = settings.get("encoder", RESNET) == RESNET
    names += by_name.setting_names(EncoderConfig) if is_resnet else ["encoder", "channels"]
    return {name: settings[name] for name in names if name in settings}


def as_path(place: Any, name: str = "run") -> str:
    """A folder, which a run is too, as a text.

    Raises:
        InputError: It is neither.
    """
    known = isinstance(place, str | os.PathLike)
    require(known, name, "must be a folder or a run", type(place).__name__)
    return os.path.expanduser(os.fspath(place))
