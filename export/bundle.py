"""One checkpoint in any of the export formats."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from simclr_tf import console
from simclr_tf.errors import require, require_choice
from simclr_tf.files import write_text_atomically
from simclr_tf.removal import remove_tree
from simclr_tf.weights.load import LoadedModel, load_model
from simclr_tf.weights.readings import SHORTCUTS

from .card import model_card
from .folders import SAVED_MODEL, appearing, check_apart, check_target
from .history import History, read_history
from .hub import write_archive
from .keras_file import write_keras_file
from .reference import export_reference
from .saved_model import describe, write_saved_model

LARGEST_IMAGE = 4096  # pixels; a signature for more could not run
FORMATS = ("saved_model", "hub", "keras")
REFERENCE = "reference"  # a checkpoint for its training program; by itself


def export_checkpoint(
    checkpoint: str,
    output: str,
    formats: Sequence[str] = ("saved_model",),
    *,
    overwrite: bool = False,
    image_size: int | None = None,
    ft_proj_selector: int | None = None,
    sk_ratio: float | None = None,
    say: Callable[[str], None] = console.say,
) -> list[str]:
    """Exports the model of a checkpoint; needs neither its data nor an evaluation.

    Args:
        checkpoint: Anything that `simclr_tf.weights.load.load_model` reads.
        output: With the format `saved_model` alone, the SavedModel folder itself. Else a folder
            with `saved_model/`, `encoder.tar.gz` (`hub`) and `encoder.keras` (`keras`), those
            that were asked for, and the model card `README.md`. It appears when it is complete.
        formats: Some of `FORMATS`, or `REFERENCE` alone (see `export_reference`).
        overwrite: Whether an existing export is replaced.
        image_size: Side in pixels that `from_bytes` brings images to; None takes the run's, or
            the usual one of the stem.
        ft_proj_selector: See `load_model`.
        sk_ratio: See `load_model`.
        say: Receives what was read.

    Returns:
        The paths that were written.

    Raises:
        InputError: The checkpoint can't be read or nothing tells whether its shortcuts pool, a
            format is unknown, or the target exists.
    """
    _check_formats(formats)
    if list(formats) == [REFERENCE]:
        return export_reference(
            checkpoint,
            output,
            overwrite=overwrite,
            image_size=image_size,
            ft_proj_selector=ft_proj_selector,
            sk_ratio=sk_ratio,
            say=say,
        )
    check_target(output, overwrite)
    check_apart(checkpoint, output)
    require(image_size is None or image_size <= LARGEST_IMAGE, "image_size",
            f"must be at most {LARGEST_IMAGE}", image_size)  # fmt: skip
    loaded = load_model(checkpoint, ft_proj_selector, image_size, sk_ratio)
    for line in loaded.report.lines():
        say(line)
    for doubt in loaded.report.doubts:
        if doubt.name == SHORTCUTS:  # the export's record would make a guess a fact
            raise doubt
    output = output.rstrip("/")
    history = history_of(loaded)
    with appearing(output, overwrite) as partial:
        if list(formats) == ["saved_model"]:
            write_saved_model(loaded.model, partial, history)
            return [output]
        names = _write_all(loaded, history, partial, formats)
    return [os.path.join(output, name) for name in names]


def history_of(loaded: LoadedModel) -> History:
    """What is known about a loaded model; a run of ours tells more."""
    known = History(
        image_size=loaded.image_size,
        class_names=loaded.class_names,
        global_step=loaded.global_step,
        source=loaded.source,
    )
    return known if loaded.run_dir is None else read_history(loaded.run_dir, known)


def _check_formats(formats: Sequence[str]) -> None:
    for name in formats or ("",):
        require_choice("format", name, (*FORMATS, REFERENCE))
    alone = REFERENCE not in formats or len(formats) == 1
    require(alone, "format", f"must be {REFERENCE} alone, or others without it", ",".join(formats))
    require(len(set(formats)) == len(formats), "format", "must name each once", ",".join(formats))


def _write_all(
    loaded: LoadedModel, history: History, folder: str, formats: Sequence[str]
) -> list[str]:
    """Writes the card and each format; the archive is made from the SavedModel."""
    card = model_card(describe(loaded.model, history), history)
    write_text_atomically(os.path.join(folder, "README.md"), card)
    names = ["README.md"]
    saved_model = os.path.join(folder, "saved_model")
    if "saved_model" in formats or "hub" in formats:
        write_saved_model(loaded.model, saved_model, history)
    if "hub" in formats:
        write_archive(saved_model, os.path.join(folder, "encoder.tar.gz"))
        names.append("encoder.tar.gz")
        if "saved_model" not in formats:
            remove_tree(saved_model, SAVED_MODEL)
    if "saved_model" in formats:
        names.append("saved_model")
    if "keras" in formats:
        write_keras_file(loaded.model, os.path.join(folder, "encoder.keras"))
        names.append("encoder.keras")
    return names
