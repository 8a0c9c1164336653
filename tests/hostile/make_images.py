"""Hostile and unusual image files, made on the spot: none is kept in the repository.

Every function returns encoded bytes. ``accepted()`` and ``refused()`` list what must be read and
what must be refused, with the code of the refusal; ``write`` puts all of it into a folder, to be
looked at or sent to a server: ``python make_images.py FOLDER``.
"""

import gzip
import struct
import sys
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

ORIENTATION = 0x0112  # the EXIF tag


def picture(width: int = 80, height: int = 60) -> NDArray[np.uint8]:
    """A smooth BGR picture without symmetry, so that every rotation and mirror image differs."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    planes = [255 * x, 255 * y, 120 * (1 - x) + 120 * x * y]
    return np.stack(planes, axis=2).astype(np.uint8)


def as_pil() -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(picture()[:, :, ::-1]))


def encode(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    """``kind`` is a format name of Pillow."""
    buffer = BytesIO()
    (image or as_pil()).save(buffer, kind, **options)
    return buffer.getvalue()


def sixteen_bits(kind: str, gray: bool = False) -> bytes:
    pixels = picture().astype(np.uint16) * 257
    return bytes(cv2.imencode(kind, pixels[:, :, 1] if gray else pixels)[1])


def oriented(kind: str, orientation: int) -> bytes:
    """The picture as stored by a camera held in that EXIF orientation (1..8): displayed it is
    ``picture()`` again."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = as_pil()
    if orientation in undo:
        stored = stored.transpose(undo[orientation])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options: dict[str, Any] = {"JPEG": {"quality": 100, "subsampling": 0}}.get(kind, {})
    options |= {"WEBP": {"lossless": True}}.get(kind, {})
    return encode(kind, stored, exif=exif if kind == "TIFF" else exif.tobytes(), **options)


def with_exif_block(block: bytes) -> bytes:
    """A JPEG whose EXIF segment holds ``block``."""
    data = encode("JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    return data[:2] + segment + data[2:]


def malformed_exif() -> dict[str, bytes]:
    return {
        "noise": with_exif_block(b"Exif\0\0" + b"\xff" * 50),
        "huge_count": with_exif_block(b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\1" * 20),
        "empty": with_exif_block(b"Exif\0\0"),
        "orientation_99": with_exif_block(
            b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\x63\0\0\0\0\0\0"
        ),
        "loop": with_exif_block(b"Exif\0\0II*\0\x08\0\0\0\0\0\x08\0\0\0"),
        "png_noise": png_with(png_chunk(b"eXIf", b"\xff" * 50)),
        "png_checksum": png_with(png_chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\0")[:-4] + b"nope"),
    }


def png_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png_with(chunk: bytes) -> bytes:
    """A good PNG with one more chunk after its header."""
    data = encode("PNG")
    return data[:33] + chunk + data[33:]


def bombs() -> dict[str, bytes]:
    """Metadata that inflate from 50 KB to 50 MB; the pictures themselves are good."""
    zeros = zlib.compress(bytes(50_000_000), 9)
    jpeg = encode("JPEG")
    segment = b"\xff\xed" + struct.pack(">H", 65535) + bytes(65533)
    return {
        "zTXt": png_with(png_chunk(b"zTXt", b"Comment\0\0" + zeros)),
        "iTXt": png_with(png_chunk(b"iTXt", b"Comment\0\1\0\0\0" + zeros)),
        "iCCP": png_with(png_chunk(b"iCCP", b"profile\0\0" + zeros)),
        "many_tEXt": png_with(png_chunk(b"tEXt", b"a\0b") * 50_000),
        "APPn": jpeg[:2] + segment * 200 + jpeg[2:],
    }


def endless() -> dict[str, bytes]:
    """Files that only cost time: 200,000 empty parts, 500 scans of nothing."""
    jpeg = encode("JPEG", progressive=True)
    scans = jpeg.index(b"\xff\xda")
    scan = jpeg[scans : jpeg.index(b"\xff", scans + 2)]
    restarting = encode("JPEG", progressive=True, restart_marker_blocks=1)
    last = restarting.rindex(b"\xff\xda")
    last += 2 + int.from_bytes(restarting[last + 2 : last + 4], "big")
    return {
        "png_chunks": png_with(png_chunk(b"tEXt", b"") * 200_000),
        "jpeg_segments": jpeg[:2] + b"\xff\xed\x00\x02" * 200_000 + jpeg[2:],
        "jpeg_later_segments": jpeg[:scans] + b"\xff\xed\x00\x02" * 200_000 + jpeg[scans:],
        "jpeg_scans": jpeg[:-2] + scan * 500 + jpeg[-2:],
        "jpeg_hidden_scans": (
            restarting[:last] + b"\xff\x02\xff\xff" + scan * 500 + b"\xff\xd9" + bytes(65535)
        ),
    }


def sized(kind: str, width: int, height: int) -> bytes:
    """A small file whose header claims ``width`` x ``height`` pixels."""
    data = bytearray(encode(kind))
    if kind == "JPEG":
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    elif kind == "PNG":
        header = struct.pack(">II", width, height) + bytes(data[24:29])
        data[8:33] = png_chunk(b"IHDR", header)
    elif kind == "GIF":
        data[6:10] = struct.pack("<HH", width, height)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    elif kind == "TIFF":
        directory = struct.unpack("<I", data[4:8])[0]
        for n in range(struct.unpack("<H", data[directory : directory + 2])[0]):
            entry = directory + 2 + 12 * n
            tag = struct.unpack("<H", data[entry : entry + 2])[0]
            if tag in (256, 257):
                value = (width, height)[tag - 256]
                data[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, value)
    elif kind == "WEBP":
        canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
        extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + canvas
        data[12:12] = extended
        data[4:8] = struct.pack("<I", len(data) - 8)
    return bytes(data)


def plain_png(width: int, height: int) -> bytes:
    """One colour; 6000 x 6000 take 105 KB."""
    return bytes(cv2.imencode(".png", np.full((height, width, 3), 90, np.uint8))[1])


def jpeg_with_zeroed_middle() -> bytes:
    data = bytearray(encode("JPEG", as_pil().resize((640, 480))))
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(40)
    return bytes(data)


def zip_archive() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("picture.jpg", encode("JPEG"))
    return buffer.getvalue()


def accepted() -> dict[str, bytes]:
    """Ordinary and unusual files, all showing ``picture()`` (or its gray or few-colour form)."""
    pil = as_pil()
    more = [pil.rotate(90), pil.rotate(180)]
    several: dict[str, Any] = {"save_all": True, "append_images": more}
    with_alpha = pil.convert("RGBA")
    with_alpha.putalpha(0)
    return {
        "jpeg": encode("JPEG"),
        "jpeg_progressive": encode("JPEG", progressive=True),
        "jpeg_cmyk": encode("JPEG", pil.convert("CMYK")),
        "jpeg_gray": encode("JPEG", pil.convert("L")),
        "jpeg_zip_polyglot": encode("JPEG") + zip_archive(),
        "png": encode("PNG"),
        "png_palette": encode("PNG", pil.convert("P")),
        "png_one_bit": encode("PNG", pil.convert("1")),
        "png_gray_alpha": encode("PNG", pil.convert("LA")),
        "png_transparent": encode("PNG", with_alpha),
        "png_16": sixteen_bits(".png"),
        "png_16_gray": sixteen_bits(".png", gray=True),
        "png_tail": encode("PNG") + b"tail" * 99,
        "png_bad_profile": png_with(png_chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile"))),
        "apng": encode("PNG", **several),
        "webp": encode("WEBP"),
        "webp_lossless": encode("WEBP", lossless=True),
        "webp_alpha": encode("WEBP", pil.convert("RGBA")),
        "webp_animated": encode("WEBP", **several),
        "bmp": encode("BMP"),
        "bmp_palette": encode("BMP", pil.convert("P")),
        "bmp_one_bit": encode("BMP", pil.convert("1")),
        "gif": encode("GIF"),
        "gif_animated": encode("GIF", **several),
        "tiff": encode("TIFF"),
        "tiff_lzw": encode("TIFF", compression="tiff_lzw"),
        "tiff_jpeg": encode("TIFF", compression="jpeg"),
        "tiff_deflate": encode("TIFF", compression="tiff_adobe_deflate"),
        "tiff_cmyk": encode("TIFF", pil.convert("CMYK")),
        "tiff_16": sixteen_bits(".tiff"),
        "tiff_pages": encode("TIFF", **several),
    }


def refused() -> dict[str, tuple[bytes, str]]:
    """Name -> (bytes, code of the refusal)."""
    text = "unsupported_image"
    files = {
        "empty": (b"", "empty_input"),
        "random": (np.random.default_rng(1).bytes(5000), text),
        "nul": (bytes(5000), text),
        "text": (b"this is not a picture\n" * 20, text),
        "utf8_text": ("übermäßig viele Wörter\n".encode() * 9, text),
        "html": (b"<!DOCTYPE html><html><body>404</body></html>", text),
        "svg": (b'<?xml version="1.0"?><svg><image href="file:///etc/passwd"/></svg>', text),
        "zip": (zip_archive(), text),
        "gzip": (gzip.compress(encode("BMP"), mtime=0), text),
        "pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", text),
        "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", text),
        "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), text),
        "avif": (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(99), text),
        "jpeg_xl": (b"\xff\x0a" + bytes(99), text),
        "jpeg_2000": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99), text),
        "wave": (b"RIFF\x24\0\0\0WAVEfmt " + bytes(99), text),
        "jpeg_start_only": (b"\xff\xd8\xff\xe0", "corrupt_image"),
        "jpeg_without_frame": (b"\xff\xd8\xff\xd9" + bytes(99), "corrupt_image"),
        "png_start_only": (b"\x89PNG\r\n\x1a\n", "corrupt_image"),
        "png_wrong_checksum": (_flipped(encode("PNG"), 300), "corrupt_image"),
        "webp_start_only": (b"RIFF\x24\0\0\0WEBP", "corrupt_image"),
        "tiff_start_only": (b"II*\0\x08\0\0\0", "corrupt_image"),
        "tiff_float": (encode("TIFF", as_pil().convert("F")), "corrupt_image"),
        "png_zero_width": (sized("PNG", 0, 60), "corrupt_image"),
        "gif_zero_height": (sized("GIF", 80, 0), "corrupt_image"),
    }
    for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"):
        for side in (10_000, 30_000):
            name = f"{kind.lower()}_{side}"
            files[name] = (sized(kind, side, side), "too_many_pixels")
    files["png_2_31"] = (sized("PNG", 2**31 - 1, 2**31 - 1), "too_many_pixels")
    return files


def _flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def write(folder: Path) -> None:
    """All accepted and refused files, as ``accepted/<name>`` and ``refused/<code>/<name>``."""
    for name, data in (accepted() | bombs()).items():
        _save(folder / "accepted" / name, data)
    for name, (data, code) in refused().items():
        _save(folder / "refused" / code / name, data)


def _save(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
