"""One case: a command line, the files it meets, and what it may change."""

from __future__ import annotations

import dataclasses
import pathlib
import random
import shlex
from collections.abc import Callable, Mapping

# What a change did to the folder, in words. It draws from the generator it is given.
Apply = Callable[[pathlib.Path, random.Random], str]

PROGRAMS = ("run.py", "export", "simclr_tf.report")


@dataclasses.dataclass(frozen=True)
class Change:
    """A hostile change of the files before the command starts.

    Attributes:
        apply: Makes it in the case's working folder and says what it made.
        seed: Of the generator that `apply` draws from, so that leaving out one change of a case
            leaves the others as they were.
    """

    apply: Apply
    seed: int

    def __call__(self, work: pathlib.Path) -> str:
        """Makes the change; returns what it did."""
        return self.apply(work, random.Random(self.seed))


@dataclasses.dataclass(frozen=True)
class Case:
    """A command with its surroundings. All paths are relative to the working folder.

    Attributes:
        kind: The generator it came from.
        program: One of `PROGRAMS`.
        words: Words of the command line that make it meaningful.
        extra: Hostile words; the search for a smaller case leaves them out one by one.
        inputs: Fixtures that are copied into the working folder.
        changes: Hostile changes of them; left out one by one as well.
        writes: What the command may make, change and remove.
        kept: What it may not, although it lies in `writes`: the user's files there.
        environment: Variables that are set (or, with None, unset).
        stdout: `file`; `full` (a full disk), `lost` (a reader that is gone) or `closed`.
        encoding: Of the standard streams.
        refuses_first: Whether bad input has to be found before anything is written.
        free_names: Whether the command may make new files under any name in the working folder,
            because a flag names them.
    """

    kind: str
    program: str
    words: tuple[str, ...]
    extra: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    writes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    environment: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    stdout: str = "file"
    encoding: str = "utf-8"
    refuses_first: bool = False
    free_names: bool = False

    @property
    def command(self) -> str:
        """The command as one types it in the working folder, `$SIMCLR` being the checkout."""
        start = {
            "run.py": 'python "$SIMCLR"/run.py',
            "export": 'PYTHONPATH="$SIMCLR" python -m export',
            "simclr_tf.report": 'PYTHONPATH="$SIMCLR" python -m simclr_tf.report',
        }[self.program]
        settings = [
            f"-u {name}" if value is None else f"{name}={shlex.quote(value)}"
            for name, value in sorted(self.environment.items(), key=lambda item: item[1] or "")
        ]  # fmt: skip
        if self.encoding != "utf-8":
            settings.append(f"PYTHONIOENCODING={self.encoding}")
        prefix = f"env {' '.join(settings)} " if settings else ""
        end = {"file": "", "full": " > /dev/full", "lost": " | true", "closed": " >&-"}[self.stdout]
        return f"{prefix}{start} {shlex.join([*self.words, *self.extra])}{end}"

    def smaller(self) -> list[Case]:
        """The cases with one hostile part less."""
        without = [
            dataclasses.replace(self, extra=self.extra[:index] + self.extra[index + 1 :])
            for index in range(len(self.extra))
        ]
        without += [
            dataclasses.replace(self, changes=self.changes[:index] + self.changes[index + 1 :])
            for index in range(len(self.changes))
        ]
        plain = {"environment": {}, "stdout": "file", "encoding": "utf-8"}
        without += [
            dataclasses.replace(self, **{name: value})  # type: ignore[arg-type]
            for name, value in plain.items()
            if getattr(self, name) != value
        ]
        return without
