"""Distillation: how far a student's class distributions are from its teacher's.

SimCLRv2, arXiv 2006.10029, section 2, equation 2; the teacher is a constant there and here.
"""

from __future__ import annotations

import math

import tensorflow as tf

from simclr_tf.errors import require


def distillation_loss(
    student_logits: tf.Tensor, teacher_logits: tf.Tensor, temperature: float
) -> tf.Tensor:
    """Mean cross entropy between the softened class distributions of teacher and student.

    Per image it is the sum over classes of -p_teacher log p_student, with both distributions
    softmax(logits / temperature). As in SimCLRv2 it is not multiplied by the squared temperature,
    so its gradient shrinks as the temperature grows. Its smallest value is the teacher's entropy,
    not 0.

    Inside a replica context it is the mean over this replica's images. Every replica holds equally
    many, so the mean over replicas is the mean over the global batch.

    Args:
        student_logits: (b, classes), any float dtype; computed in float32.
        teacher_logits: (b, classes), any float dtype; receives no gradient.
        temperature: Greater than 0; below 1 it sharpens.

    Returns:
        () float32, nats.

    Raises:
        InputError: A temperature that is not finite and positive.
        ValueError: Shapes or dtypes other than these.
    """
    sound = math.isfinite(temperature) and temperature > 0
    require(sound, "distill_temperature", "must be finite and greater than 0", temperature)
    student, teacher = _checked(student_logits, teacher_logits)
    targets = tf.stop_gradient(tf.nn.softmax(teacher / temperature))  # (b, C)
    losses = tf.nn.softmax_cross_entropy_with_logits(targets, student / temperature)  # (b,)
    return tf.reduce_mean(losses)


def agreement(student_logits: tf.Tensor, teacher_logits: tf.Tensor) -> tf.Tensor:
    """Share of images that student and teacher put into the same class, () float32 in [0, 1].

    Args:
        student_logits: (b, classes), any float dtype.
        teacher_logits: (b, classes), any float dtype.

    Raises:
        ValueError: Shapes or dtypes other than these.
    """
    student, teacher = _checked(student_logits, teacher_logits)
    same = tf.equal(tf.argmax(student, axis=1), tf.argmax(teacher, axis=1))  # (b,)
    return tf.reduce_mean(tf.cast(same, tf.float32))


def _checked(student_logits: tf.Tensor, teacher_logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Both as float32, once their static shapes and dtypes are sound."""
    student, teacher = tf.convert_to_tensor(student_logits), tf.convert_to_tensor(teacher_logits)
    if not (student.dtype.is_floating and teacher.dtype.is_floating):
        raise ValueError(
            f"logits must be floating point. Received: {student.dtype.name} and "
            f"{teacher.dtype.name}"
        )
    if student.shape.rank != 2 or not student.shape.is_compatible_with(teacher.shape):
        raise ValueError(
            "student and teacher must have logits of one shape, (b, classes). "
            f"Received: {student.shape} and {teacher.shape}"
        )
    return tf.cast(student, tf.float32), tf.cast(teacher, tf.float32)
