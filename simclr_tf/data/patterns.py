"""`patterns`: ten families of drawn textures in colour at 32 px, without any file or network.

The class is the family alone. Colours, period, orientation, phase, warp, duty, polarity, shading
and noise are drawn independently of it, so neither single pixels nor colour statistics carry the
label, while every crop that holds a few repeats shows it. The two colours belong to one image
only: without colour distortion they tell two crops of an image from all others, which is the
shortcut of section 3.1 (figure 6) of the paper.

A family is a field f(u, v), with u and v in periods, that is larger inside the figure. The
threshold that cuts the figure out is a quantile of the field over the image: the share of the
foreground is the image's duty in every family, so it says nothing about the class.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Array = np.ndarray

VERSION = "1.0.0"
SEED = 20_200_213
IMAGE_SIZE = 32
SPLIT_SIZES = {"train": 8_000, "test": 2_000}

PERIOD = (5.5, 8.0)  # pixels; a crop of 30 % of the area is 17 px wide
DUTY = (0.36, 0.48)  # share of the foreground, before polarity exchanges the colours
ORIENTATION = (-0.35, 0.35)  # radians; a full turn would tell images apart better than families
WARP = (0.0, 0.4)  # largest displacement, pixels
WARP_WAVELENGTH = (20.0, 40.0)  # pixels
EDGE = 1.0  # width of the soft edge of a figure, pixels
LUMINANCE_GAP = 0.3  # the two colours differ by at least so much on a scale from 0 to 1
SHADING = 0.15  # largest relative change of brightness from the centre to a corner
NOISE = (0.0, 0.02)  # standard deviation, on a scale from 0 to 1

LUMINANCE_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601
_CHUNK = 1_000  # images drawn at a time, bounds the memory
_BLOB_WAVES = 12


def _wave(x: Array) -> Array:
    """Triangle wave of period 1 in [-0.5, 0.5], largest at integers."""
    return np.abs(2.0 * (x - np.floor(x)) - 1.0) - 0.5


def _cell(x: Array) -> Array:
    """Position within a cell of size 1, in [-0.5, 0.5)."""
    return x - np.floor(x) - 0.5


def stripes(u: Array, v: Array, rng: np.random.RandomState) -> Array:
    """Parallel bars."""
    del v, rng
    return _wave(u) * 0.5


def checks(u: Array, v: Array, rng: np.random.RandomState) -> Array:
    """Checkerboard whose squares are 0.65 periods wide."""
    del rng
    a, b = _wave(u / 1.3), _wave(v / 1.3)
    same = np.sign(a) * np.sign(b)
    return same * np.minimum(np.abs(a), np.abs(b)) * 0.65


def dots(u: Array, v: Array, rng: np.random.RandomState) -> Array:
    """Discs on a hexagonal lattice."""
    del rng
    v = v / np.sqrt(3.0)
    near = np.minimum(
        np.hypot(_cell(u), _cell(v) * np.sqrt(3.0)),
        np.hypot(_cell(u + 0.5), _cell(v + 0.5) * np.sqrt(3.0)),
    )
    return -near


def rings(u: Array, v: Array, rng: np.random.RandomState) -> Array:
    """Circles on a square lattice, 1.6 periods apart."""
    del rng
    radius = np.hypot(_cell(u / 1.6), _cell(v / 1.6))
    return -np.abs(radius - 0.34) * 1.6


def bricks(u: Array, v: Array, rng: np.random.RandomState) -> Array:
    """Joints of a wall in running bond, bricks of 1.7 by 0.85 periods."""
    del rng
    row = np.floor(v / 0.85)
    across = 0.5 - np.abs(_cell(v / 0.85))
    along = 0.5 - np.abs(_cell(u / 1.7 + 0.5 * (row % 2)))
    return -np.minimum(across * 0.85, along * 1.7)


def zigzag(u: Array, v: Array, rng: np.random.RandomState) -> Array:
    """Bars bent at right angles."""
    del rng
    return _wave((v + _wave(u / 1.8) * 0.9) / 1.15) * 0.4


def grid(u: Array, v: Array, rng: np.random.RandomState) -> Array:
    """Two crossing sets of lines."""
    del rng
    return np.maximum(np.abs(_cell(u)), np.abs(_cell(v)))


def triangles(u: Array, v: Array, rng: np.random.RandomState) -> Array:
    """Equilateral triangles that all point the same way, 1.5 periods apart."""
    del rng
    a, b = u - v / np.sqrt(3.0), v * 2.0 / np.sqrt(3.0)
    a, b = a / 1.5, b / 1.5
    a, b = a - np.floor(a), b - np.floor(b)
    up = np.minimum(np.minimum(a, b), 1.0 - a - b)
    down = np.minimum(np.minimum(1.0 - a, 1.0 - b), a + b - 1.0)
    return np.where(a + b < 1.0, up, -down) * 1.3


def blobs(u: Array, v: Array, rng: np.random.RandomState) -> Array:
    """Irregular spots: a sum of plane waves in random directions."""
    shape = (u.shape[0], 1, 1)
    total = np.zeros_like(u)
    for _ in range(_BLOB_WAVES):
        angle, phase = rng.uniform(0.0, 2.0 * np.pi, (2, *shape)).astype(u.dtype)
        frequency = rng.uniform(0.55, 0.85, shape).astype(u.dtype)
        along = u * np.cos(angle) + v * np.sin(angle)
        total += np.cos(2.0 * np.pi * frequency * along + phase)
    return total * (0.25 / np.sqrt(_BLOB_WAVES))


def plus_signs(u: Array, v: Array, rng: np.random.RandomState) -> Array:
    """Crosses with arms of equal length on a square lattice, 1.5 periods apart."""
    del rng
    x, y = np.abs(_cell(u / 1.5)), np.abs(_cell(v / 1.5))
    return np.minimum(0.37 - np.maximum(x, y), 0.13 - np.minimum(x, y)) * 1.5


FAMILIES: dict[str, Callable[[Array, Array, np.random.RandomState], Array]] = {
    "stripes": stripes,
    "checks": checks,
    "dots": dots,
    "rings": rings,
    "bricks": bricks,
    "zigzag": zigzag,
    "grid": grid,
    "triangles": triangles,
    "blobs": blobs,
    "plus_signs": plus_signs,
}
CLASS_NAMES = tuple(FAMILIES)


def generate(split: str, seed: int = SEED) -> tuple[Array, Array]:
    """Draws one split.

    Args:
        split: `train` or `test`; they come from separate random streams.
        seed: The same seed gives the same images.

    Returns:
        Images, uint8 (N, 32, 32, 3), and labels, int64 (N,), in random order, the classes equally
        frequent.
    """
    stream = list(SPLIT_SIZES).index(split)
    # RandomState, because NumPy promises never to change what it draws from a seed.
    rng = np.random.RandomState([seed, stream])
    labels = rng.permutation(np.arange(SPLIT_SIZES[split]) % len(FAMILIES))
    chunks = [labels[i : i + _CHUNK] for i in range(0, len(labels), _CHUNK)]
    return np.concatenate([draw(chunk, rng) for chunk in chunks]), labels.astype(np.int64)


def draw(labels: Array, rng: np.random.RandomState) -> Array:
    """Draws one image for each label; uint8 (N, 32, 32, 3)."""
    n = len(labels)
    period = _uniform(rng, PERIOD, n)
    u, v = _coordinates(period, rng)  # (N, 32, 32), in periods
    field = np.empty_like(u)
    for index, family in enumerate(FAMILIES.values()):
        chosen = labels == index
        field[chosen] = family(u[chosen], v[chosen], rng)
    mask = _cut(field, _uniform(rng, DUTY, n), period)  # (N, 32, 32), in [0, 1]
    colors = _color_pairs(rng, n)[:, :, None, None, :]  # (N, 2, 1, 1, 3)
    image = colors[:, 0] * (1 - mask[..., None]) + colors[:, 1] * mask[..., None]  # (N, 32, 32, 3)
    image *= _shading(rng, n)[..., None]
    noise = rng.standard_normal(image.shape).astype(np.float32)
    image += noise * _uniform(rng, NOISE, n)[..., None]
    return np.round(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)


def _uniform(rng: np.random.RandomState, limits: tuple[float, float], n: int) -> Array:
    """Float32 (N, 1, 1)."""
    return rng.uniform(*limits, (n, 1, 1)).astype(np.float32)


def _pixels() -> tuple[Array, Array]:
    """X and y of the pixels, (1, 32, 32) each, 0 at the centre of the image."""
    axis = np.arange(IMAGE_SIZE, dtype=np.float32) - (IMAGE_SIZE - 1) / 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return x[None], y[None]


def _coordinates(period: Array, rng: np.random.RandomState) -> tuple[Array, Array]:
    """Warped, rotated and shifted coordinates in periods, (N, 32, 32) each."""
    n = len(period)
    x, y = _pixels()
    x, y = x + _displacement(x, y, rng, n), y + _displacement(x, y, rng, n)
    angle = _uniform(rng, ORIENTATION, n)
    cos, sin = np.cos(angle), np.sin(angle)
    u, v = x * cos + y * sin, y * cos - x * sin
    # The shift is many cells long: the lattices of the families have different cells.
    phase_u, phase_v = _uniform(rng, (0.0, 60.0), n), _uniform(rng, (0.0, 60.0), n)
    return u / period + phase_u, v / period + phase_v


def _displacement(x: Array, y: Array, rng: np.random.RandomState, n: int) -> Array:
    """A slow wave across the image, (N, 32, 32), in pixels."""
    angle, phase = (_uniform(rng, (0.0, 2.0 * np.pi), n) for _ in range(2))
    wavelength, amplitude = _uniform(rng, WARP_WAVELENGTH, n), _uniform(rng, WARP, n)
    along = x * np.cos(angle) + y * np.sin(angle)
    return amplitude * np.sin(2.0 * np.pi * along / wavelength + phase)


def _cut(field: Array, duty: Array, period: Array) -> Array:
    """The figure as a mask with soft edges, whose share of the image is `duty`."""
    n = len(field)
    ranked = np.sort(field.reshape(n, -1), axis=1)
    position = ((1.0 - duty.reshape(n, 1)) * (ranked.shape[1] - 1)).astype(np.int64)
    threshold = np.take_along_axis(ranked, position, axis=1)[..., None]
    return np.clip((field - threshold) * period / EDGE + 0.5, 0.0, 1.0)


def _color_pairs(rng: np.random.RandomState, n: int) -> Array:
    """Two RGB colours an image, (N, 2, 3) in [0, 1], which one is lighter being random."""
    pairs = rng.uniform(0.0, 1.0, (n, 2, 3))
    while True:
        luminance = pairs @ np.asarray(LUMINANCE_WEIGHTS)
        alike = np.abs(luminance[:, 0] - luminance[:, 1]) < LUMINANCE_GAP
        if not alike.any():
            return pairs.astype(np.float32)
        pairs[alike] = rng.uniform(0.0, 1.0, (int(alike.sum()), 2, 3))


def _shading(rng: np.random.RandomState, n: int) -> Array:
    """A factor that changes linearly across the image in a random direction, (N, 32, 32)."""
    x, y = _pixels()
    angle, strength = _uniform(rng, (0.0, 2.0 * np.pi), n), _uniform(rng, (0.0, SHADING), n)
    along = (x * np.cos(angle) + y * np.sin(angle)) / (IMAGE_SIZE / np.sqrt(2.0))
    return 1.0 + strength * along
