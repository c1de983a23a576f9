"""Runs of a model that is one dense layer, whose weights after so many steps are known."""

import os
import pathlib
import sys

import numpy as np
import tf_keras as keras

from simclr_tf.training import checkpoints
from simclr_tf.weights import locate
from tests import warm

PROGRAM = pathlib.Path(__file__).with_name("checkpoints_program.py")
INDEX, DATA = ".index", ".data-00000-of-00001"


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


def at_step(step, folder, **settings):
    """A store whose model has taken `step` steps."""
    model, optimizer = small()
    take_steps(model, optimizer, step)
    return checkpoints.CheckpointStore(str(folder), model, optimizer, **settings)


def filled(folder, steps, **settings):
    """A folder with the checkpoints of these steps."""
    model, optimizer = small()
    store = checkpoints.CheckpointStore(str(folder), model, optimizer, keep=9, **settings)
    for step in steps:
        take_steps(model, optimizer, step - int(optimizer.iterations.numpy()))
        store.save()


def bias_after(steps):
    """SGD with momentum 0.9 at learning rate 0.1 and gradients of 1, by hand."""
    value = velocity = 0.0
    for _ in range(steps):
        velocity = 0.9 * velocity - 0.1
        value += velocity
    return value


def resumed(folder, agree=lambda step: step):
    """The step that a new process resumes at, its bias, and what it says."""
    model, optimizer = small()
    said = []
    store = checkpoints.CheckpointStore(str(folder), model, optimizer, say=said.append)
    step = store.restore_latest(agree)
    np.testing.assert_allclose(model.layers[0].bias.numpy(), bias_after(step), rtol=1e-5)
    return step, said


def steps_in(folder):
    return [locate.checkpoint_step(prefix) for prefix in locate.list_checkpoints(str(folder))]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def flip(path, at=-60):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def program(command, folder, **environment):
    environment = {**os.environ, "PYTHONPATH": str(PROGRAM.parents[2]), **environment}
    return warm.Program([sys.executable, str(PROGRAM), command, str(folder)],
                            stdout=warm.PIPE, stderr=warm.DEVNULL, text=True,
                            env=environment)  # fmt: skip
