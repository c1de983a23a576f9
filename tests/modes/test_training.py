"""Training as a library function; `test_run.py` covers it from the command line."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.data.array_source import from_arrays
from simclr_tf.distribution import Part
from simclr_tf.encoder import load_encoder
from simclr_tf.errors import InputError
from simclr_tf.experiment import Given
from simclr_tf.models.network import Network
from simclr_tf.modes import evaluation, training
from simclr_tf.training import run_config
from simclr_tf.weights import restore
from tests.eager import eagerly
from tests.weights import reference_training

pytestmark = pytest.mark.usefixtures("eager")


def names(folder):
    return sorted(path.name for path in folder.glob("ckpt-*.index"))


# Low, because at the usual one a net this narrow magnifies rounding to 5e-2 within six steps.
RATE = 0.02


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, module_settings):
    """The folder of a run of three steps, and the model."""
    folder = tmp_path_factory.mktemp("whole")
    run = module_settings(folder, learning_rate=RATE)
    with eagerly():
        _, model, step, *_ = training.train(run, None, say=lambda text: None)
    assert step == 3
    return folder, model


def test_interrupted_and_resumed_equals_uninterrupted(uninterrupted, tmp_path, settings, quiet):
    """Same final step, the same checkpoints, and the same weights.

    Up to rounding: the threads of a busy machine add in another order.
    """
    folder, whole = uninterrupted

    def train(say=quiet):
        return training.train(settings(tmp_path, learning_rate=RATE), None, say=say)

    class StopError(Exception):
        pass

    saved = training.checkpoints.CheckpointStore.save

    def save_then_stop(store, values=None):
        saved(store)
        if store.restore_latest() == 2:
            raise StopError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(StopError):
        patch.setattr(training.checkpoints.CheckpointStore, "save", save_then_stop)
        train()
    assert names(tmp_path) == ["ckpt-1.index", "ckpt-2.index"]
    said = []
    _, resumed, step, means, *_ = train(said.append)
    assert step == 3 and "resuming at step 2" in said and "train/contrast_loss" in means
    assert names(folder) == names(tmp_path) == [
        "ckpt-1.index", "ckpt-2.index", "ckpt-3.index"]  # fmt: skip
    for expected, variable in zip(whole.variables, resumed.variables, strict=True):
        np.testing.assert_allclose(
            variable.numpy(), expected.numpy(), rtol=1e-3, atol=1e-4, err_msg=variable.name
        )


@pytest.mark.parametrize("mode", ["none", "linear"])  # others train the third
def test_every_projection_head_trains(tmp_path, settings, fake_export, quiet, mode):
    _, model, step, *_ = training.train(
        settings(tmp_path, proj_head_mode=mode, train_steps=1, knn=False), fake_export, say=quiet
    )
    assert step == 1
    assert all(np.isfinite(variable.numpy()).all() for variable in model.variables)


def test_events_carry_the_references_names(uninterrupted):
    tags = set()
    for path in uninterrupted[0].glob("events.*"):
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


def without_last_checkpoint(folder, step):
    """As if a run had been killed before its last step."""
    for path in [*folder.glob(f"ckpt-{step}.*"), folder / "checkpoint"]:
        path.unlink()


def test_supervised_runs_resume_evaluate_and_start_others(tmp_path, settings, fake_export, quiet):
    run = settings(tmp_path / "a", train_mode="supervised", label_subset="4_per_class",
                   train_steps=2, knn=False)  # fmt: skip
    _, model, step, means, *_ = training.train(run, fake_export, say=quiet)
    assert (step, fake_export.written, model.projection_head) == (2, [2], None)
    assert set(means) == {"train/supervised_loss", "train/supervised_acc", "train/weight_decay",
                          "train/total_loss"}  # fmt: skip
    written = json.loads((tmp_path / "a" / "label_subset.json").read_text())
    assert written["class_counts"] == [4] * 10 and written["rule"] == "4_per_class"
    without_last_checkpoint(tmp_path / "a", 2)
    said = []
    assert training.train(run, None, say=said.append).global_step == 2
    assert "resuming at step 1" in said
    evaluation.evaluate(run, None, quiet)
    assert json.loads((tmp_path / "a" / "result.json").read_text())["global_step"] == 2
    outputs = load_encoder(tmp_path / "a")(np.zeros((1, 8, 8, 3), np.float32))
    assert outputs["logits_sup"].shape == (1, 10) and "proj_head_output" not in outputs
    pretraining = Network(settings(tmp_path / "b").model, 10)
    new = restore.restore_weights(pretraining, run.model_dir).new
    assert new and all(name.startswith("projection_head/") for name in new)


def save_teacher(run):
    """A run that was just born: untrained weights teach as well as any here."""
    model = Network(run.model, 10)
    run_config.record_config(run, [str(k) for k in range(10)])
    tf.train.Checkpoint(model=model).write(f"{run.model_dir}/ckpt-1")
    return {variable.name: variable.numpy() for variable in model.variables}


def test_a_student_learns_from_a_larger_teacher(tmp_path, settings, fake_export, quiet):
    larger = {"width_multiplier": 1 / 8, "train_mode": "finetune"}
    weights = save_teacher(settings(tmp_path / "teacher", **larger))
    run = settings(
        tmp_path / "student", train_mode="distill", teacher=str(tmp_path / "teacher"),
        distill_alpha=0.5, train_steps=2, knn=False,
    )  # fmt: skip
    said = []
    experiment, student, _, means, *_ = training.train(run, fake_export, say=said.append)
    assert any("the teacher is a ResNet-18, width 0.125, of 10 classes" in line for line in said)
    assert {"train/distill_loss", "train/distill_agreement", "train/supervised_acc"} <= set(means)
    for variable in experiment.teacher.model.variables:
        np.testing.assert_array_equal(variable.numpy(), weights[variable.name])
    recorded = json.loads((tmp_path / "student" / "config.json").read_text())
    assert recorded["class_names"] == list(experiment.source.class_names)
    assert recorded["distill_alpha"] == 0.5
    without_last_checkpoint(tmp_path / "student", 2)
    said = []
    training.train(run, None, say=said.append)
    assert "resuming at step 1" in said
    shutil.rmtree(tmp_path / "teacher")  # evaluation and loading do without
    evaluation.evaluate(run, None, quiet)
    assert json.loads((tmp_path / "student" / "result.json").read_text())["global_step"] == 2
    loaded = load_encoder(tmp_path / "student").network
    assert (loaded.config, loaded.num_classes) == (student.config, 10)


def test_unlabeled_images_do_for_a_student(tmp_path, settings, quiet):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    save_teacher(settings(tmp_path / "teacher", train_mode="supervised"))
    run = settings(
        tmp_path / "student", dataset="arrays", eval_split=None, train_batch_size=4,
        train_mode="distill", teacher=str(tmp_path / "teacher"), train_steps=1,
    )  # fmt: skip
    trained = training.train(run, None, say=quiet, given=Given(source=from_arrays(pixels)))
    assert "train/distill_loss" in trained.means and "train/supervised_loss" not in trained.means
    recorded = json.loads((tmp_path / "student" / "config.json").read_text())
    assert recorded["class_names"] == [str(k) for k in range(10)]


@pytest.mark.whole
def test_a_training_of_the_reference_goes_on(tmp_path, settings, fake_export):
    """To the step where its program would end: 1442 digits, one epoch, 32 a batch."""
    reference_training.write(tmp_path, step=44)
    width, output = reference_training.WIDTH, reference_training.PROJECTION
    run = settings(tmp_path, width_multiplier=width, proj_out_dim=output, train_steps=0,
                   train_epochs=1, checkpoint_steps=45)  # fmt: skip
    said = []
    _, _, step, *_ = training.train(run, fake_export, say=said.append)
    assert step == 1442 * 1 // 32 + 1 == 46
    for told in ("going on with a run of the reference", "resuming at step 44",
                 "the run ends at step 46, where the reference"):  # fmt: skip
        assert any(told in line for line in said), told
    assert names(tmp_path) == ["ckpt-44.index", "ckpt-45.index", "ckpt-46.index"]
    assert json.loads((tmp_path / "config.json").read_text())["reference_steps"] == 46


def test_a_figure_without_labels_keeps_the_best_checkpoint_and_ends_the_run(
    tmp_path, settings, quiet, monkeypatch
):
    """The figures are set here; what measures them has its own tests."""
    found = iter([0.2, 0.5, 0.4, 0.3, 0.2, 0.1])

    def look(reporter, step):
        reporter._last = step, {"quality/h_retrieval": next(found)}

    monkeypatch.setattr(training.reporting.Reporter, "_look", look)
    monkeypatch.setattr(training.reporting, "write_page", lambda *_: None)
    asked = {"train_steps": 6, "keep_checkpoint_max": 1, "report": True, "report_examples": 4,
             "keep_best": "quality/h_retrieval",
             "early_stop": "quality/h_retrieval:2"}  # fmt: skip
    said = []
    trained = training.train(settings(tmp_path, **asked), None, say=said.append)
    assert trained.global_step == 4 and names(tmp_path) == ["ckpt-2.index", "ckpt-4.index"]
    (why,) = [line for line in said if "--early_stop" in line]
    assert "not improved for 2 checkpoints, since step 2 (0.5): the run ends at step 4" in why
    assert not any("callback" in line for line in said)
    values = [json.loads((tmp_path / f"result_{step}.json").read_text()) for step in (1, 2, 3, 4)]
    assert [one["quality/h_retrieval"] for one in values] == [0.2, 0.5, 0.4, 0.3]
    again = training.train(settings(tmp_path, **asked), None, say=quiet)
    assert again.global_step == 4


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"keep_best": "quality/h_alignment"}, "^keep_best must be one of"),
        ({"early_stop": "train/accuracy"}, "^early_stop must be one of"),
        ({"early_stop": "quality/h_retrieval"}, "^early_stop needs figures without labels: report"),
        ({"keep_best": "quality/h_spread", "report": True, "quality_images": 0},
         "^keep_best needs figures without labels: quality_images=0"),
        ({"early_stop": "quality/z_spread", "report": True, "proj_head_mode": "none"},
         "^early_stop needs figures without labels: there is no projection head"),
    ],
)  # fmt: skip
def test_figures_that_decide_have_to_be_measured(tmp_path, settings, quiet, changes, says):
    with pytest.raises(InputError, match=says):
        training.train(settings(tmp_path / "run", **changes), None, say=quiet)
    assert not (tmp_path / "run").exists()


def test_images_that_show_nothing_are_said_before_the_first_step(tmp_path, settings):
    said = []
    black = from_arrays(np.zeros((40, 8, 8, 3), np.uint8))
    run = settings(tmp_path, dataset="arrays", eval_split=None, train_steps=1)
    training.train(run, None, say=said.append, given=Given(source=black))
    notes = [line for line in said if "are black" in line]
    assert len(notes) == 1


def test_views_may_be_smaller_than_the_images_that_the_encoder_is_for(tmp_path, settings, quiet):
    run = settings(tmp_path, image_size=16, train_image_size=8, train_steps=1, report=True,
                   report_examples=4, quality_images=0)  # fmt: skip
    trained = training.train(run, None, say=quiet)
    maker = trained.experiment.recipe.maker(compiled=False)
    batch = next(iter(trained.experiment.images.train_batches(trained.experiment.stream, maker)))
    assert batch["view_0"].shape == (32, 8, 8, 3)
    assert load_encoder(str(tmp_path)).image_size == 16
    tested = trained.experiment.images_with_labels.eval_batches("test", 4)
    assert next(iter(tested(Part())))["image"].shape[1:] == (16, 16, 3)
