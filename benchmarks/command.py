"""What the command lines of the benchmarks share: errors in one line, with a status."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from simclr_tf.errors import InputError, one_line

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and takes no shortened flags."""

    def __init__(self, prog: str | None = None, **options: object):
        program = os.path.splitext(os.path.basename(sys.argv[0]))[0]
        super().__init__(prog or f"python -m benchmarks.{program}", allow_abbrev=False, **options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Ends the process."""
        self.exit(BAD_INPUT, f"{self.prog}: error: {' '.join(message.split())}\n")


def count(word: str) -> int:
    """A whole number of at least 1."""
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1: {number}")
    return number


def end(main: Callable[[], int | None]) -> NoReturn:
    """Runs a command line and ends the process with its status."""
    try:
        status, text = main() or 0, ""
    except InputError as error:
        status, text = BAD_INPUT, str(error)
    except KeyboardInterrupt:
        status, text = INTERRUPTED, "interrupted"
    except BrokenPipeError:  # nor may Python complain when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status, text = FAILED, ""
    except Exception as error:
        status, text = FAILED, f"{type(error).__name__}: {one_line(error)}"
    if text:
        print(f"{Parser().prog}: error: {text}", file=sys.stderr)
    sys.exit(status)
