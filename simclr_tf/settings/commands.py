"""What can be asked for: a dataclass for each command, and which settings each of them reads.

A training, and the evaluation of its checkpoints, is `simclr_tf.settings.run.RunConfig`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from simclr_tf.cluster import SERVICE_FORM, is_service
from simclr_tf.errors import require, require_choice
from simclr_tf.settings.augment import AugmentConfig
from simclr_tf.settings.by_name import setting_names
from simclr_tf.settings.checks import BATCH, POSITIVE_SHARE, Range, check_settings, limited
from simclr_tf.settings.data import DataConfig
from simclr_tf.settings.devices import StrategyConfig
from simclr_tf.settings.objective import DistillConfig
from simclr_tf.settings.optimizer import OptimizerConfig
from simclr_tf.settings.protocols import ProtocolConfig
from simclr_tf.settings.run import RunConfig
from simclr_tf.settings.study import StudyConfig
from simclr_tf.settings.training import TrainConfig

COSINE, CENTRED = "cosine", "centred"
SIMILARITIES = (COSINE, CENTRED)

# Of reading images for a training, which passes over them again and again.
_TRAINING_INPUT = ("label_subset", "train_image_size", "cache_dataset", "data_sharding",
                   "data_service", "read_retries")  # fmt: skip
_KEEPING = ("checkpoint_epochs", "checkpoint_steps", "keep_checkpoint_max", "keep_best",
            "early_stop")  # fmt: skip
_STEP = ("skip_nonfinite_steps", "gradient_cache_chunk", "gradient_cache_bn", "remat",
         "jit_compile")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """`--mode=evaluate`: the paper's protocols on any encoder.

    Attributes:
        model_dir: Folder for the results; the run whose encoder is evaluated without `checkpoint`.
        checkpoint: What `simclr_tf.evaluation.encoders.open_encoder` opens.
        image_size: Side of the images; None takes the encoder's own.
        ft_proj_selector: Layers of the encoder's projection head that fine-tuning keeps.
        allow_foreign_graph: See `open_encoder`.
        eval_batch_size: Images per forward pass, over all replicas.
    """

    UNREAD: ClassVar[frozenset[str]] = frozenset(
        {*_TRAINING_INPUT, *_KEEPING, *_STEP, "augmentation", "transforms", "views", "augment_on",
         "teacher", "distill_alpha"}
    )  # fmt: skip

    model_dir: str
    checkpoint: str | None = None
    image_size: int | None = None
    ft_proj_selector: int = limited(0, Range(-101, 100))
    allow_foreign_graph: bool = False
    eval_batch_size: int = limited(256, BATCH)
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
    distill: DistillConfig = DistillConfig()
    protocols: ProtocolConfig = ProtocolConfig()
    strategy: StrategyConfig = StrategyConfig()

    def __post_init__(self) -> None:
        check_settings(self)
        require(bool(self.model_dir), "model_dir", "must name a folder", self.model_dir)


@dataclasses.dataclass(frozen=True)
class Embed:
    """`--mode=embed`: the embedding of every image of a data set, in a file.

    Attributes:
        checkpoint: What `simclr_tf.evaluation.encoders.open_encoder` opens.
        output: The file, `.parquet` or `.npz`.
        endpoint: Output of the encoder to keep. Maps (H, W, C) are averaged over their positions,
            as the encoder itself does for `final_avg_pool`.
        image_size: Side of the images; None takes the encoder's own.
        allow_foreign_graph: See `open_encoder`.
        eval_batch_size: Images per forward pass, over all replicas.
        data: `eval_split` is what is embedded; without it every split of a folder, and the
            `train_split` of any other data set. `skip_bad_images` leaves out what can't be decoded.
    """

    UNREAD: ClassVar[frozenset[str]] = frozenset({*_TRAINING_INPUT, "holdout"})

    checkpoint: str | None = None
    output: str | None = None
    endpoint: str = "final_avg_pool"
    image_size: int | None = None
    allow_foreign_graph: bool = False
    eval_batch_size: int = limited(256, BATCH)
    data: DataConfig = DataConfig()
    strategy: StrategyConfig = StrategyConfig()

    def __post_init__(self) -> None:
        check_settings(self)
        require(bool(self.output), "output", "must name the file to write with mode=embed",
                self.output)  # fmt: skip
        require(bool(self.checkpoint), "checkpoint", "must name an encoder with mode=embed",
                self.checkpoint)  # fmt: skip
        require(bool(self.endpoint), "endpoint", "must name an endpoint", self.endpoint)


@dataclasses.dataclass(frozen=True)
class Neighbors:
    """`--mode=neighbors`: the images nearest to one, or the near-duplicates of a file.

    Attributes:
        embeddings: A file that `mode=embed` wrote.
        query: An image file, which `checkpoint` embeds now, or the id of an image in the file; the
            query itself is left out of its neighbours. None groups the near-duplicates of the whole
            file; a group is a connected chain of similar pairs.
        checkpoint: The encoder that embeds an image file; it must be that of the embeddings. Where
            they say that it lay is shown and never opened, as a file may name anything.
        output: The picture, `.png`; None writes `<stem>.neighbors.png`, or `<stem>.duplicates.png`
            without a query, beside `embeddings`.
        num_neighbors: At most so many neighbours; near-duplicates beyond them are counted.
        similarity: `centred` is the cosine of embeddings seen from their mean, around 0 for unlike
            images; `cosine` that of the embeddings themselves, which with many encoders is large
            for any two. Of fewer than 50 images the mean tells little: it is `cosine` then.
        duplicate_similarity: Similarity from which images are near-duplicates. None chooses it by
            the similarities in the file, so that 0.1 pairs of different images are expected; of
            fewer than 50 images it is 0.95.
        image_folder: Where the images of a `folder:` data set lie now; None means where they were
            when they were embedded.
        allow_foreign_graph: See `simclr_tf.evaluation.encoders.open_encoder`.
    """

    embeddings: str | None = None
    query: str | None = None
    checkpoint: str | None = None
    output: str | None = None
    num_neighbors: int = limited(10, Range(1, 10**6))
    similarity: str = CENTRED
    duplicate_similarity: float | None = limited(None, POSITIVE_SHARE)
    image_folder: str | None = None
    allow_foreign_graph: bool = False

    def __post_init__(self) -> None:
        check_settings(self)
        require(bool(self.embeddings), "embeddings", "must name a file that mode=embed wrote",
                self.embeddings)  # fmt: skip
        require(self.output != "", "output", "must name a file", self.output)
        require(self.query != "", "query", "must name an image file or an id", self.query)
        require_choice("similarity", self.similarity, SIMILARITIES)


@dataclasses.dataclass(frozen=True)
class Explore:
    """`--mode=explore`: what is in a folder, on one page and in a table.

    Attributes:
        embeddings: A file that `mode=embed` wrote.
        output: The page, `.html`; None writes `<stem>.explore.html` beside `embeddings`. The table
            has the same name with `.csv`.
        labels: A CSV file with a head and the columns `id` and `label` (or `group`, as the page
            writes it): labels in place of those in `embeddings`, for the ids that it names.
        num_groups: Groups to find; None chooses, see `simclr_tf.exploration.groups.find_groups`.
        similarity: See `Neighbors`.
        duplicate_similarity: See `Neighbors`.
        image_folder: See `Neighbors`.
    """

    embeddings: str | None = None
    output: str | None = None
    labels: str | None = None
    num_groups: int | None = limited(None, Range(1, 200))
    similarity: str = CENTRED
    duplicate_similarity: float | None = limited(None, POSITIVE_SHARE)
    image_folder: str | None = None

    def __post_init__(self) -> None:
        check_settings(self)
        require(bool(self.embeddings), "embeddings", "must name a file that mode=embed wrote",
                self.embeddings)  # fmt: skip
        require(self.output != "", "output", "must name a file", self.output)
        require(self.labels != "", "labels", "must name a CSV file", self.labels)
        require_choice("similarity", self.similarity, SIMILARITIES)


@dataclasses.dataclass(frozen=True)
class Study:
    """`--mode=study`: an experiment of the paper, whose cells are runs.

    Example:
        >>> run = simclr_tf.recipe("quickstart")
        >>> simclr_tf.Study(run, simclr_tf.StudyConfig("temperature")).study.study_grid
        'small'
    """

    UNREAD: ClassVar[frozenset[str]] = frozenset(
        {"knn", "linear_probe", "eval_timeout_secs", "keep_hub_module_max", "eval_name",
         "checkpoint_epochs", "checkpoint_steps", "keep_checkpoint_max", "keep_best",
         "early_stop", "teacher",
         "distill_temperature", "distill_alpha", "fine_tune_after_block",
         "zero_init_logits_layer", "views"}
    )  # fmt: skip

    run: RunConfig
    study: StudyConfig


@dataclasses.dataclass(frozen=True)
class Serve:
    """`--mode=data_dispatcher` and `data_worker`: the processes of a tf.data service.

    Attributes:
        data_service: `grpc://host:port` of the dispatcher.
        worker_address: `host:port` under which those who train reach a worker; None takes this
            host's name and a free port.
    """

    data_service: str
    worker_address: str | None = None

    def __post_init__(self) -> None:
        require(is_service(self.data_service), "data_service", SERVICE_FORM, self.data_service)


COMMANDS: dict[str, type] = {
    "train": RunConfig,
    "eval": RunConfig,
    "train_then_eval": RunConfig,
    "evaluate": Evaluate,
    "embed": Embed,
    "neighbors": Neighbors,
    "explore": Explore,
    "study": Study,
    "data_dispatcher": Serve,
    "data_worker": Serve,
}
TRAINING_MODES = ("train", "eval", "train_then_eval")
_CONTRASTIVE = ("objective", "temperature", "margin", "semi_hard", "negatives", "hidden_norm",
                "loss_block_size")  # fmt: skip
_POLICY = ("augmentation", "transforms", "color_jitter_strength", "use_blur", "brightness")
_DISTORTION = (*_POLICY, "views", "augment_on")
_OF_RESNET = ("resnet_depth", "width_multiplier", "sk_ratio", "se_ratio", "stem", "remat",
              "resnet_variant", "input_norm")  # fmt: skip
# What only `mode=eval` can do without: it trains nothing.
_ONLY_TRAINING = frozenset(
    {*setting_names(AugmentConfig), *_CONTRASTIVE, *setting_names(DistillConfig),
     *_KEEPING, *_STEP, "learning_rate", "learning_rate_scaling", "warmup_epochs", "momentum",
     "train_image_size", "cache_dataset", "data_sharding", "data_service", "read_retries",
     "report_examples",
     "quality_images", "verbose"}
)  # fmt: skip
_ONLY_EVALUATION = ("eval_steps", "eval_name", "knn", "knn_bank_size", "linear_probe",
                    "eval_timeout_secs")  # fmt: skip


def reads(mode: str) -> frozenset[str]:
    """The settings that a mode reads, whatever they are."""
    command = COMMANDS[mode]
    names = frozenset(setting_names(command)) - getattr(command, "UNREAD", frozenset())
    if mode == "eval":
        return names - _ONLY_TRAINING
    if mode == "train":
        return names - frozenset(_ONLY_EVALUATION)
    if mode == "train_then_eval":
        return names - {"eval_timeout_secs"}
    return names


def modes_that_read(name: str) -> list[str]:
    """The modes that read a setting."""
    return [mode for mode in COMMANDS if name in reads(mode)]


def idle(mode: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings that a command of these values does not read, by name, each with the reason.

    Args:
        mode: One of `COMMANDS`.
        settings: Values by setting name.
    """
    if mode == "neighbors" and not settings.get("query"):
        return {"num_neighbors": "mode=neighbors without --query"}
    if mode not in (*TRAINING_MODES, "study"):
        return {}
    found: dict[str, str] = {}
    train_mode, objective = settings["train_mode"], settings["objective"]

    def add(names: tuple[str, ...], reason: str) -> None:
        found.update({name: reason for name in names if name not in found})

    if settings["encoder"] != "resnet":
        add(_OF_RESNET, f"encoder={settings['encoder']}")
    if train_mode != "pretrain":
        add(_CONTRASTIVE, f"train_mode={train_mode}")
        add(("lineareval_while_pretraining", "quality_images"), f"train_mode={train_mode}")
    if train_mode in ("finetune", "distill"):
        add(_DISTORTION, f"train_mode={train_mode}")
    elif settings["views"]:
        add((*_POLICY, "crop_area_min"), f"views={settings['views']}")
    if train_mode in ("supervised", "distill"):
        add(("proj_head_mode", "proj_out_dim", "num_proj_layers"), f"train_mode={train_mode}")
    if train_mode != "distill":
        add(("distill_temperature", "distill_alpha"), f"train_mode={train_mode}")
    if objective != "margin_triplet":
        add(("margin",), f"objective={objective}")
    if settings["optimizer"] == "adam":
        add(("momentum",), "optimizer=adam")
    if settings["train_steps"]:
        add(("train_epochs",), f"train_steps={settings['train_steps']}")
    if settings["checkpoint_steps"]:
        add(("checkpoint_epochs",), f"checkpoint_steps={settings['checkpoint_steps']}")
    if settings["proj_head_mode"] != "nonlinear":
        add(("num_proj_layers",), f"proj_head_mode={settings['proj_head_mode']}")
    if settings["proj_head_mode"] == "none":
        add(("proj_out_dim",), "proj_head_mode=none")
    if not settings["report"]:
        add(("report_examples", "quality_images"), "report=False")
    if not (settings["knn"] or settings["linear_probe"]):
        add(("knn_bank_size",), "knn=False")
    return found
