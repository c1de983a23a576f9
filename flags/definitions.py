"""Every flag of `run.py`, grouped by area.

Names, types and defaults come from the dataclasses of `simclr_tf.config`, so there is no second
copy of them; this file adds the help texts. The flags of the reference implementation are all here
under the same names.
"""

from __future__ import annotations

import typing
from typing import Any

from absl import flags

from simclr_tf import config
from simclr_tf.settings import by_name, commands, recipes
from simclr_tf.settings.augment import TRANSFORMS
from simclr_tf.settings.protocols import PROTOCOLS
from simclr_tf.settings.study import STUDIES

MODES = tuple(commands.COMMANDS)

# The flags of the reference implementation that are settings: its users pass all of them, whatever
# they do.
REFERENCE = frozenset(
    {"learning_rate", "learning_rate_scaling", "warmup_epochs", "weight_decay",
     "batch_norm_decay", "train_batch_size", "train_split", "train_epochs", "train_steps",
     "eval_steps", "eval_batch_size", "checkpoint_epochs", "checkpoint_steps", "eval_split",
     "dataset", "cache_dataset", "train_mode", "lineareval_while_pretraining",
     "zero_init_logits_layer", "fine_tune_after_block", "master", "data_dir", "use_tpu",
     "tpu_name", "tpu_zone", "gcp_project", "optimizer", "momentum", "eval_name",
     "keep_checkpoint_max", "keep_hub_module_max", "temperature", "hidden_norm",
     "proj_head_mode", "proj_out_dim", "num_proj_layers", "ft_proj_selector", "global_bn",
     "width_multiplier", "resnet_depth", "sk_ratio", "se_ratio", "image_size",
     "color_jitter_strength", "use_blur", "checkpoint"}
)  # fmt: skip

# Flags of `run.py` itself, which no configuration object holds: name -> (default, help).
_RUN = {
    "mode": ("train", "What to do: " + ", ".join(MODES) + "."),
    "recipe": (None, "Settings to start from; any flag given wins. A file, or one of: "
               + ", ".join((*recipes.AUTOMATIC, *recipes.recipe_names()))
               + ". Without --recipe and --dataset: quickstart."),
    "budget": (None, "With --recipe=photos and auto: how long training may take, 10m, 1h, 8h. "
               f"Default: {recipes.DEFAULT_BUDGET}."),
    "model_dir": (None, "Folder of the run: checkpoints, events, results, SavedModel. "
                  "Default: runs/<recipe or dataset>-<time>. An existing one is resumed."),
    "checkpoint": (None, "Weights to start from, or the encoder to use: a run, a checkpoint, a "
                   "SavedModel, or a published TF2 or TF1 checkpoint or SavedModel; local, gs:// "
                   "or a .tar.gz; or the name of a published encoder (simclr export list). "
                   "--mode=evaluate, embed and neighbors take .keras files too."),
    "cache_dir": (None, "Folder for weights that are fetched (names, gs://, http). Default: "
                  "$TFHUB_CACHE_DIR or ~/.cache/simclr_tf/tfhub."),
    "allow_foreign_graph": (False, "With these modes: run the graph of a SavedModel that is no "
                            "SimCLR network, or unknown layers of a .keras file. It is code of its "
                            "author's; only with files that you trust."),
    "worker_address": (None, "With --mode=data_worker: host:port under which the machines that "
                       "train reach it. Default: this host's name and a free port."),
    "debug": (False, "Show tracebacks of errors."),
    "variable_schema": (None, "Accepted for old command lines; has no effect."),
    "train_summary_steps": (0, "Accepted for old command lines; has no effect."),
}  # fmt: skip

_DATA = {
    "dataset": "TFDS name (cifar10, imagenet2012_subset/1pct), patterns, digits, "
    "folder or folder:PATH.",
    "data_dir": "Folder of prepared TFDS data sets, or of images with --dataset=folder.",
    "train_split": "TFDS split expression for training.",
    "label_subset": "Class-balanced part of train_split to train on (few labels): 1%, 10%, "
    "25_per_class, or a file: a subset's, or the names of the images, one a line.",
    "eval_split": "TFDS split expression for evaluation. Default: validation, test or else "
    "holdout.",
    "holdout": "Share of a folder's images that is never trained on, the split holdout. Default: "
    "0.1 (more of few), with at least 200 images and without a split for tests.",
    "image_size": "Height and width of the images in pixels.",
    "train_image_size": "The same of the training views, where it differs: smaller ones cost less.",
    "cache_dataset": "Keep the encoded images in memory.",
    "skip_bad_images": "Check all images first; leave out and count those that can't be decoded.",
    "data_sharding": "What each host reads: batch (its part of every batch), split (its part of "
    "train_split), auto.",
    "data_service": "grpc://host:port of a tf.data service that prepares the batches.",
    "read_retries": "Failed reads in a row that are tried again, with growing pauses.",
    "value_range": "LOW:HIGH, what becomes black and white in images of more than 8 bits a "
    "channel (0:4095). Default: the range of their type.",
    "antialias": "Average crops larger than twice their view (on), or sample them as the reference "
    "does (off); auto: on for folders of images.",
}
_AUGMENT = {
    "augmentation": "simclr (the paper's policy), one_branch (Fig. 5: transforms on one view only) "
    "or autoaugment.",
    "transforms": "With commas, among " + ", ".join(TRANSFORMS) + ": those of the one branch, or "
    "added to the paper's policy (B.2).",
    "views": "Operations of your own instead, in their order: 'crop(0.2,1) flip rot90 color(0.5) "
    "my.module:function'; two lists with | between them for two views that differ.",
    "color_jitter_strength": "Strength s of the colour distortion; 0 switches it off.",
    "use_blur": "Gaussian blur with train_mode=pretrain and supervised.",
    "crop_area_min": "Smallest share of the image area that a crop may have.",
    "brightness": "multiplicative (released TF2 code) or additive (the paper's appendix).",
    "augment_on": "Where colours are distorted and views blurred: host (input pipeline), device "
    "(training step), auto (device on GPUs and TPUs).",
}
_MODEL = {
    "encoder": "resnet, applications/NAME (of keras.applications, from random weights), the path "
    "of a .keras file, or package.module:function (of the image size; returns a Keras model).",
    "channels": "Channels of the images.",
    "resnet_depth": "18, 34, 50, 101, 152 or 200.",
    "width_multiplier": "Width of the ResNet; fractions are allowed.",
    "sk_ratio": "Above 0: selective kernels and ResNet-D (SimCLRv2: 0.0625).",
    "se_ratio": "Above 0: squeeze and excitation.",
    "stem": "cifar (3x3, stride 1), imagenet (7x7, stride 2, pooling), auto (cifar up to 32 px).",
    "resnet_variant": "Whose ResNet: simclr, torchvision (max pooling pads on both sides, no "
    "projection in the first shortcut of a ResNet-18 or 34), solo_learn (CIFAR stem pads by 2).",
    "input_norm": "Of pixels in [0, 1] before the network: none, imagenet, cifar10 or means and "
    "deviations of the channels (0.5,0.5,0.5/0.2,0.2,0.2).",
    "proj_head_mode": "Projection head: none, linear, nonlinear.",
    "proj_out_dim": "Dimensions of the embedding z.",
    "num_proj_layers": "Layers of the nonlinear projection head.",
    "ft_proj_selector": "Layers of the projection head kept in fine-tuning; -1: all of them.",
    "batch_norm_decay": "Decay of the batch norm statistics.",
    "global_bn": "Batch norm statistics over all replicas.",
    "train_mode": "pretrain, finetune, supervised (labels alone, pretraining's views) or "
    "distill (needs --teacher).",
    "lineareval_while_pretraining": "Train a linear head behind a stop-gradient.",
    "fine_tune_after_block": "Fine-tune what comes after this block group; -1 all, 4 heads only.",
    "zero_init_logits_layer": "Start the linear head at zero.",
    "precision": "Arithmetic of the layers: float32, bfloat16 (variables stay float32), or auto "
    "(bfloat16 where the hardware computes in it).",
}
_OBJECTIVE = {
    "temperature": "Temperature tau of the contrastive loss.",
    "objective": "Contrastive loss: nt_xent, nt_logistic or margin_triplet.",
    "margin": "Margin of the triplet loss.",
    "semi_hard": "Only the semi-hard negative counts; nt_logistic and margin_triplet.",
    "negatives": "both_views, or those of the other_view than the anchor's.",
    "hidden_norm": "L2-normalise the embeddings before the contrastive loss.",
    "loss_block_size": "Anchors whose similarities are in memory at a time, for large batches; "
    "0: auto.",
}
_DISTILL = {
    "teacher": "With train_mode=distill: weights with a linear head, as for --checkpoint.",
    "distill_temperature": "Softens the class distributions of teacher and student.",
    "distill_alpha": "Weight of the distillation loss; the labelled loss has the rest.",
}
_OPTIMIZER = {
    "optimizer": "lars, momentum (Nesterov) or adam.",
    "learning_rate": "Learning rate per 256 images (linear) or per sqrt(batch) (sqrt).",
    "learning_rate_scaling": "linear or sqrt.",
    "warmup_epochs": "Epochs of linear warm-up.",
    "momentum": "Momentum of lars and momentum.",
    "weight_decay": "Weight decay.",
}
_TRAIN = {
    "train_batch_size": "Images per step, over all replicas.",
    "train_epochs": "Epochs to train.",
    "train_steps": "Steps to train; above 0 it overrides --train_epochs.",
    "checkpoint_epochs": "Epochs between checkpoints.",
    "checkpoint_steps": "Steps between checkpoints; above 0 it overrides --checkpoint_epochs.",
    "keep_checkpoint_max": "Checkpoints kept.",
    "keep_best": "Metric (train/NAME, eval/NAME, quality/NAME) whose best checkpoint is kept too.",
    "early_stop": "METRIC:N ends the run where a metric (train/NAME, quality/NAME) has not "
    "improved for N checkpoints; 5 without N.",
    "seed": "Fixes initialisation, data order and augmentation.",
    "deterministic": "Bit-identical runs, at some cost in speed.",
    "skip_nonfinite_steps": "Updates with a NaN or infinite loss or gradient that are left out "
    "before the run stops.",
    "gradient_cache_chunk": "Images of the global batch in memory at a time, for large batches on "
    "small devices; 0: all.",
    "gradient_cache_bn": "Batch norm's statistics then: chunk (each chunk's own) or frozen (the "
    "running ones).",
    "remat": "Compute the activations inside residual blocks again in the backward pass: less "
    "memory, more time, the same gradient.",
    "jit_compile": "What XLA compiles: on (step and input pipeline; one replica), input (the "
    "latter alone), off, or auto (input; on a TPU on).",
}
_EVALUATION = {
    "eval_batch_size": "Images per evaluation batch, over all replicas.",
    "eval_steps": "Evaluation batches; 0 takes the whole split.",
    "eval_name": "Sub-folder of model_dir for this evaluation's events and results.",
    "knn": "Evaluate k nearest neighbours too.",
    "knn_bank_size": "Training images that serve as neighbours, at most. Default: 50000, and no "
    "more than eval_steps takes.",
    "linear_probe": "Fit a logistic regression on the features of those images too.",
    "eval_timeout_secs": "With --mode=eval: end when no new checkpoint came for so long.",
    "keep_hub_module_max": "SavedModels kept; 0 keeps all.",
}
_SCOREBOARD = {
    "protocols": "With --mode=evaluate: all, or among " + ", ".join(PROTOCOLS) + ".",
    "endpoint": "Representation that is evaluated or embedded; h is final_avg_pool.",
    "feature_cache": "Folder that keeps extracted features for later commands.",
    "validation_split": "Split expression to choose settings on. Default: a held-out part of "
    "train_split.",
    "validation_fraction": "Share of the training images that is held out for it.",
    "linear_epochs": "Epochs of the linear heads.",
    "linear_batch_size": "Their batch size, over all replicas.",
    "linear_learning_rates": "Learning rates per 256 images, with commas; all in one pass.",
    "linear_optimizer": "momentum or lars.",
    "knn_neighbors": "Numbers of neighbours, with commas.",
    "knn_temperature": "Temperature of the votes.",
    "logreg_values": "Number of L2 strengths from 1e-6 to 1e5.",
    "logreg_iterations": "L-BFGS iterations at most for each.",
    "label_fractions": "Label subsets, with commas: 1%, 25_per_class, or a subset file.",
    "label_epochs": "Epochs of fine-tuning, one number or one for each subset.",
    "label_batch_size": "Batch size of fine-tuning on them.",
    "label_learning_rate": "Learning rate per 256 images of fine-tuning on them.",
    "scratch_learning_rate": "The same for networks that start from random weights.",
    "scratch_epochs_factor": "Their epochs, as a multiple.",
    "finetune_steps": "Steps of fine-tuning on all labels.",
    "finetune_batch_size": "Its batch size.",
    "finetune_learning_rates": "Its peak learning rates, with commas.",
    "finetune_weight_decays": "Its weight decays, with commas; divided by the learning rate.",
    "finetune_after_block": "Fine-tune what comes after this block group; -1 all, 4 heads only.",
    "supervised_steps": "Steps of the supervised baseline; 0: as many images as the encoder saw.",
    "attribute_images": "Images for the predictors of table 3, at most.",
    "distill_width": "Width of the student, as a share of the encoder's.",
    "distill_labels": "Label subset that the teacher is fine-tuned on.",
    "distill_steps": "Steps of the student.",
    "transfer_datasets": "Names of the transfer suite's data sets, with commas, or all.",
    "transfer_finetune": "Fine-tune on each of them too.",
    "transfer_image_size": "Side of the images there; 0 takes the encoder's.",
    "compare_with": "Folder of another evaluation, for permutation tests.",
    "map_points": "Images on the t-SNE map and in the projector; 0 for none.",
}
_RETRIEVAL = {
    "output": "File to write: embeddings (.parquet, .npz), or beside EMBEDDINGS by default the "
    "picture of neighbors (.png: STEM.neighbors.png, STEM.duplicates.png) or the page of explore "
    "(.html: STEM.explore.html; its table has the same name with .csv).",
    "embeddings": "File of embeddings to search.",
    "query": "Image file, or id in --embeddings. Default: near-duplicates of the whole file.",
    "num_neighbors": "Neighbours of --query to show.",
    "similarity": "cosine, or centred: seen from the mean of at least 50 images.",
    "duplicate_similarity": "Similarity of near-duplicates; chosen by the file itself by default.",
}
_EXPLORE = {
    "labels": "With --mode=explore: CSV file with the columns id and label (or group), for labels "
    "in place of those in EMBEDDINGS.",
    "num_groups": "With --mode=explore: groups to find; chosen by the images by default.",
}
_STUDY = {
    "study": "With --mode=study: " + ", ".join(STUDIES) + ".",
    "study_budget": "Length of a cell: steps (200) or minutes with its evaluation (3min). Default: "
    "the run's own length.",
    "study_seeds": "Seeds that every cell is run with.",
    "study_grid": "small, or paper: all values of the paper's tables.",
}
_REPORT = {
    "report": "Write report.html, a page about the run, at checkpoints and at the end.",
    "report_examples": "Test images whose neighbours and map it shows.",
    "quality_images": "Test images for figures without labels; 0 for none.",
    "log_to": "Where figures go, with commas: tensorboard (always), csv, jsonl, wandb, mlflow.",
    "verbose": "Tell details in the output, such as which variables are decayed.",
}
_HARDWARE = {
    "strategy": "one_device, mirrored (several GPUs or logical CPUs), multi_worker (TF_CONFIG or "
    "Slurm), tpu, or auto.",
    "use_tpu": "Run on a TPU; off, --tpu_name and --master do not count. Default: what they say.",
    "tpu_name": "Name or grpc:// address of the TPU.",
    "tpu_zone": "Zone of the TPU.",
    "gcp_project": "Project of the TPU.",
    "master": "Address of the TPU worker; an older spelling of --tpu_name.",
    "num_logical_cpus": "Split the CPU into so many replicas (to try several on one machine).",
}

LOGGING_AREA = "Logging"
# Flags that every program with absl has: name -> (type, help). Only the first does something here.
LOGGING: dict[str, tuple[type, str]] = {
    "verbosity": (int, "What TensorFlow may say besides: -2 errors, -1 warnings, 0 information, 1 "
                  "and more for debugging; also -v. Default: errors."),
    "logtostderr": (bool, "Accepted for old command lines; has no effect."),
    "alsologtostderr": (bool, "Accepted for old command lines; has no effect."),
    "log_dir": (str, "Accepted for old command lines; has no effect."),
    "logger_levels": (str, "Accepted for old command lines; has no effect."),
    "stderrthreshold": (str, "Accepted for old command lines; has no effect."),
    "showprefixforinfo": (bool, "Accepted for old command lines; has no effect."),
}  # fmt: skip

# Title -> (configuration class, help texts), in the order in which --help shows them.
AREAS: dict[str, list[tuple[type, dict[str, str]]]] = {
    "Data": [(config.DataConfig, _DATA)],
    "Augmentation": [(config.AugmentConfig, _AUGMENT)],
    "Model": [
        (config.EncoderConfig, _MODEL),
        (config.ProjectionConfig, _MODEL),
        (config.BatchNormConfig, _MODEL),
        (config.ModelConfig, _MODEL),
    ],
    "Objective and optimizer": [
        (config.ObjectiveConfig, _OBJECTIVE),
        (config.DistillConfig, _DISTILL),
        (config.OptimizerConfig, _OPTIMIZER),
    ],
    "Training": [(config.TrainConfig, _TRAIN)],
    "Evaluation": [(config.EvalConfig, _EVALUATION)],
    "Protocols (--mode=evaluate)": [(config.ProtocolConfig, _SCOREBOARD)],
    "Embeddings (--mode=embed, neighbors, explore)": [
        (config.Neighbors, _RETRIEVAL),
        (config.Explore, _EXPLORE),
    ],
    "Studies (--mode=study)": [(config.StudyConfig, _STUDY)],
    "Report": [(config.ReportConfig, _REPORT)],
    "Hardware": [(config.StrategyConfig, _HARDWARE)],
}


def _define(values: flags.FlagValues, area: str, name: str, kind: Any, default: Any, text: str):
    kinds = [k for k in typing.get_args(kind) or (kind,) if k is not type(None)]
    definers = {
        bool: flags.DEFINE_bool,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
    }
    short = "v" if name == "verbosity" else None
    definers[kinds[0]](name, default, text, flag_values=values, module_name=area, short_name=short)


def define_flags() -> flags.FlagValues:
    """A fresh `FlagValues` with every flag of `run.py`, apart from absl's process-wide one."""
    values = flags.FlagValues()
    for name, (default, text) in _RUN.items():
        kind = str if default is None else type(default)
        _define(values, "Run", name, kind, default, text)
    for area, classes in AREAS.items():
        for config_class, texts in classes:
            for name, kind, default in by_name.setting_fields(config_class):
                if name in texts:
                    _define(values, area, name, kind, default, texts[name])
    for name, (kind, text) in LOGGING.items():
        _define(values, LOGGING_AREA, name, kind, None, text)
    return values


def run_flag_names() -> list[str]:
    """The flags that belong to `run.py` itself."""
    return list(_RUN)
