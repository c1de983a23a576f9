"""Where a run computes: one device, several, several machines, or a TPU (`tf.distribute`)."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import tensorflow as tf

from simclr_tf import cluster
from simclr_tf.absent_workers import naming_absent
from simclr_tf.errors import InputError, first_line, require
from simclr_tf.settings.devices import StrategyConfig

_T = TypeVar("_T")
_TPU_SECONDS = 600.0  # a slice of many hosts starts in minutes


@dataclasses.dataclass(frozen=True)
class Part:
    """Which part of every global batch an input pipeline delivers.

    Attributes:
        index: Number of the pipeline; there is one for each host.
        count: Number of pipelines.
        replicas: Number of replicas over all of them.
    """

    index: int = 0
    count: int = 1
    replicas: int = 1


def choose_strategy(config: StrategyConfig, environment: Mapping[str, str] = os.environ) -> str:
    """The name of the strategy that `auto` means here, or the one that was asked for.

    Raises:
        InputError: `TF_CONFIG` is malformed, or a job of several workers is to split its CPUs.
    """
    if config.strategy != "auto":
        return config.strategy
    if config.names_tpu:
        return "tpu"
    if config.is_multi_worker(environment):
        require(config.num_logical_cpus == 1, "num_logical_cpus",
                "must be 1 in a job of several workers", config.num_logical_cpus)  # fmt: skip
        return "multi_worker"
    if config.num_logical_cpus > 1 or len(tf.config.list_physical_devices("GPU")) > 1:
        return "mirrored"
    return "one_device"


def build_strategy(config: StrategyConfig) -> tf.distribute.Strategy:
    """The strategy for this machine, or for this process of a job on several.

    Must come before TensorFlow computes anything where the CPU is split or there are several
    workers. With several workers it waits until all of them have started.

    Raises:
        InputError: The TPU or the cluster can't be reached, or the CPU can't be split any more.
    """
    kind = choose_strategy(config)
    if kind == "tpu":
        return _tpu_strategy(config)
    if kind == "multi_worker":
        return _multi_worker_strategy()
    if kind == "mirrored":
        if config.num_logical_cpus > 1:
            return tf.distribute.MirroredStrategy(_split_cpu(config.num_logical_cpus))
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def _tpu_strategy(config: StrategyConfig) -> tf.distribute.Strategy:
    address = config.tpu_name or config.master
    place = re.fullmatch(r"grpc://(\S+:\d+)", address or "")
    require(place is None or cluster.answers(place[1]), "use_tpu",
            "needs a TPU that can be reached (nobody answers)", address)  # fmt: skip
    return _within(_TPU_SECONDS, lambda: _connect(config, address), address)


def _within(seconds: float, act: Callable[[], _T], address: str | None) -> _T:
    """What a function returns that may wait for ever, in code that hears no signal."""
    done: list[Any] = []

    def attempt() -> None:
        try:
            done.append((act(), None))
        except BaseException as error:
            done.append((None, error))

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    until = time.monotonic() + seconds
    while thread.is_alive() and time.monotonic() < until:
        thread.join(0.2)  # signals arrive in between
    if not done:
        raise InputError("use_tpu", f"needs a TPU that answers within {seconds:g} s", address)
    ((result, error),) = done
    if error is not None:
        raise error
    return result


def _connect(config: StrategyConfig, address: str | None) -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(
            address, zone=config.tpu_zone, project=config.gcp_project
        )
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        raise InputError(
            "use_tpu", f"needs a TPU that can be reached ({first_line(error)})", address
        ) from None
    return tf.distribute.TPUStrategy(resolver)


def _multi_worker_strategy() -> tf.distribute.Strategy:
    resolver = None
    if "TF_CONFIG" in os.environ:
        found = cluster.read_cluster(os.environ["TF_CONFIG"])
        require(bool(found), "TF_CONFIG", "must name a cluster with strategy=multi_worker",
                os.environ["TF_CONFIG"])  # fmt: skip
        addresses = [address for hosts in found.values() for address in hosts]
    else:
        require(cluster.is_slurm_task(os.environ), "strategy",
                "needs TF_CONFIG, or to be started by srun, to be multi_worker",
                "multi_worker")  # fmt: skip
        addresses = cluster.slurm_addresses(os.environ)
        # TensorFlow's own resolver sorts the hosts as text and asks nvidia-smi for the GPUs.
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({"worker": addresses}),
            task_type="worker",
            task_id=cluster.slurm_rank(os.environ),
            rpc_layer="grpc",
        )
    try:
        with naming_absent(addresses):
            strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise InputError("strategy", f"needs a cluster that can be joined ({first_line(error)})",
                         "multi_worker") from None  # fmt: skip
    if threading.current_thread() is threading.main_thread():
        # The coordination service put a handler of its own in the place of Python's.
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
    return strategy


def _split_cpu(replicas: int) -> list[str]:
    """Makes `replicas` logical CPUs; possible only before TensorFlow first computes."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * replicas
    try:
        tf.config.set_logical_device_configuration(cpu, logical)
    except RuntimeError:
        if len(tf.config.list_logical_devices("CPU")) < replicas:
            raise InputError(
                "num_logical_cpus", "must be set before TensorFlow computes anything", replicas
            ) from None
    return [f"/cpu:{index}" for index in range(replicas)]


def device_kind(strategy: tf.distribute.Strategy) -> str:
    """What the replicas are: "TPU", "GPU" or "CPU"."""
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return "TPU"
    if strategy.num_replicas_in_sync > 1:  # split CPUs stay CPUs beside a GPU
        return "GPU" if "GPU" in strategy.extended.worker_devices[0] else "CPU"
    return "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
