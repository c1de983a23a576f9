import tensorflow as tf

from simclr_tf.weights.difference import describe_difference


def variable(name, shape):
    return tf.Variable(tf.zeros(shape), name=name)


def test_absent_variables_and_other_shapes(tmp_path):
    there = tf.train.Checkpoint(a=variable("net/a", [2]), b=variable("net/b", [3]))
    prefix = there.write(str(tmp_path / "ckpt-1"))
    a, b = variable("net/a", [2]), variable("net/b", [4])
    others = [variable(f"other/{k}", []) for k in range(5)]
    assert describe_difference(prefix, [a]) == ""
    assert describe_difference(prefix, [a, b]) == (
        "1 of 2 have another shape: net/b is [3] there, [4] here"
    )
    assert describe_difference(prefix, [a, *others]) == (
        "5 of 6 variables are not there: other/0, other/1, other/2 and 2 more"
    )
    assert describe_difference(prefix, others[:1]) == (
        "1 of 1 variables are not there: other/0; it holds net/a, net/b"
    )


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "x.index").write_bytes(b"nothing")
    assert "must be a readable checkpoint" in describe_difference(str(tmp_path / "x"), [])
