"""Kinds of image files, recognised by their first bytes, and those that Pillow decodes.

Pillow is asked for one format, the one that was recognised, and only if it stands in the list here:
it knows others that run programs (EPS), read other files, or that nobody maintains. What a file
declares is looked at before its pixels are read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from simclr_tf.data import limits, orientation, pixels

HEAD_BYTES = 32  # of a file, which tell its kind
HEIC = "HEIC"
NEEDS_HEIF = "it is HEIC, which needs pillow-heif (pip install 'simclr_tf[heic]')"
NO_KIND = "it is no image of a known kind"

_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)  # bytes, after the 14 of the file
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _starts(*those: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(those)


def _is_bmp(head: bytes) -> bool:
    return head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS


def _is_webp(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def _has_brand(*those: bytes) -> Callable[[bytes], bool]:
    def found(head: bytes) -> bool:
        # The first is the file's own, others after four bytes are those it is compatible with.
        return head[4:8] == b"ftyp" and any(
            head[at : at + 4] in those for at in (8, *range(16, HEAD_BYTES, 4))
        )

    return found


def _is_pnm(head: bytes) -> bool:
    return head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace() and (
        head[3:4].isdigit() or head[3:4] == b"#"
    )  # fmt: skip


def _is_pcx(head: bytes) -> bool:
    return head[:1] == b"\x0a" and head[1:2] in b"\0\2\3\5" and head[2:3] == b"\1" and (
        head[3:4] in b"\1\2\4\x08"
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Kind:
    module: str  # of Pillow, with the reader
    is_kind: Callable[[bytes], bool]


# By Pillow's name of the format.
_KINDS = {
    "JPEG": _Kind("JpegImagePlugin", _starts(b"\xff\xd8\xff")),
    "PNG": _Kind("PngImagePlugin", _starts(b"\x89PNG\r\n\x1a\n")),
    "GIF": _Kind("GifImagePlugin", _starts(b"GIF87a", b"GIF89a")),
    "BMP": _Kind("BmpImagePlugin", _is_bmp),
    "WEBP": _Kind("WebPImagePlugin", _is_webp),
    "TIFF": _Kind("TiffImagePlugin", _starts(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
    "AVIF": _Kind("AvifImagePlugin", _has_brand(*_AVIF_BRANDS)),
    HEIC: _Kind("", _has_brand(*_HEIC_BRANDS)),
    "JPEG2000": _Kind(
        "Jpeg2KImagePlugin", _starts(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
    ),
    "ICO": _Kind("IcoImagePlugin", _starts(b"\0\0\1\0")),
    "PPM": _Kind("PpmImagePlugin", _is_pnm),
    "PCX": _Kind("PcxImagePlugin", _is_pcx),
    "PSD": _Kind("PsdImagePlugin", _starts(b"8BPS\0\1")),
    "SGI": _Kind("SgiImagePlugin", _starts(b"\x01\xda\0\1", b"\x01\xda\1\1")),
    "QOI": _Kind("QoiImagePlugin", _starts(b"qoif")),
    "DDS": _Kind("DdsImagePlugin", _starts(b"DDS ")),
}
KINDS = tuple(_KINDS)


def kind_of(head: bytes) -> str | None:
    """The kind of a file, among `KINDS`, from its first `HEAD_BYTES`; None for no known image."""
    return next((name for name, kind in _KINDS.items() if kind.is_kind(head)), None)


def reads_heic() -> bool:
    """Whether pillow-heif, an extra, is installed."""
    try:
        importlib.import_module("pillow_heif")
    except ImportError:
        return False
    return True


class _Budget:
    """Lets threads hold so many pixels in all; one alone may hold more."""

    def __init__(self, most: int):
        self._most, self._held = most, 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def hold(self, count: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._held + count <= self._most)
            self._held += count
        try:
            yield
        finally:
            with self._changed:
                self._held -= count
                self._changed.notify_all()


_budget = _Budget(limits.PIXELS_AT_ONCE)


def lengths(encoded: bytes) -> tuple[int, int]:
    """Height and width of an image once it is upright, from its header.

    Raises:
        ValueError: As in `decode`, in one line.
    """
    with _plain_errors(), _opened(encoded) as image:
        # A TIFF's lengths are those that it has once Pillow has turned it.
        turned = image.format != "TIFF" and _orientation(image) in (5, 6, 7, 8)
        return (image.width, image.height) if turned else (image.height, image.width)


def decode(
    encoded: bytes,
    value_range: tuple[float, float] | None = None,
    upright: bool = True,
    ratio: int = 1,
) -> np.ndarray:
    """Decodes the first picture of a file by Pillow.

    Args:
        encoded: Content of the file.
        value_range: As in `pixels.to_bytes`.
        upright: Whether to apply the orientation that the file tells.
        ratio: Each pixel of the result is the mean of so many by so many, fewer at the lower and
            right border.

    Returns:
        uint8 (H, W, 3) in [0, 255].

    Raises:
        ValueError: In one line: no image of a known kind, too many pixels, or damaged.
    """
    with _plain_errors(), _opened(encoded) as image, _budget.hold(image.width * image.height):
        found = _rgb(image, encoded, value_range)
        turn = _TURNS.get(_orientation(image)) if upright else None  # Pillow has turned TIFFs
        if turn is not None:
            found = found.transpose(turn)
        return np.asarray(found.reduce(ratio) if ratio > 1 else found)


def values(encoded: bytes) -> np.ndarray | None:
    """What a file with more than 8 bits a channel holds, undivided; None for any other file.

    Raises:
        ValueError: As in `decode`.
    """
    with _plain_errors(), _opened(encoded) as image, _budget.hold(image.width * image.height):
        return _deep(image, encoded)


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """Whatever a decoder raises, in one line."""
    try:
        yield
    except Image.DecompressionBombError as error:
        raise ValueError(limits.TOO_MANY_PIXELS) from error
    except UnidentifiedImageError as error:
        raise ValueError("its header is damaged") from error
    except Exception as error:  # Pillow's readers raise anything on damaged files
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(lines[0][:200]) from error


@contextlib.contextmanager
def _opened(encoded: bytes) -> Iterator[Image.Image]:
    """The image with its header read and its lengths checked, its pixels not."""
    kind = kind_of(encoded[:HEAD_BYTES])
    if kind is None:
        raise ValueError(NO_KIND if encoded else "it is empty")
    if kind == HEIC:
        image = _open_heic(encoded)
    else:
        importlib.import_module(f"PIL.{_KINDS[kind].module}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images: the limit here is lower
            image = Image.open(io.BytesIO(encoded), formats=(kind,))
    with image:
        limits.require_pixels(image.height, image.width)
        if kind == "ICO":
            _check_icons(image, encoded)
        yield image


def _open_heic(encoded: bytes) -> Image.Image:
    if not reads_heic():
        raise ValueError(NEEDS_HEIF)
    heif = importlib.import_module("pillow_heif")
    container = heif.open_heif(io.BytesIO(encoded), convert_hdr_to_8bit=True)
    width, height = container.size
    limits.require_pixels(height, width)
    with _budget.hold(width * height):
        return container.to_pillow()  # upright already


def _check_icons(image: Image.Image, encoded: bytes) -> None:
    """PNGs in an icon declare lengths of their own."""
    for entry in image.ico.entry:
        at = entry.offset
        if encoded[at : at + 4] == b"\x89PNG":
            width, height = (int.from_bytes(encoded[at + i : at + i + 4], "big") for i in (16, 20))
            limits.require_pixels(height, width)


def _orientation(image: Image.Image) -> int:
    return image.getexif().get(ExifTags.Base.Orientation, orientation.UPRIGHT)


def _rgb(
    image: Image.Image, encoded: bytes, value_range: tuple[float, float] | None
) -> Image.Image:
    """8 bits in three channels, over `pixels.BACKGROUND`."""
    deep = _deep(image, encoded)
    if deep is not None:
        return Image.fromarray(pixels.to_rgb(pixels.to_bytes(deep, value_range)))
    image.load()
    if image.has_transparency_data:
        return Image.fromarray(pixels.to_rgb(np.asarray(image.convert("RGBA"))))
    return image.convert("RGB")


def _deep(image: Image.Image, encoded: bytes) -> np.ndarray | None:
    """Values of more than 8 bits, (H, W) or (H, W, C); None where there are none."""
    bits = getattr(image, "tag_v2", {}).get(258, (8,))
    if image.mode in ("RGB", "RGBA", "RGBX") and max(bits) == 16:
        return _colors_of_16_bits(image, encoded)
    if not image.mode.startswith(("I", "F")):
        return None
    found = np.asarray(image)
    if image.format == "PPM" and found.max(initial=0) <= 65_535:
        found = found.astype(np.uint16)  # Pillow scales to 16 bits and holds them in 32
    if getattr(image, "tag_v2", {}).get(262) == 0 and found.dtype == np.uint16:
        return 65_535 - found  # "white is zero"
    return found


def _colors_of_16_bits(image: Image.Image, encoded: bytes) -> np.ndarray:
    """Pillow keeps one byte of colours of 16 bits: the upper ones are read, then the lower."""
    with _opened(encoded) as again:
        again.tile = [tile._replace(args=_lower(tile.args)) for tile in again.tile]
        lower = np.asarray(again).astype(np.uint16)
    found = np.asarray(image).astype(np.uint16) * 256 + lower
    return found[..., :3] if image.mode == "RGBX" else found


def _lower(args: tuple) -> tuple:
    """Arguments of a decoder that reads the other byte of each value."""
    raw, *rest = args
    other = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
    if re.fullmatch(r"\w+;16[LBN]", raw) is None:
        raise ValueError(f"its colours of 16 bits are stored as {raw}, which is not read")
    return (raw[:-1] + other[raw[-1]], *rest)
