import json
import os

import numpy as np
import pytest
import tf_keras as keras

from simclr_tf import recipes
from simclr_tf.errors import InputError
from simclr_tf.training import checkpoints
from simclr_tf.weights import locate


def small(units=3):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Dense(units, name="dense")])
    model.build((None, 2))
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build(model.trainable_variables)
    return model, optimizer


def take_steps(model, optimizer, count):
    for _ in range(count):
        gradients = [np.ones(v.shape, np.float32) for v in model.trainable_variables]
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))


def test_resume_restores_model_optimizer_and_step(tmp_path):
    model, optimizer = small()
    store = checkpoints.CheckpointStore(str(tmp_path), model, optimizer)
    assert store.restore_latest() == 0
    take_steps(model, optimizer, 3)
    store.save()
    take_steps(model, optimizer, 2)
    expected = [v.numpy() for v in model.variables]

    again, again_optimizer = small()
    resumed = checkpoints.CheckpointStore(str(tmp_path), again, again_optimizer)
    assert resumed.restore_latest() == 3
    take_steps(again, again_optimizer, 2)
    for value, variable in zip(expected, again.variables, strict=True):
        np.testing.assert_array_equal(value, variable.numpy())


def test_names_rotation_and_no_second_write_of_a_step(tmp_path):
    model, optimizer = small()
    store = checkpoints.CheckpointStore(str(tmp_path), model, optimizer, keep=2)
    for _ in range(4):
        take_steps(model, optimizer, 5)
        first = store.save()
        written = os.stat(first + ".index").st_mtime_ns
        assert store.save() == first
        assert os.stat(first + ".index").st_mtime_ns == written
    names = [os.path.basename(prefix) for prefix in locate.list_checkpoints(str(tmp_path))]
    assert names == ["ckpt-15", "ckpt-20"]
    assert not [name for name in os.listdir(tmp_path) if "temp" in name]


def test_another_model_is_refused(tmp_path):
    model, optimizer = small()
    take_steps(model, optimizer, 1)
    checkpoints.CheckpointStore(str(tmp_path), model, optimizer).save()
    other = checkpoints.CheckpointStore(str(tmp_path), *small(units=5))
    with pytest.raises(InputError, match="model_dir must hold checkpoints of this model"):
        other.restore_latest()


def test_follow_yields_all_up_to_the_last_and_gives_up_with_a_message(tmp_path):
    model, optimizer = small()
    store = checkpoints.CheckpointStore(str(tmp_path), model, optimizer)
    for _ in range(2):
        take_steps(model, optimizer, 4)
        store.save()
    lines = []
    follow = checkpoints.follow_checkpoints(str(tmp_path), 8, 0.0, lines.append, poll_secs=0.01)
    assert [locate.checkpoint_step(p) for p in follow] == [4, 8]
    assert lines == []
    follow = checkpoints.follow_checkpoints(str(tmp_path), 12, 0.02, lines.append, poll_secs=0.01)
    assert [locate.checkpoint_step(p) for p in follow] == [4, 8]
    assert "no new checkpoint" in lines[0]


def run_config(tmp_path, **settings):
    (tmp_path / "ckpt-1.index").touch()  # something has been learned
    return recipes.build_run_config(
        {"model_dir": str(tmp_path), "dataset": "digits", "image_size": 32, **settings}
    )


def test_a_run_with_other_settings_is_refused_with_the_differences(tmp_path):
    checkpoints.record_config(run_config(tmp_path, temperature=0.1))
    checkpoints.check_same_run(run_config(tmp_path, temperature=0.1))
    with pytest.raises(InputError) as caught:
        checkpoints.check_same_run(run_config(tmp_path, temperature=0.5, resnet_depth=18))
    assert "temperature=0.1 there, 0.5 here" in str(caught.value)
    assert "resnet_depth=50 there, 18 here" in str(caught.value)


def test_where_and_how_a_run_is_evaluated_may_change(tmp_path):
    checkpoints.record_config(run_config(tmp_path))
    changed = run_config(tmp_path, data_dir="/elsewhere", eval_batch_size=7, num_logical_cpus=2,
                         keep_checkpoint_max=1, cache_dataset=True)  # fmt: skip
    checkpoints.check_same_run(changed)
    model_only = checkpoints.MODEL_SETTINGS
    checkpoints.check_same_run(run_config(tmp_path, temperature=0.9), only=model_only)
    with pytest.raises(InputError, match="resnet_depth"):
        checkpoints.check_same_run(run_config(tmp_path, resnet_depth=18), only=model_only)


def test_broken_config_file_is_named(tmp_path):
    (tmp_path / checkpoints.CONFIG_FILE).write_text("{")
    with pytest.raises(InputError, match="config.json must be JSON"):
        checkpoints.check_same_run(run_config(tmp_path))
    (tmp_path / checkpoints.CONFIG_FILE).write_text(json.dumps({}))
    checkpoints.check_same_run(run_config(tmp_path))


def test_a_run_that_learned_nothing_may_be_corrected(tmp_path):
    run = run_config(tmp_path, temperature=0.5)
    checkpoints.record_config(run_config(tmp_path, temperature=0.1))
    (tmp_path / "ckpt-1.index").unlink()
    checkpoints.check_same_run(run)


def test_other_classes_are_refused(tmp_path):
    checkpoints.record_config(run_config(tmp_path), ("cat", "dog"))
    checkpoints.check_same_classes(str(tmp_path), ("cat", "dog"))
    with pytest.raises(InputError, match="cat, dog. Received: 'apple, pear'"):
        checkpoints.check_same_classes(str(tmp_path), ("apple", "pear"))


def test_resume_finds_the_newest_without_the_checkpoint_file(tmp_path):
    model, optimizer = small()
    store = checkpoints.CheckpointStore(str(tmp_path), model, optimizer)
    for _ in range(2):
        take_steps(model, optimizer, 5)
        store.save()
    (tmp_path / "checkpoint").unlink()
    assert checkpoints.CheckpointStore(str(tmp_path), *small()).restore_latest() == 10


def test_a_truncated_checkpoint_is_named(tmp_path):
    model, optimizer = small()
    take_steps(model, optimizer, 1)
    prefix = checkpoints.CheckpointStore(str(tmp_path), model, optimizer).save()
    with open(prefix + ".data-00000-of-00001", "r+b") as file:
        file.truncate(10)
    with pytest.raises(InputError, match="ckpt-1"):
        checkpoints.CheckpointStore(str(tmp_path), *small()).restore_latest()
