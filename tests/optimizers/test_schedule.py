"""The learning rate against published numbers, a float64 formula, and in an optimizer."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from simclr_tf.config import OptimizerConfig
from simclr_tf.errors import InputError
from simclr_tf.optimizers.schedule import (
    WarmupCosine,
    build_schedule,
    check_schedule,
    count_warmup_steps,
    schedule_warning,
)


@pytest.mark.parametrize("case", ["linear_512", "sqrt_4096", "no_warmup"])
def test_published_rates(fixtures_dir, case):
    published = np.load(fixtures_dir / "schedule.npz")
    settings = json.loads(str(published[f"{case}_args"]))
    config = OptimizerConfig(
        learning_rate=settings["learning_rate"],
        learning_rate_scaling=settings["learning_rate_scaling"],
        warmup_epochs=settings["warmup_epochs"],
    )
    total_steps = int(published[f"{case}_total_steps"])
    schedule = build_schedule(
        config, settings["train_batch_size"], settings["num_examples"], total_steps
    )
    expected = published[f"{case}_lr"]
    rates = np.array([float(schedule(int(step))) for step in published[f"{case}_steps"]])
    error = np.abs(rates - expected) / np.where(expected > 0, expected, 1.0)
    print(f"{case}: largest relative deviation {error.max():.1e}")
    assert error.max() <= 1e-6


def naive_rate(step, peak, warmup, total):
    if step < warmup:
        return peak * step / warmup
    return peak * (1 + math.cos(math.pi * min(1, (step - warmup) / (total - warmup)))) / 2


@pytest.mark.parametrize(("warmup", "total"), [(0, 1), (0, 7), (1, 7), (3, 10), (6, 7)])
def test_equals_formula_at_every_step(warmup, total):
    schedule = WarmupCosine(0.7, warmup, total)
    expected = [naive_rate(step, 0.7, warmup, total) for step in range(total + 4)]
    np.testing.assert_allclose(schedule(tf.range(total + 4)), expected, atol=1e-7)


def test_landmarks():
    schedule = WarmupCosine(2.0, 4, 12)
    assert float(schedule(0)) == 0
    assert float(schedule(2)) == 1
    assert float(schedule(4)) == 2
    assert float(schedule(8)) == pytest.approx(1, rel=1e-6)
    assert float(schedule(12)) == float(schedule(10**9)) == 0
    assert schedule(tf.constant(3, tf.int64)).dtype == tf.float32


def test_starts_at_the_peak_without_warmup():
    assert float(WarmupCosine(2.0, 0, 12)(0)) == 2


def test_a_long_warmup_keeps_rising():
    rates = WarmupCosine(1.0, 10, 5)(tf.range(5)).numpy()
    np.testing.assert_allclose(rates, [0, 0.1, 0.2, 0.3, 0.4], rtol=1e-6)


def test_drives_an_optimizer_in_a_graph():
    schedule = WarmupCosine(1.0, 2, 6)
    optimizer = keras.optimizers.SGD(schedule)
    weight = tf.Variable(0.0)
    step = tf.function(lambda: optimizer.apply_gradients([(tf.constant(-1.0), weight)]))
    for _ in range(6):
        step()
    assert float(weight) == pytest.approx(sum(naive_rate(s, 1, 2, 6) for s in range(6)), rel=1e-6)


def test_config_round_trip():
    schedule = WarmupCosine(0.3, 5, 50)
    text = json.dumps(keras.optimizers.schedules.serialize(schedule))
    copy = keras.optimizers.schedules.deserialize(json.loads(text))
    assert isinstance(copy, WarmupCosine)
    assert copy.get_config() == schedule.get_config()


@pytest.mark.parametrize(
    ("epochs", "batch", "examples", "steps"),
    [(10, 512, 50_000, 976), (10, 4096, 1_281_167, 3127), (0, 256, 10_000, 0),
     (0.5, 100, 1000, 5), (1, 1000, 500, 0), (0.3, 64, 1797, 8)],
)  # fmt: skip
def test_count_warmup_steps(epochs, batch, examples, steps):
    count = count_warmup_steps(epochs, batch, examples)
    assert count == steps
    assert isinstance(count, int)


@pytest.mark.parametrize(("total", "fits"), [(1, False), (100, False), (101, True), (1000, True)])
def test_peak_must_lie_inside_the_run(total, fits):
    config = OptimizerConfig(learning_rate=0.256, warmup_epochs=10)  # 100 steps, peak 0.1
    highest = max(float(build_schedule(config, 100, 1000, total)(step)) for step in range(total))
    assert (highest == pytest.approx(0.1, rel=1e-6)) == fits
    warning = schedule_warning(config, 100, 1000, total)
    if fits:
        assert warning is None
        check_schedule(config, 100, 1000, total)
        return
    for figure in ("100 steps", f"only {total}:", f"{highest:.4g} of its peak 0.1"):
        assert figure in warning
    with pytest.raises(InputError, match=r"warmup_epochs must be shorter.*Received: 10"):
        check_schedule(config, 100, 1000, total)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [((0.0, 1, 2), "peak_learning_rate"), ((float("nan"), 1, 2), "peak_learning_rate"),
     ((1.0, -1, 2), "warmup_steps"), ((1.0, 0, 0), "total_steps")],
)  # fmt: skip
def test_refuses_numbers_out_of_range(arguments, name):
    with pytest.raises(InputError, match=f"{name} must"):
        WarmupCosine(*arguments)
