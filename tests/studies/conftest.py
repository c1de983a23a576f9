"""One small study that really ran, for the tests of everything that reads it."""

from __future__ import annotations

import pytest

from simclr_tf import recipes
from simclr_tf.config import RunConfig
from simclr_tf.studies import study
from simclr_tf.studies.results import Results


def tiny(model_dir, **settings) -> RunConfig:
    """A study's base whose cells take seconds."""
    small = {
        "study": "projection_head",
        "study_budget": "3",
        "train_split": "train[:128]",
        "eval_split": "test[:64]",
        "train_batch_size": 16,
        "width_multiplier": 0.0625,
        "knn_bank_size": 64,
        "eval_batch_size": 64,
        "report": False,
    }
    return recipes.recipe("quickstart", model_dir=str(model_dir), **{**small, **settings})


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> tuple[RunConfig, Results, list[str]]:
    """A study of projection heads: its base, its results, what it said."""
    base = tiny(tmp_path_factory.mktemp("study") / "heads")
    said: list[str] = []
    return base, study.run_study(base, said.append), said
