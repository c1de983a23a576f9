import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.errors import InputError
from simclr_tf.weights import restore


def save(model, folder, step=3):
    checkpoint = tf.train.Checkpoint(model=model, global_step=tf.Variable(step))
    return checkpoint.write(str(folder / f"ckpt-{step}"))


def test_pretrained_weights_into_finetuning_with_another_class_count(tmp_path, tiny_model):
    source = tiny_model(num_classes=3, seed=1)
    prefix = save(source, tmp_path)
    model = tiny_model(num_classes=5, seed=2, train_mode="finetune")
    report = restore.restore_weights(model, prefix)
    for old, new in zip(source.encoder.variables, model.encoder.variables, strict=True):
        np.testing.assert_array_equal(old.numpy(), new.numpy())
    assert len(report.restored) == len(model.encoder.variables)
    assert len(report.new) == 2 and all("linear_head" in text for text in report.new)
    assert all("projection_head" in name for name in report.unused)
    accounted = set(report.restored) | {text.split(" ")[0] for text in report.new}
    assert accounted == {restore.plain_name(variable) for variable in model.variables}
    assert any("newly built" in line for line in report.lines())


def test_same_model_is_restored_completely(tmp_path, tiny_model):
    source = tiny_model(seed=1)
    model = tiny_model(seed=2)
    report = restore.restore_weights(model, save(source, tmp_path))
    assert (report.new, report.unused) == ((), ())
    for old, new in zip(source.variables, model.variables, strict=True):
        np.testing.assert_array_equal(old.numpy(), new.numpy())


def test_another_encoder_is_refused_and_nothing_changes(tmp_path, tiny_model):
    prefix = save(tiny_model(seed=1), tmp_path)
    from simclr_tf.config import EncoderConfig, ModelConfig
    from simclr_tf.models.network import build_model

    wider = EncoderConfig(resnet_depth=18, width_multiplier=1 / 8, stem="cifar")
    model = build_model(ModelConfig(encoder=wider), 3, image_size=32)
    before = [variable.numpy() for variable in model.variables]
    with pytest.raises(
        InputError,
        match="holds one with width_multiplier=0.0625, the run asks for width_multiplier="
        "0.125 .*; nothing was restored",
    ):
        restore.restore_weights(model, prefix)
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


def test_files_that_are_no_checkpoint(tmp_path, tiny_model):
    (tmp_path / "x.index").write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match="must be a readable checkpoint"):
        restore.restore_weights(tiny_model(), str(tmp_path / "x"))


def test_a_deeper_checkpoint_is_refused(tmp_path, tiny_model):
    from simclr_tf.config import EncoderConfig, ModelConfig
    from simclr_tf.models.network import build_model

    deeper = EncoderConfig(resnet_depth=34, width_multiplier=1 / 16, stem="cifar")
    prefix = save(build_model(ModelConfig(encoder=deeper), 3, image_size=32), tmp_path)
    model = tiny_model()
    before = model.get_weights()
    with pytest.raises(InputError, match="resnet_depth=34, .* has no place in the model"):
        restore.restore_weights(model, prefix)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("damage", ["truncated", "absent", "altered"])
def test_a_damaged_file_changes_nothing(tmp_path, tiny_model, damage):
    prefix = save(tiny_model(seed=1), tmp_path)
    data = tmp_path / "ckpt-3.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    if damage == "absent":
        data.unlink()
    elif damage == "truncated":
        data.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 255
        data.write_bytes(content)
    model = tiny_model(seed=2)
    before = model.get_weights()
    with pytest.raises(InputError, match="must be a (complete|readable) checkpoint"):
        restore.restore_weights(model, prefix)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_slots_and_counters_are_accounted_for(tmp_path, tiny_model):
    import tf_keras as keras

    source = tiny_model(seed=1)
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build(source.trainable_variables)
    checkpoint = tf.train.Checkpoint(
        model=source, optimizer=optimizer, global_step=optimizer.iterations
    )
    prefix = checkpoint.save(str(tmp_path / "ckpt"))
    report = restore.restore_weights(tiny_model(seed=2), prefix)
    assert (report.new, report.unused, report.global_step) == ((), (), 1)
    keys = set(tf.train.load_checkpoint(prefix).get_variable_to_shape_map())
    keys.discard("_CHECKPOINTABLE_OBJECT_GRAPH")
    assert len(report.restored) + len(report.others) == len(keys)
    assert len(report.others) >= len(source.trainable_variables)
    assert any("left aside" in line for line in report.lines())
