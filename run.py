"""Trains and evaluates SimCLR: `python run.py --help` lists the flags."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Sequence

# Before TensorFlow loads: its informational lines would bury ours, and on CPUs without AVX-512 it
# leaves oneDNN off, which costs a factor of 2 to 15 per training step (docs/performance.md).
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

from flags import parsing, usage
from simclr_tf.errors import InputError

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130


def _load_tensorflow() -> None:
    """Imports TensorFlow, without its complaints about CUDA where there is no GPU to use."""
    if glob.glob("/dev/nvidia*") or os.path.exists("/dev/dxg"):
        return  # what it says about drivers and libraries is needed then
    # The lines come from C++ before its logging can be set up, so the file itself is redirected.
    stderr, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        import tensorflow as tf

        tf.config.list_physical_devices()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nothing)


def _dispatch(command: parsing.CommandLine) -> None:
    # TensorFlow takes seconds to load; the user has read the first line by then.
    _load_tensorflow()
    from export.saved_model import export_step
    from simclr_tf import modes

    config = command.config

    def export(model, global_step: int) -> str | None:
        return export_step(
            model, config.model_dir, global_step, config.evaluation.keep_hub_module_max
        )

    if command.mode == "eval":
        modes.evaluate(config, export)
    elif command.mode == "train":
        modes.train(config, export, command.flags)
    else:
        modes.train_then_eval(config, export, command.flags)


def main(words: Sequence[str]) -> int:
    """Runs one command line; returns the exit status."""
    if any(word in ("--help", "-help", "-h", "--helpfull", "--helpshort") for word in words):
        print(usage.help_text())
        return 0
    debug = "--debug" in words or "--debug=True" in words
    command: parsing.CommandLine | None = None
    try:
        command = parsing.parse_command_line(words)
        debug = command.debug
        print(f"simclr_tf: {command.mode} in {command.config.model_dir}", flush=True)
        for note in command.notes:
            print(f"note: {note}", flush=True)
        _dispatch(command)
        return 0
    except (InputError, parsing.UsageError) as error:
        status, text = BAD_INPUT, parsing.describe_error(error)
        if debug:
            raise
    except KeyboardInterrupt:
        status, text = INTERRUPTED, "interrupted"
        if command is not None:
            text = f"interrupted; --model_dir={command.config.model_dir} resumes the run"
        if debug:
            raise
    except Exception as error:
        if debug:
            raise
        status = FAILED
        text = f"{type(error).__name__}: {parsing.describe_error(error)} (--debug: traceback)"
    print(f"run.py: error: {text}", file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
