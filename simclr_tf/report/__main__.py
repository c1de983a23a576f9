"""`python -m simclr_tf.report RUN [RUN ...]`: a page of one run, or of several side by side."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from simclr_tf import run_folder, startup
from simclr_tf.console import BAD_INPUT, FAILED, INTERRUPTED, run_command, say
from simclr_tf.errors import InputError, describe_failure, one_line
from simclr_tf.files import check_length, check_reachable, is_remote, require_ours


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Ends the process."""
        self.exit(BAD_INPUT, f"{self.prog}: error: {' '.join(message.split())} (see --help)\n")


def main(words: Sequence[str], program: str = "simclr_tf.report") -> int:
    """Runs the command line; returns the exit status. Errors begin with the program's name."""
    parser = _Parser(
        prog="python -m simclr_tf.report" if program == "simclr_tf.report" else program,
        description="Writes the report of a run anew, or a page that compares several runs.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--output",
        help="the page (default: report.html in the folder of the run; comparison.html here "
        "for several)",
    )
    given = parser.parse_args(words)
    try:
        startup.load_tensorflow()
        place = _write(given.runs, given.output)
    except InputError as error:
        status, text = BAD_INPUT, str(error)
    except KeyboardInterrupt:
        status, text = INTERRUPTED, "interrupted"
    except Exception as error:
        blamed = "--output must be a file that can be written: " if given.output else ""
        is_io = isinstance(error, OSError) or _is_of_tensorflow(error)
        status, text = FAILED, f"{blamed}{one_line(error)}" if is_io else describe_failure(error)
    else:
        say(place)
        return 0
    say(f"{program}: error: {text}", sys.stderr)
    return status


def _write(runs: Sequence[str], output: str | None) -> str:
    """Writes the page; returns its path."""
    from simclr_tf.report import comparison, page, run_page

    single, place = len(runs) == 1, output
    if place is not None:
        _check_output(place)
    else:
        place = os.path.join(runs[0], run_folder.REPORT) if single else "comparison.html"
        require_ours(place, page.MARK, "--output")
    if single:
        run_page.write_report(runs[0], place)
    else:
        comparison.write_comparison(runs, place)
    return place


def _is_of_tensorflow(error: Exception) -> bool:
    """Whether a remote path could not be read or written."""
    import tensorflow as tf  # Loaded by now, or there is no such error.

    return isinstance(error, tf.errors.OpError)


def _check_output(place: str) -> None:
    """Refuses what can't be a page, or would replace something else than one."""
    check_reachable(place, "--output")
    if not is_remote(place):
        check_length(place, "--output")
    if os.path.isdir(place) or not os.path.basename(place):
        raise InputError("--output", "must be a file, not a folder", place)
    if os.path.exists(place) and not place.endswith((".html", ".htm")):
        raise InputError("--output", "must not be a file that is there, unless it ends in .html",
                         place)  # fmt: skip


if __name__ == "__main__":
    sys.exit(run_command(main))
