"""What an image may cost: limits on its file, and on the pixels its header declares.

A few hundred kilobytes can declare pixels that no memory holds, and a file without content can be
as long as a disk. Both are looked at before anything is read or decoded, and nowhere else.
"""

from __future__ import annotations

import os
import stat

import tensorflow as tf

from simclr_tf.errors import InputError
from simclr_tf.files import read_regular

MAX_PIXELS = 2**27  # 402 MB decoded; photographs of 108 megapixels exist
MAX_FILE_BYTES = 2**28
PIXELS_AT_ONCE = 2**26  # that all threads of a process hold while Pillow decodes

TOO_MANY_PIXELS = f"it declares more than {MAX_PIXELS:,} pixels"
# Stands for the bytes of such an image: no decoder takes it for one.
TOO_LARGE = TOO_MANY_PIXELS.encode()

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER = 24  # bytes, with width and height at the end


def file_problem(path: str | os.PathLike[str]) -> str | None:
    """Why a file can't be read as an image, from what the file system says of it; None if it can.

    Links are followed. Devices and pipes, which may have no end, are no files.
    """
    try:
        found = os.stat(path)
    except OSError:
        return "must be a file (is it a broken link?)"
    except ValueError:  # a NUL in its name
        return "must be the name of a file"
    if not stat.S_ISREG(found.st_mode):
        return "must be a file, not a folder, device or pipe"
    if found.st_size > MAX_FILE_BYTES:
        return f"must have at most {MAX_FILE_BYTES:,} bytes, as an image has"
    return None


def read_file(path: str | os.PathLike[str]) -> bytes | None:
    """The content of an image file, None where there is none or `file_problem` finds one."""
    if file_problem(path) is not None:  # opening a device can already do something
        return None
    try:
        return read_regular(path, MAX_FILE_BYTES)
    except (InputError, OSError):
        return None


def require_pixels(height: int, width: int) -> None:
    """Refuses an image of these lengths where it is too large.

    Raises:
        ValueError: With `TOO_MANY_PIXELS`.
    """
    if height * width > MAX_PIXELS:
        raise ValueError(TOO_MANY_PIXELS)


def check_pixels(height: tf.Tensor, width: tf.Tensor) -> tf.Operation:
    """Fails with `TOO_MANY_PIXELS` where an image of these lengths is too large; for graphs.

    What decodes the image must depend on it by `tf.control_dependencies`.
    """
    fits = tf.cast(height, tf.int64) * tf.cast(width, tf.int64) <= MAX_PIXELS
    return tf.raw_ops.Assert(condition=fits, data=[TOO_MANY_PIXELS])


def png_lengths(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Height and width, int64 (...,), that PNGs (...,) declare; of others anything. For graphs."""
    start = tf.strings.substr(encoded, 0, _PNG_HEADER)
    words = tf.io.decode_raw(start, tf.int32, little_endian=False, fixed_length=_PNG_HEADER)
    lengths = tf.bitwise.bitwise_and(tf.cast(words, tf.int64), 2**32 - 1)  # (..., 6)
    return lengths[..., 5], lengths[..., 4]


def is_png(encoded: tf.Tensor) -> tf.Tensor:
    """Whether files (...,) are PNGs, bool (...,); for graphs."""
    return tf.strings.substr(encoded, 0, len(_PNG_MAGIC)) == _PNG_MAGIC


def check_jpeg(encoded: tf.Tensor) -> tf.Operation:
    """`check_pixels` of a JPEG."""
    lengths = tf.io.extract_jpeg_shape(encoded)
    return check_pixels(lengths[0], lengths[1])


def replace_large_pngs(encoded: tf.Tensor) -> tf.Tensor:
    """Replaces PNGs that declare too many pixels by `TOO_LARGE`, for next to nothing in a batch.

    Args:
        encoded: Contents of files of any format, string (n,).

    Returns:
        string (n,); for graphs.
    """
    height, width = png_lengths(encoded)  # (n,) each
    return tf.where(is_png(encoded) & (height * width > MAX_PIXELS), TOO_LARGE, encoded)
