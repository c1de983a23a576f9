"""What lies in the folder of a run: the names of its files, and the readers of its records."""

from __future__ import annotations

import os
from typing import Any

from simclr_tf.json_files import find_json

CONFIG = "config.json"  # the settings, and the names of the classes
FLAGS = "flags.json"  # the command line's values: ours and the reference's
RESULT = "result.json"
REPORT = "report.html"
CURVES = "curves.png"
VIEWS = "views.png"
LABEL_SUBSET = "label_subset.json"
BAD_IMAGES = "bad_images.json"  # what --skip_bad_images has found
ENCODER = "encoder.keras"  # the model that the run started from, where it is no ResNet
EXPORTS = "saved_model"  # one SavedModel per step
LOCK = "run.lock"
EARLY_STOP = "early_stop.json"  # the best value of --early_stop so far
EXPLORE = "explore.parquet"  # embeddings, beside the page and the table of what is among them
SCOREBOARD = "scoreboard.md"
STUDY = "study.json"  # in the folder of a study, beside the runs of its cells


def read_config(folder: str) -> dict[str, Any] | None:
    """The settings recorded in a run's folder, None where there are none.

    Raises:
        InputError: The file can't be read.
    """
    return find_json(os.path.join(folder, CONFIG))


def read_flags(folder: str) -> dict[str, Any] | None:
    """The flags that a run was started with, None where there is no record of them.

    Raises:
        InputError: The file can't be read.
    """
    return find_json(os.path.join(folder, FLAGS))
