"""How a measuring process and the program that started it talk; the standard library alone.

The measuring process says that it is ready, then answers every line it reads with one line: the
samples of a round by quantity. It ends when there is nothing more to read, so also when the other
program has died.
"""

from __future__ import annotations

import json
import os
import sys

READY, ERROR = "ready", "error"
# The variable that tells a process when it was started, on the clock of `time.monotonic`.
STARTED = "BENCHMARK_STARTED"


class UnavailableError(Exception):
    """What was to be measured does not exist here; no fault of either side."""


def serve(prepare) -> None:
    """Answers until there is nothing more to read.

    Args:
        prepare: Does what should not be timed and returns the function that measures one round:
            from nothing to `{quantity: [numbers]}`.
    """
    # Libraries print on standard output, the answers must stand alone.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(content) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    try:
        measure = prepare()
        answer({READY: True})
        for _ in sys.stdin:
            answer(measure())
    except Exception as error:
        answer({ERROR: one_line(error), "unavailable": isinstance(error, UnavailableError)})


def one_line(error: BaseException) -> str:
    """What went wrong, in one line of bearable length."""
    lines = str(error).strip().splitlines() or [""]
    if lines[0].startswith("in user code"):  # a traced function: the message stands at the end
        return lines[-1].strip()[:300]
    kind = "" if isinstance(error, UnavailableError) else f"{type(error).__name__}: "
    return f"{kind}{lines[0]}"[:300]
