"""Batch norm against NumPy in float64: one device, frozen, in bfloat16, over several replicas."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import workers
from simclr_tf.config import BatchNormConfig, EncoderConfig
from simclr_tf.errors import InputError
from simclr_tf.models.batch_norm import (
    BatchNorm,
    _summable,
    local_value,
    statistics_kept,
    statistics_moved_in,
    sync_statistics,
)
from simclr_tf.models.resnet import ResNet
from tests import warm
from tests.models import replicas_program as program

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SHAPES = [(6, 5), (3, 4, 2, 5)]


def _batch(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(1.5, 2.0, shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("in_graph", [False, True])
def test_training_uses_the_batch_and_moves_population_statistics(shape, in_graph):
    x = _batch(shape)
    axes = tuple(range(len(shape) - 1))
    layer = BatchNorm(BatchNormConfig(batch_norm_decay=0.8))
    layer.build(shape)
    call = tf.function(layer) if in_graph else layer
    outputs = call(tf.constant(x), training=True).numpy()
    expected = (x - x.mean(axes)) / np.sqrt(x.var(axes) + 1e-5)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean.numpy(), 0.2 * x.mean(axes), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance.numpy(), 0.8 + 0.2 * x.var(axes), rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_inference_uses_running_statistics(shape):
    x = _batch(shape)
    layer = BatchNorm(BatchNormConfig())
    layer.build(shape)
    layer.moving_mean.assign(np.arange(5, dtype=np.float32))
    layer.moving_variance.assign(np.full(5, 4.0, np.float32))
    expected = (x - np.arange(5)) / np.sqrt(4.0 + 1e-5)
    np.testing.assert_allclose(layer(x, training=False).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_frozen_layer_is_in_inference_mode(shape):
    x = _batch(shape)
    layer = BatchNorm(BatchNormConfig())
    layer.build(shape)
    layer.trainable = False
    before = [v.numpy() for v in layer.variables]
    np.testing.assert_array_equal(layer(x, training=True), layer(x, training=False))
    for variable, old in zip(layer.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), old)


def test_gradient_of_the_fused_path_equals_that_of_the_formula():
    x = tf.constant(_batch((3, 4, 2, 5)))
    weights = tf.constant(np.random.default_rng(1).normal(size=x.shape).astype(np.float32))
    layer = BatchNorm(BatchNormConfig())
    layer.build(x.shape)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        fused = tf.reduce_sum(weights * layer(x, training=True))
        mean, variance = tf.nn.moments(x, [0, 1, 2])
        plain = tf.reduce_sum(weights * (x - mean) / tf.sqrt(variance + 1e-5))
    np.testing.assert_allclose(tape.gradient(fused, x), tape.gradient(plain, x), atol=1e-5)


def test_options_and_float32_variables_under_bfloat16():
    layer = BatchNorm(BatchNormConfig(), zero_gamma=True, center=False, dtype="mixed_bfloat16")
    outputs = layer(tf.ones([2, 2, 2, 3]), training=True)
    assert outputs.dtype == tf.bfloat16
    assert layer.beta is None
    assert {v.dtype for v in layer.variables} == {tf.float32}
    np.testing.assert_array_equal(layer.gamma.numpy(), np.zeros(3))


def test_one_value_per_channel_does_not_give_nan():
    layer = BatchNorm(BatchNormConfig())
    outputs = layer(tf.ones([1, 1, 1, 3]), training=True)
    assert np.isfinite(outputs).all()
    assert np.isfinite(layer.moving_variance.numpy()).all()


def _axes(x):
    return tuple(range(x.ndim - 1))


def _oracle(x, dy, gamma, beta):
    """One device with the whole batch, in float64: outputs, gradients, moving statistics."""
    x, dy, gamma, beta = (np.asarray(a, np.float64) for a in (x, dy, gamma, beta))
    axes, decay = _axes(x), program.DECAY
    mean, variance = x.mean(axes), ((x - x.mean(axes)) ** 2).mean(axes)
    inverse_std = 1 / np.sqrt(variance + 1e-5)
    x_hat = (x - mean) * inverse_std
    return {
        "y": gamma * x_hat + beta,
        "dx": gamma * inverse_std * (dy - dy.mean(axes) - x_hat * (dy * x_hat).mean(axes)),
        "dgamma": (dy * x_hat).sum(axes),
        "dbeta": dy.sum(axes),
        "moving_mean": (1 - decay) * mean,
        "moving_variance": decay + (1 - decay) * variance,
    }


def _error(got, wanted):
    """The largest deviation, relative to the largest value, outside the constant channel.

    There the deviation of x from its mean is all rounding, which 1 / sqrt(epsilon) = 316 blows up;
    `_assert_constant_gives_beta` looks at it.
    """
    got, wanted = (np.delete(a, program.CONSTANT_CHANNEL, axis=-1) for a in (got, wanted))
    return np.abs(got - wanted).max() / np.abs(wanted).max()


def _assert_constant_gives_beta(x, y, roundings=2):
    channel = program.CONSTANT_CHANNEL
    gamma, beta = (values[channel] for values in program.parameters())
    rounding = np.spacing(np.abs(x[..., channel]).max())
    assert np.abs(y[..., channel] - beta).max() <= roundings * rounding * gamma / np.sqrt(1e-5)


def _assert_same_on_replicas(stacked):
    np.testing.assert_array_equal(stacked, np.broadcast_to(stacked[0], stacked.shape))


def _measured(layer, x, dy, call=None):
    call = call or tf.function(program.training_call)
    values = call(layer, tf.constant(x), tf.constant(dy))
    found = dict(zip(["y", "dx", "dgamma", "dbeta"], [np.array(v) for v in values], strict=True))
    return found | {"moving_mean": layer.moving_mean, "moving_variance": layer.moving_variance}


def _single(shape, **options):
    return program.build(tf.distribute.get_strategy(), shape, **options)


def test_the_oracle_has_the_gradient_of_finite_differences():
    x, dy = program.cases()["4-D"]
    gamma, beta = program.parameters()
    wanted = _oracle(x, dy, gamma, beta)["dx"]
    # In the constant channel the loss bends within the step, since epsilon is all its variance.
    for index in [(0, 0, 0, 0), (3, 2, 1, 1), (7, 3, 2, 4)]:
        step = np.zeros(x.shape)
        step[index] = 1e-5
        up, down = (_oracle(x + s, dy, gamma, beta)["y"] for s in (step, -step))
        assert ((up - down) * dy).sum() / 2e-5 == pytest.approx(wanted[index], rel=1e-6)


@pytest.mark.parametrize("case", ["2-D", "4-D"])
def test_one_device_equals_the_oracle(case):
    x, dy = program.cases()[case]
    wanted = _oracle(x, dy, *program.parameters())
    found = _measured(_single(x.shape), x, dy)
    for name, got in found.items():
        assert _error(got, wanted[name]) < 2e-6, name
    _assert_constant_gives_beta(x, found["y"])


def test_a_large_mean_and_many_rows_cost_no_digits_in_two_dimensions():
    rng = np.random.default_rng(0)
    x = rng.normal(100.0, 0.1, (4096, 5)).astype(np.float32)
    dy = rng.normal(0.5, 1.0, x.shape).astype(np.float32)
    wanted = _oracle(x, dy, *program.parameters())
    found = _measured(_single(x.shape), x, dy)
    # float32 cannot hold a mean of 100 closer than 4e-6, which is 4e-5 standard deviations.
    assert _error(found["y"], wanted["y"]) < 5e-5
    assert _error(found["dx"], wanted["dx"]) < 5e-5
    assert _error(found["moving_variance"], wanted["moving_variance"]) < 2e-6


@pytest.mark.parametrize("shape", [(1, 3), (4, 1), (1, 1), (1, 2, 3, 1)])
def test_dimensions_of_one_and_unknown_sizes_keep_the_shape(shape):
    layer = BatchNorm(BatchNormConfig(0.5))
    layer.build([None, *shape[1:]])
    signature = tf.TensorSpec([None] * (len(shape) - 1) + [shape[-1]])
    call = tf.function(lambda x: layer(x, training=True)).get_concrete_function(signature)
    assert call.output_shapes.as_list() == signature.shape.as_list()
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    expected = (x - x.mean(_axes(x))) / np.sqrt(x.var(_axes(x)) + 1e-5)
    np.testing.assert_allclose(call(tf.constant(x)), expected, atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, 0.5 * x.mean(_axes(x)), rtol=1e-6)


@pytest.mark.parametrize("case", ["2-D", "4-D"])
def test_a_training_call_compiles_with_xla(case):
    x, dy = program.cases()[case]
    wanted = _oracle(x, dy, *program.parameters())
    compiled = tf.function(program.training_call, jit_compile=True)
    for name, got in _measured(_single(x.shape), x, dy, compiled).items():
        assert _error(got, wanted[name]) < 1e-5, name


@pytest.mark.parametrize("case", ["2-D", "4-D"])
def test_bfloat16_inputs_have_float32_statistics(case):
    x, dy = program.cases()[case]
    rounded = tf.cast(x, tf.bfloat16)
    layer = _single(x.shape, dtype="mixed_bfloat16")
    outputs = layer(rounded, training=True)
    assert outputs.dtype == tf.bfloat16
    wanted = _oracle(tf.cast(rounded, tf.float32), dy, *program.parameters())
    assert _error(tf.cast(outputs, tf.float32), wanted["y"]) < 2**-8
    for name in ("moving_mean", "moving_variance"):
        assert _error(getattr(layer, name), wanted[name]) < 2e-6


@pytest.mark.parametrize("shape", SHAPES)
def test_statistics_that_are_not_finite_leave_their_channel_alone(shape):
    x = _batch(shape)
    x[0, ..., 0] = np.inf
    x[1, ..., 1] = np.nan
    x[0, ..., 2] = 1e30  # its square overflows: the mean is finite, the variance is not
    layer = BatchNorm(BatchNormConfig(batch_norm_decay=0.8))
    layer.build(shape)
    layer(tf.constant(x), training=True)
    mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    np.testing.assert_array_equal(mean[:2], [0, 0])
    np.testing.assert_array_equal(variance[:3], [1, 1, 1])
    expected_mean = 0.2 * x[..., 2:].astype(np.float64).mean(_axes(x))
    np.testing.assert_allclose(mean[2:], expected_mean, rtol=1e-5)
    np.testing.assert_allclose(variance[3:], 0.8 + 0.2 * x[..., 3:].var(_axes(x)), rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("in_graph", [False, True])
def test_kept_statistics_do_not_move_and_the_batch_normalises(shape, in_graph):
    x = _batch(shape)
    layer = BatchNorm(BatchNormConfig())
    layer.build(shape)

    def kept(x):
        with statistics_kept():
            return layer(x, training=True)

    outputs = (tf.function(kept) if in_graph else kept)(tf.constant(x)).numpy()
    expected = (x - x.mean(_axes(x))) / np.sqrt(x.var(_axes(x)) + 1e-5)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), np.zeros(5))
    np.testing.assert_array_equal(layer.moving_variance.numpy(), np.ones(5))
    layer(x, training=True)
    assert (layer.moving_mean.numpy() != 0).all()


@pytest.mark.parametrize("decay", [0.9, 0.01])
@pytest.mark.parametrize("shape", SHAPES)
def test_statistics_moved_in_parts_decay_once(shape, decay):
    x = _batch(shape)
    layer = BatchNorm(BatchNormConfig(decay))
    layer.build(shape)
    with statistics_moved_in(4):
        for _ in range(4):
            layer(x, training=True)
    # The same batch four times: as one call with it.
    np.testing.assert_allclose(layer.moving_mean, (1 - decay) * x.mean(_axes(x)), rtol=1e-5)
    expected = decay + (1 - decay) * x.var(_axes(x))
    np.testing.assert_allclose(layer.moving_variance, expected, rtol=1e-5)
    before = layer.moving_mean.numpy()
    layer(x + 1, training=True)  # outside, the decay is whole again
    expected = decay * before + (1 - decay) * (x.mean(_axes(x)) + 1)
    np.testing.assert_allclose(layer.moving_mean, expected, rtol=1e-5)


@pytest.mark.parametrize("parts", [0, -1])
def test_parts_below_one_are_refused(parts):
    with pytest.raises(InputError, match="parts must be at least 1"), statistics_moved_in(parts):
        pass


def test_contexts_nest_survive_errors_and_stay_in_their_thread():
    layer = BatchNorm(BatchNormConfig(0.5))
    layer.build([None, 2])
    x = tf.constant([[2.0, 2.0]])

    def move():
        layer.moving_mean.assign([0.0, 0.0])
        layer(x, training=True)
        return float(layer.moving_mean[0])

    with statistics_kept():
        with statistics_moved_in(2):
            assert move() == pytest.approx(2 * (1 - 0.5**0.5))
        with contextlib.suppress(ArithmeticError), statistics_moved_in(3):
            raise ArithmeticError
        assert move() == 0.0
        other = []
        thread = threading.Thread(target=lambda: other.append(move()))
        thread.start()
        thread.join()
        assert other == [1.0]
    assert move() == 1.0


def test_without_replicas_sync_statistics_changes_nothing():
    encoder = ResNet(EncoderConfig(resnet_depth=18, width_multiplier=1 / 16, stem="cifar"))
    encoder(tf.random.normal([2, 8, 8, 3]), training=True)
    before = [v.numpy() for v in encoder.variables]
    sync_statistics(encoder)
    for variable, old in zip(encoder.variables, before, strict=True):
        np.testing.assert_array_equal(local_value(variable), old)


@pytest.mark.parametrize("times", [1, 2, 3, 7, 8, 12, 64, 500])
def test_rounded_statistics_are_the_mean_of_their_copies_exactly(times):
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    rounded = _summable(tf.constant(values), times).numpy()
    total = np.zeros_like(rounded)
    for _ in range(times):
        total += rounded
    np.testing.assert_array_equal(total / np.float32(times), rounded)
    np.testing.assert_allclose(rounded, values, rtol=times * 2**-22 if times > 1 else 0)


def _start(path, replicas, **environment):
    return warm.Program(
        [sys.executable, program.__file__, str(path), str(replicas)],
        env=dict(os.environ, PYTHONPATH=str(REPOSITORY), TF_CPP_MIN_LOG_LEVEL="3", **environment),
        stderr=warm.PIPE,
        text=True,
    )


def _finish(processes):
    try:
        for process in processes:
            _, stderr = process.communicate(timeout=180)
            assert process.returncode == 0, stderr[-3000:]
    finally:
        for process in processes:
            process.kill()


def _read(path):
    """Case -> name -> values of the file's replicas."""
    found = {}
    for key, value in np.load(path).items():
        case, name = key.rsplit("/", 1)
        found.setdefault(case, {})[name] = value
    return found


@pytest.fixture(scope="module", params=["4 replicas", "2 workers"])
def replicas(request, tmp_path_factory):
    """Results of all replicas, stacked in their order."""
    folder = tmp_path_factory.mktemp("replicas")
    count, kind = request.param.split()
    if kind == "replicas":
        _finish([_start(folder / "all.npz", count)])
        return _read(folder / "all.npz")
    paths = [folder / f"{index}.npz" for index in range(int(count))]
    cluster = {"worker": workers.free_addresses(len(paths))}
    roles = [{"cluster": cluster, "task": {"type": "worker", "index": i}} for i in range(2)]
    _finish(
        [_start(p, "worker", TF_CONFIG=json.dumps(r)) for p, r in zip(paths, roles, strict=True)]
    )
    first, second = (_read(path) for path in paths)
    for case, values in first.items():
        for name, value in values.items():
            if not name.startswith(("read", "local")):
                values[name] = np.concatenate([value, second[case][name]])
    return first


def _with_cancellation(x, gamma, beta):
    """Outputs from the variance E[x^2] - E[x]^2 in float32."""
    mean = x.mean(_axes(x))
    variance = np.maximum((x * x).mean(_axes(x)) - mean * mean, 0)
    return gamma * (x - mean) / np.sqrt(variance + np.float32(1e-5)) + beta


@pytest.mark.parametrize(
    ("case", "mode"),
    [
        *((case, mode) for case in ("2-D", "4-D") for mode in ("graph", "eager")),
        *((case, "graph") for case in ("hard 2-D", "hard 4-D")),
    ],
)
def test_replicas_equal_one_device_with_the_whole_batch(replicas, case, mode):
    x, dy = program.cases()[case]
    wanted = _oracle(x, dy, *program.parameters())
    found = replicas[f"{case}, {mode}"]
    for name in ("moving_mean", "moving_variance"):
        _assert_same_on_replicas(found[name])
    merged = {name: np.concatenate(found[name]) for name in ("y", "dx")}
    merged |= {name: found[name].sum(axis=0) for name in ("dgamma", "dbeta")}
    merged |= {name: found[name][0] for name in ("moving_mean", "moving_variance")}
    errors = {name: _error(merged[name], value) for name, value in wanted.items()}
    print({name: f"{error:.1e}" for name, error in errors.items()})
    # float32 holds a mean of 100 to 4e-6, which is 4e-5 standard deviations of 0.1.
    assert max(errors.values()) < (5e-4 if case.startswith("hard") else 1e-6)
    assert errors["moving_variance"] < 1e-6
    # The kernel's sum of a replica's equal numbers rounds once or twice more.
    _assert_constant_gives_beta(x, merged["y"], roundings=4)


@pytest.mark.parametrize("case", ["hard 2-D", "hard 4-D"])
def test_a_large_mean_does_not_cancel_over_replicas(replicas, case):
    x, dy = program.cases()[case]
    gamma, beta = program.parameters()
    wanted = _oracle(x, dy, gamma, beta)
    naive = _error(_with_cancellation(x, gamma, beta), wanted["y"])
    ours = _error(np.concatenate(replicas[f"{case}, graph"]["y"]), wanted["y"])
    print(f"outputs: {ours:.1e} here, {naive:.1e} from E[x^2] - E[x]^2")
    assert ours < naive / 100


def test_a_loop_around_the_replicas_repeats_the_step(replicas):
    case = "4-D"
    x, dy = program.cases()[case]
    wanted = _oracle(x, dy, *program.parameters())
    found = replicas[f"{case}, loop"]
    for name in ("dgamma", "dbeta"):
        assert _error(found[name].sum(axis=0), program.LOOPS * wanted[name]) < 1e-6
    decay = program.DECAY**program.LOOPS
    expected = (1 - decay) * x.astype(np.float64).mean(_axes(x))
    _assert_same_on_replicas(found["moving_mean"])
    assert _error(found["moving_mean"][0], expected) < 1e-6
    expected = decay + (1 - decay) * x.astype(np.float64).var(_axes(x))
    _assert_same_on_replicas(found["moving_variance"])
    assert _error(found["moving_variance"][0], expected) < 1e-6


def test_what_one_replica_lacks_moves_no_replica(replicas):
    case = "2-D"
    found = replicas[f"{case}, without numbers"]
    usual = replicas[f"{case}, graph"]
    np.testing.assert_array_equal(found["moving_mean"][:, :2], 0)
    np.testing.assert_array_equal(found["moving_variance"][:, :2], 1)
    for name in ("moving_mean", "moving_variance"):
        np.testing.assert_array_equal(found[name][:, 2:], usual[name][:, 2:])


def test_replicas_in_bfloat16_have_float32_statistics(replicas):
    case = "4-D"
    x, dy = program.cases()[case]
    found = replicas[f"{case}, bfloat16"]
    rounded = tf.cast(tf.cast(x, tf.bfloat16), tf.float32)
    wanted = _oracle(rounded, dy, *program.parameters())
    assert _error(np.concatenate(found["y"]), wanted["y"]) < 2**-8
    assert _error(np.concatenate(found["dx"]), wanted["dx"]) < 2**-6
    for name in ("moving_mean", "moving_variance"):
        assert _error(found[name][0], wanted[name]) < 1e-6


def test_replicas_keep_and_move_statistics_in_parts(replicas):
    x, dy = program.cases()["4-D"]
    found = replicas["4-D, in parts"]
    np.testing.assert_array_equal(found["before"], 1)
    wanted = _oracle(x, dy, *program.parameters())
    for name in ("moving_mean", "moving_variance"):
        assert _error(found[name][0], wanted[name]) < 1e-6


def test_statistics_of_their_own_become_the_mean_of_all_replicas(replicas):
    case = "2-D"
    x = program.cases()[case][0]
    found = replicas[f"{case}, synchronised"]
    pieces = np.split(x, len(found["y"]))
    wanted = [_oracle(piece, piece, *program.parameters()) for piece in pieces]
    for replica, own in enumerate(wanted):
        assert _error(found["y"][replica], own["y"]) < 2e-6
        for name in ("moving_mean", "moving_variance"):
            assert _error(found[f"before {name}"][replica], own[name]) < 2e-6
    for name in ("moving_mean", "moving_variance"):
        after = found[f"after {name}"]
        _assert_same_on_replicas(after)
        np.testing.assert_array_equal(found[f"read {name}"], after[0])
        assert _error(after[0], np.mean([own[name] for own in wanted], axis=0)) < 2e-6
    np.testing.assert_array_equal(found["local moving_variance"], found["after moving_variance"][0])
    np.testing.assert_array_equal(found["local gamma"], program.parameters()[0])
