"""The writers of the import tests: files that TensorFlow itself reads and restores."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from tests.weights import foreign_checkpoints

KEY = "layer/kernel/.ATTRIBUTES/VARIABLE_VALUE"
SLOT_KEY = "layer/kernel/.OPTIMIZER_SLOT/optimizer/Momentum/.ATTRIBUTES/VARIABLE_VALUE"
LISTING = {
    KEY: {"shape": [3, 3, 4, 8], "full_name": "net/conv2d/kernel"},
    SLOT_KEY: {"shape": [3, 3, 4, 8], "full_name": "LARSOptimizer/net/conv2d/kernel/Momentum"},
    "layer/gamma/.ATTRIBUTES/VARIABLE_VALUE": {"shape": [8], "full_name": "net/bn/gamma"},
    "global_step/.ATTRIBUTES/VARIABLE_VALUE": {"shape": [], "full_name": "iter"},
}


def stored_graph(prefix: str) -> trackable_object_graph_pb2.TrackableObjectGraph:
    graph = trackable_object_graph_pb2.TrackableObjectGraph()
    reader = tf.train.load_checkpoint(prefix)
    graph.ParseFromString(reader.get_tensor(foreign_checkpoints.OBJECT_GRAPH))
    return graph


def test_tf1_names_and_values(tmp_path):
    arrays = foreign_checkpoints.random_arrays({"a/kernel": [2, 3], "global_step": []}, seed=0)
    prefix = foreign_checkpoints.write_tf1(str(tmp_path / "model.ckpt-20"), arrays)
    assert dict(tf.train.list_variables(prefix)) == {"a/kernel": [2, 3], "global_step": []}
    np.testing.assert_array_equal(tf.train.load_variable(prefix, "a/kernel"), arrays["a/kernel"])


@pytest.mark.parametrize("kind", ["checkpoint", "SavedModel"])
def test_tensorflow_restores_what_was_written(tmp_path, kind):
    arrays = foreign_checkpoints.random_arrays(LISTING, seed=0)
    if kind == "checkpoint":
        prefix = foreign_checkpoints.write_object_based(str(tmp_path / "ckpt-1"), LISTING, arrays)
    else:
        folder = str(tmp_path / "module")
        foreign_checkpoints.write_saved_model_folder(folder, LISTING, arrays)
        prefix = f"{folder}/variables/variables"
    layer = tf.train.Checkpoint(kernel=tf.Variable(tf.zeros([3, 3, 4, 8])))
    tf.train.Checkpoint(layer=layer).restore(prefix).expect_partial()
    np.testing.assert_array_equal(layer.kernel, arrays["net/conv2d/kernel"])


def test_the_graph_of_objects_is_the_one_tensorflow_writes(tmp_path):
    """Keys, full names and slots, compared with a checkpoint that TensorFlow wrote."""
    keras = pytest.importorskip("tf_keras")
    layer = tf.train.Checkpoint(kernel=tf.Variable(tf.ones([3, 2]), name="net/kernel"))
    optimizer = keras.optimizers.legacy.SGD(0.1, momentum=0.9)
    optimizer.apply_gradients([(tf.ones([3, 2]), layer.kernel)])
    written = tf.train.Checkpoint(layer=layer, optimizer=optimizer).write(str(tmp_path / "theirs"))
    theirs = summary(stored_graph(written))
    listing = {
        key: {"full_name": name, "shape": shape}
        for key, name, shape in (
            (key, name, tf.train.load_variable(written, key).shape) for key, name in theirs[0]
        )
    }
    arrays = foreign_checkpoints.random_arrays(listing, seed=0)
    ours = foreign_checkpoints.write_object_based(str(tmp_path / "ours"), listing, arrays)
    assert summary(stored_graph(ours)) == theirs
    assert len(theirs[1]) == 1


def summary(graph: trackable_object_graph_pb2.TrackableObjectGraph) -> tuple[set, set]:
    """(key, full name) of all variables; (slot, key of the variable, key of the slot)."""
    variables = {(entry.checkpoint_key, entry.full_name)
                 for node in graph.nodes for entry in node.attributes}  # fmt: skip
    slots = {
        (
            slot.slot_name,
            graph.nodes[slot.original_variable_node_id].attributes[0].checkpoint_key,
            graph.nodes[slot.slot_variable_node_id].attributes[0].checkpoint_key,
        )
        for node in graph.nodes
        for slot in node.slot_variables
    }
    return variables, slots


def test_the_saved_model_cannot_be_executed(tmp_path):
    arrays = foreign_checkpoints.random_arrays(LISTING, seed=0)
    folder = foreign_checkpoints.write_saved_model_folder(str(tmp_path), LISTING, arrays)
    assert tf.saved_model.contains_saved_model(folder)
    with pytest.raises(Exception, match=r"saved_model\.pb"):
        tf.saved_model.load(folder)


def test_random_arrays_depend_on_seed_and_name_alone():
    whole = foreign_checkpoints.random_arrays(LISTING, seed=1)
    part = foreign_checkpoints.random_arrays({KEY: LISTING[KEY]}, seed=1)
    other = foreign_checkpoints.random_arrays(LISTING, seed=2)
    name = "net/conv2d/kernel"
    np.testing.assert_array_equal(whole[name], part[name])
    assert not np.array_equal(whole[name], other[name])
    assert whole["iter"].dtype == np.int64
    np.testing.assert_allclose(whole[name].std(), np.sqrt(2 / 36), rtol=0.1)


def test_compact_and_plain_listings_read_alike(tmp_path):
    plain, compact, names = (tmp_path / f"{name}.json" for name in "pcn")
    plain.write_text('{"a/.ATTRIBUTES/VARIABLE_VALUE": {"full_name": "net/a", "shape": [2]}}')
    compact.write_text('{"a": ["net/a", [2]]}')
    names.write_text('{"net/a": [2], "global_step": []}')
    read = foreign_checkpoints.read_listing
    assert read(plain) == read(compact)
    assert read(names) == {"net/a": [2], "global_step": []}
