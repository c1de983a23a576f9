"""The cases: which sides each has in which settings, and the targets."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from benchmarks.speed import flops
from benchmarks.speed.figures import Comparison, Series
from benchmarks.speed.sides import ROOT, Side, worker_side

T = TypeVar("T")

SIZES = ("smoke", "short", "full")
PRECISIONS = ("float32", "bfloat16")
F32, BF16, REFERENCE, TORCH_F32, TORCH_BF16 = (
    "ours float32", "ours bfloat16", "reference", "PyTorch float32", "PyTorch bfloat16",
)  # fmt: skip
OURS = "ours"


@dataclasses.dataclass(frozen=True)
class Options:
    """What is there, and how much time.

    Attributes:
        size: One of `SIZES`.
        dataset: A TFDS name.
        tfds_dir: Where it lies, prepared.
        photographs: A folder that holds `train/CLASS/*.jpg`.
        patterns_dir: Where `patterns` lies, prepared.
        reference: A clone of the reference implementation, or None.
        torch: An interpreter that has PyTorch, or None.
        precisions: Which of `PRECISIONS` are measured.
    """

    size: str
    dataset: str
    tfds_dir: str
    photographs: str
    patterns_dir: str
    reference: str | None = None
    torch: str | None = None
    precisions: Sequence[str] = PRECISIONS

    def pick(self, smoke: T, short: T, full: T) -> T:
        """The value of this size."""
        return dict(zip(SIZES, (smoke, short, full), strict=True))[self.size]

    def of_precisions(self, *sides: str) -> list[str]:
        """Of the sides those whose name ends in a precision that is measured."""
        return [side for side in sides if side.split()[-1] in self.precisions]


class Case(NamedTuple):
    """What is measured in turn, and what is divided by what."""

    sides: list[Side]
    comparisons: list[Comparison]


class _Builder:
    """Collects the sides and comparisons of one case."""

    def __init__(self, name: str, options: Options):
        self.name, self.options = name, options
        self.sides: list[Side] = []
        self.comparisons: list[Comparison] = []

    def series(self, setting: str, side: str, unit: str) -> Series:
        return Series(self.name, setting, side, unit)

    def ours(
        self, setting: str, side: str, function: str, units: Sequence[str], fresh: bool = False,
        module: str = "ours", **settings: Any,
    ) -> None:  # fmt: skip
        """A side whose answers hold a quantity for each unit."""
        series = {unit: self.series(setting, side, unit) for unit in units}
        self.sides.append(worker_side(module, function, series, fresh, **settings))

    def reference(
        self, setting: str, function: str, units: Sequence[str], side: str = REFERENCE,
        fresh: bool = False, **settings: Any,
    ) -> None:  # fmt: skip
        """The reference's side where there is one."""
        if self.options.reference is not None:
            self.ours(setting, side, function, units, fresh, module="reference",
                      path=self.options.reference, **settings)  # fmt: skip

    def compare(
        self, setting: str, unit: str, side: str, anchor: str, *, at_least: float | None = None,
        at_most: float | None = None, **rest: Any,
    ) -> None:  # fmt: skip
        """Divides two sides; the targets are those of the full sizes, not of a smoke test."""
        if self.options.size == "smoke":
            at_least = at_most = None
        self.comparisons.append(Comparison(
            self.name, setting, unit, side, anchor, at_least, at_most, **rest
        ))  # fmt: skip

    def case(self) -> Case:
        return Case(self.sides, self.comparisons)


def step(options: Options) -> Case:
    """The training step alone, and its share of what matrix products reach."""
    build, pairs = _Builder("step", options), options.pick(4, 64, 64)
    size = {"image_size": 32, "pairs": pairs}
    timing = {"steps": options.pick(1, 3, 5), "samples": options.pick(2, 3, 5)}
    setting = f"ResNet-18, 32 px, {pairs} pairs, LARS"
    for side in options.of_precisions(F32, BF16):
        precision = side.split()[-1]
        build.ours(setting, side, "step", ["pairs/s"], depth=18, precision=precision,
                   **size, **timing)  # fmt: skip
    build.reference(setting, "step", ["pairs/s"], depth=18, **size, **timing)
    if options.torch is not None:
        for side in options.of_precisions(TORCH_F32, TORCH_BF16):
            spec = json.dumps({"precision": side.split()[-1], **size, **timing})
            words = ["-W", "ignore", "-m", "benchmarks.speed.torch_step", spec]
            series = {"pairs/s": build.series(setting, side, "pairs/s")}
            build.sides.append(Side(words, series, interpreter=options.torch))
    edge = options.pick(512, 2048, 2048)
    peaks = {name: build.series(setting, f"matmul {name}, {edge}^3", "GFLOP/s")
             for name in options.precisions}  # fmt: skip
    build.sides.append(worker_side("peak", "products", peaks, size=edge, products=3,
                                   samples=options.pick(2, 5, 10),
                                   precisions=list(options.precisions)))  # fmt: skip
    build.compare(setting, "pairs/s", F32, REFERENCE, at_least=1.25)
    build.compare(setting, "pairs/s", BF16, REFERENCE, at_least=2.0)
    build.compare(setting, "pairs/s", F32, TORCH_F32)
    build.compare(setting, "pairs/s", BF16, TORCH_BF16, at_least=1.1)
    for name, series in peaks.items():
        side = f"{OURS} {name}"
        build.compare(setting, "pairs/s", side, series.side, anchor_unit="GFLOP/s",
                      scale=flops.pair_flops(18, 32) / 1e9,
                      label=f"{side}, share of matmul's GFLOP/s")  # fmt: skip
    return build.case()


def _run_flags(options: Options, pairs: int, steps: int, every: int) -> list[str]:
    """Flags that both command lines understand alike."""
    return [
        "--mode=train", "--train_mode=pretrain", f"--dataset={options.dataset}",
        f"--data_dir={options.tfds_dir}", "--eval_split=test", "--image_size=32",
        "--resnet_depth=18", f"--train_batch_size={pairs}", f"--train_steps={steps}",
        f"--checkpoint_steps={every}", "--keep_checkpoint_max=10", "--use_blur=False",
        "--color_jitter_strength=0.5", "--temperature=0.5", "--learning_rate=1.0",
        "--use_tpu=False",
    ]  # fmt: skip


def _reference_script(options: Options) -> str:
    return os.path.join(options.reference or "", "tf2", "run.py")


def whole_run(options: Options) -> Case:
    """`run.py` of both with the same flags, input and checkpoints included."""
    build, pairs = _Builder("whole_run", options), options.pick(8, 64, 64)
    every = options.pick(1, 10, 20)
    steps = every * options.pick(2, 4, 5)
    flags = _run_flags(options, pairs, steps, every)
    setting = f"ResNet-18, {options.dataset}, 32 px, batch {pairs}, {steps} steps"
    units = ("after start-up", "with start-up", "whole process")

    def add(side: str, script: str, more: Sequence[str]) -> None:
        series = {unit: build.series(f"{setting}, {unit}", side, "pairs/s") for unit in units}
        build.sides.append(worker_side("programs", "whole_run", series, True, script=script,
                                       flags=[*flags, *more], pairs=pairs))  # fmt: skip

    precisions = options.of_precisions(F32, *options.pick((), (BF16,), (BF16,)))
    for side in precisions:
        add(side, str(ROOT / "run.py"), [f"--precision={side.split()[-1]}"])
    if options.reference is not None:
        add(REFERENCE, _reference_script(options), [])
    for unit in units:
        for side in precisions:
            wanted = 1.9 if side == BF16 and unit == units[0] else None
            build.compare(f"{setting}, {unit}", "pairs/s", side, REFERENCE, at_least=wanted)
    return build.case()


def start_up(options: Options) -> Case:
    """From the start of a process to the end of its first step."""
    build = _Builder("startup", options)
    for depth in options.pick((18,), (18, 50), (18, 50, 200)):
        setting = f"ResNet-{depth}, 32 px, 4 pairs"
        size = {"depth": depth, "image_size": 32, "pairs": 4}
        build.ours(setting, OURS, "start", ["s"], fresh=True, **size)
        build.reference(setting, "start", ["s"], fresh=True, **size)
        build.compare(setting, "s", OURS, REFERENCE, at_most=0.5)
    return build.case()


def pipeline(options: Options) -> Case:
    """The host's part of the input: small images, photographs, and decoding alone."""
    build, unit = _Builder("pipeline", options), ["pairs/s"]
    size = {"image_size": 32, "pairs": options.pick(64, 256, 256), "data_dir": options.tfds_dir,
            "dataset": options.dataset, "warm_up": options.pick(2, 10, 20),
            "batches": options.pick(2, 20, 40), "samples": options.pick(2, 3, 5)}  # fmt: skip
    setting = f"{options.dataset}, 32 px, 2 views, no blur"
    build.ours(setting, OURS, "pipeline", unit, use_blur=False, **size)
    build.reference(setting, "pipeline", unit, **size)
    build.compare(setting, "pairs/s", OURS, REFERENCE, at_least=3.0)

    large = {**size, "image_size": 224, "pairs": options.pick(8, 64, 64),
             "warm_up": options.pick(1, 8, 16), "batches": options.pick(1, 5, 10)}  # fmt: skip
    setting = "JPEG, 224 px, 2 views"
    photographs = {**large, "dataset": f"folder:{options.photographs}", "data_dir": None}
    host, split, blurred = "ours, all on the host", "ours, host part", "reference, with blur"
    build.ours(setting, host, "pipeline", unit, **photographs)
    build.ours(setting, split, "pipeline", unit, augment_on="device", **photographs)
    large = {**large, "dataset": None, "data_dir": options.photographs}
    # The reference's host does not blur; that is the harder comparison, and has the targets.
    build.reference(setting, "pipeline", unit, **large)
    build.reference(setting, "pipeline", unit, side=blurred, blur=True, **large)
    build.compare(setting, "pairs/s", host, REFERENCE, at_least=1.6)
    build.compare(setting, "pairs/s", host, blurred)
    build.compare(setting, "pairs/s", split, REFERENCE, at_least=2.2)

    build.ours("JPEG of original size", "decoding alone", "decoding", ["images/s"],
               folder=os.path.join(options.photographs, "train"),
               images=options.pick(16, 250, 250), samples=options.pick(2, 3, 5))  # fmt: skip
    return build.case()


def loss(options: Options) -> Case:
    """The contrastive loss forward and backward, float32; ours with accuracy and entropy."""
    build, units = _Builder("loss", options), ["s", "GiB"]
    most = 16_384  # more does not fit beside the reference's matrices
    for pairs in options.pick((256,), (4_096, 8_192), (4_096, 8_192, 16_384, 32_768)):
        setting = f"{pairs:,} pairs, 128-d"
        size = {"pairs": pairs, "dims": 128, "samples": options.pick(2, 3, 3)}
        build.ours(setting, OURS, "loss", units, fresh=True, **size)
        if pairs > most:
            continue
        build.reference(setting, "loss", units, fresh=True, **size)
        build.compare(setting, "s", OURS, REFERENCE, at_most=1.0)
        limit = 1 / 8 if pairs == 16_384 else None
        build.compare(setting, "GiB", OURS, REFERENCE, at_most=limit)
    return build.case()


def lars(options: Options) -> Case:
    """One update of a ResNet's variables."""
    build, depth = _Builder("lars", options), options.pick(18, 50, 50)
    setting = f"one update, ResNet-{depth}"
    size = {"depth": depth, "updates": options.pick(1, 5, 10), "samples": options.pick(2, 3, 5)}
    build.ours(setting, OURS, "lars", ["ms"], **size)
    build.reference(setting, "lars", ["ms"], **size)
    build.compare(setting, "ms", OURS, REFERENCE)
    return build.case()


def evaluate(options: Options) -> Case:
    """Feature extraction against the bare forward pass; both take turns in one process."""
    build = _Builder("evaluate", options)
    forward, extraction = "bare forward pass", "extraction"
    # Starting to read takes most of a second, so the faster network gets more images.
    splits = options.pick({0.25: "test[:128]"}, {1.0: "test[:2560]", 0.25: "test"},
                          {1.0: "test[:5120]", 0.25: "test"})  # fmt: skip
    for width, split in splits.items():
        split = split if options.size == "smoke" or options.dataset == "cifar10" else "test"
        setting = f"ResNet-18, width {width:g}, {options.dataset}"
        series = {side: build.series(setting, side, "images/s") for side in (forward, extraction)}
        build.sides.append(worker_side(
            "ours", "evaluate", series, width=width, dataset=options.dataset,
            data_dir=options.tfds_dir, split=split, batch=options.pick(64, 256, 256),
            samples=options.pick(1, 1, 2),
        ))  # fmt: skip
        build.compare(setting, "images/s", extraction, forward, at_least=0.95)
    return build.case()


def memory(options: Options) -> Case:
    """The peak of resident memory over whole processes."""
    build = _Builder("memory", options)
    steps = options.pick(1, 2, 2)
    quickstart, script = "quickstart, first steps", str(ROOT / "run.py")
    flags = ["--mode=train", f"--train_steps={steps}", f"--checkpoint_steps={steps}",
             f"--data_dir={options.patterns_dir}"]  # fmt: skip
    flags += ["--train_batch_size=8"] if options.size == "smoke" else []
    build.ours(quickstart, OURS, "run_memory", ["GiB"], True, module="programs", script=script,
               flags=flags)  # fmt: skip
    if options.size == "smoke":
        return build.case()
    setting = f"ResNet-18, {options.dataset}, 32 px, batch 128, first steps"
    same = _run_flags(options, 128, steps, steps)
    build.ours(setting, OURS, "run_memory", ["GiB"], True, module="programs", script=script,
               flags=same)  # fmt: skip
    if options.reference is not None:
        build.ours(setting, REFERENCE, "run_memory", ["GiB"], True, module="programs",
                   script=_reference_script(options), flags=same)  # fmt: skip
    build.compare(setting, "GiB", OURS, REFERENCE)
    setting = "ResNet-50, 224 px, batch 32"
    size = {"depth": 50, "image_size": 224, "pairs": 32, "steps": steps}
    for side in options.of_precisions(F32, BF16):
        precision, again = side.split()[-1], f"{side}, remat"
        build.ours(setting, side, "step_memory", ["GiB"], True, precision=precision, **size)
        build.ours(setting, again, "step_memory", ["GiB"], True, precision=precision, remat=True,
                   **size)  # fmt: skip
        build.compare(setting, "GiB", again, side)
    build.reference(setting, "step_memory", ["GiB"], fresh=True, **size)
    for side in (F32, BF16):
        build.compare(setting, "GiB", side, REFERENCE)
    return build.case()


CASES: dict[str, Callable[[Options], Case]] = {
    "step": step,
    "whole_run": whole_run,
    "startup": start_up,
    "pipeline": pipeline,
    "loss": loss,
    "lars": lars,
    "evaluate": evaluate,
    "memory": memory,
}
