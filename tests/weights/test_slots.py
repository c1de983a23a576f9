"""An optimizer's state in files of either generation of Keras's optimizers, and of ours."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.config import OptimizerConfig
from simclr_tf.errors import InputError
from simclr_tf.models.roles import variable_roles
from simclr_tf.optimizers.factory import build_optimizer
from simclr_tf.weights import slots
from tests.weights import foreign_checkpoints, reference_training


@pytest.mark.parametrize(
    ("kind", "late"), [("lars", False), ("momentum", False), ("adam", False), ("adam", True)]
)
def test_slots_of_the_reference(tmp_path, kind, late):
    entries = reference_training.listing(kind, late)
    stored = slots.open_slots(reference_training.write(tmp_path, entries))
    assert (stored.kind, stored.step) == (kind, reference_training.STEP)
    assert len(stored.keys) == 73 * len(slots.KINDS[kind])  # 73 trained variables
    name, slot = "head_supervised/linear_layer/dense_3/kernel", slots.KINDS[kind][-1]
    title = kind.title()
    last = {"lars": "Momentum", "momentum": "momentum", "adam": "v"}[kind]
    full_name = f"{title}/{last}/{name}" if late else f"{title}/{name}/{last}"
    expected = reference_training.arrays(entries)
    assert stored.shape(slot, name) == (64, 10)
    np.testing.assert_array_equal(stored.read(slot, name), expected[full_name])


@pytest.mark.parametrize("kind", list(slots.KINDS))
def test_slots_of_ours(tmp_path, tiny_model, kind):
    model = tiny_model()
    optimizer = build_optimizer(OptimizerConfig(optimizer=kind), 0.1, variable_roles(model))
    optimizer.build(model.trainable_variables)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer,
                                     global_step=optimizer.iterations)  # fmt: skip
    stored = slots.open_slots(checkpoint.write(str(tmp_path / "ckpt-0")))
    assert (stored.kind, stored.step) == (kind, 0)
    names = {variable.name.split(":")[0] for variable in model.trainable_variables}
    assert set(stored.keys) == {(slot, name) for slot in slots.KINDS[kind] for name in names}


def test_files_without_state(tmp_path):
    weights = slots.open_slots(reference_training.write(tmp_path, reference_training.listing("")))
    assert weights.kind is None and not weights.keys
    tf1 = foreign_checkpoints.write_tf1(str(tmp_path / "tf1"), {"base_model/conv2d/kernel": 1.0})
    assert (slots.open_slots(tf1).kind, slots.open_slots(tf1).step) == (None, None)
    (tmp_path / "damaged.index").write_bytes(b"nothing")
    with pytest.raises(InputError, match="must be a readable checkpoint"):
        slots.open_slots(str(tmp_path / "damaged"))
    graph = {foreign_checkpoints.OBJECT_GRAPH: np.array(b"\xff\xff no graph")}
    with pytest.raises(InputError, match="graph of objects can't be read"):
        slots.open_slots(foreign_checkpoints.write_tf1(str(tmp_path / "garbled"), graph))


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("velocity/encoder/stem/conv/kernel", ("velocity", "encoder/stem/conv/kernel")),
        ("Adam/v/resnet/conv2d/kernel", ("v", "resnet/conv2d/kernel")),
        ("m/linear_head/bias", ("m", "linear_head/bias")),
        ("iteration", None),
        ("learning_rate", None),
    ],
)
def test_names_of_variables(name, place):
    assert slots.parse_name(name) == place
