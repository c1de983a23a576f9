"""LARS against published numbers and a float64 formula; state, settings, replicas."""

import enum
import json
import os
import pathlib
import sys

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from simclr_tf.errors import InputError
from simclr_tf.optimizers.lars import LARS
from simclr_tf.optimizers.schedule import WarmupCosine
from tests import warm

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
VARIANTS = {
    "classic": {},
    "nesterov": {"use_nesterov": True},
    "popular": {"classic_momentum": False},
    "zero_wd": {"weight_decay": 0.0},
}
PUBLISHED_ROLES = {
    "conv2d/kernel": "kernel",
    "batch_normalization/gamma": "batch_norm",
    "dense/bias": "bias",
    "head_supervised/linear_layer/dense/kernel": "linear_head_kernel",
    "projection_head/nl_0/dense/kernel": "kernel",
}


def simple_problem(seed=0):
    rng = np.random.default_rng(seed)
    kernel = tf.Variable(rng.normal(size=(4, 3)).astype(np.float32), name="layer/kernel")
    bias = tf.Variable(rng.normal(size=3).astype(np.float32), name="layer/bias")
    gradients = rng.normal(size=(8, 5, 3)).astype(np.float32)
    return [kernel, bias], [(g[:4], g[4]) for g in gradients]


SIMPLE_ROLES = {"layer/kernel": "kernel", "layer/bias": "bias"}


def apply(optimizer, variables, gradients):
    tensors = [tf.convert_to_tensor(gradient) for gradient in gradients]
    optimizer.apply_gradients(zip(tensors, variables, strict=True))


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_published_steps(fixtures_dir, variant, graph):
    published = np.load(fixtures_dir / "lars.npz")
    names = [str(name) for name in published["names"]]
    variables = [
        tf.Variable(published[f"{variant}_init_{i}"], name=name) for i, name in enumerate(names)
    ]
    settings = {"weight_decay": 1e-4, "roles": PUBLISHED_ROLES, **VARIANTS[variant]}
    optimizer = LARS(0.0, **settings)
    step_function = tf.function(lambda *g: apply(optimizer, variables, g)) if graph else (
        lambda *g: apply(optimizer, variables, g)
    )  # fmt: skip
    worst = 0.0
    for step in range(5):
        optimizer.learning_rate = float(published[f"{variant}_lr_{step}"])
        step_function(*[published[f"{variant}_grad_{step}_{i}"] for i in range(len(names))])
        for i, variable in enumerate(variables):
            expected = published[f"{variant}_param_{step}_{i}"]
            worst = max(worst, float(np.abs(variable.numpy() - expected).max()))
    print(f"{variant}, graph={graph}: largest deviation {worst:.1e}")
    assert worst <= 1e-6


def naive_steps(weight, gradients, rates, adapted, popular, nesterov, decay):
    """The published update in float64, one weight."""
    weight, velocity = weight.astype(np.float64), 0.0
    for gradient, rate in zip(gradients, rates, strict=True):
        direction = gradient + (decay * weight if adapted else 0.0)

        def trust(vector, weight=weight):
            return 0.001 * np.linalg.norm(weight) / np.linalg.norm(vector) if adapted else 1.0

        inside = 1.0 if popular else rate * trust(direction)
        velocity = 0.9 * velocity + inside * direction
        update = 0.9 * velocity + inside * direction if nesterov else velocity
        weight = weight - (rate * trust(update) * update if popular else update)
    return weight


@pytest.mark.parametrize("popular", [False, True])
@pytest.mark.parametrize("nesterov", [False, True])
def test_all_combinations_with_a_schedule(popular, nesterov):
    variables, gradients = simple_problem()
    schedule = WarmupCosine(3.0, 2, 8)
    before = [variable.numpy() for variable in variables]
    optimizer = LARS(schedule, use_nesterov=nesterov, classic_momentum=not popular,
                     weight_decay=0.1, roles=SIMPLE_ROLES)  # fmt: skip
    for pair in gradients:
        apply(optimizer, variables, pair)
    rates = [float(schedule(step)) for step in range(8)]
    for i, adapted in enumerate([True, False]):
        expected = naive_steps(
            before[i], [g[i] for g in gradients], rates, adapted, popular, nesterov, 0.1
        )
        np.testing.assert_allclose(variables[i], expected, rtol=2e-6, atol=2e-6)


def test_step_of_an_adapted_variable_does_not_depend_on_the_gradient_scale():
    steps = []
    for scale in (1.0, 1e4):
        variables, gradients = simple_problem()
        before = variables[0].numpy()
        optimizer = LARS(1.0, roles=SIMPLE_ROLES)
        apply(optimizer, variables, [gradient * scale for gradient in gradients[0]])
        steps.append(variables[0].numpy() - before)
    assert np.linalg.norm(steps[0]) == pytest.approx(0.001 * np.linalg.norm(before), rel=1e-3)
    np.testing.assert_allclose(steps[0], steps[1], rtol=1e-3)


@pytest.mark.parametrize("classic", [True, False])
@pytest.mark.parametrize("zero", ["weights", "gradient", "both"])
def test_zero_norms_give_trust_one(zero, classic):
    weight = np.zeros((2, 2)) if zero != "gradient" else np.ones((2, 2))
    gradient = np.zeros((2, 2)) if zero != "weights" else np.ones((2, 2))
    variable = tf.Variable(weight.astype(np.float32), name="k")
    optimizer = LARS(0.5, classic_momentum=classic, roles={"k": "kernel"})
    apply(optimizer, [variable], [gradient.astype(np.float32)])
    np.testing.assert_array_equal(variable, weight - 0.5 * gradient)


@pytest.mark.parametrize("classic", [True, False])
def test_a_norm_too_small_for_float32_gives_trust_one(classic):
    """The squares of the gradient are 0, the gradient is not: the step is a plain one."""
    variable = tf.Variable(np.full((2, 2), 1e-18, np.float32), name="k")
    optimizer = LARS(1e6, classic_momentum=classic, roles={"k": "kernel"})
    apply(optimizer, [variable], [np.full((2, 2), 1e-25, np.float32)])
    np.testing.assert_allclose(variable, np.full((2, 2), 0.9e-18), rtol=1e-5)


@pytest.mark.parametrize("role", ["bias", "batch_norm", "linear_head_kernel", "linear_head_bias"])
def test_excluded_roles_take_plain_momentum_steps(role):
    variable = tf.Variable(np.ones((2, 2), np.float32), name="k")
    apply(LARS(0.5, weight_decay=9.0, roles={"k": role}), [variable], [np.ones((2, 2), np.float32)])
    np.testing.assert_array_equal(variable, np.full((2, 2), 0.5))


def test_without_roles_rank_decides():
    variables, gradients = simple_problem()
    others, _ = simple_problem()
    for roles, those in ((None, variables), (SIMPLE_ROLES, others)):
        optimizer = LARS(0.5, weight_decay=0.1, roles=roles)
        for pair in gradients[:3]:
            apply(optimizer, those, pair)
    for one, other in zip(variables, others, strict=True):
        np.testing.assert_array_equal(one, other)


def test_decay_is_not_applied_a_second_time():
    variable = tf.Variable(np.ones((2, 2), np.float32), name="k")
    optimizer = LARS(0.5, weight_decay=0.5, roles={"k": "kernel"}, trust_coefficient=1e-30)
    apply(optimizer, [variable], [np.ones((2, 2), np.float32)])
    np.testing.assert_array_equal(variable, np.ones((2, 2)))


MIXED_ROLES = {
    "a/kernel": "kernel", "a/bias": "bias", "b/kernel": "kernel", "c/gamma": "batch_norm",
    "zero/kernel": "kernel", "linear/kernel": "linear_head_kernel",
}  # fmt: skip


def mixed_problem(steps):
    """Variables of all kinds and ranks, one of which is zero, and gradients of some steps."""
    rng = np.random.default_rng(3)
    shapes = [(3, 3, 2, 4), (4,), (5, 3), (2,), (3, 2), (3, 3)]
    weights = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    weights[4][:] = 0
    variables = [
        tf.Variable(value, name=name) for name, value in zip(MIXED_ROLES, weights, strict=True)
    ]
    gradients = [
        [rng.normal(size=shape).astype(np.float32) for shape in shapes] for _ in range(steps)
    ]
    return variables, gradients


def naive_trust(weight, vector):
    norms = np.sqrt(np.sum(weight**2)), np.sqrt(np.sum(vector**2))
    return 0.001 * norms[0] / norms[1] if norms[0] > 0 and norms[1] > 0 else 1.0


@pytest.mark.parametrize("popular", [False, True])
@pytest.mark.parametrize("nesterov", [False, True])
def test_many_variables_at_once(popular, nesterov):
    variables, gradients = mixed_problem(steps=3)
    weights = [variable.numpy().astype(np.float64) for variable in variables]
    velocities = [np.zeros_like(weight) for weight in weights]
    optimizer = LARS(0.4, use_nesterov=nesterov, classic_momentum=not popular, weight_decay=0.1,
                     roles=MIXED_ROLES)  # fmt: skip
    step_function = tf.function(lambda *g: apply(optimizer, variables, g))
    for step in gradients:
        step_function(*step)
        for i, (gradient, role) in enumerate(zip(step, MIXED_ROLES.values(), strict=True)):
            adapted, before = role == "kernel", weights[i]
            direction = gradient + 0.1 * before if adapted else gradient.astype(np.float64)
            inside = 1.0 if popular else 0.4 * (naive_trust(before, direction) if adapted else 1)
            velocities[i] = 0.9 * velocities[i] + inside * direction
            update = 0.9 * velocities[i] + inside * direction if nesterov else velocities[i]
            outside = 0.4 * (naive_trust(before, update) if adapted else 1) if popular else 1.0
            weights[i] = before - outside * update
    for variable, weight in zip(variables, weights, strict=True):
        np.testing.assert_allclose(variable, weight, rtol=3e-6, atol=3e-6, err_msg=variable.name)
    for variable, velocity in zip(optimizer.velocities, velocities, strict=True):
        np.testing.assert_allclose(variable, velocity, rtol=3e-6, atol=3e-6)


def count_operations(optimizer, pairs):
    """Operations of a traced update of as many kernels and biases, beside inputs and constants."""
    variables = [
        tf.Variable(tf.ones(shape), name=f"{name}_{i}")
        for i in range(pairs)
        for name, shape in (("kernel", [2, 3]), ("bias", [3]))
    ]
    optimizer.build(variables)
    specs = [tf.TensorSpec(variable.shape) for variable in variables]

    @tf.function
    def update(*gradients):
        optimizer.apply_gradients(
            zip(gradients, variables, strict=True), skip_gradients_aggregation=True
        )

    graph = update.get_concrete_function(*specs).graph
    ignored = ("Placeholder", "Const", "NoOp")
    return sum(operation.type not in ignored for operation in graph.get_operations())


@pytest.mark.parametrize(
    ("variant", "most"), [("classic", 9), ("nesterov", 9), ("popular", 15)], ids=lambda one: one
)
def test_operations_per_variable_stay_few(variant, most):
    # A kernel: read, decay, sum, two norms, scaling, update. A bias: scaling, update.
    few, many = (count_operations(LARS(0.1, weight_decay=0.1, **VARIANTS[variant]), pairs)
                 for pairs in (5, 15))  # fmt: skip
    each, beside = (many - few) / 10, few - (many - few) / 2
    print(f"{variant}: {each} operations per kernel and bias, {beside} beside")
    assert 0 < each <= most
    assert beside <= 20


def test_moving_averages_change_no_weight_and_follow_them():
    results, averages = [], None
    for settings in ({}, {"use_ema": True, "ema_momentum": 0.75}):
        variables, gradients = mixed_problem(steps=3)
        expected = [variable.numpy() for variable in variables]
        optimizer = LARS(0.4, weight_decay=0.1, roles=MIXED_ROLES, **settings)
        for step in gradients:
            apply(optimizer, variables, step)
            expected = [0.75 * old + 0.25 * new.numpy()
                        for old, new in zip(expected, variables, strict=True)]  # fmt: skip
        results.append([variable.numpy() for variable in variables])
        averages = expected
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)
    optimizer.finalize_variable_values(variables)
    for variable, average in zip(variables, averages, strict=True):
        np.testing.assert_allclose(variable, average, rtol=1e-5, atol=1e-6)


def test_clipping_comes_before_everything_else():
    variables, gradients = simple_problem()
    others, _ = simple_problem()
    clipping, plain = (LARS(0.5, roles=SIMPLE_ROLES, **more) for more in ({"clipvalue": 0.1}, {}))
    for pair in gradients:
        apply(clipping, variables, pair)
        apply(plain, others, [np.clip(gradient, -0.1, 0.1) for gradient in pair])
    for one, other in zip(variables, others, strict=True):
        np.testing.assert_array_equal(one, other)


def test_half_and_double_precision_stand_beside_each_other():
    kinds, steps = ("float16", "float32", "float64"), {}
    for kind in (*kinds, None):
        used = [kind] if kind else kinds
        variables = [
            tf.Variable(tf.fill([300, 2], tf.cast(3.0, one)), name=f"k{one}") for one in used
        ]
        apply(LARS(0.5, trust_coefficient=0.1), variables,
              [tf.fill([300, 2], tf.cast(20.0, one)) for one in used])  # fmt: skip
        steps.update({(kind, one.dtype.name): one.numpy() for one in variables})
    for kind in kinds:  # |w| / |g| = 3 / 20; in half precision both squares sum up to infinity
        np.testing.assert_allclose(steps[kind, kind], 3 - 0.5 * 0.1 * 3, rtol=1e-3)
        np.testing.assert_allclose(steps[None, kind], steps[kind, kind], rtol=1e-6)


def test_names_a_variable_it_was_not_built_for():
    variables, gradients = simple_problem()
    optimizer = LARS(0.1)
    optimizer.build(variables[:1])
    with pytest.raises(KeyError, match=r"built for every variable. Received: layer/bias"):
        apply(optimizer, variables, gradients[0])


def test_sparse_gradient_equals_dense():
    weights = []
    for sparse in (False, True):
        variable = tf.Variable(np.ones((4, 2), np.float32), name="k")
        gradient = tf.IndexedSlices(tf.ones([2, 2]), tf.constant([0, 2]), tf.constant([4, 2]))
        gradient = gradient if sparse else tf.convert_to_tensor(gradient)
        LARS(0.5, roles={"k": "kernel"}).apply_gradients([(gradient, variable)])
        weights.append(variable.numpy())
    np.testing.assert_array_equal(*weights)


def test_every_variable_needs_a_role():
    variables, gradients = simple_problem()
    with pytest.raises(ValueError, match=r"must have a role.*layer/bias"):
        apply(LARS(0.1, roles={"layer/kernel": "kernel"}), variables, gradients[0])


class SomeRole(enum.Enum):
    """Stands for the roles of the model package."""

    KERNEL = "kernel"
    BIAS = "bias"


def test_roles_may_be_enum_members_and_names_may_end_in_zero():
    roles = {"layer/kernel:0": SomeRole.KERNEL, "layer/bias:0": SomeRole.BIAS}
    optimizer = LARS(0.1, roles=roles, exclude_roles=[SomeRole.BIAS])
    assert optimizer.get_config()["roles"] == SIMPLE_ROLES
    assert optimizer.get_config()["exclude_roles"] == ["bias"]


@pytest.mark.parametrize("rate", [0.3, WarmupCosine(1.5, 3, 20)], ids=["number", "schedule"])
def test_config_round_trip_through_json(rate):
    settings = {"momentum": 0.8, "use_nesterov": True, "weight_decay": 0.02,
                "classic_momentum": False, "trust_coefficient": 0.01, "roles": SIMPLE_ROLES,
                "exclude_roles": ["batch_norm"], "name": "mine", "clipnorm": 2.0}  # fmt: skip
    optimizer = LARS(rate, **settings)
    config = optimizer.get_config()
    assert {key: config[key] for key in settings} == settings
    text = json.dumps(keras.optimizers.serialize(optimizer))
    copy = keras.optimizers.deserialize(json.loads(text))
    assert isinstance(copy, LARS)
    assert copy.get_config() == config
    results = []
    for one in (optimizer, copy, LARS.from_config(json.loads(json.dumps(config)))):
        variables, gradients = simple_problem()
        for pair in gradients:
            apply(one, variables, pair)
        results.append([variable.numpy() for variable in variables])
    for other in results[1:]:
        for one, same in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, same)


@pytest.mark.parametrize("built", [False, True])
def test_checkpoint_in_the_middle_continues_bit_by_bit(tmp_path, built):
    def create():
        variables, gradients = simple_problem()
        optimizer = LARS(WarmupCosine(2.0, 2, 8), weight_decay=0.1, roles=SIMPLE_ROLES)
        checkpoint = tf.train.Checkpoint(optimizer=optimizer, variables=variables)
        return variables, gradients, optimizer, checkpoint

    variables, gradients, optimizer, checkpoint = create()
    checkpoint.save(str(tmp_path / "before"))  # the optimizer has no slots yet
    for step, pair in enumerate(gradients):
        if step == 4:
            path = checkpoint.save(str(tmp_path / "middle"))
        apply(optimizer, variables, pair)

    later, _, restored, checkpoint = create()
    if built:
        restored.build(later)
    status = checkpoint.restore(path)
    for pair in gradients[4:]:
        apply(restored, later, pair)
    status.assert_consumed()
    assert int(restored.iterations) == 8
    for one, other in zip(variables + optimizer.velocities, later + restored.velocities,
                          strict=True):  # fmt: skip
        np.testing.assert_array_equal(one, other)


def test_settings_stay_out_of_checkpoints(tmp_path):
    variables, gradients = simple_problem()
    optimizer = LARS(0.1, roles=SIMPLE_ROLES)
    apply(optimizer, variables, gradients[0])
    path = tf.train.Checkpoint(optimizer=optimizer).save(str(tmp_path / "c"))
    keys = " ".join(name for name, _ in tf.train.list_variables(path))
    assert "velocit" in keys or "_variables" in keys
    assert "role" not in keys


def test_xla_is_off_unless_asked_for(monkeypatch):
    config = tf.compat.v2.config  # the one that Keras asks
    monkeypatch.setattr(config, "list_physical_devices", lambda kind=None: ["a GPU"])
    assert not LARS(0.1).jit_compile
    assert LARS(0.1, jit_compile=True).jit_compile


def test_trains_a_keras_model():
    model = keras.Sequential([keras.layers.Dense(4, activation="relu"), keras.layers.Dense(1)])
    model.compile(LARS(0.1, trust_coefficient=0.1), "mse")
    rows = np.random.default_rng(0).normal(size=(32, 3)).astype(np.float32)
    history = model.fit(rows, rows.sum(axis=1), epochs=5, verbose=0).history["loss"]
    assert history[-1] < history[0]


@pytest.mark.parametrize(
    "wrong",
    [{"momentum": 1.0}, {"momentum": -0.1}, {"weight_decay": -1.0}, {"trust_coefficient": 0.0}],
)
def test_refuses_numbers_out_of_range(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))} must"):
        LARS(0.1, **wrong)


def test_four_replicas_equal_one_device(tmp_path):
    path = tmp_path / "results.json"
    program = pathlib.Path(__file__).with_name("replicas_program.py")
    command = [sys.executable, str(program), "4", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    ran = warm.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-3000:]
    results = json.loads(path.read_text())
    one, several = results["one"], results["several"]
    assert several["iterations"] == one["iterations"] == 4
    worst = max(
        np.abs(np.subtract(copy, weight)).max()
        for i, weight in enumerate(one["weights"])
        for copy in several["weights"][i * 4 : (i + 1) * 4]
    )
    print(f"four replicas: largest deviation of any copy of a weight {worst:.1e}")
    assert worst <= 1e-5


def test_what_the_constructor_was_not_given_is_completed_until_it_is_built():
    variable = tf.Variable(tf.ones([2, 2]), name="kernel")
    given = {"roles": {"kernel": "linear_head_kernel"}, "weight_decay": 0.5}
    own, completed, plain = LARS(0.1, **given), LARS(0.1), LARS(0.1)
    for optimizer in (own, completed):
        optimizer.complete({"kernel:0": "kernel"}, 0.25)
    assert (own.roles, own.coupled_weight_decay) == ({"kernel": "linear_head_kernel"}, 0.5)
    assert (completed.roles, completed.coupled_weight_decay) == ({"kernel": "kernel"}, 0.25)
    assert own.get_config() == LARS(0.1, **given).get_config()
    assert completed.get_config() == plain.get_config()
    plain.build([variable])
    plain.complete({"kernel:0": "kernel"}, 0.25)
    assert plain.roles is None
    assert not plain.coupled_weight_decay
