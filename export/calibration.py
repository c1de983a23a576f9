"""Images by which an 8-bit network is scaled: those that its run was trained on, or others."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

from simclr_tf import console, run_folder
from simclr_tf.data import trust
from simclr_tf.data.any_source import as_source
from simclr_tf.data.array_source import ARRAYS
from simclr_tf.data.images import Images
from simclr_tf.data.samples import example_batches
from simclr_tf.data.sources import Source, open_source
from simclr_tf.distribution import Part
from simclr_tf.errors import require
from simclr_tf.json_files import find_json
from simclr_tf.settings import by_name
from simclr_tf.settings.data import DataConfig
from simclr_tf.weights.load import LoadedModel

from .history import data_name

SETTING = "calibration"
_MOST, _BATCH = 200, 50
_TRAIN = "train"


def calibration_images(
    loaded: LoadedModel,
    given: str | Source | None = None,
    say: Callable[[str], None] = console.say,
) -> np.ndarray:
    """At most 200 images from all over a split, as evaluation shows them.

    Args:
        loaded: The network, and its run.
        given: A folder, the name of a data set, or a source; None takes the images of the run.
        say: Receives which images they are.

    Returns:
        (N, S, S, C), float32 in [0, 1].

    Raises:
        InputError: There are no such images, or nothing tells which.
    """
    if given is None:
        source, split = _of_run(loaded, say)
    else:
        source = as_source(given, say=say)
        split = _TRAIN if _TRAIN in source.splits else next(iter(source.splits))
    channels = loaded.model.encoder.example_shape[-1]
    require(source.channels == channels, SETTING, f"must be images of {channels} channels",
            source.channels)  # fmt: skip
    count = min(_MOST, source.num_examples(split, SETTING))
    images = Images(source, loaded.image_size, min(_BATCH, count))
    batches = example_batches(images, split, count)
    found = np.concatenate([batch["image"].numpy() for batch in batches(Part())])[:count]
    say(f"calibrated by {count} images of {data_name(source.name)}, split {split}")
    return found


def _of_run(loaded: LoadedModel, say: Callable[[str], None]) -> tuple[Source, str]:
    """The images of the run that the weights are from, and its training split."""
    config = find_json(os.path.join(loaded.run_dir or "", run_folder.CONFIG)) or {}
    dataset = str(config.get("dataset") or "")
    known = bool(dataset) and not dataset.startswith(f"{ARRAYS}:") and "imported_from" not in config
    require(known, SETTING, "must name images (a folder or a data set) for 8 bit: no run tells "
            "what the network was trained on", dataset or None)  # fmt: skip
    name, folder = trust.recorded_data(dataset, config.get("data_dir"))
    config = {**config, "dataset": name, "data_dir": folder}
    names = by_name.setting_names(DataConfig)
    data = by_name.build_config(DataConfig, {k: config[k] for k in names if k in config})
    return open_source(data, say), data.train_split
