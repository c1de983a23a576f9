import json
import types

import pytest

from simclr_tf import run_folder
from simclr_tf.config import RunConfig
from simclr_tf.errors import InputError
from simclr_tf.settings import by_name
from simclr_tf.training import run_config
from tests.weights import reference_training


def settings(tmp_path, **settings):
    (tmp_path / "ckpt-1.index").touch()  # something has been learned
    return by_name.build_run_config(
        {"model_dir": str(tmp_path), "dataset": "digits", "image_size": 32, **settings}
    )


def test_a_run_with_other_settings_is_refused_with_the_differences(tmp_path):
    run_config.record_config(settings(tmp_path, temperature=0.1))
    run_config.check_same_run(settings(tmp_path, temperature=0.1))
    with pytest.raises(InputError) as caught:
        run_config.check_same_run(settings(tmp_path, temperature=0.5, resnet_depth=18))
    assert "temperature=0.1 there, 0.5 here" in str(caught.value)
    assert "resnet_depth=50 there, 18 here" in str(caught.value)


def test_where_and_how_a_run_is_evaluated_may_change(tmp_path):
    run_config.record_config(settings(tmp_path))
    changed = settings(tmp_path, data_dir="/elsewhere", eval_batch_size=7, num_logical_cpus=2,
                       keep_checkpoint_max=1, cache_dataset=True, remat=True,
                       jit_compile="on")  # fmt: skip
    run_config.check_same_run(changed)
    model_only = run_config.MODEL_SETTINGS
    run_config.check_same_run(settings(tmp_path, temperature=0.9), only=model_only)
    with pytest.raises(InputError, match="resnet_depth"):
        run_config.check_same_run(settings(tmp_path, resnet_depth=18), only=model_only)


def test_broken_config_file_is_named(tmp_path):
    (tmp_path / run_folder.CONFIG).write_text("{")
    with pytest.raises(InputError, match="config.json must be JSON"):
        run_config.check_same_run(settings(tmp_path))
    (tmp_path / run_folder.CONFIG).write_text(json.dumps({"dataset": 5}))
    with pytest.raises(InputError, match="config.json must have a text as dataset"):
        run_config.check_same_run(settings(tmp_path))


def test_a_setting_that_a_record_does_not_know_had_its_default(tmp_path):
    run_config.record_config(settings(tmp_path))
    path = tmp_path / run_folder.CONFIG
    recorded = json.loads(path.read_text())
    del recorded["semi_hard"], recorded["learning_rate"]
    path.write_text(json.dumps(recorded))
    run_config.check_same_run(settings(tmp_path))
    with pytest.raises(InputError, match="learning_rate=0.3 there, 0.7 here"):
        run_config.check_same_run(settings(tmp_path, learning_rate=0.7))


def test_the_record_of_another_program_is_not_replaced(tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["Bert"]}')
    with pytest.raises(InputError, match="must be the record of a run of this program") as caught:
        run_config.check_same_run(RunConfig(str(tmp_path)))
    assert caught.value.name == f"{tmp_path}/config.json"


def test_a_run_without_its_record_is_not_continued(tmp_path):
    run = settings(tmp_path)
    run_config.check_same_run(run)  # of another program: no manifest
    assert not run_config.lacks_record(str(tmp_path))
    (tmp_path / "ckpt-1.manifest.json").write_text("{}")
    with pytest.raises(InputError, match="--checkpoint=.* --model_dir=NEW") as caught:
        run_config.check_same_run(run)
    assert caught.value.name == "model_dir" and "\n" not in str(caught.value)
    assert run_config.lacks_record(str(tmp_path))
    run_config.check_same_run(run, only=run_config.MODEL_SETTINGS)  # may be evaluated, with a note


def test_a_run_that_learned_nothing_may_be_corrected(tmp_path):
    run = settings(tmp_path, temperature=0.5)
    run_config.record_config(settings(tmp_path, temperature=0.1))
    (tmp_path / "ckpt-1.index").unlink()
    run_config.check_same_run(run)


def test_other_images_than_those_of_the_start_are_said(tmp_path):
    run = settings(tmp_path)
    run_config.record_config(run, train_images=24)
    assert run_config.other_images_note(str(tmp_path), 24, 8) is None
    note = run_config.other_images_note(str(tmp_path), 40, 14)
    assert note == (
        "the run was started with 24 training images and goes on with 40, up to step 14"
    )


def test_other_classes_are_refused(tmp_path):
    run_config.record_config(settings(tmp_path), ("cat", "dog"))
    run_config.check_same_classes(str(tmp_path), ("cat", "dog"))
    with pytest.raises(InputError, match="cat, dog. Received: 'apple, pear'"):
        run_config.check_same_classes(str(tmp_path), ("apple", "pear"))


def test_the_folder_of_a_study_is_no_run(tmp_path):
    (tmp_path / run_folder.STUDY).write_text("{}")
    with pytest.raises(InputError, match="model_dir must not be the folder of a study"):
        run_config.check_no_study(str(tmp_path))
    run_config.check_no_study(str(tmp_path / "another"))


REFERENCE_FLAGS = {
    "mode": "train_then_eval", "dataset": "digits", "image_size": 32, "train_steps": 0,
    "train_epochs": 100, "resnet_depth": 50, "learning_rate": 1.0, "ft_proj_selector": -1,
    "width_multiplier": 1, "alsologtostderr": False, "tpu_name": None, "model_dir": "/elsewhere",
}  # fmt: skip


def of_reference(tmp_path, **changes):
    """A folder in which the reference trained, and settings to go on, as `REFERENCE_FLAGS`."""
    reference_training.write(tmp_path, reference_training.listing(""), step=3)
    run = {"learning_rate": 1.0, "train_epochs": 100, "train_batch_size": 512, **changes}
    return by_name.build_run_config(
        {"model_dir": str(tmp_path), "dataset": "digits", "image_size": 32, **run}
    )


def test_the_flags_of_a_run_of_the_reference_are_its_record(tmp_path):
    run_config.check_same_run(of_reference(tmp_path))  # it writes none before an evaluation
    (tmp_path / run_folder.FLAGS).write_text(json.dumps(REFERENCE_FLAGS))
    run_config.check_same_run(of_reference(tmp_path))
    run_config.check_same_run(of_reference(tmp_path, train_steps=900))
    for changes, told in (
        ({"learning_rate": 0.3}, "learning_rate=1.0 there, 0.3 here"),
        ({"resnet_depth": 18}, "resnet_depth=50 there, 18 here"),
    ):
        with pytest.raises(InputError, match=told):
            run_config.check_same_run(of_reference(tmp_path, **changes))


def test_the_flags_of_a_mere_evaluation_tell_the_network_alone(tmp_path):
    flags = {**REFERENCE_FLAGS, "mode": "eval"}
    (tmp_path / run_folder.FLAGS).write_text(json.dumps(flags))
    run_config.check_same_run(of_reference(tmp_path, learning_rate=0.3))
    with pytest.raises(InputError, match="resnet_depth=50 there, 18 here"):
        run_config.check_same_run(of_reference(tmp_path, resnet_depth=18))


def test_a_start_that_took_over_but_saved_nothing_may_be_corrected(tmp_path):
    run_config.record_config(of_reference(tmp_path, learning_rate=0.3))
    (tmp_path / run_folder.FLAGS).write_text(json.dumps({**REFERENCE_FLAGS, "image_size": 8}))
    run_config.check_same_run(of_reference(tmp_path))


def test_a_run_of_the_reference_keeps_its_count_of_steps(tmp_path):
    """Images * epochs // batch + 1; recorded for when the newest checkpoint is ours."""
    digits = types.SimpleNamespace(num_examples=lambda split, setting: 1437)
    run = of_reference(tmp_path)
    assert run_config.reference_steps(run, digits) == 1437 * 100 // 512 + 1
    run_config.record_config(run, steps=281)
    (tmp_path / "ckpt-4.index").touch()
    assert run_config.reference_steps(run, digits) == 281
    run_config.record_config(run)
    assert run_config.reference_steps(run, digits) is None
