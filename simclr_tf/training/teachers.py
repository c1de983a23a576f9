"""The frozen teacher of a distillation, checked against the student's images."""

from __future__ import annotations

from simclr_tf.data.sources import Source
from simclr_tf.errors import InputError, require
from simclr_tf.job import Job
from simclr_tf.weights import load


def load_teacher(
    path: str | None, image_size: int, job: Job, source: Source
) -> load.LoadedModel | None:
    """The teacher with its own architecture, frozen; None without a path.

    Args:
        path: Weights with a linear head, of any format.
        image_size: Of the student's views, which the teacher sees too.
        job: Where it computes.
        source: The student's images.

    Raises:
        InputError: It can't be read, or does not fit the images.
    """
    if path is None:
        return None
    with job.scope():
        try:
            teacher = load.load_model(path)
            teacher.model.config.encoder.resolve_stem(image_size)
        except InputError as error:
            renamed = {"checkpoint": "teacher", "image_size": "image_size of the teacher's views"}
            name = renamed.get(error.name, error.name)
            raise InputError(name, error.constraint, error.received) from None
    _check_classes(teacher, source, path)
    teacher.model.trainable = False
    return teacher


def _check_classes(teacher: load.LoadedModel, source: Source, path: str) -> None:
    if teacher.report.left_out:
        doubt = teacher.report.doubts[0]
        raise InputError("teacher", "must tell how it is read, as what `python -m export import "
                         f"--{doubt.name}=...` writes ({doubt.constraint})", path)  # fmt: skip
    require(teacher.model.linear_head is not None, "teacher", "must have a linear head, as a "
            "network that was trained with labels has", path)  # fmt: skip
    count, names = teacher.model.num_classes, teacher.class_names
    require(source.num_classes in (None, count), "teacher",
            f"must have the {source.num_classes} classes of {source.name}",
            f"{path} with {count}")  # fmt: skip
    if names is not None and source.class_names is not None:
        require(list(names) == list(source.class_names), "teacher",
                f"must have the classes of {source.name}: {', '.join(source.class_names[:10])}",
                f"{path} with {', '.join(names[:10])}")  # fmt: skip


def describe(teacher: load.LoadedModel, image_size: int) -> list[str]:
    """What the user should know of it."""
    encoder = teacher.model.config.encoder
    step = f", step {teacher.global_step}" if teacher.global_step else ""
    notes = [f"the teacher is a ResNet-{encoder.resnet_depth}, width {encoder.width_multiplier:g}, "
             f"of {teacher.model.num_classes} classes{step}"]  # fmt: skip
    if teacher.image_size != image_size:
        notes.append(f"the teacher was trained on images of {teacher.image_size} px and sees the "
                     f"student's views of {image_size} px")  # fmt: skip
    return notes
