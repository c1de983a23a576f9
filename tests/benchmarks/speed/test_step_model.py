from __future__ import annotations

import dataclasses

import pytest
import tensorflow as tf

from benchmarks import communication
from benchmarks.speed import step_model
from benchmarks.speed.flops import forward_flops
from benchmarks.speed.step_model import Settings, device_parts, estimate, estimates
from simclr_tf.config import BatchNormConfig
from simclr_tf.errors import InputError
from simclr_tf.models import batch_norm


def _step(kernels: str = "op by op", place: str = "host", high: bool = True, **changed):
    return estimate(Settings(**changed), kernels, place, high)


def _part(name: str, kernels: str = "op by op", **changed) -> step_model.Part:
    parts = device_parts(Settings(**changed), kernels, "device", high=True)
    return next(part for part in parts if part.name.startswith(name))


def test_operations_are_about_three_forward_passes():
    # ResNet-50 at 224 px: 4.09 G multiply-adds a view.
    counted = sum(part.flops for part in device_parts(Settings(), "fused", "host", False)
                  if part.name.startswith("convolutions"))  # fmt: skip
    forward = 2 * 4.09e9 * 2 * 512
    assert counted == pytest.approx(3 * forward, rel=0.02)
    assert counted > 3 * 1024 * forward_flops(50, 224) * 0.98


def test_the_network_is_that_of_the_recipe():
    """The variables and batch norms of the built model, from communication.py."""
    built = communication.read_network("imagenet_r50", "ResNet-50")
    found = step_model.network_of(Settings())
    assert found.parameters == built.parameters
    assert sorted(found.batch_norms) == sorted(built.batch_norms)
    assert found.multiplications == built.multiplications
    assert found.has_linear_head and built.has_linear_head


def test_the_exchange_is_that_of_communication():
    parts = device_parts(Settings(), "fused", "host", high=True)
    network = step_model.network_of(Settings())
    sizes = communication.traffic(network, 4096, 8)
    assert sum(part.sent for part in parts) == pytest.approx(sum(sizes.values()) - sizes["small"])
    # 30.0 M float32 parameters over a ring of 8: 2 x 7 / 8 x 120 MB.
    gradients = next(part for part in parts if part.name == "gradient all-reduce")
    assert gradients.sent == pytest.approx(1.75 * 4 * 30.0e6, rel=0.01)
    assert gradients.seconds == pytest.approx(gradients.sent / (450e9 * 0.9) + 20e-6)
    assert _step(gpus=1).by_limit.get("exchange", 0) == 0


def test_published_throughput_lies_in_or_at_the_range():
    # NVIDIA DeepLearningExamples, ResNet50 v1.5 for TensorFlow, DGX A100 with 8 x A100 40 GB
    # (1.555 TB/s), 256 images each, XLA: 17,400 images/s mixed precision, 7,000 TF32. The network
    # is the same but for the heads. TF32 was at the low end: that end is 7,046.
    for precision, published in (("bfloat16", 17400), ("float32", 7000)):
        low, high = (
            2 * _step("fused", high=high, gpu="A100", memory_bandwidth=1.555e12, pairs_per_gpu=128,
                      precision=precision).wanted
            for high in (False, True)
        )  # fmt: skip
        assert 0.98 * low < published < high
        assert high < 2.5 * low


class _OneReplica:
    """In place of the other replicas: exchanges nothing."""

    num_replicas_in_sync = 1

    def all_gather(self, value, axis):
        return value

    def all_reduce(self, op, value):
        return value


def _moved(graph: tf.Graph, size: int, since: int) -> int:
    """Bytes that operations read and write of tensors with `size` numbers."""
    # Without what only passes tensors on, and without what common subexpressions merge.
    # ZerosLike is the gradient of an output that nothing uses; it is pruned.
    ignored = {"ZerosLike", "Identity", "IdentityN", "StopGradient", "Placeholder", "Shape", "Size",
               "BroadcastGradientArgs"}  # fmt: skip
    total, seen = 0, set()

    def origin(tensor):
        while tensor.op.type in ("Identity", "StopGradient", "IdentityN"):
            tensor = tensor.op.inputs[tensor.value_index]
        return tensor

    for operation in graph.get_operations()[since:]:
        if operation.type in ignored:
            continue
        inputs = [origin(one) for one in operation.inputs]
        waits = tuple(one.name for one in operation.control_inputs)
        key = (operation.type, tuple(one.ref() for one in inputs), waits)
        if key in seen and operation.type == "Cast":
            continue
        seen.add(key)
        for one in (*inputs, *operation.outputs):
            total += one.dtype.size * (one.shape.num_elements() == size)
        if operation.type == "FusedBatchNormV3" and operation.get_attr("is_training"):
            total += inputs[0].dtype.size  # its input twice: statistics first
    return total


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_batch_norm_moves_what_its_operations_read_and_write(precision):
    shape = (4, 8, 8, 6)
    policy = "mixed_bfloat16" if precision == "bfloat16" else "float32"
    with tf.Graph().as_default() as graph:
        layer = batch_norm.BatchNorm(BatchNormConfig(), dtype=policy)
        layer.build(shape)
        x = tf.compat.v1.placeholder(precision, shape)
        start = len(graph.get_operations())
        y = layer._normalize_globally(x, _OneReplica())
        tf.gradients(y, [x, layer.gamma, layer.beta], tf.compat.v1.placeholder(precision, shape))
        moved = _moved(graph, 4 * 8 * 8 * 6, start)
    assert step_model.norm_bytes(step_model.ITEM[precision], 8, "op by op") == moved


def test_one_gpu_takes_the_fused_kernel():
    assert _part("batch norm", gpus=1) == _part("batch norm", "fused", gpus=1)
    assert _part("batch norm").seconds > 1.5 * _part("batch norm", "fused").seconds


def test_faster_parts_never_make_a_step_slower():
    slower = {"peak": 1e13, "memory_bandwidth": 1e11, "interconnect": 1e8, "host_link": 1e8,
              "host_cores": 1, "host_pairs_per_core": 1.0}  # fmt: skip
    for kernels in step_model.KERNELS:
        fast = _step(kernels).seconds
        assert all(_step(kernels, **{name: slow}).seconds > fast for name, slow in slower.items())
        assert _step(kernels, high=False).device_seconds > _step(kernels).device_seconds
    assert _step("fused").device_seconds < _step("op by op").device_seconds


@pytest.mark.parametrize(
    ("name", "values"),
    [("depth", (18, 34, 50, 101, 152)), ("width", (0.5, 1, 2)), ("image_size", (33, 64, 224, 288)),
     ("pairs_per_gpu", (1, 64, 512)), ("gpus", (1, 2, 8, 64))],
)  # fmt: skip
def test_more_work_takes_longer(name, values):
    for kernels in step_model.KERNELS:
        seconds = [_step(kernels, **{name: value}).device_seconds for value in values]
        assert seconds == sorted(seconds)
        assert seconds[0] < seconds[-1]


def test_float32_takes_longer():
    whole = _step("fused", precision="float32").device_seconds
    assert whole > _step("fused").device_seconds


@pytest.mark.parametrize(
    ("changed", "bottleneck"),
    [
        ({"host_pairs_per_core": 1e4}, "the GPUs' memory traffic"),
        ({"host_pairs_per_core": 1.0}, "host input"),
        ({"host_pairs_per_core": 1e4, "host_link": 1e8}, "copy to the GPUs"),
        ({"host_pairs_per_core": 1e4, "peak": 1e13}, "the GPUs' arithmetic"),
        ({"host_pairs_per_core": 1e4, "interconnect": 1e7}, "exchange between the GPUs"),
    ],
)
def test_the_bottleneck_is_what_is_slow(changed, bottleneck):
    assert _step("fused", **changed).bottleneck == bottleneck


def test_cores_needed_just_feed_the_gpus():
    for one in estimates(Settings()):
        need, rate = one.cores_needed, one.host_rate_per_core
        assert (need - 1) * rate < one.wanted <= need * rate
        enough = dataclasses.replace(Settings(), host_cores=need)
        high = one.share == enough.share[1]
        assert estimate(enough, one.kernels, one.place, high).bottleneck != "host input"


def test_colour_and_blur_move_from_the_host_to_the_gpus():
    on_host, on_device = (_step(place=place) for place in step_model.PLACES)
    assert on_device.host_seconds < on_host.host_seconds
    assert on_device.device_seconds > on_host.device_seconds
    assert [part.name for part in on_device.parts[:-1]] == [part.name for part in on_host.parts]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"depth": 49}, "depth must be one of 18, 34, 50, 101, 152, 200. Received: 49"),
        ({"gpu": "B1"}, "gpu must be one of A100, H100. Received: 'B1'"),
        ({"gpus": 0}, "gpus must be a finite number above 0. Received: 0"),
        ({"peak": float("nan")}, "peak must be a finite number above 0. Received: nan"),
        ({"share": (0.5, 0.4)}, "share must be LOW,HIGH with 0 < LOW <= HIGH <= 1"),
        ({"width": 0.01}, "width must leave at least one channel of 64. Received: 0.01"),
    ],
)
def test_bad_settings_are_named(changed, message):
    with pytest.raises(InputError) as raised:
        Settings(**changed)
    assert str(raised.value).startswith(message)
