"""One command line from its words to its exit status: `run.py`, and most of `simclr`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from simclr_tf import startup
from simclr_tf.console import BAD_INPUT, FAILED, INTERRUPTED, PREEMPTED, WORKER_LOST, say
from simclr_tf.errors import (
    InputError,
    Preempted,
    RunError,
    WorkerLostError,
    describe_failure,
)
from simclr_tf.weights import archives

from . import parsing, usage


def _dispatch(command: parsing.CommandLine) -> None:
    # TensorFlow takes seconds to load; the user has read the first line by then.
    startup.load_tensorflow(command.verbosity)
    if command.mode in parsing.SERVICE_MODES:
        _serve(command)
    elif command.mode in parsing.ENCODER_MODES:
        _use_encoder(command)
    elif command.mode == "study":
        from simclr_tf.studies import study

        study.run_study(command.config)
    else:
        _run(command)


def _run(command: parsing.CommandLine) -> None:
    """Trains a run, evaluates its checkpoints, or both."""
    from simclr_tf.export.runs import RunExport

    config = command.config
    export = RunExport(
        config.model_dir,
        config.evaluation.keep_hub_module_max,
        config.data.image_size,
        config.evaluation.eval_name,
        _trained_in(command),
    )
    # A training does not wait for what only evaluation imports.
    if command.mode == "eval":
        from simclr_tf.modes import evaluation

        evaluation.evaluate(config, export, given=command.given)
    elif command.mode == "train":
        from simclr_tf.modes import common, training

        trained = training.train(config, export, command.flags)
        labelled = trained.experiment.eval_split is not None
        trained.experiment.job.say(common.next_steps(config.model_dir, labelled))
    else:
        from simclr_tf.modes import train_then_eval

        train_then_eval.train_then_eval(config, export, command.flags)


def _use_encoder(command: parsing.CommandLine) -> None:
    """What any encoder is good for: the paper's protocols, embeddings, and what they show."""
    from simclr_tf.job import open_job
    from simclr_tf.modes import embed, explore, neighbors, scoreboard

    if command.mode == "evaluate":
        scoreboard.evaluate(command.config)
    elif command.mode == "embed":
        embed.embed(command.config, open_job(command.config.strategy))
    elif command.mode == "explore":
        explore.explore(command.config)
    else:
        neighbors.neighbors(command.config)


def _serve(command: parsing.CommandLine) -> None:
    """A process of a tf.data service, until it is stopped."""
    from simclr_tf.data import service

    address = command.config.data_service.removeprefix("grpc://")
    if command.mode == "data_dispatcher":
        service.serve_dispatcher(int(address.rpartition(":")[2]))
    else:
        host, _, port = (command.config.worker_address or "").rpartition(":")
        service.serve_worker(address, int(port or 0), host or None)


def _what_is_left(command: parsing.CommandLine) -> str:
    """What an interrupt leaves behind."""
    if command.mode in ("embed", "neighbors", "explore"):
        return "nothing was written"
    if command.mode in parsing.SERVICE_MODES:
        return "the service has ended"
    folder = command.flags["model_dir"]
    if command.mode == "evaluate":
        return f"what was found so far is in {folder}"
    if command.mode == "study":
        return f"the same command with --model_dir={folder} goes on"
    return f"--model_dir={folder} resumes the run"


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Ends the block with `Preempted` on SIGTERM, so that nothing is left half-written."""

    def stop(number: int, frame: Any) -> None:
        raise Preempted

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _what(command: parsing.CommandLine) -> str:
    """The command in a few words, before TensorFlow has loaded."""
    values = command.flags
    if command.mode in parsing.SERVICE_MODES:
        return f"{command.mode} of {values['data_service']}"
    if command.mode == "study":
        return f"study {values['study']} in {values['model_dir']}"
    place = {"embed": "output", "neighbors": "embeddings", "explore": "embeddings"}.get(
        command.mode, "model_dir"
    )
    what = f"{command.mode} in {values[place]}"
    if command.num_workers > 1:
        what += f", one of {command.num_workers} workers, once all of them have started"
    return what


def _trained_in(command: parsing.CommandLine) -> str | None:
    """The folder of the weights to evaluate, where they are not the run's own."""
    checkpoint = command.config.checkpoint
    if command.mode != "eval" or checkpoint is None:
        return None
    from simclr_tf.weights import locate

    place = locate.fetched(checkpoint)
    return place if os.path.isdir(place) else os.path.dirname(place)


def main(words: Sequence[str], program: str = "run.py") -> int:
    """Runs one command line.

    Args:
        words: All words but the program's name.
        program: This name, for errors.

    Returns:
        The exit status.
    """
    if any(word in usage.VERSION_WORDS for word in words):
        say(usage.version_text())
        return 0
    debug = "--debug" in words or "--debug=True" in words
    command: parsing.CommandLine | None = None
    try:
        if usage.asks_for_help(words):
            say(usage.help_text(words, program))
            return 0
        startup.check_process()
        command = parsing.parse_command_line(words)
        debug = command.debug
        say(f"simclr_tf: {_what(command)}")
        for note in command.notes:
            say(f"note: {note}")
        with _sigterm_raises(), archives.caching_in(command.cache_dir):
            _dispatch(command)
        return 0
    except (InputError, parsing.UsageError) as error:
        status, text = BAD_INPUT, parsing.describe_error(error)
        if debug:
            raise
    except (KeyboardInterrupt, Preempted) as error:
        stopped = isinstance(error, Preempted)
        status, text = (
            (PREEMPTED, "stopped by SIGTERM") if stopped else (INTERRUPTED, "interrupted")
        )
        if command is not None:
            text = f"{text}; {_what_is_left(command)}"
        if debug:
            raise
    except WorkerLostError as error:
        assert command is not None
        status = WORKER_LOST
        text = f"{error}; starting all workers again with {_what_is_left(command)}"
        if debug:
            raise
    except RunError as error:
        status, text = FAILED, str(error)
        if debug:
            raise
    except Exception as error:
        if debug:
            raise
        status, text = FAILED, describe_failure(error)
    say(f"{program}: error: {text}", sys.stderr)
    return status
