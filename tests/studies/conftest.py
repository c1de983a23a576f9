"""One small study whose cells ran, for the tests of everything that reads it."""

from __future__ import annotations

import os

import pytest

from simclr_tf.config import RunConfig, Study, StudyConfig
from simclr_tf.settings import recipes
from simclr_tf.studies import cells, study
from simclr_tf.studies.grid import PROBE, PROBE_Z
from simclr_tf.studies.results import Results
from tests.eager import eagerly

# The cells that a study of projection heads looks into: they alone are trained.
TRAINED = ("head-linear.dimension-128.seed-0", "head-nonlinear.dimension-128.seed-0")


def tiny(model_dir, **settings) -> Study:
    """A study whose cells take seconds."""
    small = {
        "study": "projection_head",
        "study_budget": "2",
        "dataset": "digits",
        "image_size": 8,
        "train_split": "train[:128]",
        "eval_split": "test[:64]",
        "train_batch_size": 16,
        "width_multiplier": 0.0625,
        "color_jitter_strength": 0,
        "knn_bank_size": 64,
        "eval_batch_size": 64,
        "report": False,
    }
    chosen = {**small, **settings}
    asked = {name: chosen.pop(name) for name in list(chosen) if name.startswith("study")}
    run = recipes.recipe("quickstart", model_dir=str(model_dir), **chosen)
    return Study(run, StudyConfig(**asked))


def some_cells(run: RunConfig, say) -> dict:
    """Runs the cells of `TRAINED`; invents what the others find."""
    name = os.path.basename(run.model_dir)
    if name in TRAINED:
        return cells.run_cell(run, say)
    found = {PROBE: 0.25 + len(name) / 1000, "train/contrast_loss": 3.5}
    if run.model.projection.proj_head_mode != "none":
        found[PROBE_Z] = 0.2
    return {"metrics": found, "steps": run.train.train_steps, "test_images": 64, "seconds": 1.0}


@pytest.fixture
def undrawn(monkeypatch):
    """Studies end without tables and figures."""
    monkeypatch.setattr(study, "_finish", lambda *_: None)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> tuple[Study, Results, list[str]]:
    """A study of projection heads, its results, what it said."""
    base = tiny(tmp_path_factory.mktemp("study") / "heads")
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch, eagerly():
        patch.setattr(study, "run_cell", some_cells)
        results = study.run_study(base, said.append)
    return base, results, said
