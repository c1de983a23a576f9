"""The studies of the paper, one module each with a `STUDY`."""

from __future__ import annotations

import importlib

from simclr_tf.studies.grid import Study
from simclr_tf.studies.settings import STUDIES


def study(name: str) -> Study:
    """The study of that name, one of `settings.STUDIES`."""
    assert name in STUDIES
    found = importlib.import_module(f"{__name__}.{name}").STUDY
    assert isinstance(found, Study)
    return found
