"""Files, bytes, PIL images and arrays -> BGR pixels, within limits.

Every encoded image takes one road: bytes, header, limits, ``cv2.imdecode``. ``imread`` is never
used: it fills up a truncated JPEG silently, ``imdecode`` refuses it.

What the decoder settles: EXIF orientation is applied, so that sizes and boxes are those of the
displayed picture; a malformed EXIF block is ignored. An animation or a many-page file gives its
first frame. 16 bits a channel become 8. An alpha channel is dropped, so that transparent pixels
show the colour they hide. What no decoder notices, such as a JPEG with a zeroed middle, passes
(libjpeg itself prints a line about it on stderr).
"""

import os
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, TypeAlias, get_args

# Read by OpenCV once, at its import: the second line behind the check of the header.
_MAX_PIXELS: Final = 1 << 28
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(_MAX_PIXELS))

import cv2  # noqa: E402 - after the environment
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from ..errors import (  # noqa: E402
    CorruptImage,
    EmptyInput,
    ImageError,
    TooManyBytes,
    TooManyPixels,
    UnreadableFile,
    UnsupportedImage,
    UsageError,
)
from ..files import PipeOrDevice, open_regular  # noqa: E402
from .header import FORMATS, corrupt, essential_png, read_header  # noqa: E402

if "OPENCV_LOG_LEVEL" not in os.environ:  # else the user wants to see it
    # A refused file is one error of ours and not also lines of OpenCV on stderr.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

Colour = Literal["rgb", "bgr"]
Source: TypeAlias = (
    "str | PathLike[str] | bytes | bytearray | memoryview | BinaryIO | NDArray[Any] | PILImage"
)
"""A path, encoded bytes, a binary file, an array of pixels, or a PIL image."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an encoded image may be: its bytes, its pixels (width · height), its formats.

    Raises:
        UsageError: a limit out of range, or an unknown format.
    """

    max_bytes: int = 64 << 20
    max_pixels: int = 80_000_000
    formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise UsageError(f"max_bytes: {self.max_bytes} is out of range; give bytes from 1")
        if not 1 <= self.max_pixels <= _MAX_PIXELS:
            raise UsageError(
                f"max_pixels: {self.max_pixels} is out of range; give 1..{_MAX_PIXELS}"
            )
        unknown = set(self.formats) - set(FORMATS)
        if unknown or not self.formats:
            raise UsageError(f"formats: {self.formats} must be some of {', '.join(FORMATS)}")


DEFAULT_LIMITS: Final = Limits()

EXTENSIONS: Final = frozenset(
    [".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"]
)
"""What a folder is searched for; a file that is named is read whatever it is called."""

REFUSALS: Final[tuple[type[ImageError], ...]] = (
    EmptyInput,
    UnsupportedImage,
    CorruptImage,
    TooManyPixels,
    TooManyBytes,
    UnreadableFile,
)
"""Everything :func:`decode` refuses a picture as, on every road."""


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """A decoded picture as it is displayed.

    ``pixels`` is uint8 (H, W, 3), BGR, C-contiguous, and may share the memory of an array that
    was given; ``name`` is the path as given, "" without one.
    """

    pixels: NDArray[np.uint8]
    name: str = ""

    @property
    def width(self) -> int:
        """Pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.pixels.shape[0])


def decode(
    source: "Source | Image", *, colour: Colour | None = None, limits: Limits = DEFAULT_LIMITS
) -> Image:
    """One picture, whatever it comes as.

    Args:
        source: a path; encoded bytes; a binary file object, read from where it stands; a PIL
            image; an :class:`Image`, which comes back; or uint8 pixels (H, W), (H, W, 1),
            (H, W, 3) or (H, W, 4).
        colour: the order of the channels of an array, ``"rgb"`` or ``"bgr"`` (with alpha last,
            which is dropped); has no meaning for other sources.
        limits: for encoded images, checked before anything is allocated.

    Raises:
        EmptyInput: no bytes or no pixels.
        UnsupportedImage: not an image, or of a format that is not accepted.
        CorruptImage: damaged or cut short.
        TooManyPixels, TooManyBytes: over a limit.
        UnreadableFile: missing, not a regular file, or no permission.
        UsageError: a source that is none of these; an array of another dtype or shape, or of
            three or four channels without ``colour``.
    """
    if colour is not None and colour not in get_args(Colour):
        raise UsageError(f"colour: {colour!r} is unknown; give 'rgb' or 'bgr'")
    if isinstance(source, Image):
        return source
    if isinstance(source, np.ndarray):
        return Image(_from_array(source, colour))
    if isinstance(source, (bytes, bytearray, memoryview)):
        size = memoryview(source).nbytes
        if size > limits.max_bytes:
            raise _too_many_bytes("bytes", limits)
        return Image(_from_bytes(bytes(source), "bytes", limits))
    if isinstance(source, (str, PathLike)):
        path = os.fsdecode(source)
        return Image(_from_bytes(read_bytes(path, limits), printable(path), limits), path)
    if hasattr(source, "read"):
        name = getattr(source, "name", "")
        name = name if isinstance(name, str) else ""
        shown = printable(name) or "file object"
        return Image(_from_bytes(_read_file(source, shown, limits), shown, limits), name)

    from PIL.Image import Image as PILImage  # late: only here is it needed

    if isinstance(source, PILImage):
        name = getattr(source, "filename", "")
        return Image(_from_pil(source, limits), name if isinstance(name, str) else "")
    raise UsageError(
        f"image: a value of type {type(source).__name__} is not an image; give a path, encoded "
        "bytes, a binary file, a PIL image or a uint8 array"
    )


def printable(name: str) -> str:
    """``name`` on one line and in UTF-8: undecodable bytes and control characters as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _from_bytes(data: bytes, name: str, limits: Limits) -> NDArray[np.uint8]:
    header = read_header(data, name, limits.formats, limits.max_pixels)
    try:
        if header.format == "PNG":
            data = essential_png(data)
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (ValueError, cv2.error) as error:
        raise corrupt(name, header.format) from error
    if pixels is None:
        raise corrupt(name, header.format)
    return _as_uint8(pixels)


def _as_uint8(pixels: Any) -> NDArray[np.uint8]:
    return np.ascontiguousarray(pixels, np.uint8)


def read_bytes(path: str, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The encoded bytes of a file, which is a regular one and within ``limits.max_bytes``.

    Raises:
        UnreadableFile: missing, a folder, a pipe or device (never waited for), or no permission.
        TooManyBytes: over the limit; at most one byte more is read.
    """
    shown = printable(path)
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > limits.max_bytes:
                raise _too_many_bytes(shown, limits)
            return _read_file(file, shown, limits)
    except (IsADirectoryError, PipeOrDevice) as error:
        what = "a folder" if isinstance(error, IsADirectoryError) else "a pipe or device"
        raise UnreadableFile(f"{shown}: {what}, not a file; give an image file") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableFile(f"{shown}: {reason}; check the path and its permission") from error


def _read_file(file: Any, shown: str, limits: Limits) -> bytes:
    """The rest of a binary file; at most one byte over the limit is read."""
    data = bytearray()
    try:
        while len(data) <= limits.max_bytes:
            part = file.read(limits.max_bytes + 1 - len(data))
            if not part:
                return bytes(data)
            data += part
    except TypeError as error:  # a str
        raise UsageError(f"{shown}: a text file; open it in binary mode ('rb')") from error
    except (OSError, ValueError) as error:  # ValueError: a closed file
        raise UnreadableFile(f"{shown}: {error}; open it for reading") from error
    raise _too_many_bytes(shown, limits)


def _too_many_bytes(shown: str, limits: Limits) -> TooManyBytes:
    return TooManyBytes(
        f"{shown}: more than {limits.max_bytes} bytes; save it smaller or raise max_bytes"
    )


def _from_array(array: NDArray[Any], colour: Colour | None) -> NDArray[np.uint8]:
    if array.dtype != np.uint8:
        raise UsageError(
            f"array: dtype {array.dtype} where uint8 is needed; convert values 0..1 with "
            "(x * 255).astype('uint8')"
        )
    channels = 1 if array.ndim == 2 else array.shape[2] if array.ndim == 3 else 0
    if channels not in (1, 3, 4):
        raise UsageError(
            f"array: shape {array.shape} is none of (H, W), (H, W, 1), (H, W, 3), (H, W, 4); "
            "put the channels last"
        )
    if array.size == 0:
        raise EmptyInput(f"array: shape {array.shape} has no pixels; give at least 1x1")
    if channels == 1:
        plane = array.reshape(array.shape[:2])
        return np.repeat(plane[:, :, None], 3, axis=2)
    if colour is None:
        raise UsageError(
            "array: say its order of channels, colour='rgb' (PIL, matplotlib) or "
            "colour='bgr' (OpenCV)"
        )
    return np.ascontiguousarray(array[:, :, 2::-1] if colour == "rgb" else array[:, :, :3])


def _from_pil(image: "PILImage", limits: Limits) -> NDArray[np.uint8]:
    from PIL import ImageOps

    if image.width < 1 or image.height < 1:
        raise EmptyInput("PIL image: no pixels; give at least 1x1")
    if image.width * image.height > limits.max_pixels:  # it may not have been loaded yet
        raise TooManyPixels(
            f"PIL image: {image.width}x{image.height} is more than {limits.max_pixels} pixels; "
            "shrink it or raise max_pixels"
        )
    if image.mode in ("I", "F"):
        raise UsageError(
            f"PIL image: mode {image.mode!r} has no defined white; scale it to 0..255 and "
            "convert it to 'L'"
        )
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):
            gray = (np.asarray(image).astype(np.uint32) + 128) // 257  # 65535 -> 255
            return _from_array(gray.astype(np.uint8), None)
        if image.mode == "P":
            image = image.convert("RGBA")  # straight to RGB, Pillow warns of a lost transparency
        return _from_array(np.asarray(image.convert("RGB")), "rgb")
    except (OSError, SyntaxError, ValueError, EOFError, IndexError) as error:
        raise CorruptImage(f"PIL image: it cannot be loaded ({error}); open it again") from error
