"""Exports a bfloat16 model of two replicas; the result is a float32 network of one device.

python replicas_program.py FOLDER
"""

from __future__ import annotations

import os
import sys

os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"

import numpy as np
import tensorflow as tf
from simclr_tf.export.runs import RunExport
from simclr_tf.export.saved_model import export_encoder

from simclr_tf.config import EncoderConfig, ModelConfig
from simclr_tf.errors import InputError
from simclr_tf.models.network import build_model
from tests import shallow

shallow.install(shallow.EVERY_KIND)
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
encoder = EncoderConfig(resnet_depth=18, width_multiplier=1 / 16)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    model = build_model(ModelConfig(encoder=encoder, precision="bfloat16"), 3, 16)
    try:
        export_encoder(model, os.path.join(sys.argv[1], "module"))
        raise AssertionError("a strategy's scope must be refused")
    except InputError as error:
        assert "scope" in str(error)

images = np.random.default_rng(0).random((4, 16, 16, 3), np.float32)
parts = strategy.experimental_distribute_values_from_function(
    lambda context: tf.constant(np.split(images, 2)[context.replica_id_in_sync_group])
)
strategy.run(tf.function(lambda part: model(part, training=True)["final_avg_pool"]), (parts,))

single = build_model(ModelConfig(encoder=encoder), 3, 16)
for ours, theirs in zip(single.variables, model.variables, strict=True):
    ours.assign(theirs.numpy())
folder = RunExport(sys.argv[1], 1, 16).write(model, 1, None)
module = tf.saved_model.load(folder)
assert not os.path.exists(os.path.join(sys.argv[1], "module"))
outputs = module(images)
for name, expected in single(images).items():
    output = outputs[name]
    assert output.dtype == tf.float32
    np.testing.assert_allclose(output, expected, atol=1e-5, err_msg=name)
print("OK")
