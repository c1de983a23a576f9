"""Runs hostile command lines: `python -m fuzz --minutes=10 --seed=1` (or `make fuzz ARGS=...`).

Each case is a command of this project with extreme flags, damaged or hostile files, or links where
it writes. It runs in a forked child of one process that has loaded TensorFlow, in a folder of its
own beside a sentinel that nobody named. Wrong are: a traceback, an error that is not one line of
ours, a signal, an end that does not come, memory without bound, control characters in what it says,
a program started, and any change outside of what the command names.

Findings lie in OUTPUT/findings, each with its files and its command. Exit status 1 with findings.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence

from fuzz.kinds import KINDS, WEIGHTS

FOUND, BAD_INPUT, INTERRUPTED = 1, 2, 130
_WORD_SECONDS = 60


def read_command_line(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line with its defaults."""
    parser = argparse.ArgumentParser(
        prog="python -m fuzz", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, default=10.0, help="length, without fixtures [10]")
    parser.add_argument("--cases", type=int, help="end after so many cases")
    parser.add_argument("--seed", type=int, default=1, help="another seed draws other cases [1]")
    parser.add_argument("--kinds", default="", help="with commas, some kinds only [all]")
    parser.add_argument("--only", metavar="KIND:SEED:NUMBER", help="repeat one case, as named in a "
                        "finding's folder (KIND-SEED-NUMBER)")  # fmt: skip
    parser.add_argument("--output", type=pathlib.Path, help="folder of findings [a temporary one]")
    parser.add_argument("--fixtures", type=pathlib.Path, help="folder that keeps the run, exports "
                        "and embeddings that cases start from, for the next session")  # fmt: skip
    parser.add_argument("--cpu_seconds", type=float, default=90, help="limit of a case [90]")
    given = parser.parse_args(words)
    names = given.only.split(":")[:1] if given.only else [n for n in given.kinds.split(",") if n]
    unknown = [name for name in names if name not in KINDS]
    if unknown:
        parser.error(f"no such kind: {unknown[0]} (there are {', '.join(KINDS)})")
    if given.only and not re.fullmatch(r"\w+:\d+:\d+", given.only):
        parser.error("--only has the form KIND:SEED:NUMBER")
    given.kinds = names or list(KINDS)
    return given


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    given = read_command_line(words)
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    folder = given.output or pathlib.Path(tempfile.mkdtemp(prefix="simclr_tf_fuzz_"))
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["MPLCONFIGDIR"] = str(folder / "matplotlib")

    from fuzz import guard
    from fuzz.process import Limits
    from fuzz.session import FixtureError, Session, load_everything

    if not guard.can_confine():
        print("note: this kernel has no Landlock; a command that writes where it must not would do "
              "so", flush=True)  # fmt: skip
    load_everything()
    limits = Limits(cpu_seconds=given.cpu_seconds)
    fixtures = (given.fixtures or folder / "fixtures").absolute()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C
    try:
        session = Session(folder.absolute(), fixtures, limits, lambda text: print(text, flush=True))
    except FixtureError as error:
        print(f"fuzz: error: {error}", file=sys.stderr)
        return BAD_INPUT
    try:
        session.prepare(given.kinds)
        if given.only:
            return _repeat(session, given.only)
        _run(session, given)
    except FixtureError as error:
        print(f"fuzz: error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        _summarise(session, folder)
        return INTERRUPTED
    finally:
        session.close()
    _summarise(session, folder)
    return FOUND if session.found else 0


def _run(session, given: argparse.Namespace) -> None:
    until = time.monotonic() + 60 * given.minutes
    order = random.Random(given.seed)
    weights = [WEIGHTS[kind] for kind in given.kinds]
    number, next_word = 0, time.monotonic() + _WORD_SECONDS
    while time.monotonic() < until and (given.cases is None or number < given.cases):
        kind = order.choices(given.kinds, weights)[0]
        session.run(kind, given.seed, number)
        number += 1
        if time.monotonic() > next_word:
            next_word = time.monotonic() + _WORD_SECONDS
            print(f"{number} cases, {sum(session.found.values())} findings in "
                  f"{len(session.found)} classes", flush=True)  # fmt: skip


def _repeat(session, only: str) -> int:
    kind, seed, number = only.split(":")
    result = session.run(kind, int(seed), int(number))
    print(result.case.command, *(f"changed: {text!r}" for text in result.done), sep="\n")
    print(f"exit status {result.outcome.status}")
    print(result.outcome.err[-2000:].encode("ascii", "backslashreplace").decode())
    return FOUND if result.findings else 0


def _summarise(session, folder: pathlib.Path) -> None:
    total = sum(session.counts.values())
    print(f"\n{total} cases in {sum(session.seconds.values())} s of processor time")
    for kind, count in session.counts.items():
        print(f"  {kind:<12} {count:6d} cases  {session.seconds[kind]:6d} s")
    print("ends: " + ", ".join(f"{end} {count}" for end, count in session.ends.most_common()))
    if not session.found:
        print("no findings")
        return
    print(f"{sum(session.found.values())} findings in {len(session.found)} classes, in {folder}:")
    for signature, count in session.found.most_common():
        print(f"  {count:4d}  {signature.encode('ascii', 'backslashreplace').decode()}")
        print(f"        {session.places[signature][0]}")


if __name__ == "__main__":
    sys.exit(main())
