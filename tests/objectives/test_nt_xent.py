"""NT-Xent against published numbers, a naive loop, finite differences, and across replicas."""

import concurrent.futures
import json
import os
import pathlib
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf

from simclr_tf.errors import InputError
from simclr_tf.objectives.nt_xent import MASKED_LOGIT, l2_normalize, nt_xent
from tests import warm
from tests.objectives.replicas_program import OTHER_OBJECTIVES

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CASES = [("small", 0.1, 1), ("small", 0.5, 1), ("small", 0.5, 0), ("small", 1.0, 1),
         ("small", 1.0, 0), ("wide", 0.1, 1), ("wide", 0.5, 1), ("wide", 0.5, 0),
         ("wide", 1.0, 1), ("wide", 1.0, 0)]  # fmt: skip


def naive_nt_xent(view_a, view_b, temperature, normalise=True):
    """The paper's formula with plain loops, in float64; both directions over B."""
    z = np.concatenate([view_a, view_b]).astype(np.float64)
    total = 0.0
    for i in range(len(z)):
        similarities = []
        for k in range(len(z)):
            dot = sum(z[i, d] * z[k, d] for d in range(z.shape[1]))
            length = np.sqrt((z[i] ** 2).sum() * (z[k] ** 2).sum()) if normalise else 1.0
            similarities.append(dot / length / temperature)
        positive = (i + len(view_a)) % len(z)
        candidates = [s for k, s in enumerate(similarities) if k != i]
        highest = max(candidates)
        others = sum(np.exp(s - highest) for s in candidates)
        total += -(similarities[positive] - highest - np.log(others))
    return total / len(view_a)


def loss_and_gradient(view_a, view_b, temperature, hidden_norm=True):
    view_a, view_b = tf.convert_to_tensor(view_a), tf.convert_to_tensor(view_b)
    with tf.GradientTape() as tape:
        tape.watch([view_a, view_b])
        output = nt_xent(view_a, view_b, temperature, hidden_norm)
    gradients = tape.gradient(output.loss, [view_a, view_b])
    return output, np.concatenate([g.numpy() for g in gradients])


def views(batch, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, batch, width)).astype(np.float32)


@pytest.fixture(scope="module")
def published(fixtures_dir):
    return np.load(fixtures_dir / "contrastive_loss.npz")


@pytest.mark.parametrize(("name", "temperature", "norm"), CASES)
def test_published_numbers(published, name, temperature, norm):
    hidden = published[f"{name}_hidden"]
    key = f"{name}_t{temperature}_norm{norm}"
    half = len(hidden) // 2
    output, gradient = loss_and_gradient(hidden[:half], hidden[half:], temperature, bool(norm))
    expected = float(published[f"{key}_loss"])
    loss_error = abs(float(output.loss) - expected) / expected
    gradient_error = np.abs(gradient - published[f"{key}_grad"]).max()
    logits_error = np.abs(output.logits_ab - published[f"{key}_logits_ab"]).max()
    print(f"{key}: loss {loss_error:.1e} relative, gradient {gradient_error:.1e}, "
          f"logits {logits_error:.1e}")  # fmt: skip
    assert loss_error <= 1e-6
    assert gradient_error <= 1e-5
    np.testing.assert_allclose(
        output.logits_ab, published[f"{key}_logits_ab"], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("temperature", [0.01, 0.07, 1.0])
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_equals_naive_loops(batch, temperature, normalise):
    view_a, view_b = views(batch, 5)
    expected = naive_nt_xent(view_a, view_b, temperature, normalise)
    loss = float(nt_xent(view_a, view_b, temperature, normalise).loss)
    assert loss == pytest.approx(expected, rel=2e-6, abs=1e-5)


def test_negatives_of_the_other_view_alone_in_both_directions():
    """Views that are not each other's mirror: the two directions differ."""
    view_a, view_b = views(4, 3)
    similarities = view_a.astype(np.float64) @ view_b.T / 0.5
    both = [np.mean(np.log(np.exp(s).sum(1)) - np.diag(s)) for s in (similarities, similarities.T)]
    assert abs(both[0] - both[1]) > 0.1
    found = nt_xent(view_a, view_b, 0.5, hidden_norm=False, other_view_only=True)
    assert float(found.loss) == pytest.approx(sum(both), rel=1e-5)


def test_gradient_equals_finite_differences_of_the_naive_loop():
    view_a, view_b = views(4, 3, seed=1)
    _, gradient = loss_and_gradient(view_a, view_b, 0.2)
    stacked = np.stack([view_a, view_b]).astype(np.float64)
    numeric = np.zeros_like(stacked)
    for index in np.ndindex(stacked.shape):
        step = np.zeros_like(stacked)
        step[index] = 1e-5
        above, below = stacked + step, stacked - step
        numeric[index] = (naive_nt_xent(*above, 0.2) - naive_nt_xent(*below, 0.2)) / 2e-5
    np.testing.assert_allclose(gradient, numeric.reshape(gradient.shape), atol=5e-6)


def test_output_fields():
    view_a, view_b = views(3, 4)
    output = nt_xent(view_a, view_b, 0.5)
    unit_a = view_a / np.linalg.norm(view_a, axis=1, keepdims=True)
    unit_b = view_b / np.linalg.norm(view_b, axis=1, keepdims=True)
    off_diagonal = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(output.logits_ab, unit_a @ unit_b.T / 0.5, atol=1e-6)
    np.testing.assert_allclose(output.logits_ba, unit_b @ unit_a.T / 0.5, atol=1e-6)
    for logits, unit in ((output.logits_aa, unit_a), (output.logits_bb, unit_b)):
        np.testing.assert_allclose(
            logits.numpy()[off_diagonal], (unit @ unit.T / 0.5)[off_diagonal], atol=1e-6
        )
        np.testing.assert_array_equal(np.diag(logits), np.float32(MASKED_LOGIT))
    np.testing.assert_array_equal(output.labels, [0, 1, 2])
    assert {tensor.dtype for tensor in output[:5]} == {tf.float32}


@pytest.mark.parametrize("temperature", [0.01, 0.1])
@pytest.mark.parametrize("kind", ["zero", "one zero row", "identical", "opposite", "tiny", "large"])
def test_degenerate_embeddings_stay_finite(kind, temperature):
    view_a, view_b = views(6, 4)
    if kind == "one zero row":
        view_a[2] = 0
    elif kind == "opposite":
        view_b = -view_a
    else:
        fill = {"zero": 0.0, "identical": 1.0, "tiny": 1e-20, "large": 1e15}[kind]
        view_a[:], view_b[:] = fill, fill
    output, gradient = loss_and_gradient(view_a, view_b, temperature)
    assert np.isfinite(output.loss) and np.isfinite(gradient).all()
    if kind in ("zero", "identical", "large"):
        assert float(output.loss) == pytest.approx(2 * np.log(11), rel=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_any_float_dtype_is_computed_in_float32(dtype):
    view_a, view_b = views(8, 16)
    low_a, low_b = tf.cast(view_a, dtype), tf.cast(view_b, dtype)
    output, gradient = loss_and_gradient(low_a, low_b, 0.01)
    same = nt_xent(tf.cast(low_a, tf.float32), tf.cast(low_b, tf.float32), 0.01)
    assert output.loss.dtype == tf.float32
    assert float(output.loss) == float(same.loss)
    assert np.isfinite(gradient.astype(np.float32)).all()


def test_only_directions_matter_with_normalisation():
    view_a, view_b = views(5, 4)
    scaled = nt_xent(view_a * 7, view_b * 0.1, 0.3).loss
    assert float(scaled) == pytest.approx(float(nt_xent(view_a, view_b, 0.3).loss), rel=1e-5)


def test_views_are_exchangeable():
    view_a, view_b = views(5, 4)
    one, other = nt_xent(view_a, view_b, 0.3), nt_xent(view_b, view_a, 0.3)
    assert float(one.loss) == pytest.approx(float(other.loss), rel=1e-6)
    np.testing.assert_allclose(one.logits_ab, other.logits_ba, rtol=1e-6)


def test_single_pair_has_no_negatives_and_no_loss():
    output, gradient = loss_and_gradient(*views(1, 4), 0.1)
    assert float(output.loss) == 0
    assert not gradient.any()


def test_unknown_batch_size_in_a_graph():
    view_a, view_b = views(4, 3)
    spec = tf.TensorSpec([None, 3], tf.float32)
    graph = tf.function(lambda a, b: nt_xent(a, b, 0.1).loss, input_signature=[spec, spec])
    assert float(graph(view_a, view_b)) == pytest.approx(float(nt_xent(view_a, view_b, 0.1).loss))


def test_compiles_with_xla():
    view_a, view_b = views(4, 3)
    compiled = tf.function(lambda a, b: nt_xent(a, b, 0.1).loss, jit_compile=True)
    expected = float(nt_xent(view_a, view_b, 0.1).loss)
    assert float(compiled(view_a, view_b)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shapes", [((4, 3), (5, 3)), ((4, 3), (4, 2)), ((0, 3), (0, 3)),
                                    ((4,), (4,)), ((4, 3, 1), (4, 3, 1))])  # fmt: skip
def test_refuses_shapes(shapes):
    with pytest.raises(ValueError, match=r"same shape \(b, D\).*Received"):
        nt_xent(tf.ones(shapes[0]), tf.ones(shapes[1]), 0.1)


def test_refuses_integers():
    with pytest.raises(ValueError, match="floating point"):
        nt_xent(tf.ones([2, 2], tf.int32), tf.ones([2, 2], tf.int32), 0.1)


@pytest.mark.parametrize("temperature", [0, -0.1, float("nan"), float("inf")])
def test_refuses_temperature(temperature):
    with pytest.raises(InputError, match="temperature must be greater than 0"):
        nt_xent(tf.ones([2, 2]), tf.ones([2, 2]), temperature)


def test_normalised_rows_have_length_one_or_zero():
    rows = tf.constant([[3.0, 4.0], [0.0, 0.0], [-1e-3, 0.0]])
    np.testing.assert_allclose(l2_normalize(rows), [[0.6, 0.8], [0, 0], [-1, 0]], atol=1e-6)


class Exchange:
    """Replicas that are threads: what each of them gathers is what all of them hold."""

    def __init__(self, count):
        self.num_replicas_in_sync = count
        self.barrier, self.held, self.of_thread = threading.Barrier(count, timeout=60), {}, {}

    @property
    def replica_id_in_sync_group(self):
        return self.of_thread[threading.get_ident()]

    def all_gather(self, value, axis):
        self.held[self.replica_id_in_sync_group] = value
        self.barrier.wait()
        return tf.concat([self.held[index] for index in sorted(self.held)], axis)

    def run(self, function, *parts):
        """What `function` of each replica's part returns, in the order of replicas."""

        def one(index):
            self.of_thread[threading.get_ident()] = index
            self.barrier.wait()
            return function(*(part[index] for part in parts))

        with concurrent.futures.ThreadPoolExecutor(self.num_replicas_in_sync) as pool:
            return list(pool.map(one, range(self.num_replicas_in_sync)))


def test_every_replica_finds_its_positives_among_all_candidates(monkeypatch):
    replicas, (view_a, view_b) = Exchange(3), views(6, 4)
    monkeypatch.setattr(tf.distribute, "get_replica_context", lambda: replicas)
    found = replicas.run(lambda a, b: nt_xent(a, b, 0.5), np.split(view_a, 3), np.split(view_b, 3))
    assert np.concatenate([output.labels for output in found]).tolist() == list(range(6))
    unit_a, unit_b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (view_a, view_b))
    logits = np.concatenate([output.logits_ab for output in found])
    np.testing.assert_allclose(logits, unit_a @ unit_b.T / 0.5, atol=1e-5)
    mean = np.mean([float(output.loss) for output in found])
    assert mean == pytest.approx(naive_nt_xent(view_a, view_b, 0.5), rel=1e-5)


@pytest.fixture(scope="module")
def on_replicas(tmp_path_factory):
    """The number of replicas, and what they and one device give."""
    path = tmp_path_factory.mktemp("replicas") / "results.json"
    program = pathlib.Path(__file__).with_name("replicas_program.py")
    command = [sys.executable, str(program), "4", str(path)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    ran = warm.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return 4, json.loads(path.read_text())


@pytest.mark.parametrize("temperature", ["0.5", "0.01"])
def test_replicas_equal_one_device(on_replicas, temperature):
    """In a graph at 0.5, eagerly at 0.01."""
    count, results = on_replicas
    one, several = results[f"one device, {temperature}"], results[f"replicas, {temperature}"]
    scalar_error = np.abs(np.subtract(several["scalars"], one["scalars"])).max()
    gradient_errors = [
        np.abs(np.subtract(g, h)).max()
        for g, h in zip(several["gradients"], one["gradients"], strict=True)
    ]
    scale = max(np.abs(g).max() for g in one["gradients"])
    print(f"{count} replicas, temperature {temperature}: losses and metrics {scalar_error:.1e}, "
          f"gradients {max(gradient_errors):.1e} (largest entry {scale:.2g})")  # fmt: skip
    np.testing.assert_allclose(several["scalars"], one["scalars"], rtol=1e-5, atol=1e-6)
    assert max(gradient_errors) <= 1e-5 * max(1, scale)
    assert several["labels"] == one["labels"] == list(range(8))


@pytest.mark.parametrize("name", OTHER_OBJECTIVES)
def test_other_objectives_of_replicas_equal_those_of_one_device(on_replicas, name):
    one, several = (on_replicas[1][f"{name}, {where}"] for where in ("one device", "replicas"))
    assert several["loss"] == pytest.approx(one["loss"], rel=1e-5)
    np.testing.assert_allclose(several["gradients"], one["gradients"], atol=1e-5)
    assert np.abs(one["gradients"]).max() > 1e-3


def test_replicas_agree_with_the_naive_loop(on_replicas):
    rng = np.random.default_rng(0)  # as in replicas_program.draw
    view_a, view_b = (rng.normal(size=(8, 6)).astype(np.float32) for _ in range(2))
    loss = on_replicas[1]["replicas, 0.5"]["scalars"][0]
    assert loss == pytest.approx(naive_nt_xent(view_a, view_b, 0.5), rel=2e-6)


def test_a_missing_gather_would_be_noticed(on_replicas):
    alone, one = on_replicas[1]["no gather"], on_replicas[1]["one device, 0.5"]
    assert abs(alone["scalars"][0] - one["scalars"][0]) > 0.1
    assert np.abs(np.subtract(alone["gradients"][0], one["gradients"][0])).max() > 1e-2


def test_uneven_replicas_are_refused(on_replicas):
    assert "equally many images" in on_replicas[1]["uneven"]
