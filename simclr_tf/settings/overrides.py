"""Which settings a given one switches off, where a recipe or an earlier start had set them.

A setting that somebody gives has to count. Where another setting would decide in its place (steps
instead of epochs), contradicts it, or belongs to what it replaces (the splits of another data set),
that one goes back to its default, unless it is given too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TPU_NAMES = ("tpu_name", "master", "tpu_zone", "gcp_project")
_OF_PRETRAINING = ("gradient_cache_chunk", "gradient_cache_bn")
_STRENGTHS = ("color_jitter_strength", "use_blur", "brightness", "crop_area_min")
_OF_FINETUNING = ("fine_tune_after_block", "ft_proj_selector")

# Given setting -> what it switches off. `name=value` on either side: with that value only.
OVERRIDES: dict[str, tuple[str, ...]] = {
    # Lengths: steps above 0 decide instead of epochs.
    "train_epochs": ("train_steps",),
    "checkpoint_epochs": ("checkpoint_steps",),
    # Images: splits and folder belong to a data set; a split for validation beats a share.
    "dataset": ("data_dir", "train_split", "eval_split", "label_subset", "validation_split",
                "value_range", "antialias"),
    "validation_fraction": ("validation_split",),
    # Evaluation: the bank of neighbours follows from eval_steps unless its size is given.
    "eval_steps": ("knn_bank_size",),
    "report_examples": ("report=False",),
    "quality_images": ("report=False",),
    # What trains: settings that the other modes refuse.
    "train_mode=pretrain": ("teacher", "fine_tune_after_block"),
    "train_mode=finetune": ("teacher", *_OF_PRETRAINING),
    "train_mode=supervised": ("teacher", *_OF_PRETRAINING, *_OF_FINETUNING),
    "train_mode=distill": (*_OF_PRETRAINING, *_OF_FINETUNING),
    "proj_head_mode": ("ft_proj_selector",),
    "num_proj_layers": ("ft_proj_selector",),
    "gradient_cache_chunk=0": ("gradient_cache_bn",),
    # Loss and views.
    "objective=nt_xent": ("semi_hard",),
    "objective=nt_logistic": ("loss_block_size",),
    "objective=margin_triplet": ("loss_block_size",),
    "negatives=other_view": ("loss_block_size",),
    "augmentation=simclr": ("transforms",),
    "augmentation=one_branch": ("augment_on=device",),
    "augmentation=autoaugment": ("transforms", "augment_on=device"),
    "transforms": ("augment_on=device", "views"),
    "views": ("augmentation", "transforms", *_STRENGTHS, "augment_on=device"),
    **dict.fromkeys(("augmentation", *_STRENGTHS), ("views",)),
    # Devices: one way to compute at a time.
    "use_tpu=True": ("strategy", "num_logical_cpus"),
    "use_tpu=False": ("strategy=tpu", *_TPU_NAMES),
    "tpu_name": ("strategy", "num_logical_cpus", "use_tpu=False", "master"),
    "master": ("strategy", "num_logical_cpus", "use_tpu=False", "tpu_name"),
    "num_logical_cpus": ("strategy=one_device", "strategy=multi_worker", "strategy=tpu", "use_tpu",
                         *_TPU_NAMES),
    "strategy=one_device": ("use_tpu", *_TPU_NAMES, "num_logical_cpus"),
    "strategy=mirrored": ("use_tpu", *_TPU_NAMES),
    "strategy=multi_worker": ("use_tpu", *_TPU_NAMES, "num_logical_cpus"),
    "strategy=tpu": ("use_tpu=False", "num_logical_cpus"),
}  # fmt: skip


def switched_off(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, str]:
    """The settings of `base` that must not count beside the given ones.

    Args:
        base: Settings by name, of a recipe or a recorded run; values or their texts.
        given: Settings by name that were asked for.

    Returns:
        From each name to that of the given setting that switches it off.
    """
    off: dict[str, str] = {}
    for name, value in given.items():
        for pattern in (*OVERRIDES.get(name, ()), *OVERRIDES.get(f"{name}={value}", ())):
            loser, _, only = pattern.partition("=")
            matches = loser in base and only in ("", str(base[loser]))
            if matches and loser not in given:
                off.setdefault(loser, name)
    return off
