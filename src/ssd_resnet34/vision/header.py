"""What an encoded image is, read from its header before any decoder allocates a pixel.

The few fields are read here and not through an imaging library, because those print warnings,
inflate metadata or reserve the canvas while they look.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from ..errors import CorruptImage, EmptyInput, TooManyPixels, UnsupportedImage

# Far more than any encoder writes, few enough to walk in a tenth of a second.
_MAX_PARTS: Final = 100_000

# Every scan of a progressive JPEG passes over the whole picture; encoders write about ten.
_MAX_SCANS: Final = 100

# What ends entropy-coded data: any marker but the restarts. Those below 0xC0 do not exist: libjpeg
# goes on behind their two bytes, so that a length there could hide scans.
_JPEG_MARKER: Final = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")

# OpenCV refuses longer sides on its own.
_MAX_SIDE: Final = 1 << 20

_MAGIC: Final = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\0", b"MM\0*"),
    "BMP": (b"BM",),
}
FORMATS: Final = (*_MAGIC, "WEBP")

# The parts of a PNG that make the picture (and eXIf, its orientation). All others stay away from
# the decoder: text and profiles can inflate to gigabytes, and libpng prints about each odd one.
_PNG_CHUNKS: Final = frozenset((b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND"))


@dataclass(frozen=True, slots=True)
class Header:
    """``format`` is one of FORMATS; ``width`` and ``height`` are as stored, before any EXIF
    orientation, in pixels."""

    format: str
    width: int
    height: int


def read_header(data: bytes, name: str, formats: tuple[str, ...], max_pixels: int) -> Header:
    """The header of encoded ``data``; ``name`` begins every message.

    Raises:
        EmptyInput: no bytes. UnsupportedImage: not one of ``formats``. CorruptImage: the header
        is broken or ends early, or a size of 0. TooManyPixels: more than ``max_pixels``.
    """
    if not data:
        raise EmptyInput(f"{name}: no bytes; give an image file")
    kind = _format(data)
    if kind not in formats:
        raise UnsupportedImage(
            f"{name}: {kind or _foreign_kind(data)} is not accepted; "
            f"convert it to one of {', '.join(formats)}"
        )
    try:
        width, height = _SIZES[kind](data)
    except (ValueError, IndexError) as error:
        raise corrupt(name, kind) from error
    if width < 1 or height < 1:
        raise corrupt(name, kind)
    if width * height > max_pixels or max(width, height) > _MAX_SIDE:
        raise TooManyPixels(
            f"{name}: {width}x{height} is {width * height / 1e6:.1f} megapixels, more than "
            f"{max_pixels / 1e6:g} (or a side over {_MAX_SIDE}); shrink it or raise max_pixels"
        )
    return Header(kind, width, height)


def corrupt(name: str, kind: str) -> CorruptImage:
    """The one message for data that cannot be decoded."""
    return CorruptImage(
        f"{name}: the {kind} data are damaged, cut short or of a rare kind; "
        "get the file again or save it as an ordinary JPEG or PNG"
    )


def essential_png(data: bytes) -> bytes:
    """A PNG reduced to the chunks that make the picture, each with its checksum confirmed.

    Raises:
        ValueError: a chunk of the picture is damaged, or the data end before IEND.
    """
    view = memoryview(data)
    parts = [view[:8]]
    position = 8
    for _ in range(_MAX_PARTS):
        length = _number(data, position, 4, "big")
        kind = data[position + 4 : position + 8]
        end = position + 12 + length
        if end > len(data):
            raise ValueError("cut short")
        odd = kind == b"eXIf" and data[position + 8 : position + 12] not in _MAGIC["TIFF"]
        if kind in _PNG_CHUNKS and not odd:
            if crc32(view[position + 4 : end - 4]) == _number(data, end - 4, 4, "big"):
                parts.append(view[position:end])
            elif kind != b"eXIf":  # a damaged one is ignored, as in other formats
                raise ValueError("wrong checksum")
        if kind == b"IEND":
            return b"".join(parts)
        position = end
    raise ValueError("too many chunks")


def _format(data: bytes) -> str:
    """The format by its first bytes, "" for none; a file cut inside them still counts."""
    for kind, magics in _MAGIC.items():
        if any(magic.startswith(data[: len(magic)]) for magic in magics):
            return kind
    if b"RIFF".startswith(data[:4]) and b"WEBP".startswith(data[8:12]):
        return "WEBP"
    return ""


def _foreign_kind(data: bytes) -> str:
    """A name for what people send by mistake."""
    brands = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIC", b"avif": "AVIF"}
    if data[4:8] == b"ftyp":
        return brands.get(data[8:12], "a video or HEIF file")
    for magic, kind in (
        (b"PK", "a ZIP archive"),
        (b"%PDF", "PDF"),
        (b"%!PS", "PostScript"),
        (b"\x1f\x8b", "gzip data"),
        (b"\0\0\0\x0cJXL ", "JPEG XL"),
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cjP  ", "JPEG 2000"),
        (b"8BPS", "Photoshop data"),
        (b"RIFF", "a sound or video file"),
    ):
        if data.startswith(magic):
            return kind
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in start:
        return "SVG"
    if start.startswith((b"<!doctype html", b"<html")):
        return "HTML"
    if start and all(32 <= byte < 127 or byte in b"\t\r\n" or byte >= 128 for byte in start):
        return "text"
    return "this kind of data"


def _number(data: bytes, position: int, size: int, order: str) -> int:
    """An unsigned integer of the header; ValueError where the data end before it."""
    field = data[position : position + size]
    if len(field) < size:
        raise ValueError("cut short")
    return int.from_bytes(field, "big" if order == "big" else "little")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    position = 2
    for _ in range(_MAX_PARTS):
        position = data.index(b"\xff", position)  # as libjpeg skips what is between segments
        marker = data[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
        elif marker <= 0x01 or 0xD0 <= marker <= 0xD7:  # none, or without a length
            position += 2
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            _check_scans(data, position)
            return _number(data, position + 7, 2, "big"), _number(data, position + 5, 2, "big")
        elif marker in (0xD9, 0xDA):
            raise ValueError("no frame before the data")
        else:
            position += 2 + _number(data, position + 2, 2, "big")
    raise ValueError("too many segments")


def _check_scans(data: bytes, position: int) -> None:
    """Refuse a frame, whose marker is at ``position``, of more scans than any encoder makes.

    It ends at its own end marker: what phones append, a film or a second picture, is not looked at.
    """
    scans = 0
    for _ in range(_MAX_PARTS):
        found = _JPEG_MARKER.search(data, position)
        if found is None or data[found.start() + 1] == 0xD9:  # the end of the picture
            return
        scans += data[found.start() + 1] == 0xDA
        if scans > _MAX_SCANS:
            raise ValueError("too many scans")
        position = found.end() + _number(data, found.end(), 2, "big")
    raise ValueError("too many segments")


def _png_size(data: bytes) -> tuple[int, int]:
    if data[12:16] != b"IHDR":
        raise ValueError("no IHDR")
    return _number(data, 16, 4, "big"), _number(data, 20, 4, "big")


def _gif_size(data: bytes) -> tuple[int, int]:
    return _number(data, 6, 2, "little"), _number(data, 8, 2, "little")


def _bmp_size(data: bytes) -> tuple[int, int]:
    if _number(data, 14, 4, "little") == 12:  # the OS/2 header
        return _number(data, 18, 2, "little"), _number(data, 20, 2, "little")
    width, height = _number(data, 18, 4, "little"), _number(data, 22, 4, "little")
    return width, min(height, (1 << 32) - height)  # negative: rows from top to bottom


def _tiff_size(data: bytes) -> tuple[int, int]:
    order = "little" if data.startswith(b"II") else "big"
    directory = _number(data, 4, 4, order)
    size: dict[int, int] = {}
    for entry in range(_number(data, directory, 2, order)):
        position = directory + 2 + 12 * entry
        tag = _number(data, position, 2, order)
        if tag in (256, 257):  # width and height, as SHORT or LONG
            bytes_each = 2 if _number(data, position + 2, 2, order) == 3 else 4
            size.setdefault(tag, _number(data, position + 8, bytes_each, order))
    if len(size) < 2:
        raise ValueError("no size")
    return size[256], size[257]


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + _number(data, 24, 3, "little"), 1 + _number(data, 27, 3, "little")
    if kind == b"VP8L":
        packed = _number(data, 21, 4, "little")
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return _number(data, 26, 2, "little") & 0x3FFF, _number(data, 28, 2, "little") & 0x3FFF
    raise ValueError("no picture")


_SIZES: Final[dict[str, Callable[[bytes], tuple[int, int]]]] = {
    "JPEG": _jpeg_size,
    "PNG": _png_size,
    "GIF": _gif_size,
    "BMP": _bmp_size,
    "TIFF": _tiff_size,
    "WEBP": _webp_size,
}
