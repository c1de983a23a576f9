"""Where a run computes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from simclr_tf.cluster import TPU_NAMES, num_tasks
from simclr_tf.errors import require, require_choice
from simclr_tf.settings.checks import Range, check_settings, limited

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker", "tpu")


@dataclasses.dataclass(frozen=True)
class StrategyConfig:
    """Where to run: see `simclr_tf.distribution`.

    `auto` is `tpu` with `use_tpu`, `tpu_name` or `master`, unless `use_tpu` is off: the switch
    decides, and None leaves it to the names; `multi_worker` where `TF_CONFIG` or
    Slurm's variables name several tasks; `mirrored` with several GPUs or `num_logical_cpus` above
    1; else `one_device`.
    """

    strategy: str = "auto"
    use_tpu: bool | None = None
    tpu_name: str | None = None
    tpu_zone: str | None = None
    gcp_project: str | None = None
    master: str | None = None
    num_logical_cpus: int = limited(1, Range(1, 256))

    def __post_init__(self) -> None:
        check_settings(self)
        require_choice("strategy", self.strategy, STRATEGIES)
        if self.strategy not in ("auto", "tpu"):
            require(not self.use_tpu, "use_tpu", f"must be off with strategy={self.strategy}",
                    self.use_tpu)  # fmt: skip
        require(self.strategy != "tpu" or self.use_tpu is not False, "use_tpu",
                "must not be off with strategy=tpu", self.use_tpu)  # fmt: skip
        if self.strategy not in ("auto", "mirrored"):
            require(self.num_logical_cpus == 1, "num_logical_cpus",
                    "needs strategy=mirrored", self.num_logical_cpus)  # fmt: skip

    @property
    def names_tpu(self) -> bool:
        """Whether a setting asks for a TPU, which `auto` takes before anything else."""
        if self.use_tpu is not None:
            return self.use_tpu
        return bool(self.tpu_name or self.master)

    @property
    def unused_names(self) -> tuple[str, ...]:
        """The settings that describe a TPU although none is asked for."""
        wanted = self.strategy == "tpu" or (self.strategy == "auto" and self.names_tpu)
        return () if wanted else tuple(name for name in TPU_NAMES if getattr(self, name))

    def is_multi_worker(self, environment: Mapping[str, str]) -> bool:
        """Whether this process is one of a job's.

        Raises:
            InputError: `TF_CONFIG` decides and is malformed.
        """
        if self.strategy != "auto" or self.names_tpu:
            return self.strategy == "multi_worker"
        return num_tasks(environment) > 1
