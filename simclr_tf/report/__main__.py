"""`python -m simclr_tf.report RUN [RUN ...]`: a page of one run, or of several side by side."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from simclr_tf import startup
from simclr_tf.console import run_command, say
from simclr_tf.errors import InputError, one_line
from simclr_tf.files import check_length, check_reachable, is_remote

BAD_INPUT, FAILED = 2, 1


def main(words: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m simclr_tf.report",
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
    except InputError as error:
        print(f"simclr_tf.report: error: {error}", file=sys.stderr)
        return BAD_INPUT
    import tensorflow as tf

    from simclr_tf.report import comparison, run_page

    try:
        place = given.output
        if place is not None:
            _check_output(place)
        if len(given.runs) == 1:
            path = run_page.write_report(given.runs[0], given.output)
        else:
            path = given.output or "comparison.html"
            comparison.write_comparison(given.runs, path)
    except InputError as error:
        say(f"simclr_tf.report: error: {error}", sys.stderr)
        return BAD_INPUT
    except (OSError, tf.errors.OpError) as error:
        blamed = "--output must be a file that can be written: " if given.output else ""
        say(f"simclr_tf.report: error: {blamed}{one_line(error)}", sys.stderr)
        return FAILED
    say(path)
    return 0


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
