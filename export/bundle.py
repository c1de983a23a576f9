"""One checkpoint in any of the export formats."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from simclr_tf import console
from simclr_tf.data.sources import Source
from simclr_tf.errors import require, require_choice
from simclr_tf.weights.load import LoadedModel, load_model
from simclr_tf.weights.readings import SHORTCUTS

from . import tflite_file
from .calibration import SETTING as CALIBRATION
from .calibration import calibration_images
from .extras import check_installed
from .folders import appearing, check_apart, check_target
from .history import History, read_history
from .huggingface import write_repository
from .reference import export_reference
from .saved_model import write_saved_model
from .writers import FORMATS, Job, check_network, write

LARGEST_IMAGE = 4096  # pixels; a signature for more could not run
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
    resnet_variant: str | None = None,
    input_norm: str | None = None,
    calibration: str | Source | None = None,
    say: Callable[[str], None] = console.say,
) -> list[str]:
    """Exports the model of a checkpoint; needs neither its data nor an evaluation.

    Args:
        checkpoint: Anything that `simclr_tf.weights.load.load_model` reads.
        output: With `saved_model` or `huggingface` alone, the folder itself. Else a folder with
            what was asked for, under the names of `writers.FORMATS`, and the model card
            `README.md`. It appears when it is complete.
        formats: Some of `writers.FORMATS`, or `REFERENCE` alone (see `export_reference`).
        overwrite: Whether an existing export is replaced.
        image_size: Side in pixels that `from_bytes` brings images to, and of the images that
            TFLite files take; None takes the run's, or the usual one of the stem.
        ft_proj_selector: See `load_model`.
        sk_ratio: See `load_model`.
        resnet_variant: See `load_model`.
        input_norm: See `load_model`.
        calibration: Images for `tflite_int8`, see `calibration.calibration_images`; None takes
            those of the run.
        say: Receives what was read.

    Returns:
        The paths that were written.

    Raises:
        InputError: The checkpoint can't be read or nothing tells whether its shortcuts pool, a
            format is unknown, not possible or lacks its packages, or the target exists.
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
    needs_images = tflite_file.INT8 in formats
    require(needs_images or calibration is None, CALIBRATION,
            f"needs format={tflite_file.INT8}", calibration)  # fmt: skip
    check_installed(formats)
    check_target(output, overwrite)
    check_apart(checkpoint, output)
    require(image_size is None or image_size <= LARGEST_IMAGE, "image_size",
            f"must be at most {LARGEST_IMAGE}", image_size)  # fmt: skip
    loaded = load_model(
        checkpoint, ft_proj_selector, image_size, sk_ratio, resnet_variant, input_norm
    )
    for line in loaded.report.lines():
        say(line)
    for doubt in loaded.report.doubts:
        if doubt.name == SHORTCUTS:  # the export's record would make a guess a fact
            raise doubt
    check_network(loaded.model, formats)
    images = calibration_images(loaded, calibration, say) if needs_images else None
    job = Job(loaded.model, history_of(loaded), loaded.image_size, images, say)
    return _write(job, output.rstrip("/"), formats, overwrite)


def _write(job: Job, output: str, formats: Sequence[str], overwrite: bool) -> list[str]:
    with appearing(output, overwrite) as partial:
        if list(formats) == ["saved_model"]:
            write_saved_model(job.model, partial, job.history)
            return [output]
        if list(formats) == ["huggingface"]:
            write_repository(job.model, partial, job.history)
            return [output]
        names = write(job, partial, formats)
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
