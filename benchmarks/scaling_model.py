"""What bounds a step on one machine of several GPUs: `python -m benchmarks.scaling_model`.

A model, not a measurement: nothing that it prints about GPUs was measured here. Operations and
bytes are counted from the network's shapes; peaks and bandwidths are the vendors'; the shares of
them that kernels achieve, and what the host delivers, are assumptions, set on the command line.

A kernel takes the longer of its operations over the achieved arithmetic and its bytes over the
achieved bandwidth, each tensor crossing the memory once. Kernels and exchanges follow one another,
as TensorFlow runs them; the host prepares the next batch and copies it meanwhile. Launching kernels
is taken to cost nothing. Two forms of what stands between the convolutions: `op by op`, every
operation of the library's code a kernel of its own, as it runs today, and `fused`, the least that
batch norm over a batch needs (XLA comes near it).

`--check_here` compares the model of a small step with one measured on this machine's CPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks import command
from benchmarks.communication import table
from benchmarks.speed.step_model import (
    GPUS,
    ITEM,
    KERNELS,
    PLACES,
    Estimate,
    Part,
    Settings,
    estimates,
    network_of,
)
from simclr_tf.errors import InputError
from simclr_tf.files import write_json

LABEL = "A model from operations, bytes and data sheets; not measured here."
WHERE = {"host": "all augmentation on the host", "device": "colour and blur on the device"}


def _range(values: Iterable[float], digits: int = 0) -> str:
    every = [*values]
    low, high = (f"{one:,.{digits}f}" for one in (min(every), max(every)))
    return low if low == high else f"{low} to {high}"


def _amount(part: Part) -> str:
    """What the part's time is divided from."""
    if part.limit == "exchange":
        return f"{part.sent / 1e6:,.1f} MB sent"
    return f"{part.flops / 1e12:.2f} TFLOP" if part.limit == "arithmetic" else (
        f"{part.bytes / 1e9:,.1f} GB")  # fmt: skip


def parts_table(found: Sequence[Estimate]) -> str:
    """Milliseconds by part; a column for each kind of kernels and end of the assumed shares."""
    columns = [[one for one in found if one.place == place] for place in PLACES]
    # `colour and blur` is the device's only part that the host's column lacks.
    alone, with_colour = columns
    rows = [_row(part.name, [one.parts[k] for one in alone])
            for k, part in enumerate(alone[0].parts)]  # fmt: skip
    sums = [f"{1e3 * one.device_seconds:,.1f}" for one in alone]
    rows.append(["**GPU, all of these**", "", "", *[f"**{one}**" for one in sums]])
    colour = [one.parts[-1] for one in with_colour]
    rows.append(_row(f"{colour[0].name}, where on the device", colour))
    for place, column in zip(PLACES, columns, strict=True):
        cells = [f"{1e3 * one.host_seconds:,.1f}" for one in column]
        rows.append([f"host input, {WHERE[place]}", "", "meanwhile", *cells])
    cells = [f"{1e3 * one.copy_seconds:,.1f}" for one in alone]
    rows.append(["copy to the GPU", "", "meanwhile", *cells])
    header = [f"{one.kernels}, {end}" for one, end in zip(alone, ("low", "high") * 2, strict=True)]
    return table(["part of a step", "amount of a GPU", "by", *header], rows)


def _row(name: str, parts: Sequence[Part]) -> list[str]:
    amounts = list(dict.fromkeys(map(_amount, parts)))
    shown = amounts[0] if len(amounts) == 1 else f"{amounts[0]} / {amounts[-1]}"
    limits = " / ".join(dict.fromkeys(part.limit for part in parts))
    return [name, shown, limits, *[f"{1e3 * part.seconds:,.1f}" for part in parts]]


def host_table(settings: Settings, found: Sequence[Estimate]) -> str:
    """What the GPUs take, what the host gives, and the cores that would do."""
    rows = []
    for kernels, place, pair in _pairs(found):
        given = settings.host_cores * settings.rate_per_core(place)
        rows.append([
            kernels, WHERE[place], _range(one.wanted for one in pair), f"{given:,.0f}",
            _range((1e3 * one.seconds for one in pair), 1),
            " / ".join(dict.fromkeys(one.bottleneck for one in pair)),
            _range(one.cores_needed for one in pair),
        ])  # fmt: skip
    return table(["kernels", "where", "GPUs take, pairs/s", f"{settings.host_cores} cores give",
                  "step, ms", "bottleneck", "cores needed"], rows)  # fmt: skip


def _pairs(found: Sequence[Estimate]) -> list[tuple[str, str, list[Estimate]]]:
    """The low and the high end of each kind."""
    return [(kernels, place,
             [one for one in found if (one.kernels, one.place) == (kernels, place)])
            for kernels in KERNELS for place in PLACES]  # fmt: skip


def sentences(settings: Settings, found: Sequence[Estimate]) -> str:
    """What bounds the step and the cores that the host needs, in words."""
    own = _pairs(found)[0][2]
    shares = [max(one.by_limit.values()) / one.device_seconds for one in own]
    largest = " or ".join(dict.fromkeys(max(one.by_limit, key=one.by_limit.get) for one in own))
    said = [
        f"Op by op, {settings.gpus} x {settings.gpu} that never wait take "
        f"{_range(1e3 * one.device_seconds for one in own)} ms for a step of {settings.batch:,} "
        f"pairs, the largest part of it {largest} ({_range(100 * one for one in shares)} %)."
    ]
    for place in PLACES:
        parts = []
        for kernels, here, pair in _pairs(found):
            if here == place:
                bottleneck = " or ".join(dict.fromkeys(one.bottleneck for one in pair))
                cores = _range(one.cores_needed for one in pair)
                parts.append(f"{kernels}, the bottleneck is {bottleneck}, and {cores} cores keep "
                             "the GPUs fed")  # fmt: skip
        said.append(f"With {WHERE[place]} ({settings.rate_per_core(place):g} pairs/s a core, "
                    f"{settings.host_cores} cores), {'; '.join(parts)}.")  # fmt: skip
    return " ".join(said)


def markdown(
    settings: Settings, found: Sequence[Estimate], measured: Mapping[str, float] | None = None
) -> str:
    """All that is printed.

    Args:
        settings: The step and the machine.
        found: All estimates of it.
        measured: Rates among the settings that are not assumptions.
    """
    network = network_of(settings)
    rates = ", ".join(f"{name} {value:.0f}" for name, value in (measured or {}).items())
    about = (
        f"ResNet-{settings.depth}, width {settings.width:g}, {settings.image_size} px, "
        f"{settings.precision}, {settings.pairs_per_gpu} pairs on each of {settings.gpus} GPUs; "
        f"{network.parameters / 1e6:.1f} M parameters, {network.multiplications / 1e9:.2f} G "
        f"multiplications per view.\n{settings.gpu}: {settings.peak / 1e12:g} TFLOP/s, memory "
        f"{settings.memory_bandwidth / 1e12:g} TB/s, interconnect {settings.interconnect / 1e9:g} "
        f"GB/s, host link {settings.host_link / 1e9:g} GB/s; assumed to be achieved: "
        f"{settings.share[0]:.0%} to {settings.share[1]:.0%} of the arithmetic, "
        f"{settings.bandwidth_share[0]:.0%} to {settings.bandwidth_share[1]:.0%} of the bandwidths."
    )
    here = f"\nHost rates measured here: {rates} pairs/s a core." if rates else ""
    return (f"{LABEL}\n{about}{here}\n\nMilliseconds:\n\n{parts_table(found)}\n\n"
            f"{host_table(settings, found)}\n\n{sentences(settings, found)}")  # fmt: skip


def as_json(settings: Settings, found: Sequence[Estimate]) -> dict[str, Any]:
    """Everything, in seconds, bytes and operations."""
    network = network_of(settings)
    return {
        "label": LABEL,
        "settings": dataclasses.asdict(settings),
        "parameters": network.parameters,
        "multiplications_per_view": network.multiplications,
        "estimates": [
            {
                **dataclasses.asdict(one), "parts": [part._asdict() for part in one.parts],
                "seconds": one.seconds, "bottleneck": one.bottleneck,
                "pairs_per_second_of_the_gpus": one.wanted, "cores_needed": one.cores_needed,
            }
            for one in found
        ],
        "sentences": sentences(settings, found),
    }  # fmt: skip


def _pair(word: str) -> tuple[float, float]:
    low, high = map(float, word.split(","))
    return low, high


_pair.__name__ = "LOW,HIGH"  # argparse's name of it

_HELP = {
    "depth": "of the ResNet",
    "width": "multiplies all channels",
    "image_size": "pixels",
    "pairs_per_gpu": "images of a GPU's batch, two views each",
    "gpus": "in the one machine",
    "precision": f"of activations: {' or '.join(ITEM)} (TF32 products)",
    "gpu": f"whose data sheet gives what is not said: {' or '.join(GPUS)}",
    "peak": "FLOP/s of a GPU",
    "memory_bandwidth": "bytes/s of a GPU's memory",
    "interconnect": "bytes/s to the other GPUs, in each direction",
    "host_link": "bytes/s from the host to a GPU",
    "share": "achieved shares of the peak, assumed",
    "bandwidth_share": "achieved shares of the bandwidths, assumed",
    "host_cores": "of the machine",
    "host_pairs_per_core": "pairs/s of a core, all augmentation on the host",
    "host_part_pairs_per_core": "pairs/s of a core, colour and blur on the device",
    "num_proj_layers": "layers of the projection head",
    "classes": "of the linear head",
}


def read_command_line(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line with its defaults."""
    parser = command.Parser(prog="python -m benchmarks.scaling_model", description=__doc__,
                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    whole = ("depth", "image_size", "pairs_per_gpu", "gpus", "host_cores", "num_proj_layers",
             "classes")  # fmt: skip
    for field in dataclasses.fields(Settings):
        kind: Any = float
        if field.name in whole:
            kind = int
        elif field.name in ("precision", "gpu"):
            kind = str
        elif field.name in ("share", "bandwidth_share"):
            kind = _pair
        shown = "the GPU's" if field.default is None else field.default
        parser.add_argument(f"--{field.name}", type=kind, default=field.default,
                            help=f"{_HELP[field.name]} (default: {shown})")  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="where all figures go")
    parser.add_argument("--check_here", action="store_true",
                        help="compare a small step with this machine's CPU")  # fmt: skip
    parser.add_argument("--measure_host", nargs="?", const="", metavar="FOLDER",
                        help="take the host's rate from this machine, on the JPEGs in FOLDER/train/"
                        "CLASS/ or on generated ones")  # fmt: skip
    return parser.parse_args(words)


def _settings(given: argparse.Namespace) -> Settings:
    return Settings(**{one.name: getattr(given, one.name) for one in dataclasses.fields(Settings)})


def run(given: argparse.Namespace) -> None:
    """Prints the tables and writes the JSON."""
    settings, found = _settings(given), {}
    if given.measure_host is not None:
        from benchmarks.speed import model_check

        rates = model_check.host_rates(given.measure_host, settings.image_size)
        settings = dataclasses.replace(settings, **rates)
        found["host_measured_here"] = rates
    every = estimates(settings)
    print(markdown(settings, every, measured=found.get("host_measured_here", {})))
    if given.check_here:
        from benchmarks.speed import model_check

        found["check_here"] = check = model_check.check()
        print(f"\n{check.sentence()}")
    if given.json:
        write_json(given.json, {**as_json(settings, every), **found})


def main(words: Sequence[str] | None = None) -> int:
    """Runs a command line; returns the exit status."""
    given = read_command_line(words)
    try:
        run(given)
    except InputError as error:
        print(error.describe(f"--{error.name}"), file=sys.stderr)
        return 2
    except OSError as error:
        print(f"--json could not be written: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    command.end(main)
