"""What the names and shapes of stored variables leave open, and what else tells it.

Two things leave no trace in them. The linear head of a network that was fine-tuned from a layer of
the projection head (SimCLRv2) reads that layer, which is as wide as the encoder's output. And the
shortcuts of networks with selective kernels pool on average (ResNet-D), which basic blocks with the
CIFAR stem show nowhere else. Read the wrong way, every value is restored and the outputs are wrong.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

from simclr_tf.errors import InputError
from simclr_tf.settings.model import EncoderConfig, ModelConfig
from simclr_tf.weights import infer
from simclr_tf.weights.graph import Graph
from simclr_tf.weights.stored import StoredVariables

Shapes = Mapping[str, tuple[int, ...]]
Beside = Callable[[], Graph | None]  # parsed when it is needed

HEAD, SHORTCUTS = "ft_proj_selector", "sk_ratio"
RECORD, GRAPH, SLOTS, KEYS, NAMES = (
    "the record beside the weights", "the graph beside the weights", "the optimizer's variables",
    "the checkpoint's keys", "its own names",
)  # fmt: skip
LINEAR_KERNEL = "linear_head/kernel"
_SHORTCUT = "encoder/block_group1/block_0/shortcut/conv/kernel"


@dataclasses.dataclass(frozen=True)
class Reading:
    """How the weights are read where names and shapes allow more than one way.

    Attributes:
        setting: `ft_proj_selector` or `sk_ratio`.
        value: The one taken.
        others: Values that the same weights would fit as well.
        told_by: What decided, in words; None where nothing did and `value` is a guess.
        by_default: Whether it decided only that these are weights of pretraining, whose linear head
            reads the encoder's output unless it was asked to read another layer.
    """

    setting: str
    value: float
    others: tuple[float, ...] = ()
    told_by: str | None = None
    by_default: bool = False

    @property
    def is_open(self) -> bool:
        """Whether `value` is a guess, so that outputs that depend on it can't be trusted."""
        return bool(self.others) and self.told_by is None

    def fits(self, value: float) -> bool:
        """Whether another value means the same network; all ratios pool alike."""
        return value == self.value if self.setting == HEAD else (value > 0) == (self.value > 0)

    def settled(self, value: float, chosen: bool) -> bool:
        """Whether outputs can be trusted that come from reading the weights with a value.

        Args:
            value: Of the setting.
            chosen: Whether somebody asked for it, rather than leaving it at its default.
        """
        if self.is_open or (self.by_default and chosen):
            return chosen
        return self.fits(value)

    def check(self, value: float) -> None:
        """Refuses a value that somebody asked for where something tells that it is another one.

        Raises:
            InputError: It is another one.
        """
        possible = [self.value, *(self.others if self.is_open or self.by_default else ())]
        if not any(dataclasses.replace(self, value=known).fits(value) for known in possible):
            raise InputError(self.setting, self.constraint(), value)

    def constraint(self) -> str:
        """What the setting must be, as a phrase."""
        if self.is_open:
            return f"must be given: {self._question()}"
        value = "above 0" if self.setting == SHORTCUTS and self.value else f"{self.value:g}"
        return f"must be {value}, {self._reason()}"

    def line(self, value: float, chosen: bool = False) -> str | None:
        """What is to be said about reading the weights with a value; None where it is clear."""
        if chosen or (not self.others and self.fits(value)):
            return None
        if self.is_open:
            return f"assumed: {_describe(self.setting, value)}; {self._question()}"
        told = f"{_describe(self.setting, self.value)}, {self._reason()}"
        if not self.fits(value):
            return f"{told}; here {_describe(self.setting, value)}"
        if self.by_default:
            return f"{told}; the weights fit {self.setting}={_listed(self.others)} as well"
        return told

    def _reason(self) -> str:
        if self.told_by is None:
            return "which alone fits the shapes of the weights"
        if self.by_default:
            return f"as in pretraining by default, which {self.told_by} show"
        return "as recorded beside the weights" if self.told_by == RECORD else (
            f"as {self.told_by} {'shows' if self.told_by == GRAPH else 'show'}")  # fmt: skip

    def _question(self) -> str:
        if self.setting == HEAD:
            values = _listed((self.value, *self.others))
            return (f"{self.setting}={values} fits the weights, and nothing beside them tells "
                    "which layer of the projection head the linear head was trained on, or 0 for "
                    "none")  # fmt: skip
        return (f"{self.setting}=0 and {self.setting} above 0, which pools in the shortcuts, have "
                "the same weights, and nothing beside them tells")  # fmt: skip


def _describe(setting: str, value: float) -> str:
    if setting == SHORTCUTS:
        pooled = "average-pooled" if value else "not pooled"
        return f"the shortcuts are {pooled} (sk_ratio={value:g})"
    where = f"layer {value:g} of the projection head" if value else "the encoder's output"
    return f"the linear head reads {where} (ft_proj_selector={value:g})"


def _listed(values: Sequence[float]) -> str:
    *first, last = [f"{value:g}" for value in values]
    return f"{', '.join(first)} or {last}" if first else last


def recorded(model: ModelConfig) -> tuple[Reading, Reading]:
    """The readings of weights whose settings are recorded."""
    return (Reading(HEAD, model.linear_head_layer, told_by=RECORD),
            Reading(SHORTCUTS, model.encoder.sk_ratio, told_by=RECORD))  # fmt: skip


def head_of_ours(shapes: Shapes) -> Reading | None:
    """The same for a checkpoint of ours without its record, which fine-tuning cuts to what it uses.

    A whole projection head is therefore one of pretraining.
    """
    fitting = _layers_that_fit(shapes)
    if not fitting:
        return None
    return dataclasses.replace(_told(HEAD, fitting[0], fitting, NAMES), by_default=True)


def read_head(
    shapes: Shapes, names: Mapping[str, str], variables: StoredVariables, beside: Beside
) -> Reading | None:
    """Which layer the linear head reads; None without a linear head.

    Args:
        shapes: Of the stored variables, by our names.
        names: Their names in the file, by ours.
        variables: What lies in the file.
        beside: Gives the graph that lies beside it.
    """
    fitting = _layers_that_fit(shapes)
    if len(fitting) < 2:
        return Reading(HEAD, fitting[0]) if fitting else None
    kernels = projection_kernels(shapes)
    stored = [names[kernel] for kernel in kernels]
    layer = _layer_in_graph(beside(), names[LINEAR_KERNEL], stored)
    if layer in fitting:
        return _told(HEAD, layer, fitting, GRAPH)
    trained = _layers_trained(names, len(kernels), variables)
    if trained == len(kernels) and trained not in fitting:
        return dataclasses.replace(_told(HEAD, 0, fitting, SLOTS), by_default=True)
    if trained in fitting and trained < len(kernels):
        return _told(HEAD, trained, fitting, SLOTS)
    return Reading(HEAD, fitting[0], tuple(fitting[1:]))


def _layers_that_fit(shapes: Shapes) -> list[int]:
    """Layers of the projection head as wide as the linear head's input, 0 for the encoder's output.

    Empty without a linear head; [0] where none fits, so that its width is found wrong later.
    """
    if LINEAR_KERNEL not in shapes:
        return []
    width, kernels = shapes[LINEAR_KERNEL][0], projection_kernels(shapes)
    widths = [shapes[kernels[0]][0] if kernels else width, *(shapes[k][1] for k in kernels)]
    return [k for k, found in enumerate(widths) if found == width] or [0]


def _told(setting: str, value: float, fitting: Sequence[float], told_by: str) -> Reading:
    return Reading(setting, value, tuple(v for v in fitting if v != value), told_by)


def projection_kernels(shapes: Shapes) -> list[str]:
    """Our names of the dense kernels of a projection head, from its first layer on."""
    names: list[str] = []
    while (name := f"projection_head/layer_{len(names)}/dense/kernel") in shapes:
        names.append(name)
    return names


def _layer_in_graph(graph: Graph | None, kernel: str, projection: Sequence[str]) -> int | None:
    """0 where convolutions lead to the linear head, k where layer k of the head stands between."""
    met = graph.before(kernel, ("Conv2D", "MatMul")) if graph else None
    if not met:
        return None
    if all(found.op == "Conv2D" for found in met):
        return 0
    kernels = {found.kernel for found in met}
    layers = [k for k, name in enumerate(projection, start=1) if kernels == {name}]
    return layers[0] if layers else None


def _layers_trained(names: Mapping[str, str], depth: int, variables: StoredVariables) -> int | None:
    """How many layers of the projection head the last training reached; None where unknown.

    Scales tell, since weight decay may reach the kernels of layers that nothing reads.
    """
    if not variables.was_trained(names.get("linear_head/bias", "")):
        return None
    scales = [names.get(f"projection_head/layer_{k}/bn/gamma", "") for k in range(depth)]
    reached = [bool(variables.was_trained(scale)) for scale in scales]
    return sum(reached) if reached == sorted(reached, reverse=True) else None


def read_shortcuts(
    encoder: EncoderConfig,
    names: Mapping[str, str],
    variables: StoredVariables,
    beside: Beside,
    by_reference: bool,
) -> Reading:
    """Whether the shortcuts are average-pooled, as a ratio of selective kernels.

    Args:
        encoder: What the shapes imply.
        names: Names of the stored variables in the file, by ours.
        variables: What lies in the file.
        beside: Gives the graph that lies beside it.
        by_reference: Whether the names are those of the reference implementation's TF2 code.
    """
    if not encoder.projects_first:
        return Reading(SHORTCUTS, encoder.sk_ratio)
    if encoder.sk_ratio > 0 or encoder.stem == "imagenet" or encoder.resnet_depth >= 50:
        return Reading(SHORTCUTS, encoder.sk_ratio)
    fitting = (0.0, infer.PUBLISHED_SK_RATIO)
    place = _place_in_shortcut(variables) if by_reference else None
    if place is not None:
        return _told(SHORTCUTS, fitting[place > 0], fitting, KEYS)
    graph = beside()
    met = graph.before(names[_SHORTCUT], ("AvgPool", "Conv2D", "MatMul", "Relu")) if graph else None
    if met:
        pooled = any(found.op == "AvgPool" for found in met)
        return _told(SHORTCUTS, fitting[pooled], fitting, GRAPH)
    return Reading(SHORTCUTS, fitting[0], fitting[1:])


def _place_in_shortcut(variables: StoredVariables) -> int | None:
    """The place of the convolution among a shortcut's layers in the reference's objects.

    Pooling stands before it. The keys of SavedModels do not show it.
    """
    for key in variables.checkpoint_keys():
        if match := re.search(r"/shortcut_layers/(\d+)/conv2d/", key):
            return int(match[1])
    return None
