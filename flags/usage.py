"""What `--help` and `--version` show, and the page of all flags in the documentation."""

from __future__ import annotations

import importlib.metadata
import platform
import textwrap
from collections.abc import Iterable, Sequence

from absl import flags

import simclr_tf
from simclr_tf.errors import InputError, require_choice

from . import definitions, parsing

HELP_WORDS = ("--help", "-help", "-h", "--helpshort", "--helpfull")
VERSION_WORDS = ("--version", "-version")

_WIDTH = 98
_NAMES_WIDTH = 27

# Mode -> what it does, an example, and the flags that a beginner needs.
_BASICS: dict[str, tuple[str, str, str]] = {
    "train": (
        "Train an encoder on images without labels, and evaluate it.",
        "--mode=train_then_eval --recipe=photos --budget=1h --dataset=folder:photos",
        "mode recipe budget dataset data_dir model_dir image_size train_batch_size train_epochs "
        "train_steps learning_rate temperature resnet_depth encoder color_jitter_strength "
        "precision checkpoint",
    ),
    "eval": (
        "Evaluate the checkpoints of a run, as they appear.",
        "--mode=eval --model_dir=runs/a",
        "mode model_dir checkpoint eval_split eval_batch_size eval_name knn linear_probe "
        "eval_timeout_secs",
    ),
    "evaluate": (
        "Evaluate any encoder by the paper's protocols.",
        "--mode=evaluate --checkpoint=runs/a --dataset=cifar10 --protocols=knn,logreg",
        "mode checkpoint dataset data_dir train_split eval_split model_dir protocols endpoint "
        "knn_neighbors label_fractions image_size compare_with",
    ),
    "embed": (
        "Write the embedding of every image into a file.",
        "--mode=embed --checkpoint=runs/a --dataset=folder:photos --output=photos.parquet",
        "mode checkpoint dataset data_dir output endpoint image_size eval_batch_size",
    ),
    "neighbors": (
        "Find the nearest images of one, or near-duplicates, in a file of embeddings.",
        "--mode=neighbors --embeddings=photos.parquet --query=1.jpg --checkpoint=runs/a",
        "mode embeddings query checkpoint num_neighbors similarity duplicate_similarity output "
        "dataset",
    ),
    "explore": (
        "Show what is in a folder: map, groups, near-duplicates, outliers, labels to look at.",
        "--mode=explore --embeddings=photos.parquet",
        "mode embeddings output labels num_groups similarity duplicate_similarity dataset",
    ),
    "study": (
        "Repeat one of the paper's studies on your images.",
        "--mode=study --study=temperature --study_budget=60 --model_dir=runs/t",
        "mode study study_budget study_seeds study_grid recipe dataset data_dir model_dir",
    ),
    "data_dispatcher": (
        "Serve as the dispatcher of a tf.data service.",
        "--mode=data_dispatcher --data_service=grpc://0.0.0.0:5050",
        "mode data_service",
    ),
    "data_worker": (
        "Serve as a worker of a tf.data service.",
        "--mode=data_worker --data_service=grpc://host:5050",
        "mode data_service worker_address",
    ),
}
_BASICS["train_then_eval"] = _BASICS["train"]

# Where a line has to do, for these pages.
_SHORT = {
    "mode": "train, train_then_eval, eval, evaluate, embed, neighbors, explore, study.",
    "recipe": "Settings to start from: a name, or a file. `simclr recipes` lists them.",
    "budget": "Time for the training with --recipe=photos or auto: 10m, 1h, 8h.",
    "dataset": "A TFDS name, patterns, digits, folder, or folder:PATH.",
    "data_dir": "Folder of the images, or of prepared TFDS data sets.",
    "model_dir": "Folder of the run; an existing one goes on. Default: runs/NAME-TIME.",
    "checkpoint": "Weights: a run, a checkpoint, a SavedModel, a published checkpoint.",
    "encoder": "resnet, applications/NAME, package.module:function, or PATH.keras.",
    "color_jitter_strength": "Strength of the colour distortion.",
    "precision": "float32, bfloat16, or auto.",
    "learning_rate": "Learning rate per 256 images.",
    "train_steps": "Steps to train; above 0 it overrides --train_epochs.",
    "protocols": "all, or among linear, knn, logreg, labels, finetune, ... (--help=protocols).",
    "endpoint": "Which output of the encoder; h is final_avg_pool.",
    "label_fractions": "Label subsets, with commas: 1%, 25_per_class, or a file.",
    "eval_split": "Images to evaluate on. Default: validation, test or else holdout.",
    "train_split": "Images to train on.",
    "image_size": "Height and width in pixels.",
    "output": "File to write.",
    "query": "An image, or an id of the file. Default: near-duplicates of all.",
    "study": "Which (--help=studies).",
    "study_budget": "Length of a cell: steps (200) or minutes (3min).",
    "data_service": "grpc://host:port of the dispatcher.",
    "worker_address": "host:port under which the machines that train reach it.",
}
_MORE = """\
--help=all: every flag. --mode=NAME --help: another mode. --flagfile=FILE: flags from a file.
--version. Other programs: python -m export --help (SavedModel, TF-Hub, .keras),
python -m simclr_tf.report --help (pages of runs)."""

_MORE_INSTALLED = """\
--help=all: every flag. --flagfile=FILE: flags from a file. --version.
simclr --help: the other commands."""
_PAGE_HEAD = """\
# All flags

Every flag of `run.py`, and of the command `simclr`, with the default where no recipe sets it. In a
terminal, `python run.py --help` shows what a beginner needs, with the defaults of the recipe in
force; `--help=data` shows one area, `--help=all` everything. Flags can stand in a file, one a line
(`--flagfile=FILE`). The order on the command line does not matter; a flag that is given wins over a
recipe's.
"""

# Settings that follow from the encoder, or have to be given, in the modes that take any.
_ENCODERS_OWN = ("dataset", "image_size")
_LONGEST_DEFAULT = 40
_AREA_WORDS = {area.split()[0].lower().rstrip(":"): area
               for area in ("Run", *definitions.AREAS, definitions.LOGGING_AREA)}  # fmt: skip


def asks_for_help(words: Sequence[str]) -> bool:
    """Whether these words ask for help instead of work."""
    return any(word in HELP_WORDS or word.startswith("--help=") for word in words)


def help_text(words: Sequence[str] = (), program: str = "run.py") -> str:
    """What `--help`, `--help=AREA` or `--help=all` shows.

    Args:
        words: The command line: its mode, recipe and other flags decide what is shown.
        program: `run.py`, or `simclr` and a command.

    Raises:
        InputError: There is no such area.
    """
    topics = [word.partition("=")[2].lower() for word in words if word.startswith("--help=")]
    topic = topics[-1] if topics else ""
    if topic == "all" or "--helpfull" in words:
        return _all_flags()
    if topic:
        require_choice("help", topic, ["all", *_AREA_WORDS])
        return "\n".join(_area(definitions.define_flags(), _AREA_WORDS[topic]))
    return _basics([word for word in words if word not in HELP_WORDS], program)


def version_text() -> str:
    """One line on this program, TensorFlow and Python."""
    tensorflow = importlib.metadata.version("tensorflow")
    return (
        f"simclr_tf {simclr_tf.__version__}, TensorFlow {tensorflow}, "
        f"Python {platform.python_version()}"
    )


def flags_page() -> str:
    """The page docs/flags.md: every flag by area, in Markdown."""
    values = definitions.define_flags()
    parts = [_PAGE_HEAD]
    for area in ("Run", *definitions.AREAS, definitions.LOGGING_AREA):
        parts += [f"## {area}\n", "| flag | default | what it does |", "|---|---|---|"]
        for flag in values.flags_by_module_dict()[area]:
            default = "" if flag.default is None else f"`{flag.default}`"
            text = (flag.help or "").replace("|", "\\|").replace("<", "&lt;")
            parts.append(f"| `--{flag.name}` | {default} | {text} |")
        parts.append("")
    return "\n".join(parts)


def _basics(words: Sequence[str], program: str) -> str:
    """The flags that a beginner needs for the mode at hand, with the defaults in force."""
    try:
        mode, origin, values = parsing.in_force(words)
    except (InputError, parsing.UsageError):  # help is not the place to complain
        modes = [word for word in words if word.removeprefix("--mode=") in definitions.MODES]
        mode, origin, values = parsing.in_force(modes[-1:])
    what, example, names = _BASICS[mode]
    installed = program.startswith("simclr")
    command = f"{program} {example.partition(' ')[2]}" if installed else f"python run.py {example}"
    lines = [what, f"  {command}", "", f"In brackets: {origin}."]
    for name in names.split():
        default = (
            None
            if (mode in parsing.ENCODER_MODES and name in _ENCODERS_OWN)
            else values[name].value
        )
        text = _SHORT.get(name) or (values[name].help or "").partition(". ")[0].rstrip(".") + "."
        lines.append(_entry(name, default, text))
    areas = textwrap.fill(f"--help=AREA for all flags of one: {', '.join(_AREA_WORDS)}.", _WIDTH)
    return "\n".join([*lines, "", areas, _MORE_INSTALLED if installed else _MORE])


def _entry(name: str, default: object, text: str) -> str:
    value = str(default)
    if len(value) > _LONGEST_DEFAULT:
        value = f"{value[: _LONGEST_DEFAULT - 3]}..."
    shown = "" if default in (None, "") else f" [{value}]"
    body = textwrap.wrap(text + shown, width=_WIDTH - _NAMES_WIDTH, break_on_hyphens=False)
    lead = f"  --{name}"
    indent = " " * _NAMES_WIDTH
    lines = [f"{lead:<{_NAMES_WIDTH}}{body[0]}"] if len(lead) < _NAMES_WIDTH else [
        lead, indent + body[0]]  # fmt: skip
    return "\n".join(lines + [indent + line for line in body[1:]])


def _area(values: flags.FlagValues, area: str) -> Iterable[str]:
    yield f"{area}:"
    for flag in values.flags_by_module_dict()[area]:
        yield _entry(flag.name, flag.default, flag.help or "")


def _all_flags() -> str:
    """All flags with defaults, grouped by area."""
    values = definitions.define_flags()
    parts = ["Every flag, with the default that holds where no recipe sets it.", ""]
    for area in ("Run", *definitions.AREAS, definitions.LOGGING_AREA):
        parts += [*_area(values, area), ""]
    return "\n".join(parts)
