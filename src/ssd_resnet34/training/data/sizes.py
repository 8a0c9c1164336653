"""The size of a displayed image, from its header alone.

By Pillow, where ``vision.header`` would want the bytes of the whole file and knows no orientation:
a data set has a hundred thousand files.
"""

import os
import warnings
from pathlib import Path
from typing import Final

from ...errors import CorruptImage, EmptyInput, UnreadableFile, UnsupportedImage
from ...vision.images import DEFAULT_LIMITS, EXTENSIONS, Limits, printable

MAX_SIDE: Final = 1 << 20
"""Pixels; OpenCV opens no wider or higher image."""

_ORIENTATION: Final = 0x0112
_TRANSPOSED: Final = range(5, 9)
"""Values of EXIF's orientation that exchange width and height (EXIF 2.32, section 4.6.4)."""


def displayed_size(path: Path, limits: Limits = DEFAULT_LIMITS) -> tuple[int, int]:
    """Width and height in pixels after EXIF's orientation, as ``vision.images.decode`` gives them.

    Only the header is read: a file that passes here may still be damaged further on.

    Raises:
        UnreadableFile: missing, not a regular file, or no permission.
        EmptyInput, UnsupportedImage, CorruptImage: what its header says.
    """
    from PIL import Image, UnidentifiedImageError

    shown = printable(str(path))
    if not os.path.isfile(path):  # opening a pipe would wait for its writer
        raise UnreadableFile(f"{shown}: missing, or not a file; put the image there")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of many pixels: decode has its own limit
            with Image.open(path, formats=limits.formats) as image:
                width, height = image.size
                # Pillow has turned a TIFF's size by itself.
                orientation = image.getexif().get(_ORIENTATION) if image.format != "TIFF" else 1
    except UnidentifiedImageError as error:
        if os.path.getsize(path) == 0:
            raise EmptyInput(f"{shown}: no bytes; give an image file") from error
        raise UnsupportedImage(
            f"{shown}: not one of {', '.join(limits.formats)}; convert it"
        ) from error
    except PermissionError as error:
        raise UnreadableFile(f"{shown}: no permission; allow reading it") from error
    except Exception as error:  # Pillow's plugins let every kind out for damaged headers
        raise CorruptImage(f"{shown}: its header is damaged; get the file again") from error
    return (height, width) if orientation in _TRANSPOSED else (width, height)


def images_in(folder: Path) -> list[Path]:
    """Files below ``folder`` that are called images, in the order of their paths."""
    return sorted(
        Path(base) / name
        for base, _, names in os.walk(folder)
        for name in names
        if os.path.splitext(name)[1].lower() in EXTENSIONS
    )
