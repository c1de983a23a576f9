"""Images as pages hold them: small, and inside the page."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

EXAMPLE_SIDE = 64  # px at most
VIEW_SIDE = 128
_QUALITY = 85  # of JPEG
_LARGEST_PNG = 64  # px a side; small images must not lose pixels, large ones may


def in_rgb(images: np.ndarray) -> np.ndarray:
    """Images of any number of channels as three that can be shown, of the same type.

    One channel, or the first of two, is gray; of more the first three are red, green and blue.

    Args:
        images: (..., C).

    Returns:
        (..., 3); images of three channels as they are.
    """
    channels = images.shape[-1]
    return images[..., :3] if channels >= 3 else np.repeat(images[..., :1], 3, axis=-1)


def thumbnails(images: np.ndarray, side: int) -> np.ndarray:
    """Images of at most `side` pixels a side, in colours as `in_rgb` shows them.

    Args:
        images: (N, H, W, C), uint8 or floats in [0, 1].
        side: Larger ones are made smaller, keeping their shape.

    Returns:
        (N, h, w, 3) uint8.
    """
    images = in_rgb(np.asarray(images))
    if images.dtype != np.uint8:
        images = np.round(np.clip(images, 0, 1).astype(np.float32) * 255).astype(np.uint8)
    height, width = images.shape[1:3]
    scale = min(1.0, side / max(height, width))
    if scale == 1:
        return images
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BOX))
                     for one in images])  # fmt: skip


def data_uri(image: np.ndarray) -> str:
    """An image (H, W, 3) uint8 as the address of itself: PNG where it is small, else JPEG."""
    small = max(image.shape[:2]) <= _LARGEST_PNG
    return _uri(image, "png" if small else "jpeg")


def sheet_uri(sheet: np.ndarray) -> str:
    """The same for a sheet of many small images."""
    return _uri(sheet, "jpeg")


def _uri(image: np.ndarray, kind: str) -> str:
    buffer = io.BytesIO()
    options = {"quality": _QUALITY, "subsampling": 0} if kind == "jpeg" else {"optimize": True}
    Image.fromarray(image).save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
