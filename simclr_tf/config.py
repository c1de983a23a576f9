"""Settings of a run as small frozen dataclasses, checked when they are built.

Every field has the name of its flag in `run.py`, so an error can name both at once. This module
imports nothing but the standard library: settings can be built, compared and printed without
TensorFlow. Defaults are those of the reference implementation; recipes (`flags/recipes/`) hold
others. Section numbers refer to the paper, arXiv 2002.05709v3.
"""

from __future__ import annotations

import dataclasses
import math
import re

from simclr_tf.augment.settings import AugmentConfig
from simclr_tf.cluster import SERVICE_FORM, StrategyConfig, is_service
from simclr_tf.errors import InputError, require, require_choice
from simclr_tf.limits import check_settings
from simclr_tf.protocols.settings import ProtocolConfig
from simclr_tf.report.settings import ReportConfig
from simclr_tf.retrieval.settings import RetrievalConfig
from simclr_tf.studies.settings import StudyConfig

BLOCKS_PER_GROUP = {  # residual blocks of a ResNet's four groups, by depth
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
RESNET_DEPTHS = tuple(BLOCKS_PER_GROUP)
STEMS = ("auto", "cifar", "imagenet")
PROJ_HEAD_MODES = ("none", "linear", "nonlinear")
OPTIMIZERS = ("lars", "momentum", "adam")
TRAIN_MODES = ("pretrain", "finetune", "supervised", "distill")
OBJECTIVES = ("nt_xent", "nt_logistic", "margin_triplet")
NEGATIVES = ("both_views", "other_view")
PRECISIONS = ("float32", "bfloat16", "auto")
LEARNING_RATE_SCALINGS = ("linear", "sqrt")
DATA_SHARDINGS = ("auto", "batch", "split")
JIT_COMPILE = ("auto", "on", "off")
GRADIENT_CACHE_BN = ("chunk", "frozen")
_BANK_SIZE = 50_000


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which images, and how they are read.

    `dataset` is a TFDS name with optional config (`cifar10`, `imagenet2012_subset/1pct`), one of
    the embedded sets `patterns` and `digits`, `folder` (with `data_dir`) or `folder:PATH`.
    Splits are TFDS split expressions (`train[:10%]`). `eval_split=None` takes `validation` as the
    reference does, `test` where there is no such split, and else evaluates nothing and says so.
    `label_subset` trains on a class-balanced part of `train_split` (B.5): `1%`, `25_per_class`, or
    the path of a subset file.

    With several input pipelines (one per host), `data_sharding=batch` has each of them go through
    all records and decode its part of every global batch, which is then the same on any number of
    hosts; with `split` each reads an equal part of the split and nothing else. `auto` takes `split`
    where the split does not fit into the shuffle buffer. `data_service` (`grpc://host:port`) moves
    decoding and augmentation to the workers of a tf.data service. Reads that fail for a passing
    reason are tried again up to `read_retries` times in a row, with growing pauses.
    """

    dataset: str = "imagenet2012"
    data_dir: str | None = None
    train_split: str = "train"
    label_subset: str | None = None
    eval_split: str | None = None
    image_size: int = 224
    cache_dataset: bool = False
    skip_bad_images: bool = False
    data_sharding: str = "auto"
    data_service: str | None = None
    read_retries: int = 5

    def __post_init__(self) -> None:
        check_settings(self)
        require(bool(self.dataset), "dataset", "must name a data set", self.dataset)
        require_choice("data_sharding", self.data_sharding, DATA_SHARDINGS)
        service = self.data_service
        require(service is None or is_service(service), "data_service", SERVICE_FORM, service)
        require(bool(self.train_split), "train_split", "must name a split", self.train_split)
        require(self.label_subset != "", "label_subset", "must name a subset", self.label_subset)
        require(self.eval_split != "", "eval_split", "must name a split", self.eval_split)


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """A ResNet encoder f.

    Attributes:
        resnet_depth: 18, 34, 50, 101, 152 or 200.
        width_multiplier: Any positive number; channels are `int(base * width_multiplier)`.
        sk_ratio: Above 0, selective kernels in bottleneck blocks and ResNet-D shortcuts and stem
            (SimCLRv2 uses 0.0625).
        se_ratio: Above 0, squeeze and excitation at the end of every block.
        stem: `cifar` (3x3, stride 1, no pooling), `imagenet` (7x7, stride 2, max pooling) or
            `auto`, which is resolved from the image size by `resolve_stem`.
    """

    resnet_depth: int = 50
    width_multiplier: float = 1.0
    sk_ratio: float = 0.0
    se_ratio: float = 0.0
    stem: str = "auto"

    def __post_init__(self) -> None:
        check_settings(self)
        require_choice("resnet_depth", self.resnet_depth, RESNET_DEPTHS)
        require_choice("stem", self.stem, STEMS)

    def resolve_stem(self, image_size: int) -> EncoderConfig:
        """The same encoder with `auto` replaced: `cifar` up to 32 px, `imagenet` above.

        Raises:
            InputError: The network would shrink an image of this size to less than one pixel.
        """
        stem = self.stem
        if stem == "auto":
            stem = "cifar" if image_size <= 32 else "imagenet"
        smallest = 32 if stem == "imagenet" else 8
        if image_size < smallest:
            raise InputError("image_size", f"must be at least {smallest} with stem={stem}",
                             image_size)  # fmt: skip
        return dataclasses.replace(self, stem=stem)


def kept_layers(ft_proj_selector: int, depth: int) -> int:
    """How many of a projection head's `depth` layers a selector keeps; -1 keeps all.

    Raises:
        InputError: The head does not have so many.
    """
    kept = ft_proj_selector + depth + 1 if ft_proj_selector < 0 else ft_proj_selector
    require(0 <= kept <= depth, "ft_proj_selector", f"must lie between 0 and the head's {depth} "
            f"layers, or count from its end (-1 for all, down to {-depth - 1})",
            ft_proj_selector)  # fmt: skip
    return kept


@dataclasses.dataclass(frozen=True)
class ProjectionConfig:
    """The projection head g (section 4.2; three layers as in SimCLRv2).

    `ft_proj_selector` counts the head's layers that fine-tuning keeps below the linear head:
    0 drops the projection head, 1 fine-tunes from its first layer (SimCLRv2), -1 keeps all of them
    and -2 all but the last. It becomes the number that it stands for.
    """

    proj_head_mode: str = "nonlinear"
    proj_out_dim: int = 128
    num_proj_layers: int = 3
    ft_proj_selector: int = 0

    def __post_init__(self) -> None:
        check_settings(self)
        require_choice("proj_head_mode", self.proj_head_mode, PROJ_HEAD_MODES)
        object.__setattr__(self, "ft_proj_selector",
                           kept_layers(self.ft_proj_selector, self.depth))  # fmt: skip

    @property
    def depth(self) -> int:
        """Number of dense layers in the head."""
        return {"none": 0, "linear": 1, "nonlinear": self.num_proj_layers}[self.proj_head_mode]


@dataclasses.dataclass(frozen=True)
class BatchNormConfig:
    """Batch normalisation of the whole network; epsilon is 1e-5 as in the reference.

    `global_bn` aggregates mean and variance over all replicas (section 2.2).
    """

    batch_norm_decay: float = 0.9
    global_bn: bool = True

    def __post_init__(self) -> None:
        check_settings(self)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Encoder, heads, and which of them train.

    Attributes:
        train_mode: `pretrain` builds encoder, projection head and, where `lineareval_while_
            pretraining` and labels allow, the linear head behind a stop-gradient. `finetune`
            builds the encoder, the first `ft_proj_selector` layers of the head and the linear head.
            `supervised` trains encoder and linear head on labels alone, with pretraining's
            augmentation: the baseline of sections 5.1 and 6. `distill` trains encoder and linear
            head on the class distributions of a teacher (see `DistillConfig`).
        fine_tune_after_block: With `finetune`, -1 trains everything, 0 all after the stem, k all
            after block group k, 4 the heads alone: the linear one and, as in the reference, the
            kept layers of the projection head (`ft_proj_selector`) with their batch norm. Frozen
            parts keep their BN statistics.
        precision: Arithmetic of the layers; variables and BN statistics are float32 always. `auto`
            is bfloat16 where the hardware computes in it, else float32 (`simclr_tf.precision`).
    """

    encoder: EncoderConfig = EncoderConfig()
    projection: ProjectionConfig = ProjectionConfig()
    batch_norm: BatchNormConfig = BatchNormConfig()
    train_mode: str = "pretrain"
    lineareval_while_pretraining: bool = True
    fine_tune_after_block: int = -1
    zero_init_logits_layer: bool = False
    precision: str = "float32"

    def __post_init__(self) -> None:
        check_settings(self)
        require_choice("train_mode", self.train_mode, TRAIN_MODES)
        require_choice("precision", self.precision, PRECISIONS)
        require_choice("fine_tune_after_block", self.fine_tune_after_block, (-1, 0, 1, 2, 3, 4))
        if self.train_mode != "finetune":
            require(self.fine_tune_after_block == -1, "fine_tune_after_block",
                    "needs train_mode=finetune (the other modes train everything: -1)",
                    self.fine_tune_after_block)  # fmt: skip
        if self.train_mode in ("supervised", "distill"):
            require(self.projection.ft_proj_selector == 0, "ft_proj_selector",
                    f"must be 0 with train_mode={self.train_mode}, which has no projection head",
                    self.projection.ft_proj_selector)  # fmt: skip

    @property
    def pretrains(self) -> bool:
        """Whether the contrastive loss trains the encoder; in the other modes it is the logits'."""
        return self.train_mode == "pretrain"

    @property
    def linear_head_layer(self) -> int:
        """The layer of the projection head that the linear head reads, 0 for the encoder."""
        return 0 if self.pretrains else self.projection.ft_proj_selector


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
    """The contrastive loss: NT-Xent (section 2.1), or one of those it is compared with (Table 2).

    Attributes:
        objective: `nt_xent`, `nt_logistic` or `margin_triplet`.
        temperature: The paper's tau.
        margin: By how much a positive is to be more similar than a negative; margin triplet.
        semi_hard: Only the semi-hard negative of an anchor counts; not with NT-Xent.
        negatives: `both_views`, or those of the `other_view` than the anchor's, as in Table 4.
        hidden_norm: Whether the embeddings are L2-normalised.
        loss_block_size: Anchors whose similarities are in memory at a time; 0 chooses. NT-Xent with
            the negatives of both views; the others hold all similarities.
    """

    objective: str = "nt_xent"
    temperature: float = 0.1
    margin: float = 0.8
    semi_hard: bool = False
    negatives: str = "both_views"
    hidden_norm: bool = True
    loss_block_size: int = 0

    def __post_init__(self) -> None:
        check_settings(self)
        require_choice("objective", self.objective, OBJECTIVES)
        require_choice("negatives", self.negatives, NEGATIVES)
        require(not (self.semi_hard and self.objective == "nt_xent"), "semi_hard",
                "must be off with objective=nt_xent, which weights all negatives",
                self.semi_hard)  # fmt: skip
        blocked = self.objective == "nt_xent" and self.negatives == "both_views"
        require(blocked or not self.loss_block_size, "loss_block_size",
                "must be 0 unless objective=nt_xent and negatives=both_views",
                self.loss_block_size)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class DistillConfig:
    """Distillation into a student (SimCLRv2, arXiv 2006.10029, section 2, equations 2 and 3).

    Attributes:
        teacher: SimCLR weights with a linear head, of any format; with `train_mode=distill` only.
            Where published weights do not tell which layer of the projection head the linear head
            reads, `python -m export import --ft_proj_selector=1` makes weights that do.
        distill_temperature: Softens the distributions of teacher and student alike. SimCLRv2 takes
            1.0 for a smaller student and 0.1 for one of the teacher's size, and finds that it
            matters little.
        distill_alpha: Weight of the distillation term; the labelled cross entropy has the rest.
            1 needs no labels.
    """

    teacher: str | None = None
    distill_temperature: float = 1.0
    distill_alpha: float = 1.0

    def __post_init__(self) -> None:
        check_settings(self)
        require(self.teacher != "", "teacher", "must be a path to weights", self.teacher)


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Optimizer and learning rate.

    The peak learning rate is `learning_rate * batch / 256` (`linear`) or
    `learning_rate * sqrt(batch)` (`sqrt`, B.1), batch being the global one.
    """

    optimizer: str = "lars"
    learning_rate: float = 0.3
    learning_rate_scaling: str = "linear"
    warmup_epochs: float = 10
    momentum: float = 0.9
    weight_decay: float = 1e-6

    def __post_init__(self) -> None:
        check_settings(self)
        require_choice("optimizer", self.optimizer, OPTIMIZERS)
        require_choice("learning_rate_scaling", self.learning_rate_scaling,
                        LEARNING_RATE_SCALINGS)  # fmt: skip

    def peak_learning_rate(self, batch_size: int) -> float:
        """The learning rate at the end of warm-up for a global batch of `batch_size`."""
        if self.learning_rate_scaling == "linear":
            return self.learning_rate * batch_size / 256
        return self.learning_rate * math.sqrt(batch_size)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Length of training, batch, checkpoints. Steps given above 0 override epochs.

    Attributes:
        train_batch_size: Images per step, over all replicas.
        keep_checkpoint_max: The newest so many checkpoints are kept.
        keep_best: Name of a metric (`train/contrast_loss`, or `eval/label_top_1_accuracy` where
            evaluations of the run are written); the checkpoint with its best value is kept too.
        seed: Fixes initialisation, data order and augmentation.
        deterministic: Operations whose result could depend on the order of threads are replaced or
            refused, so that two runs agree bit for bit.
        skip_nonfinite_steps: Updates with a loss or gradient that is not finite are left out, up to
            so many in a run, before it stops; 0 stops at the first.
        gradient_cache_chunk: Images of the global batch that go through the network at a time, with
            the gradient of the whole batch's loss all the same; 0 takes the whole batch at once.
        gradient_cache_bn: What batch norm does then. `chunk`: every chunk is normalised by its own
            statistics. `frozen`: by the running statistics, which stay as they are.
        remat: Activations inside residual blocks are computed again in the backward pass instead of
            being kept: less memory, a second forward pass, the same gradient.
        jit_compile: Whether XLA compiles the step: `on` (one replica only), `off`, or `auto`: off
            except on a TPU, where nothing else is possible. With `off` the input pipeline does
            without it too.
    """

    train_batch_size: int = 512
    train_epochs: int = 100
    train_steps: int = 0
    checkpoint_epochs: int = 1
    checkpoint_steps: int = 0
    keep_checkpoint_max: int = 5
    keep_best: str | None = None
    seed: int = 0
    deterministic: bool = False
    skip_nonfinite_steps: int = 0
    gradient_cache_chunk: int = 0
    gradient_cache_bn: str = "chunk"
    remat: bool = False
    jit_compile: str = "auto"

    def __post_init__(self) -> None:
        check_settings(self)
        plain = self.keep_best is None or re.fullmatch(r"(train|eval)/\w+", self.keep_best)
        require(bool(plain), "keep_best", "must name a metric, train/NAME or eval/NAME",
                self.keep_best)  # fmt: skip
        require_choice("jit_compile", self.jit_compile, JIT_COMPILE)
        require_choice("gradient_cache_bn", self.gradient_cache_bn, GRADIENT_CACHE_BN)
        chunk = self.gradient_cache_chunk
        require(chunk > 0 or self.gradient_cache_bn == "chunk", "gradient_cache_bn",
                "needs gradient_cache_chunk", self.gradient_cache_bn)  # fmt: skip
        require(chunk == 0 or self.train_batch_size % chunk == 0, "gradient_cache_chunk",
                f"must divide train_batch_size={self.train_batch_size}", chunk)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Evaluation of a checkpoint.

    Attributes:
        eval_batch_size: Images per forward pass, over all replicas.
        eval_steps: Batches of the evaluation split to use; 0 takes all of it.
        knn: Whether to run the weighted k-nearest-neighbour classifier on frozen features.
        knn_bank_size: At most so many training images serve as neighbours. None takes 50,000, and
            with `eval_steps` no more than these evaluate.
        linear_probe: Whether to fit a logistic regression on the features of the same images.
        eval_timeout_secs: `mode=eval` ends when no new checkpoint came for so long.
        keep_hub_module_max: SavedModels kept under `saved_model/`; 0 keeps all.
    """

    eval_batch_size: int = 256
    eval_steps: int = 0
    eval_name: str | None = None
    knn: bool = True
    knn_bank_size: int | None = None
    linear_probe: bool = False
    eval_timeout_secs: int = 3600
    keep_hub_module_max: int = 1

    def __post_init__(self) -> None:
        check_settings(self)
        plain = self.eval_name is None or re.fullmatch(r"\w[\w.-]*", self.eval_name)
        require(bool(plain), "eval_name", "must be a plain folder name", self.eval_name)

    @property
    def max_examples(self) -> int | None:
        """Images of the evaluation split, at most; None takes all."""
        return self.eval_steps * self.eval_batch_size or None

    @property
    def bank_size(self) -> int:
        """Training images that serve as neighbours, at most."""
        if self.knn_bank_size is not None:
            return self.knn_bank_size
        return min(_BANK_SIZE, self.max_examples or _BANK_SIZE)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything about one run; functions take the part they need, never the whole."""

    model_dir: str
    checkpoint: str | None = None
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    distill: DistillConfig = DistillConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvalConfig = EvalConfig()
    scoreboard: ProtocolConfig = ProtocolConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    study: StudyConfig = StudyConfig()
    page: ReportConfig = ReportConfig()
    strategy: StrategyConfig = StrategyConfig()

    def __post_init__(self) -> None:
        check_settings(self)
        require(bool(self.model_dir), "model_dir", "must name a folder", self.model_dir)
        if self.model.train_mode == "distill":
            require(self.distill.teacher is not None, "teacher",
                    "must be given with train_mode=distill", self.distill.teacher)  # fmt: skip
        else:
            require(self.distill.teacher is None, "teacher", "needs train_mode=distill",
                    self.distill.teacher)  # fmt: skip
        require(self.train.gradient_cache_chunk == 0 or self.model.pretrains,
                "gradient_cache_chunk", "needs train_mode=pretrain",
                self.train.gradient_cache_chunk)  # fmt: skip
        require(self.augment.augmentation != "one_branch" or self.model.pretrains, "augmentation",
                "must not be one_branch unless train_mode=pretrain, which has two views",
                self.augment.augmentation)  # fmt: skip
        require(self.augment.augmentation != "one_branch" or len(self.augment.transform_names) > 0,
                "transforms", "must name at least one with augmentation=one_branch",
                self.augment.transforms)  # fmt: skip
        resolved = self.model.encoder.resolve_stem(self.data.image_size)
        object.__setattr__(self, "model", dataclasses.replace(self.model, encoder=resolved))
