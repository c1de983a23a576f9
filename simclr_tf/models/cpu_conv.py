"""Convolutions of a training on a CPU, in other forms where oneDNN's kernels are slow.

The numbers are the same but for rounding; what each form gains stands in docs/performance.md.

- oneDNN's gradient with respect to a kernel takes up to six times as long as the convolution
  itself where a map is small and has many channels, and with strides. For each position of the
  kernel it is one matrix product: the inputs at that offset with the outputs' gradient.
- In bfloat16 its kernels work on the pixels of one row at a time, so that the units for matrix
  tiles are mostly idle in rows of 4 pixels. There images lie side by side, with a column of zeros
  between them.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

_FEWEST_WEIGHTS = (
    2**11
)  # of one position of a kernel; with fewer the products are too small to gain
_ABREAST = 8  # images side by side

_wanted = contextvars.ContextVar("cpu_conv", default=False)


@contextlib.contextmanager
def preferred(wanted: bool) -> Iterator[None]:
    """Whether layers take the forms of this module, where `applies`.

    Acts on the calls that the same thread makes inside it. In a graph it acts while the graph is
    traced; under a strategy, enter it inside the replica function.
    """
    token = _wanted.set(wanted)
    try:
        yield
    finally:
        _wanted.reset(token)


def applies(inputs: tf.Tensor, kernel: tf.Tensor, strides: int = 1) -> bool:
    """Whether a convolution inside `preferred` gains by `convolve`, as far as was measured.

    Args:
        inputs: (N, H, W, C), as `convolve` takes them.
        kernel: (k, k, C, F).
        strides: In both directions.
    """
    height, width = inputs.shape[1:3]
    rows, columns, channels, filters = kernel.shape
    if not _wanted.get() or height is None or width is None:
        return False
    if rows != columns or rows % 2 == 0 or min(height, width) < rows * (strides > 1):
        return False
    if channels * filters < _FEWEST_WEIGHTS:
        return False
    if inputs.dtype.size > 2:
        return strides == 1 and height * width <= 7 * 7
    if rows == 1:
        return strides == 1
    if strides > 1:
        height, width = (_taken(size, rows, strides) for size in (height, width))
    return height * width <= (8 * 8 if strides > 1 or filters >= 256 else 7 * 7)


def convolve(inputs: tf.Tensor, kernel: tf.Tensor, strides: int = 1) -> tf.Tensor:
    """`tf.nn.conv2d` with another way to the same outputs and gradients.

    Args:
        inputs: (N, H, W, C) with known H and W; with strides padded already.
        kernel: (k, k, C, F), k odd.
        strides: With 1 the padding is SAME, else VALID, and k is above 1.

    Returns:
        (N, H, W, F), or (N, h, w, F) with h = (H - k) // strides + 1.
    """
    abreast = _abreast(inputs, kernel, strides)
    options = {"strides": [1, strides, strides, 1], "padding": "SAME" if strides == 1 else "VALID"}

    @tf.custom_gradient
    def forward(inputs: tf.Tensor, kernel: tf.Tensor) -> Any:
        def backward(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            d_inputs = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(lain), filter=kernel,
                out_backprop=_side_by_side(dy, abreast), **options,
            )  # fmt: skip
            columns = tf.reshape(dy, [-1, kernel.shape[-1]])  # (N h w, F)
            products = [
                tf.matmul(tap, columns, transpose_a=True)
                for tap in _taps(inputs, kernel.shape[0], strides)
            ]
            gradient = tf.reshape(tf.stack(products), kernel.shape)
            return _one_by_one(d_inputs, abreast, inputs.shape[2]), gradient

        lain = _side_by_side(inputs, abreast)
        outputs = tf.raw_ops.Conv2D(input=lain, filter=kernel, **options)
        return _one_by_one(outputs, abreast, inputs.shape[2]), backward

    return forward(inputs, kernel)


def _taken(size: int, kernel_size: int, strides: int) -> int:
    """How many windows there are without padding."""
    return (size - kernel_size) // strides + 1


def _taps(inputs: tf.Tensor, size: int, strides: int) -> list[tf.Tensor]:
    """What each position of a kernel sees: (N h w, C) for all `size` x `size`, row by row."""
    height, width, channels = inputs.shape[1:]
    if size == 1:
        return [tf.reshape(inputs, [-1, channels])]
    if strides == 1:
        half = size // 2
        inputs = tf.pad(inputs, [[0, 0], [half, half], [half, half], [0, 0]])
        phases, rows, columns = {(0, 0): inputs}, height, width
    else:
        phases = _phases(inputs, strides)
        rows, columns = (_taken(one, size, strides) for one in (height, width))
    taps = []
    for i in range(size):
        for j in range(size):
            phase, top, left = phases[i % strides, j % strides], i // strides, j // strides
            seen = phase[:, top : top + rows, left : left + columns]
            taps.append(tf.reshape(seen, [-1, channels]))
    return taps


def _phases(inputs: tf.Tensor, strides: int) -> dict[tuple[int, int], tf.Tensor]:
    """Every `strides`-th position in both directions, from each of the first ones on.

    A slice with strides would take several times as long as these without.
    """
    height, width, channels = inputs.shape[1:]
    below, right = -height % strides, -width % strides
    padded = tf.pad(inputs, [[0, 0], [0, below], [0, right], [0, 0]])
    rows, columns = (height + below) // strides, (width + right) // strides
    cells = tf.reshape(padded, [-1, strides, columns, strides * channels])
    return {
        (i, j): tf.reshape(
            tf.slice(cells, [0, i, 0, j * channels], [-1, 1, columns, channels]),
            [-1, rows, columns, channels],
        )
        for i in range(strides)
        for j in range(strides)
    }


def _abreast(inputs: tf.Tensor, kernel: tf.Tensor, strides: int) -> int:
    """How many images lie side by side; 1 where that gains nothing."""
    count, _, width, channels = inputs.shape
    narrow = kernel.shape[0] == 3 and strides == 1 and width <= 7
    gains = narrow and channels >= 256 and inputs.dtype.size <= 2
    return _ABREAST if gains and count is not None and count % _ABREAST == 0 else 1


def _side_by_side(images: tf.Tensor, abreast: int) -> tf.Tensor:
    """(N, H, W, C) -> (N / abreast, H, abreast (W + 1), C), a column of zeros behind each."""
    if abreast == 1:
        return images
    height, width, channels = images.shape[1:]
    padded = tf.pad(images, [[0, 0], [0, 0], [0, 1], [0, 0]])
    rows = tf.reshape(padded, [-1, abreast, height, (width + 1) * channels])
    lain = tf.transpose(rows, [0, 2, 1, 3])
    return tf.reshape(lain, [-1, height, abreast * (width + 1), channels])


def _one_by_one(lain: tf.Tensor, abreast: int, width: int) -> tf.Tensor:
    """Undoes `_side_by_side` of images of this width."""
    if abreast == 1:
        return lain
    height, channels = lain.shape[1], lain.shape[3]
    rows = tf.reshape(lain, [-1, height, abreast, (width + 1) * channels])
    images = tf.transpose(rows[..., : width * channels], [0, 2, 1, 3])
    return tf.reshape(images, [-1, height, width, channels])
