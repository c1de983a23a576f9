"""The studies of the paper, one module each with a `STUDY`."""

from __future__ import annotations

import importlib

from simclr_tf.errors import require_choice
from simclr_tf.settings.study import STUDIES
from simclr_tf.studies.grid import Study


def study(name: str) -> Study:
    """The study of that name, one of `settings.STUDIES`.

    Raises:
        InputError: There is no such study.
    """
    require_choice("study", name, STUDIES)
    found = importlib.import_module(f"{__name__}.{name}").STUDY
    assert isinstance(found, Study)
    return found
