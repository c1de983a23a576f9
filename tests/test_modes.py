"""The modes as library functions; `test_run.py` covers them from the command line."""

import json

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf import modes, recipes
from simclr_tf.errors import InputError

pytestmark = pytest.mark.slow


def settings(folder, **changes):
    return recipes.build_run_config(
        {
            "model_dir": str(folder), "dataset": "digits", "image_size": 8, "eval_split": "test",
            "resnet_depth": 18, "width_multiplier": 1 / 16, "train_batch_size": 32,
            "train_steps": 6, "checkpoint_steps": 2, "warmup_epochs": 0, "use_blur": False,
            "knn_bank_size": 200, "eval_steps": 1, "keep_checkpoint_max": 10, **changes,
        }
    )  # fmt: skip


class FakeExport:
    """Notes what it is asked for."""

    def __init__(self):
        self.described = []

    def write(self, model, global_step, class_names):
        assert len(class_names) == 10
        return f"exported {global_step}"

    def describe(self, global_step, dataset, split):
        self.described.append((global_step, dataset, split))


fake_export = FakeExport()


def quiet(text):
    pass


def names(folder):
    return sorted(path.name for path in folder.glob("ckpt-*.index"))


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path):
    """Same final step, the same checkpoints, and the same weights.

    Up to rounding: the threads of a busy machine add in another order. The learning rate is low,
    because at the usual one a net this narrow magnifies that to 5e-2 within the six steps.
    """

    def train(name, say=quiet):
        return modes.train(settings(tmp_path / name, learning_rate=0.02), fake_export, say=say)

    _, whole, step, _ = train("a")
    assert step == 6

    class StopError(Exception):
        pass

    saved = modes.checkpoints.CheckpointStore.save

    def save_then_stop(store):
        saved(store)
        if store.restore_latest() == 4:
            raise StopError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(StopError):
        patch.setattr(modes.checkpoints.CheckpointStore, "save", save_then_stop)
        train("b")
    assert names(tmp_path / "b") == ["ckpt-2.index", "ckpt-4.index"]
    said = []
    _, resumed, step, means = train("b", said.append)
    assert step == 6 and "resuming at step 4" in said and "train/contrast_loss" in means
    assert names(tmp_path / "a") == names(tmp_path / "b") == [
        "ckpt-2.index", "ckpt-4.index", "ckpt-6.index"]  # fmt: skip
    for expected, variable in zip(whole.variables, resumed.variables, strict=True):
        np.testing.assert_allclose(
            variable.numpy(), expected.numpy(), rtol=1e-3, atol=1e-4, err_msg=variable.name
        )


def test_train_then_eval_reports_untrained_encoder_and_chance(tmp_path):
    said, export = [], FakeExport()
    modes.train_then_eval(settings(tmp_path, linear_probe=True), export, {"seed": 0}, said.append)
    assert export.described == [(6, "digits", "test")]
    table = said[-1]
    for row in (
        "Linear head, top-1",
        "kNN, k = 20 ",
        "kNN, k = 20, untrained encoder",
        "Logistic regression, untrained encoder",
        "Chance",
        "Training",
        "Checkpoint",
    ):
        assert row in table
    assert json.loads((tmp_path / "flags.json").read_text()) == {"seed": 0}
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["global_step"] == 6
    assert 0 <= result["untrained/knn_20_accuracy"] <= 1


def test_eval_follows_every_checkpoint(tmp_path):
    modes.train(settings(tmp_path), fake_export, say=quiet)
    said = []
    modes.evaluate(settings(tmp_path), fake_export, said.append)
    evaluated = [line.split(" in ")[0] for line in said if line.startswith("evaluated")]
    assert evaluated == ["evaluated step 2", "evaluated step 4", "evaluated step 6"]
    assert (tmp_path / "result_2.json").is_file()


def test_eval_gives_up_when_training_has_died(tmp_path):
    said = []
    modes.evaluate(settings(tmp_path, eval_timeout_secs=0), fake_export, said.append)
    assert "no new checkpoint" in said[-1]


def test_eval_of_another_architecture_is_refused(tmp_path):
    modes.train(settings(tmp_path), fake_export, say=quiet)
    with pytest.raises(InputError, match="resnet_depth=18 there, 34 here"):
        modes.evaluate(settings(tmp_path, resnet_depth=34), fake_export, quiet)


@pytest.mark.parametrize("mode", ["none", "linear", "nonlinear"])
def test_every_projection_head_trains(tmp_path, mode):
    _, model, step, _ = modes.train(
        settings(tmp_path, proj_head_mode=mode, train_steps=2), fake_export, say=quiet
    )
    assert step == 2
    assert all(np.isfinite(variable.numpy()).all() for variable in model.variables)


def test_events_carry_the_references_names(tmp_path):
    modes.train(settings(tmp_path), fake_export, say=quiet)
    tags = set()
    for path in tmp_path.glob("events.*"):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            tags |= {value.tag for value in event.summary.value}
    expected = {
        "train/contrast_loss",
        "train/contrast_acc",
        "train/contrast_entropy",
        "train/supervised_loss",
        "train/supervised_acc",
        "train/weight_decay",
        "train/total_loss",
        "train/pairs_per_second",
        "learning_rate",
        "image",
    }
    assert expected <= tags
