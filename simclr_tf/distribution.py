"""Where a run computes: one device, several GPUs or CPU replicas, or a TPU (`tf.distribute`)."""

from __future__ import annotations

import tensorflow as tf

from simclr_tf.config import StrategyConfig
from simclr_tf.errors import InputError, first_line


def _tpu_strategy(config: StrategyConfig) -> tf.distribute.Strategy:
    address = config.tpu_name or config.master
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


def build_strategy(config: StrategyConfig) -> tf.distribute.Strategy:
    """The strategy for this machine.

    A TPU when `use_tpu`; `num_logical_cpus` CPU replicas when more than one is asked for; all GPUs
    when there are several; otherwise TensorFlow's default strategy on the one device.

    Raises:
        InputError: The TPU can't be reached, or the CPU can't be split any more.
    """
    if config.use_tpu:
        return _tpu_strategy(config)
    if config.num_logical_cpus > 1:
        return tf.distribute.MirroredStrategy(_split_cpu(config.num_logical_cpus))
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def check_divisible(name: str, batch_size: int, strategy: tf.distribute.Strategy) -> None:
    """Refuses a global batch that does not divide over the replicas.

    Raises:
        InputError: Names the setting and the two nearest sizes that do divide.
    """
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        below = batch_size - batch_size % replicas
        nearest = [str(size) for size in (below, below + replicas) if size > 0]
        raise InputError(
            name,
            f"must be a multiple of the {replicas} replicas, such as {' or '.join(nearest)}",
            batch_size,
        )


def distribute(
    strategy: tf.distribute.Strategy, batches: tf.data.Dataset
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """The data set with each global batch split over the replicas, in order."""
    if strategy.num_replicas_in_sync == 1:
        return batches
    return strategy.experimental_distribute_dataset(batches)


def describe(strategy: tf.distribute.Strategy) -> str:
    """The devices in words: "2 CPU replicas"."""
    replicas = strategy.num_replicas_in_sync
    if isinstance(strategy, tf.distribute.TPUStrategy):
        kind = "TPU"
    else:
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    return f"one {kind}" if replicas == 1 else f"{replicas} {kind} replicas"
