"""Files of many kinds, made by Pillow or by hand, and what they show."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

HEIGHT, WIDTH = 40, 60
_RNG = np.random.default_rng(0)


def _smooth(channels: int = 3) -> np.ndarray:
    noise = _RNG.integers(0, 256, (4, 6, channels), np.uint8)
    parts = [Image.fromarray(noise[..., i]).resize((WIDTH, HEIGHT), 3) for i in range(channels)]
    return np.stack([np.asarray(part) for part in parts], -1)


RGB = _smooth()
ALPHA = _smooth(1)[..., 0]
ALPHA[:8] = 0
ALPHA[-8:] = 255
PICTURE = Image.fromarray(RGB)
CLEAR = Image.fromarray(np.dstack([RGB, ALPHA]))
PALETTE = PICTURE.quantize(20)
DEEP = RGB[..., 0].astype(np.uint16) * 257


def encode(image: Image.Image, file_format: str, **options) -> bytes:
    """A file as Pillow writes it."""
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def exif(orientation: int) -> Image.Exif:
    """A camera's notes, with a field before and one after the orientation."""
    found = Image.Exif()
    found[0x010F], found[0x0112], found[0x0131] = "Maker", orientation, "Program"
    return found


def png(header: tuple[int, int], rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG by hand: bits and colour type, rows with their filter bytes, chunks before them."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    start = struct.pack(">IIBBBBB", WIDTH, HEIGHT, *header, 0, 0, 0)
    parts = [(b"IHDR", start), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def deep_png(values: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of 16 bits from uint16 (H, W) or (H, W, C), C of 2, 3 or 4."""
    values = values.reshape(HEIGHT, WIDTH, -1)
    color = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[-1]]
    big = values.astype(">u2").reshape(HEIGHT, -1)
    return png((16, color), b"".join(b"\0" + row.tobytes() for row in big), *chunks)


def deep_tiff(values: np.ndarray, order: str = "<") -> bytes:
    """An uncompressed TIFF of 16-bit colours, (H, W, 3)."""
    body = values.astype(f"{order}u2").tobytes()
    mark = b"II*\0" if order == "<" else b"MM\0*"
    bits_at = 8 + len(body)
    entries = [(256, 4, 1, WIDTH), (257, 4, 1, HEIGHT), (258, 3, 3, bits_at), (259, 4, 1, 1),
               (262, 4, 1, 2), (273, 4, 1, 8), (277, 4, 1, 3), (278, 4, 1, HEIGHT),
               (279, 4, 1, len(body))]  # fmt: skip
    folder = struct.pack(f"{order}H", len(entries))
    folder += b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries)
    bits = struct.pack(f"{order}HHH", 16, 16, 16)
    return mark + struct.pack(f"{order}I", bits_at + 6) + body + bits + folder + b"\0" * 4


def bmp(bits: int, header: int, packing: int = 0) -> tuple[bytes, np.ndarray]:
    """A BMP by hand, and its pixels: a palette of colours, runs where `packing` is 1."""
    count = 2**bits
    colors = _RNG.integers(0, 256, (count, 3), np.uint8)  # blue, green, red
    places = _RNG.integers(0, count, (HEIGHT, WIDTH))
    if packing:
        places = np.repeat(places[:, ::4], 4, axis=1)
        rows = b"".join(
            b"".join(bytes([4, value]) for value in row[::4]) + b"\0\0" for row in places[::-1]
        )
        rows += b"\0\1"
    else:
        as_bits = np.unpackbits(places.astype(np.uint8)[..., None], axis=-1)[..., -bits:]
        packed = np.packbits(as_bits.reshape(HEIGHT, -1), axis=1)
        packed = np.pad(packed, [(0, 0), (0, -packed.shape[1] % 4)])
        rows = packed[::-1].tobytes()
    if header == 12:  # OS/2
        info = struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, bits)
        table = colors.tobytes()
    else:
        info = struct.pack("<IiiHHIIiiII", header, WIDTH, HEIGHT, 1, bits, packing, len(rows),
                           0, 0, count, 0) + b"\0" * (header - 40)  # fmt: skip
        table = np.pad(colors, [(0, 0), (0, 1)]).tobytes()
    start = 14 + len(info) + len(table)
    file = b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + info + table + rows
    return file, colors[places][..., ::-1]


def shown(encoded: bytes) -> np.ndarray:
    """What Pillow shows of a file of 8 bits: upright and over white, uint8 (H, W, 3)."""
    with Image.open(io.BytesIO(encoded)) as opened:
        image = ImageOps.exif_transpose(opened)
        if not image.has_transparency_data:
            return np.asarray(image.convert("RGB"))
        rgba = image.convert("RGBA")
    page = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    page.alpha_composite(rgba)
    return np.asarray(page.convert("RGB"))


def as_pillow_shows() -> dict[str, bytes]:
    """Files of 8 bits and less, by a name that starts with their format."""
    gray, bilevel = PICTURE.convert("L"), PICTURE.convert("1")
    gray_alpha = CLEAR.convert("LA")
    modes = {
        "1": bilevel,
        "L": gray,
        "LA": gray_alpha,
        "P": PALETTE,
        "RGB": PICTURE,
        "RGBA": CLEAR,
        "CMYK": PICTURE.convert("CMYK"),
        "YCbCr": PICTURE.convert("YCbCr"),
    }
    written = {
        "JPEG": ["L", "RGB", "CMYK"], "PNG": ["1", "L", "LA", "P", "RGB", "RGBA"],
        "GIF": ["1", "L", "P", "RGBA"], "BMP": ["1", "L", "P", "RGB", "RGBA"],
        "WEBP": ["RGB", "RGBA"], "TIFF": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"],
        "AVIF": ["L", "RGB", "RGBA"], "JPEG2000": ["L", "LA", "RGB", "RGBA"],
        "ICO": ["L", "P", "RGB", "RGBA"], "PPM": ["1", "L", "RGB"], "PCX": ["1", "L", "P", "RGB"],
        "SGI": ["L", "RGB", "RGBA"], "QOI": ["RGB", "RGBA"], "DDS": ["L", "RGB", "RGBA"],
    }  # fmt: skip
    found = {f"{kind} {mode}": encode(modes[mode], kind) for kind in written
             for mode in written[kind]}  # fmt: skip
    others = [modes["P"].rotate(180)]
    found |= {
        "JPEG progressive": encode(PICTURE, "JPEG", progressive=True),
        "JPEG 4:4:4": encode(PICTURE, "JPEG", subsampling=0, quality=95),
        "PNG palette with alpha": encode(PALETTE, "PNG", transparency=3),
        "PNG one colour clear": encode(PICTURE, "PNG", transparency=tuple(RGB[0, 0].tolist())),
        "PNG one gray clear": encode(gray, "PNG", transparency=int(np.asarray(gray)[0, 0])),
        "PNG with chunks before": encode(PICTURE, "PNG", dpi=(72, 72)),
        "PNG 2 bits": encode(PICTURE.quantize(4), "PNG"),
        "PNG 4 bits": encode(PICTURE.quantize(16), "PNG"),
        "GIF one colour clear": encode(PALETTE, "GIF", transparency=3),
        "GIF animated": encode(PALETTE, "GIF", save_all=True, append_images=others),
        "WEBP lossless": encode(PICTURE, "WEBP", lossless=True),
        "WEBP lossless RGBA": encode(CLEAR, "WEBP", lossless=True, exact=True),
        "WEBP animated": encode(PICTURE, "WEBP", save_all=True,
                                append_images=[PICTURE.rotate(180)]),
        "TIFF LZW": encode(PICTURE, "TIFF", compression="tiff_lzw"),
        "TIFF deflate": encode(PICTURE, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF packbits": encode(PICTURE, "TIFF", compression="packbits"),
        "TIFF JPEG": encode(PICTURE, "TIFF", compression="jpeg"),
        "TIFF G4": encode(bilevel, "TIFF", compression="group4"),
        "TIFF pages": encode(PICTURE, "TIFF", save_all=True, append_images=others),
        "JPEG2000 codestream": encode(PICTURE, "JPEG2000", no_jp2=True),
        "JPEG2000 lossy": encode(PICTURE, "JPEG2000", irreversible=True, quality_layers=[40]),
        "AVIF animated": encode(PICTURE, "AVIF", save_all=True,
                                append_images=[PICTURE.rotate(180)]),
        "ICO of BMPs": encode(CLEAR, "ICO", bitmap_format="bmp", sizes=[(32, 32)]),
    }  # fmt: skip
    for bits, header, packing in [(1, 40, 0), (4, 40, 0), (8, 40, 0), (4, 12, 0), (8, 12, 0),
                                  (8, 124, 0), (8, 40, 1)]:  # fmt: skip
        kind = f"{bits} bits, header of {header}" + (", runs" if packing else "")
        found[f"BMP {kind}"] = bmp(bits, header, packing)[0]
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
        for orientation in range(1, 9) if kind == "JPEG" else (3, 6):
            turned = encode(PICTURE, kind, exif=exif(orientation))
            found[f"{kind} orientation {orientation}"] = turned
    return found
