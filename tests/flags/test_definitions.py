import dataclasses

from simclr_tf import config
from simclr_tf.flags import definitions
from simclr_tf.settings import by_name

# reference.md, section 1: every flag of the reference implementation.
REFERENCE = {
    "learning_rate": 0.3, "learning_rate_scaling": "linear", "warmup_epochs": 10,
    "weight_decay": 1e-6, "batch_norm_decay": 0.9, "train_batch_size": 512,
    "train_split": "train", "train_epochs": 100, "train_steps": 0, "eval_steps": 0,
    "eval_batch_size": 256, "checkpoint_epochs": 1, "checkpoint_steps": 0,
    "dataset": "imagenet2012", "cache_dataset": False, "mode": "train",
    "train_mode": "pretrain", "lineareval_while_pretraining": True, "checkpoint": None,
    "zero_init_logits_layer": False, "fine_tune_after_block": -1, "master": None,
    "model_dir": None, "data_dir": None, "tpu_name": None, "tpu_zone": None,
    "gcp_project": None, "optimizer": "lars", "momentum": 0.9, "eval_name": None,
    "keep_checkpoint_max": 5, "keep_hub_module_max": 1, "temperature": 0.1,
    "hidden_norm": True, "proj_head_mode": "nonlinear", "proj_out_dim": 128,
    "num_proj_layers": 3, "ft_proj_selector": 0, "global_bn": True, "width_multiplier": 1,
    "resnet_depth": 50, "sk_ratio": 0, "se_ratio": 0, "image_size": 224,
    "color_jitter_strength": 1.0, "use_blur": True,
}  # fmt: skip
# Deliberately other defaults: a machine without a TPU is the common one, and a data set without a
# validation split shall not stop training.
CHANGED = {"use_tpu": None, "eval_split": None}


def test_every_reference_flag_is_here_with_its_default():
    values = definitions.define_flags()
    assert {name: values[name].default for name in REFERENCE} == REFERENCE
    assert {name: values[name].default for name in CHANGED} == CHANGED


def test_every_setting_has_a_flag_of_its_own():
    values = definitions.define_flags()
    assert set(by_name.flatten(config.RunConfig(model_dir="x"))) <= set(values)


def test_areas_cover_every_configuration_class():
    listed = {cls for classes in definitions.AREAS.values() for cls, _ in classes}
    known = {
        cls for cls in vars(config).values()
        if isinstance(cls, type) and dataclasses.is_dataclass(cls)
    }  # fmt: skip
    commands = {config.RunConfig, config.Evaluate, config.Embed, config.Study, config.Serve}
    assert known - listed == commands
