"""Exports a model at any time: `python -m export --help`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags
from simclr_tf.flags.flagfile import expand
from simclr_tf.flags.wording import plain

from simclr_tf import startup
from simclr_tf.console import BAD_INPUT, FAILED, INTERRUPTED, run_command, say
from simclr_tf.errors import InputError, describe_failure, did_you_mean
from simclr_tf.weights import archives, published

_HELP_WORDS = ("--help", "-help", "-h", "--helpfull", "--helpshort")

_USAGE = """\
Writes the encoder of a run or checkpoint in formats that load without this project.

  python -m export --checkpoint=runs/a --output=DIR              a SavedModel folder
  python -m export --checkpoint=runs/a --output=DIR --format=hub,keras
  python -m export --checkpoint=runs/a --output=DIR --format=reference
  python -m export import --source=CHECKPOINT --output=DIR       a checkpoint of ours
  python -m export list [NAME]                                   published encoders, by name

Export (needs no data and no evaluation):
  --checkpoint=PATH       a run, a checkpoint of ours, an exported SavedModel or its archive, or a
                           published SimCLR checkpoint: TF2, SavedModel or TF1; local, gs://..., or
                           a name that `list` shows; a .safetensors file or a state dict of PyTorch
                           (torchvision, lightly, solo-learn, VISSL)
  --output=DIR            a new folder; it appears when it is complete
  --format=NAME,...       what to write; commas or several --format [saved_model]
      saved_model         a SavedModel; alone: DIR itself, else DIR/saved_model
      serving             a SavedModel for TensorFlow Serving, which takes image files too
      hub                 encoder.tar.gz for tensorflow_hub
      keras               encoder.keras for Keras 2 and 3
      onnx                encoder.onnx (pip install 'simclr_tf[onnx]')
      tflite              encoder.tflite; smaller ones: tflite_float16, tflite_dynamic (weights of 8
                          bit), tflite_int8 (all of 8 bit, scaled by images)
      safetensors         encoder.safetensors with torchvision's names; encoder.py beside it where
                          torchvision has no such network (pip install 'simclr_tf[safetensors]')
      torch               encoder.safetensors and encoder.py, which computes any ResNet as here
      huggingface         a repository of Hugging Face; alone: DIR itself, else DIR/huggingface
      reference           by itself: DIR is a --model_dir for the training program of
                          google-research/simclr (tf2), with weights, optimizer state and step
                          The model card README.md lies beside them.
  --image_size=N          side in pixels that from_bytes brings images to, and that TFLite takes
                          [the run's; 224 or 32 by the stem for published weights]
  --calibration=IMAGES    for tflite_int8: a folder or the name of a data set [the run's]

Import (published weights to ckpt-<step> and config.json, once):
  --source=PATH           as --checkpoint
  --output=DIR            a new folder

Both:
  --cache_dir=DIR         where fetched weights are kept
                          [$TFHUB_CACHE_DIR or ~/.cache/simclr_tf/tfhub]
  --overwrite             replace DIR, if it is an earlier export
  --ft_proj_selector=K    the layer of the projection head that the linear head of published
                          weights reads, 0 for none (SimCLRv2 fine-tunes from 1), where nothing
                          beside them tells; weights of ours know it
  --sk_ratio=R            whether a published ResNet-18 or 34 with the CIFAR stem has selective
                          kernels (0 or above), where nothing beside it tells
  --resnet_variant=NAME   of weights of PyTorch with the CIFAR stem, which do not tell how it pads:
                          torchvision (by 1) or solo_learn (by 2)
  --input_norm=NAME       how images are scaled for weights of PyTorch, which do not tell: none,
                          imagenet, cifar10, or means/deviations (0.5,0.5,0.5/0.2,0.2,0.2)
  --debug                 show tracebacks of errors
"""


class UsageError(ValueError):
    """The command line can't be read."""


def _define_export() -> flags.FlagValues:
    values = _define_common()
    flags.DEFINE_string("checkpoint", None, "What to export.", flag_values=values)
    flags.DEFINE_multi_string("format", [], "What to write.", flag_values=values)
    flags.DEFINE_integer("image_size", None, "Side for from_bytes.", flag_values=values)
    flags.DEFINE_string("calibration", None, "Images for tflite_int8.", flag_values=values)
    return values


def _define_import() -> flags.FlagValues:
    values = _define_common()
    flags.DEFINE_string("source", None, "What to convert.", flag_values=values)
    return values


def _define_common() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("output", None, "Where to write.", flag_values=values)
    flags.DEFINE_string("cache_dir", None, "Folder for what is fetched.", flag_values=values)
    flags.DEFINE_bool("overwrite", False, "Replace an earlier export.", flag_values=values)
    flags.DEFINE_integer("ft_proj_selector", None, "Layer of the head.", flag_values=values)
    flags.DEFINE_float("sk_ratio", None, "Selective kernels.", flag_values=values)
    flags.DEFINE_string("resnet_variant", None, "Whose ResNet.", flag_values=values)
    flags.DEFINE_string("input_norm", None, "Scaling of images.", flag_values=values)
    flags.DEFINE_bool("debug", False, "Show tracebacks.", flag_values=values)
    return values


def _read(values: flags.FlagValues, words: Sequence[str], needed: Sequence[str]) -> None:
    """Parses the words into `values`.

    Raises:
        UsageError: A flag is unknown or missing, or its text can't be read as its type.
        InputError: See `flagfile.expand`.
    """
    words = expand(words)
    try:
        rest = values(["export", *words])[1:]
    except (flags.Error, ValueError) as error:
        raise UsageError(plain(error)) from None
    if rest:
        raise UsageError(f"flags have the form --name=value. Received: {rest[0]!r}")
    for name in needed:
        if not values[name].value:
            raise UsageError(f"--{name} is needed (--help)")


def _export(words: Sequence[str]) -> Callable[[], None]:
    values = _define_export()
    _read(values, words, ("checkpoint", "output"))
    formats = [name for text in values.format for name in text.split(",")] or ["saved_model"]

    def act() -> None:
        from .bundle import export_checkpoint

        with archives.caching_in(values.cache_dir):
            written = export_checkpoint(
                os.path.expanduser(values.checkpoint),
                os.path.expanduser(values.output),
                formats,
                overwrite=values.overwrite,
                image_size=values.image_size,
                calibration=values.calibration,
                say=say,
                **_reading(values),
            )
        for path in written:
            say(f"wrote {path}")

    return act


def _reading(values: flags.FlagValues) -> dict[str, Any]:
    """How weights are read where nothing beside them tells."""
    names = ("ft_proj_selector", "sk_ratio", "resnet_variant", "input_norm")
    return {name: values[name].value for name in names}


def _import(words: Sequence[str]) -> Callable[[], None]:
    values = _define_import()
    _read(values, words, ("source", "output"))

    def act() -> None:
        from .import_checkpoint import convert

        with archives.caching_in(values.cache_dir):
            prefix = convert(
                os.path.expanduser(values.source),
                os.path.expanduser(values.output),
                overwrite=values.overwrite,
                say=say,
                **_reading(values),
            )
        say(f"wrote {prefix}")

    return act


def _list(words: Sequence[str]) -> None:
    """Shows the published encoders; with a name, each of its formats with its address.

    Raises:
        UsageError, InputError: No such name.
    """
    if len(words) > 1 or any(word.startswith("-") for word in words):
        raise UsageError(f"list takes at most one name. Received: {' '.join(words)!r}")
    if words and not published.published(words[0]):
        published.require_known(words[0])
    for line in published.table(words[0] if words else ""):
        say(line)


def _describe(error: Exception, imports: bool) -> str:
    if isinstance(error, InputError):
        name = "source" if imports and error.name == "checkpoint" else error.name
        is_flag = name in {"flagfile", *_define_export(), *_define_import()}
        return error.describe(f"--{name}" if is_flag else name)
    return " ".join(str(error).split())


def main(words: Sequence[str], program: str = "python -m export") -> int:
    """Runs one command line; returns the exit status. Errors begin with the program's name."""
    if not words or any(word in _HELP_WORDS for word in words):
        say(_USAGE.replace("python -m export", program))
        return 0
    debug = "--debug" in words
    imports = words[0] == "import"
    try:
        startup.check_process()
        if not imports and not words[0].startswith("-"):
            if words[0] == "list":
                _list(words[1:])
                return 0
            hint = did_you_mean(words[0], ["import", "list"])
            raise UsageError(
                f"the first word must be import, list or a flag{hint}. Received: {words[0]!r}"
            )
        act = _import(words[1:]) if imports else _export(words)
        startup.load_tensorflow()
        act()
        return 0
    except (InputError, UsageError) as error:
        status, text = BAD_INPUT, _describe(error, imports)
        if debug:
            raise
    except KeyboardInterrupt:
        status, text = INTERRUPTED, "interrupted"
        if debug:
            raise
    except Exception as error:
        status, text = FAILED, describe_failure(error)
        if debug:
            raise
    say(f"{program}: error: {text}", sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(run_command(main))
