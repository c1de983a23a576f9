"""What the numbers of all settings may be; like `simclr_tf.config`, without TensorFlow.

The limits are generous: beyond them a value means nothing (a temperature of 1e308) or nobody can
hold what it asks for (a million logical CPUs). What fits this machine is another question, see
`simclr_tf.capacity`.
"""

from __future__ import annotations

import dataclasses
import numbers
import os
from collections.abc import Sequence
from typing import Any

from simclr_tf.errors import require


@dataclasses.dataclass(frozen=True)
class Range:
    """An interval of numbers, both ends included unless `above` leaves the lower one out."""

    low: float
    high: float
    above: bool = False

    def __contains__(self, value: Any) -> bool:
        # Compares without converting: NaN is in no interval, 10**400 can't become a float.
        return (self.low < value if self.above else self.low <= value) and value <= self.high

    def __str__(self) -> str:
        """The rule as a phrase."""
        word = "greater than" if self.above else "at least"
        return f"must be {word} {_plain(self.low)} and at most {_plain(self.high)}"


def _plain(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


_COUNT = Range(0, 10**9)  # steps, images: 64-bit counters hold more, nobody waits for it
_NATURAL = Range(1, 10**9)
_EPOCHS = Range(1, 10**6)
_FRACTION_OF_EPOCHS = Range(0, 10**6, above=True)
_BATCH = Range(1, 2**24)
_SHARE = Range(0, 1)
_POSITIVE_SHARE = Range(0, 1, above=True)
_RATE = Range(1e-12, 1e3)  # the paper: 0.05 to 4.8 after scaling
_TEMPERATURE = Range(1e-4, 1e4)  # the paper: 0.05 to 1
_WEIGHT_DECAY = Range(0, 10)  # the paper: 0 to 1e-3

LIMITS = {
    # Data and augmentation.
    "image_size": Range(8, 8192),
    "read_retries": Range(0, 1000),
    "crop_area_min": _POSITIVE_SHARE,
    "color_jitter_strength": Range(0, 10),  # the paper's s: 0 to 1; hues are through at 2.5
    # Network.
    "resnet_depth": Range(18, 200),
    "width_multiplier": Range(1 / 16, 32),  # 4 channels in the first block; the paper: 1 to 4
    "sk_ratio": _SHARE,
    "se_ratio": _SHARE,
    "proj_out_dim": Range(1, 2**16),
    "num_proj_layers": Range(1, 100),
    "ft_proj_selector": Range(-101, 100),
    "fine_tune_after_block": Range(-1, 4),
    # At 0 only the last batch counts; at 1, or what float32 rounds to it, nothing is ever learned.
    "batch_norm_decay": Range(1e-4, 0.99999),
    # Loss.
    "temperature": _TEMPERATURE,
    "margin": Range(0, 1e4),
    "loss_block_size": Range(0, 2**24),
    "distill_temperature": _TEMPERATURE,
    "distill_alpha": _SHARE,
    # Optimizer and training.
    "learning_rate": _RATE,
    "warmup_epochs": Range(0, 10**6),
    "momentum": Range(0, 0.99999),
    "weight_decay": _WEIGHT_DECAY,
    "train_batch_size": Range(2, 2**24),  # a contrastive loss needs negatives
    "train_epochs": _EPOCHS,
    "train_steps": _COUNT,
    "checkpoint_epochs": _EPOCHS,
    "checkpoint_steps": _COUNT,
    "keep_checkpoint_max": Range(1, 10**6),
    "seed": Range(0, 2**31 - 1),
    "skip_nonfinite_steps": _COUNT,
    "gradient_cache_chunk": Range(0, 2**24),
    # Evaluation of a run.
    "eval_batch_size": _BATCH,
    "eval_steps": _COUNT,
    "knn_bank_size": _NATURAL,
    "eval_timeout_secs": _COUNT,
    "keep_hub_module_max": Range(0, 10**6),
    # Protocols.
    "validation_fraction": Range(0, 0.5, above=True),
    "linear_epochs": _FRACTION_OF_EPOCHS,
    "linear_batch_size": _BATCH,
    "linear_learning_rates": _RATE,
    "knn_neighbors": Range(1, 10**6),
    "knn_temperature": _TEMPERATURE,
    "logreg_values": Range(1, 1000),
    "logreg_iterations": Range(1, 10**6),
    "label_epochs": _FRACTION_OF_EPOCHS,
    "label_batch_size": _BATCH,
    "label_learning_rate": _RATE,
    "scratch_learning_rate": _RATE,
    "scratch_epochs_factor": Range(0, 1000, above=True),
    "finetune_steps": _NATURAL,
    "finetune_batch_size": _BATCH,
    "finetune_learning_rates": _RATE,
    "finetune_weight_decays": _WEIGHT_DECAY,
    "finetune_after_block": Range(-1, 4),
    "supervised_steps": _COUNT,
    "attribute_images": Range(8, 10**9),  # twice the four rotations
    "distill_width": _POSITIVE_SHARE,
    "distill_steps": _NATURAL,
    "transfer_image_size": Range(0, 8192),
    "map_points": Range(0, 100_000),  # t-SNE takes hours for so many
    # Embeddings, studies, pages.
    "num_neighbors": Range(1, 10**6),
    "duplicate_similarity": _POSITIVE_SHARE,
    "study_seeds": Range(1, 100),
    "report_examples": Range(2, 5000),  # t-SNE takes a minute for so many, and the page megabytes
    # Hardware.
    "num_logical_cpus": Range(1, 256),
}
MOST_VALUES = 1000  # of a setting that is a list

_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "bool": ((bool,), "true or false"),
    "int": ((numbers.Integral,), "a whole number"),
    "float": ((numbers.Real,), "a number"),
    "str": ((str, os.PathLike), "a text"),
}


def check_settings(settings: Any) -> None:
    """Checks type and range of every setting of a dataclass; nested dataclasses check their own.

    Raises:
        InputError: Names the setting.
    """
    for field in dataclasses.fields(settings):
        name, value = field.name, getattr(settings, field.name)
        kind, _, optional = str(field.type).partition(" | ")
        if kind not in _TYPES or (optional and value is None):
            continue
        is_list = kind == "str" and name in LIMITS  # one number may stand for a list
        types, described = _TYPES[kind]
        sound = isinstance(value, types) and isinstance(value, bool) == (kind == "bool")
        require(sound or is_list, name, f"must be {described}", value)
        if name in LIMITS and not is_list:
            require(value in LIMITS[name], name, str(LIMITS[name]), value)


def check_values(name: str, values: Sequence[float], text: str) -> None:
    """Checks the numbers of a setting that is a list.

    Raises:
        InputError: Names the setting.
    """
    require(len(values) <= MOST_VALUES, name, f"must hold at most {MOST_VALUES} values",
            len(values))  # fmt: skip
    limits = LIMITS[name]
    sound = all(value in limits for value in values)
    require(sound, name, f"must hold numbers, each of which {limits}", text)
