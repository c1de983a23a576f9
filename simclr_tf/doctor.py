"""`simclr doctor`: what this machine and its packages are, and what is wrong with them."""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence

from simclr_tf import startup
from simclr_tf.console import BAD_INPUT, FAILED, say
from simclr_tf.errors import InputError
from simclr_tf.startup import installed_version
from simclr_tf.units import format_bytes

_HELP = """\
simclr doctor [FOLDER]: shows versions, devices, memory and disks, and what is wrong with them.
FOLDER is where runs are written to (the working directory by default). The exit status is 1 if
something is wrong.
"""
_PYTHONS = ((3, 10), (3, 13))
_NEEDED = ("tensorflow", "tf-keras", "tensorflow-datasets", "tensorflow-hub", "numpy",
           "google-cloud-storage")  # fmt: skip
_EXTRAS = {
    "pillow-heif": "reads HEIC photographs (pip install 'simclr_tf[heic]')",
    "wandb": "for --log_to=wandb (pip install 'simclr_tf[wandb]')",
    "mlflow": "for --log_to=mlflow (pip install 'simclr_tf[mlflow]')",
}
_LEAST_DISK = 2 * 2**30  # a run of a ResNet-50 with three checkpoints takes about half of it
_LEAST_MEMORY = 4 * 2**30
_CPU_WORDS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
_MOUNTS = "/proc/mounts"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Attributes:
        topic: What it is about, a word or two.
        text: What was found.
        wrong: What is wrong with it and what mends it; None where all is well.
    """

    topic: str
    text: str
    wrong: str | None = None


def main(words: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    if any(word in ("--help", "-help", "-h") for word in words):
        say(_HELP)
        return 0
    folder = words[0] if words else "."
    if len(words) > 1 or folder.startswith("-") or not os.path.isdir(folder):
        say(f"simclr doctor: error: FOLDER must be one folder that exists. Received: "
            f"{' '.join(words)!r}", sys.stderr)  # fmt: skip
        return BAD_INPUT
    findings = []
    for one in examine(folder):
        say(f"{one.topic + ':':<22}{one.text}")
        findings.append(one)
    wrong = [one for one in findings if one.wrong is not None]
    say("")
    for one in wrong:
        say(f"wrong: {one.topic}: {one.wrong}")
    if not wrong:
        say("Nothing is wrong.")
    return FAILED if wrong else 0


def examine(folder: str) -> Iterator[Finding]:
    """What this process runs on, and whether that suits.

    Args:
        folder: Where runs are to be written to.
    """
    yield _python()
    yield from _packages()
    try:
        startup.load_tensorflow()
    except (InputError, ImportError) as error:
        yield Finding("TensorFlow", "does not load", str(error))
    else:
        yield from _devices()
    yield _memory()
    yield _disk("runs", folder)
    yield _disk("temporary files", tempfile.gettempdir())
    yield _fetched()
    for name, purpose in _EXTRAS.items():
        version = installed_version(name) or installed_version(f"{name}-skinny")
        yield Finding(f"extra {name}", version or f"not installed; {purpose}")


def _python() -> Finding:
    text = f"{platform.python_version()}, {sys.executable}"
    here, (least, most) = sys.version_info[:2], _PYTHONS
    if least <= here <= most:
        return Finding("Python", text)
    return Finding("Python", text, f"3.{least[1]} to 3.{most[1]} is needed")


def _packages() -> Iterator[Finding]:
    """The packages that are needed: their versions, and those that are absent or do not fit."""
    import simclr_tf

    yield Finding("simclr_tf", f"{simclr_tf.__version__}, {os.path.dirname(simclr_tf.__file__)}")
    for name in _NEEDED:
        version = installed_version(name)
        wrong = None if version else f"pip install {name}"
        yield Finding(name, version or "not installed", wrong)
    tensorflow, keras = installed_version("tensorflow") or "", installed_version("tf-keras") or ""
    if tensorflow.split(".")[:2] != keras.split(".")[:2]:
        yield Finding(
            "Keras",
            f"tf-keras {keras} beside TensorFlow {tensorflow}",
            "must be of one "
            f"version: pip install tf-keras=={'.'.join(tensorflow.split('.')[:2])}.*",
        )


def _devices() -> Iterator[Finding]:
    import tensorflow as tf

    from simclr_tf import gpus, precision
    from simclr_tf.report import machine

    found = machine.hardware()
    yield Finding("processor", f"{found['processor']}, {found['cores']} cores for this process")
    words = [word for word in _CPU_WORDS if word in precision.cpu_flags()]
    yield Finding("instructions", ", ".join(words) or "unknown")
    on = os.environ.get("TF_ENABLE_ONEDNN_OPTS") != "0"
    yield Finding("oneDNN", "on" if on else "off", None if on else "training on the CPU is several "
                  "times slower: leave TF_ENABLE_ONEDNN_OPTS out, or set it to 1")  # fmt: skip
    listed = ", ".join(found["gpus"]) or "none that TensorFlow sees"
    yield Finding("GPUs", listed, gpus.unused_gpu())
    chosen = precision.choose(tf.distribute.get_strategy())
    yield Finding("--precision=auto", f"{chosen.precision} ({chosen.reason})")


def _memory() -> Finding:
    from simclr_tf import capacity

    size = capacity.physical_bytes()
    if size is None:
        return Finding("memory", "unknown")
    small = size < _LEAST_MEMORY
    return Finding("memory", format_bytes(size), "under 4 GiB, which is little: keep batches and "
                   "images small, and leave out --cache_dataset" if small else None)  # fmt: skip


def _disk(topic: str, folder: str) -> Finding:
    """Free space, kind of file system, and whether it can be written to."""
    path = os.path.realpath(folder)
    free = shutil.disk_usage(path).free
    text = f"{path}: {format_bytes(free)} free, {_file_system(path)}"
    if not os.access(path, os.W_OK):
        return Finding(topic, text, f"{path} can't be written to")
    return Finding(topic, text, "under 2 GiB are free" if free < _LEAST_DISK else None)


def _fetched() -> Finding:
    """What is kept of weights that were fetched."""
    from simclr_tf.weights import archives, buckets

    count, size = buckets.usage()
    return Finding("fetched weights", f"{archives.cache_path()}: {count} from buckets, "
                   f"{format_bytes(size)}; may be deleted")  # fmt: skip


def _file_system(path: str) -> str:
    """The kind of the file system that holds a path, in Linux's words."""
    try:
        with open(_MOUNTS) as file:
            mounts = [line.split() for line in file]
    except OSError:
        return f"file system unknown on {platform.system()}"
    fitting = [(_plain(mount[1]), mount[2]) for mount in mounts
               if os.path.commonpath([_plain(mount[1]), path]) == _plain(mount[1])]  # fmt: skip
    return max(fitting, key=lambda one: len(one[0]))[1] if fitting else "file system unknown"


def _plain(mount: str) -> str:
    """A mount point without the octal escapes of the list."""
    return re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), mount)
