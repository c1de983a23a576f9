"""What is wrong with how a command ended."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from fuzz.case import Case
from fuzz.process import Outcome

# Well done, failed, bad input, a worker lost, Ctrl-C, SIGTERM.
_STATUSES = (0, 1, 2, 75, 130, 143)
_LOG_OF_TENSORFLOW = re.compile(
    r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [EF] (.*)|^[EF]\d{4} .*", re.M
)
_ERROR = re.compile(r"^[^\n]{0,60}?\berror: (.*)", re.M)
# The others are of libjpeg, which speaks for itself.
_ALLOWED_BESIDE = re.compile(r"(note|warning|usage): |Maximum supported image|Corrupt JPEG data")
_WARNING_OF_PYTHON = re.compile(r"^.*Warning: .*\n(?:  .*\n)?", re.M)  # with its line of code
# Names of TensorFlow's operations and of its graph, or of Python's, instead of the user's files.
_RAW = re.compile(
    r"\{\{node|\[Op:|Graph execution error|Error in (user|PyFunction)|<tf\.|tf\.Tensor\(|_ops\.py|"
    r"\bOP_REQUIRES\b|object at 0x|'NoneType'|NoneType\b|dtype=|list index out of range|"
    r"\bunhashable\b|positional argument|has no attribute|__\w+__"
)
# TFDS makes it to ask its own server about a set that is not prepared, and leaves it.
_OF_TFDS = re.compile(r"tmp/tmp\w{8}tfds(/|$)")
_OURS = r"(?:simclr_tf|flags|export)/[\w/]+\.py"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


SENTINEL = "SENTINEL"  # the worst class: what nobody named has changed


class Finding(NamedTuple):
    """Something wrong.

    Attributes:
        what: The class, such as `traceback`.
        detail: What shows it.
    """

    what: str
    detail: str

    @property
    def signature(self) -> str:
        """The class and the detail without what differs between two cases of the same bug."""
        if self.what == SENTINEL:
            return f"{self.what}: {self.detail}"
        text = re.sub(r"'[^']*'|\"[^\"]*\"", "'…'", self.detail)
        text = re.sub(r"(?:\.{0,2}/)?(?:[\w.@~-]*/)+[\w.@~-]*", "/…", text)
        text = re.sub(r"0x[0-9a-f]+|\d+(\.\d+)?(e[+-]?\d+)?", "N", text)
        return f"{self.what}: {text[:110]}"


def judge(case: Case, outcome: Outcome, changed: Mapping[str, str]) -> list[Finding]:
    """The findings of a case.

    Args:
        case: What ran.
        outcome: How it ended.
        changed: `sandbox.differences` of what the command may not change, and with exit status 2
            of a command that is to refuse first, of all.
    """
    return [
        *_of_the_end(outcome),
        *_of_the_words(case, outcome),
        *_of_the_deeds(case, outcome, changed),
    ]


def _of_the_end(outcome: Outcome) -> list[Finding]:
    if outcome.stopped == "memory":
        return [Finding("memory", "more than its limit: " + _where(outcome))]
    if outcome.stopped == "idle":
        return [Finding("hang", "waits for ever: " + _where(outcome))]
    if outcome.stopped == "cpu" and not outcome.heeded:
        return [Finding("hang", "SIGTERM does not end it: " + _where(outcome))]
    if outcome.stopped == "cpu" and not outcome.spoke:
        return [Finding("hang", "works without a word: " + _where(outcome))]
    if outcome.status < 0 and outcome.stopped is None:
        return [Finding("signal", f"{-outcome.status}: " + _where(outcome))]
    if outcome.status not in _STATUSES and outcome.stopped is None:
        return [Finding("status", f"exit status {outcome.status}")]
    return []


def _of_the_words(case: Case, outcome: Outcome) -> list[Finding]:
    found, everything = [], outcome.out + "\n" + outcome.err
    error = _ERROR.search(outcome.err)
    line = error[1] if error else ""
    if "Traceback (most recent call last)" in everything or "Exception ignored" in everything:
        last = [text for text in outcome.err.splitlines() if text.strip()][-1:]
        found.append(Finding("traceback", f"{last[0] if last else ''} [{_raised_in(everything)}]"))
    elif "(--debug: traceback)" in line:
        found.append(Finding("raw error", line))
    elif raw := _RAW.search(line):
        found.append(Finding("raw words", f"{raw[0]} in: {line}"))
    if logged := _LOG_OF_TENSORFLOW.search(everything):
        found.append(Finding("log of TensorFlow", logged[1] or logged[0]))
    if line and outcome.status == 0:
        found.append(Finding("error with status 0", line))
    if not line and outcome.status in (1, 2) and "Traceback" not in everything:
        found.append(Finding("no error line", f"status {outcome.status}: {outcome.err[:200]}"))
    if control := _CONTROL.search(everything):
        start = max(0, control.start() - 40)
        found.append(Finding("control characters", repr(everything[start : control.end() + 20])))
    rest = [
        text for text in _WARNING_OF_PYTHON.sub("", outcome.err).splitlines()
        if text.strip() and not _ALLOWED_BESIDE.match(text) and not _LOG_OF_TENSORFLOW.match(text)
    ]  # fmt: skip
    if len(rest) > 1 and not any(item.what == "traceback" for item in found):
        shown = next((text for text in rest if "error: " not in text), rest[-1])
        found.append(Finding("several lines", shown))
    return found


def _of_the_deeds(case: Case, outcome: Outcome, changed: Mapping[str, str]) -> list[Finding]:
    found = [Finding("deed", text) for text in outcome.deeds]
    for path, how in changed.items():
        if _OF_TFDS.match(path):
            continue
        top = path.split("/")[0]
        name = re.sub(r"[0-9a-f]{8,}|\d+", "N", path)
        if top == "outside":
            inner = any(other.startswith(f"{path}/") for other in changed)
            found += [] if inner else [Finding(SENTINEL, f"{how}: {path}")]
        elif top in ("home", "tmp"):
            if outcome.stopped is None and how == "new":
                found.append(Finding("left behind", f"in {top}: {name}"))
        elif how != "new":
            found.append(Finding("changed what it only reads", f"{how}: {name}"))
        elif not case.free_names and outcome.stopped is None:
            found.append(Finding("left behind", name))
        elif outcome.status == 2:
            found.append(Finding("written before it was refused", name[:60]))
    return found


def _where(outcome: Outcome) -> str:
    """The innermost lines of ours in the stacks of threads, and the last word."""
    ours = re.findall(rf'File "[^"]*/({_OURS})", line \d+ in (\w+)', outcome.faults)
    inner = re.search(r'\(most recent call first\):\n  File "([^"]+)", line \d+ in (\w+)',
                      outcome.faults)  # fmt: skip
    places = [f"{path}:{name}" for path, name in ours[:2]]
    if not places and inner:
        places = [f"{inner[1].rsplit('/', 1)[-1]}:{inner[2]}"]
    words = (outcome.out + outcome.err).strip().splitlines()
    return f"{', '.join(places) or 'no stack'}; last word: {words[-1][:80] if words else 'none'}"


def _raised_in(text: str) -> str:
    places = re.findall(rf'File "[^"]*/({_OURS}|run\.py)", line \d+, in (\w+)', text)
    return ":".join(places[-1]) if places else "not in our code"
