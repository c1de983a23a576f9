"""The network: encoder, projection head, batch norm, and which parts train."""

from __future__ import annotations

import dataclasses
import re

from simclr_tf.errors import InputError, require, require_choice
from simclr_tf.settings.checks import SHARE, Range, check_settings, limited

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
VARIANTS = ("simclr", "torchvision", "solo_learn")
PIXEL_STATISTICS = {  # input_norm -> mean and standard deviation of its channels, of [0, 1]
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)),
}
NO_NORM = "none"
TRAIN_MODES = ("pretrain", "finetune", "supervised", "distill")
PRECISIONS = ("float32", "bfloat16", "auto")
RESNET = "resnet"
OF_KERAS = "applications/"  # and a name in keras.applications
OWN = "keras:"  # and a name; the model itself lies in the run's folder
_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """The encoder f: a ResNet, or any Keras model, of which the first five settings say nothing.

    Example:
        >>> simclr_tf.EncoderConfig(resnet_depth=18, width_multiplier=0.25).is_resnet
        True

    Attributes:
        resnet_depth: 18, 34, 50, 101, 152 or 200.
        width_multiplier: Any positive number; channels are `int(base * width_multiplier)`.
        sk_ratio: Above 0, selective kernels in bottleneck blocks and ResNet-D shortcuts and stem
            (SimCLRv2 uses 0.0625).
        se_ratio: Above 0, squeeze and excitation at the end of every block.
        stem: `cifar` (3x3, stride 1, no pooling), `imagenet` (7x7, stride 2, max pooling) or
            `auto`, which is resolved from the image size by `resolve_stem`.
        encoder: `resnet`; `applications/NAME`, a network of `keras.applications` without its top,
            from random weights; `package.module:function`, which is called with the side of the
            images in pixels (and, if it takes two arguments, their channels) and returns a Keras
            model; or the path of a `.keras` file. `keras:NAME` is what a run records of a model
            that was handed over in Python: it lies in the run's folder.
        channels: Of the images.
        resnet_variant: Whose ResNet, where they differ. `simclr`: the reference implementation's.
            `torchvision`: max pooling pads on both sides, and the first block of a ResNet-18 or 34
            has no projection in its shortcut. `solo_learn`: the same, and the CIFAR stem pads by 2.
        input_norm: What is done to the images, in [0, 1], first: `none`, as in SimCLR, or mean and
            standard deviation of each channel, `imagenet`, `cifar10` or numbers (`0.5/0.25`,
            `0.4,0.5,0.6/0.2,0.2,0.3`).
    """

    resnet_depth: int = limited(50, Range(18, 200))
    # 4 channels in the first block; the paper: 1 to 4
    width_multiplier: float = limited(1.0, Range(1 / 16, 32))
    sk_ratio: float = limited(0.0, SHARE)
    se_ratio: float = limited(0.0, SHARE)
    stem: str = "auto"
    encoder: str = RESNET
    channels: int = limited(3, Range(1, 1024))
    resnet_variant: str = "simclr"
    input_norm: str = NO_NORM

    def __post_init__(self) -> None:
        check_settings(self)
        require_choice("resnet_variant", self.resnet_variant, VARIANTS)
        _read_norm(self.input_norm, self.channels)
        require_choice("resnet_depth", self.resnet_depth, RESNET_DEPTHS)
        require_choice("stem", self.stem, STEMS)
        name = self.encoder
        known = self.is_resnet or name.startswith((OF_KERAS, OWN)) or name.endswith(".keras")
        require(known or self.is_function, "encoder", "must be resnet, applications/NAME, "
                "package.module:function or the path of a .keras file", name)  # fmt: skip

    @property
    def is_resnet(self) -> bool:
        """Whether it is a network of this library."""
        return self.encoder == RESNET

    @property
    def projects_first(self) -> bool:
        """Whether the shortcut of the first block of the first group has a convolution."""
        return self.resnet_variant == "simclr" or self.resnet_depth >= 50

    @property
    def pads_pool(self) -> bool:
        """Whether max pooling pads on both sides, rather than where it has to."""
        return self.resnet_variant != "simclr" and self.stem == "imagenet"

    @property
    def pads_input(self) -> bool:
        """Whether the first convolution pads by one more than its size asks for."""
        return self.resnet_variant == "solo_learn" and self.stem == "cifar"

    def computes_like(self, other: EncoderConfig) -> bool:
        """Whether two encoders whose variables have the same shapes are the same function."""
        names = ("projects_first", "pads_pool", "pads_input", "pixel_statistics")
        return all(getattr(self, name) == getattr(other, name) for name in names)

    @property
    def pixel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Mean and standard deviation of each channel by `input_norm`, None for `none`."""
        return _read_norm(self.input_norm, self.channels)

    @property
    def is_handed_over(self) -> bool:
        """Whether it was handed over in Python, and lies in the folder of a run."""
        return self.encoder.startswith(OWN)

    @property
    def is_function(self) -> bool:
        """Whether code of the user's makes it, which has to be imported."""
        own = self.encoder.startswith((OF_KERAS, OWN)) or self.encoder.endswith(".keras")
        return not own and _FUNCTION.fullmatch(self.encoder) is not None

    def resolve_stem(self, image_size: int) -> EncoderConfig:
        """The same encoder with `auto` replaced: `cifar` up to 32 px, `imagenet` above.

        Encoders that are no ResNet have no such stem, and stay as they are.

        Raises:
            InputError: The network would shrink an image of this size to less than one pixel.
        """
        if not self.is_resnet:
            return self
        stem = self.stem
        if stem == "auto":
            stem = "cifar" if image_size <= 32 else "imagenet"
        smallest = 32 if stem == "imagenet" else 8
        if image_size < smallest:
            raise InputError("image_size", f"must be at least {smallest} with stem={stem}",
                             image_size)  # fmt: skip
        return dataclasses.replace(self, stem=stem)


def _read_norm(text: str, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    if text == NO_NORM:
        return None
    parts = PIXEL_STATISTICS.get(text) or [_numbers(part) for part in text.split("/")]
    known = (
        len(parts) == 2
        and all(len(part) in (1, channels) for part in parts)
        and all(-10 <= mean <= 10 for mean in parts[0])
        and all(1e-3 <= deviation <= 10 for deviation in parts[1])
    )
    require(known, "input_norm", f"must be {NO_NORM}, {', '.join(PIXEL_STATISTICS)} or means and "
            "deviations of the channels (0.5,0.5,0.5/0.2,0.2,0.2)", text)  # fmt: skip
    mean, deviation = (tuple(part) * (channels if len(part) == 1 else 1) for part in parts)
    return mean, deviation


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        return ()


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

    Example:
        >>> simclr_tf.ProjectionConfig(num_proj_layers=2).proj_out_dim
        128
    """

    proj_head_mode: str = "nonlinear"
    proj_out_dim: int = limited(128, Range(1, 2**16))
    num_proj_layers: int = limited(3, Range(1, 100))
    ft_proj_selector: int = limited(0, Range(-101, 100))

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

    `global_bn` aggregates mean and variance over all replicas (section 2.2), also in Keras' layers.
    `batch_norm_decay` is also that of networks of `keras.applications`; other Keras models keep
    their own.

    Example:
        >>> simclr_tf.BatchNormConfig(global_bn=False).batch_norm_decay
        0.9
    """

    batch_norm_decay: float = limited(0.9, Range(1e-4, 0.99999))
    global_bn: bool = True

    def __post_init__(self) -> None:
        check_settings(self)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Encoder, heads, and which of them train.

    Example:
        >>> simclr_tf.ModelConfig(simclr_tf.EncoderConfig(resnet_depth=18)).train_mode
        'pretrain'

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
    fine_tune_after_block: int = limited(-1, Range(-1, 4))
    zero_init_logits_layer: bool = False
    precision: str = "float32"

    def __post_init__(self) -> None:
        check_settings(self)
        require_choice("train_mode", self.train_mode, TRAIN_MODES)
        require_choice("precision", self.precision, PRECISIONS)
        require_choice("fine_tune_after_block", self.fine_tune_after_block, (-1, 0, 1, 2, 3, 4))
        blocks = self.fine_tune_after_block
        require(self.encoder.is_resnet or blocks in (-1, 4), "fine_tune_after_block",
                f"must be -1 (all) or 4 (the heads) with encoder={self.encoder.encoder}, which has "
                "no block groups", blocks)  # fmt: skip
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
