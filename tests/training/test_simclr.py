"""`SimCLR`: what compile, fit, evaluate and predict do, and what they refuse."""

import os
import sys

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import simclr_tf
from simclr_tf.config import EncoderConfig, ObjectiveConfig, ProjectionConfig
from simclr_tf.errors import InputError
from simclr_tf.training.loop import NonFiniteLossError
from simclr_tf.training.simclr import SimCLR
from tests import warm
from tests.training import simclr_program

ROOT = os.path.dirname(os.path.dirname(simclr_tf.__file__))
VIEWS = np.random.default_rng(0).random((2, 16, 8, 8, 3), np.float32)
LABELS = np.arange(16) % 3
NAMES = {"loss", "contrast_loss", "contrast_acc", "contrast_entropy", "weight_decay"}
HEAD_NAMES = {"supervised_loss", "supervised_acc"}


def body(**first):
    first = {"input_shape": (8, 8, 3), **first}
    return keras.Sequential(
        [
            keras.layers.Conv2D(6, 3, 2, use_bias=False, name="conv", **first),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.ReLU(),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )


def pairs(change=lambda first, second, label: {"view_0": first, "view_1": second}, size=8):
    data = tf.data.Dataset.from_tensor_slices((*VIEWS, LABELS)).batch(size, drop_remainder=True)
    return data.map(change)


def labelled(first, second, label):
    return {"view_0": first, "view_1": second, "label": label}


def model(**settings):
    made = SimCLR(body(), 4, **settings)
    rng = np.random.default_rng(1)
    made.set_weights([rng.uniform(0.1, 0.5, weight.shape) for weight in made.get_weights()])
    return made


@pytest.mark.parametrize("kind", ["lars", "momentum"])
def test_steps_of_fit_are_those_of_a_run(kind):
    strategy = tf.distribute.get_strategy()
    loss, weights = simclr_program.by_loop(kind, strategy, 0.5)
    found, fitted = simclr_program.by_fit(kind, strategy, 0.5)
    assert found == pytest.approx(loss, rel=1e-6)
    for expected, weight in zip(weights, fitted, strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-6, atol=1e-6)


def test_steps_of_fit_are_those_of_a_run_on_two_replicas(tmp_path):
    path = str(tmp_path / "found.npz")
    words = [sys.executable, "-m", "tests.training.simclr_program", path]
    assert warm.run(words, cwd=ROOT).returncode == 0
    with np.load(path) as found:
        assert len(found.files) > 40
        for name in found.files:
            if "by_fit" in name:
                expected = found[name.replace("by_fit", "by_loop")]
                np.testing.assert_allclose(found[name], expected, rtol=1e-6, atol=1e-6)


def l2(weights):
    return sum((np.asarray(weight, np.float64) ** 2).sum() / 2 for weight in weights)


@pytest.mark.parametrize("optimizer", ["sgd", "lars"])
def test_the_loss_is_that_of_the_paper(optimizer):
    """NT-Xent and decay of the weights, written out."""
    trained = model(temperature=0.5, weight_decay=0.01, num_classes=3)
    trained.compile(simclr_tf.LARS(0.0) if optimizer == "lars" else keras.optimizers.SGD(0.0))
    found = trained.evaluate(pairs(labelled), verbose=0, return_dict=True)
    assert set(found) == NAMES | HEAD_NAMES
    losses = []
    for batch in pairs(labelled):
        images = np.concatenate([batch["view_0"], batch["view_1"]])
        z = np.asarray(trained(images)["proj_head_output"], np.float64)
        z /= np.linalg.norm(z, axis=1, keepdims=True)
        similar = np.exp(z @ z.T / 0.5)
        np.fill_diagonal(similar, 0)
        positive = similar[np.arange(16), (np.arange(16) + 8) % 16]
        # Each view is an anchor; the two views' means are added up, as in the reference.
        losses.append(2 * np.mean(np.log(similar.sum(axis=1) / positive)))
    assert found["contrast_loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    kernels = [v for v in trained.trainable_variables if "kernel" in v.name]
    head = [trained.linear_head.kernel]
    decayed = head if optimizer == "lars" else [*kernels, trained.linear_head.bias]
    assert found["weight_decay"] == pytest.approx(0.01 * l2(decayed), rel=1e-5)
    total = found["contrast_loss"] + found["supervised_loss"] + found["weight_decay"]
    assert found["loss"] == pytest.approx(total, rel=1e-5)


def test_lars_is_told_roles_and_decay():
    trained = model(num_classes=3, weight_decay=0.01)
    optimizer = simclr_tf.LARS(0.3)
    trained.compile(optimizer)
    assert optimizer.roles["linear_head/kernel"] == "linear_head_kernel"
    assert optimizer.roles["norm/gamma"] == "batch_norm"
    assert optimizer.coupled_weight_decay == 0.01
    config = optimizer.get_config()
    assert config["roles"] is None  # another model's variables may have other names
    assert config["weight_decay"] is None
    own = simclr_tf.LARS(0.3, weight_decay=0.5)
    trained.compile(own)
    assert own.coupled_weight_decay == 0.5


def test_every_form_of_a_batch_is_the_same():
    forms = [
        pairs(labelled),
        pairs(lambda first, second, label: ((first, second), label)),
    ]
    found = []
    for form in forms:
        trained = model(num_classes=3)
        trained.compile(simclr_tf.LARS(0.3))
        found.append(trained.fit(form, verbose=0).history)
    assert found[0] == found[1]
    assert set(found[0]) == NAMES | HEAD_NAMES
    found = []
    for form in ((pairs(),), (pairs(lambda a, b, _: (a, b)),), tuple(VIEWS)):
        trained = model()
        trained.compile("sgd")
        options = {} if len(form) == 1 else {"batch_size": 8, "shuffle": False}
        found.append(trained.fit(*form, verbose=0, **options).history)
    assert found[0] == found[1] == found[2]
    assert set(found[0]) == NAMES


def test_ways_to_compile_it_change_nothing():
    found = []
    for options in ({}, {"steps_per_execution": 2}, {"run_eagerly": True}, {"jit_compile": True}):
        trained = model()
        trained.compile(simclr_tf.LARS(0.3), **options)
        trained.fit(pairs(), verbose=0)
        assert int(trained.optimizer.iterations) == 2
        found.append(np.concatenate([weight.ravel() for weight in trained.get_weights()]))
    for others in found[1:]:
        np.testing.assert_allclose(others, found[0], rtol=1e-4, atol=1e-5)


def test_callbacks_work_and_a_file_goes_on_where_it_was(tmp_path):
    schedule = keras.optimizers.schedules.CosineDecay(0.3, 100)
    trained = model(num_classes=3, objective=ObjectiveConfig(temperature=0.3, hidden_norm=True))
    trained.compile(simclr_tf.LARS(schedule))
    path = str(tmp_path / "best.keras")
    trained.fit(
        pairs(labelled), epochs=2, verbose=0,
        callbacks=[
            keras.callbacks.EarlyStopping("loss", patience=5),
            keras.callbacks.ModelCheckpoint(path),
            keras.callbacks.TensorBoard(str(tmp_path / "board")),
        ],
    )  # fmt: skip
    loaded = keras.models.load_model(path)
    assert isinstance(loaded, SimCLR)
    assert loaded.optimizer.roles == trained.optimizer.roles
    assert loaded.get_config() == trained.get_config()
    assert int(loaded.optimizer.iterations) == 4
    np.testing.assert_array_equal(
        loaded.predict(VIEWS[0], verbose=0), trained.predict(VIEWS[0], verbose=0)
    )
    for one in (trained, loaded):
        one.fit(pairs(labelled), verbose=0)
    for expected, weight in zip(trained.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_a_plateau_lowers_the_learning_rate():
    trained = model()
    trained.compile(simclr_tf.LARS(1e-9))
    trained.fit(pairs(), epochs=3, verbose=0,
                callbacks=[keras.callbacks.ReduceLROnPlateau("loss", 0.5, patience=1)])  # fmt: skip
    assert float(trained.optimizer.learning_rate) < 1e-9


def test_predict_gives_the_encoders_features():
    made = model()
    found = made.predict(VIEWS[0], verbose=0)
    assert found.shape == (16, 6)
    np.testing.assert_allclose(found, made.encoder.body(VIEWS[0]), rtol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_resnet_of_settings(precision, tmp_path):
    encoder = EncoderConfig(resnet_depth=18, width_multiplier=1 / 16)
    head = ProjectionConfig(num_proj_layers=2)
    made = SimCLR(encoder, head, image_size=8, precision=precision)
    assert made.config.encoder.stem == "cifar"
    assert len(made.projection_head.projection_layers) == 2
    made.compile("adam")
    made.save(tmp_path / "resnet.keras")
    loaded = keras.models.load_model(tmp_path / "resnet.keras")
    assert loaded.compute_dtype == precision
    assert [v.name for v in loaded.variables] == [v.name for v in made.variables]
    for expected, weight in zip(made.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


BATCHES = {
    "batches with view_1": lambda a, b, label: {"view_0": a},
    "two views of one size": lambda a, b, label: {"view_0": a, "view_1": b[:, :4]},
    r"floats in \[0, 1\] as view_1": lambda a, b, label: (a, tf.cast(b * 255, tf.uint8)),
    "views of shape any x any x any x 3": lambda a, b, label: (a[..., :1], b[..., :1]),
    r"batches \{view_0": lambda a, b, label: a,
    r"\(\(view_0, view_1\), label\)": lambda a, b, label: (a, b, label),
}


@pytest.mark.parametrize("said", BATCHES)
@pytest.mark.parametrize("act", ["fit", "evaluate"])
def test_other_batches_are_refused_in_one_line(said, act):
    encoder = EncoderConfig(resnet_depth=18, width_multiplier=1 / 16, stem="cifar")
    made = SimCLR(encoder)
    made.compile("sgd")
    with pytest.raises(InputError, match=f"^dataset must have .*{said}"):
        getattr(made, act)(pairs(BATCHES[said]), verbose=0)


def test_the_linear_head_needs_labels():
    made = model(num_classes=3)
    made.compile("sgd")
    with pytest.raises(InputError, match="dataset must have batches with label"):
        made.fit(pairs(), verbose=0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda label: label + 1, "labels below 3, the number of classes"),
        (lambda label: tf.one_hot(label, 3), r"labels \(B,\), whole numbers. Received: .'float32'"),
        (lambda label: tf.cast(label, tf.float32), r"labels \(B,\), whole numbers"),
    ],
)
def test_labels_that_name_no_class_are_refused_in_one_line(change, said):
    made = model(num_classes=3)
    made.compile("sgd")
    data = pairs(lambda a, b, label: ((a, b), change(label % 3)))
    with pytest.raises(InputError, match=f"^dataset must have {said}"):
        made.fit(data, verbose=0)


def test_views_of_bytes_as_floats_are_refused():
    made = model()
    made.compile("sgd")
    with pytest.raises(InputError, match=r"floats in \[0, 1\]. Received: 'values above 2'"):
        made.fit(pairs(lambda a, b, label: (a, b * 255)), verbose=0)


@pytest.mark.parametrize("factor", [np.inf, np.nan])
def test_a_loss_that_is_not_finite_ends_it(factor):
    made = model()
    made.compile("sgd")
    with pytest.raises(NonFiniteLossError, match="NaN or infinity in step 1;"):
        made.fit(pairs(lambda a, b, label: (a * factor, b)), verbose=0)


@pytest.mark.parametrize(
    ("said", "arguments"),
    [
        ("loss must not be given", {"optimizer": "sgd", "loss": "mse"}),
        ("metrics must not be given", {"optimizer": "sgd", "metrics": ["mse"]}),
        ("weight_decay must be 0 with AdamW", {"optimizer": "adamw"}),
        ("optimizer must be LARS", {"optimizer": keras.optimizers.legacy.SGD()}),
    ],
)
def test_what_compile_refuses(said, arguments):
    with pytest.raises(InputError, match=said):
        model(weight_decay=0.1).compile(**arguments)


@pytest.mark.parametrize(
    ("said", "arguments"),
    [
        ("encoder must be a tf_keras model", {"encoder": 3}),
        ("encoder must be a Keras model or settings",
         {"encoder": EncoderConfig(encoder="applications/MobileNetV2"), "image_size": 32}),
        ("image_size must be given with stem=auto", {}),
        ("image_size must be given: the encoder takes",
         {"encoder": body(input_shape=(None, None, 3))}),
        ("channels must be the 1 of", {"encoder": EncoderConfig(channels=1), "channels": 3}),
        ("temperature must be that of the objective",
         {"temperature": 0.1, "objective": ObjectiveConfig()}),
        ("weight_decay must", {"image_size": 32, "weight_decay": -1.0}),
        ("proj_out_dim must", {"image_size": 32, "projection": 0}),
    ],
)  # fmt: skip
def test_what_the_constructor_refuses(said, arguments):
    with pytest.raises(InputError, match=f"^{said}"):
        SimCLR(**arguments)
