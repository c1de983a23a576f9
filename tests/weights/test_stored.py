"""Variables by full name: object-based and name-based files, slots, damage."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.errors import InputError
from simclr_tf.weights import stored
from tests.weights import foreign_checkpoints

NAMES = {"encoder/stem/conv/kernel": np.ones((3, 3, 3, 4), np.float32),
         "linear_head/bias": np.zeros(5, np.float32)}  # fmt: skip


def test_object_based_by_full_name_whatever_the_key(tmp_path):
    variables = [tf.Variable(value, name=name) for name, value in NAMES.items()]
    other = tf.Variable(3.0, name="iteration")
    prefix = tf.train.Checkpoint(a=variables, b=tf.train.Checkpoint(c=other)).write(
        str(tmp_path / "x")
    )
    found = stored.open_variables(prefix)
    assert found.object_based
    assert found.shapes == {name: value.shape for name, value in NAMES.items()}
    assert found.others == ("b/c/.ATTRIBUTES/VARIABLE_VALUE",)
    for name, value in NAMES.items():
        np.testing.assert_array_equal(found.read(name), value)
    assert all(key.startswith("a/") for key in found.checkpoint_keys())


def test_name_based(tmp_path):
    slots = {f"{name}/Momentum": value for name, value in NAMES.items()}
    arrays = {**NAMES, **slots, "global_step": np.int64(3)}
    prefix = foreign_checkpoints.write_tf1(str(tmp_path / "model.ckpt-3"), arrays)
    found = stored.open_variables(prefix)
    assert not found.object_based
    assert set(found.shapes) == set(NAMES)
    assert set(found.others) == {*slots, "global_step"}


def test_slots_of_object_based_optimizers_are_others(tmp_path):
    variable = tf.Variable(np.ones((2, 2), np.float32), name="encoder/x/kernel")
    optimizer = tf.compat.v1.train.MomentumOptimizer(0.1, 0.9)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(variable)
    optimizer.apply_gradients([(tape.gradient(loss, variable), variable)])
    checkpoint = tf.train.Checkpoint(model=tf.train.Checkpoint(v=variable), optimizer=optimizer)
    found = stored.open_variables(checkpoint.write(str(tmp_path / "x")))
    np.testing.assert_array_equal(found.read("encoder/x/kernel"), variable.numpy())
    assert list(found.shapes) == ["encoder/x/kernel"]
    assert any(".OPTIMIZER_SLOT" in name for name in found.others)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "x.index").write_bytes(content)
    with pytest.raises(InputError, match="must be a readable checkpoint"):
        stored.open_variables(str(tmp_path / "x"))
