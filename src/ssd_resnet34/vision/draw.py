"""Detections drawn over their picture."""

import base64
import html
import io
import math
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..errors import SSDResNet34Error, UsageError
from .annotations import printable_utf8
from .colours import RGB, colour_of, ink_on
from .detections import Detections

if TYPE_CHECKING:
    from PIL import ImageFont
    from PIL.Image import Image as PILImage

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

Rectangle = tuple[int, int, int, int]
"""left, top, right, bottom in pixels; right and bottom are outside."""

DRAWN_THRESHOLD: Final = 0.3
"""Score that a detection must exceed to be drawn, unless the caller says otherwise."""

_SYSTEM_FONTS: Final = (
    "NotoSans-Regular.ttf",
    "DejaVuSans.ttf",
    "LiberationSans-Regular.ttf",
    "arial.ttf",
    "Arial Unicode.ttf",
)
"""Looked for, by name, where labels need more letters than Pillow's own font has."""

_HTML_WIDTH: Final = 640
_HTML_ROWS: Final = 20
_JPEG_QUALITY: Final = 85


def draw(
    image: Any,
    detections: Detections,
    *,
    score_threshold: float = DRAWN_THRESHOLD,
    colour: Literal["rgb", "bgr"] | None = None,
    line_width: int | None = None,
    font_size: int | None = None,
    font: str | PathLike[str] | None = None,
    show_labels: bool = True,
    show_scores: bool = True,
) -> "PILImage":
    """The picture with the boxes and labels of ``detections``, PIL mode RGB, displayed size.

    ``image`` is any image source; a numpy array needs ``colour``. Only scores strictly above
    ``score_threshold`` are drawn. A picture of another size than ``detections.width`` and
    ``height`` gets the boxes scaled. ``line_width`` and ``font_size`` are pixels, by default in
    proportion to the picture. The built-in font is ASCII's; other letters are written with a font
    of the system, or without their accents where none is found (``Plättchen``: ``Plattchen``).
    ``font`` names a TrueType or OpenType file.

    Raises:
        ImageError: the image is refused.
        UsageError: a line width or font size below 1, a font that cannot be read.
    """
    from .images import decode

    for name, value in (("line_width", line_width), ("font_size", font_size)):
        if value is not None and value < 1:
            raise UsageError(f"{name}: {value} pixels; give at least 1")
    canvas = _to_pil(decode(image, colour=colour).pixels)
    boxes = _pixels(detections, canvas.size, score_threshold)
    if not boxes:
        return canvas

    side = math.sqrt(canvas.width * canvas.height)
    line = line_width or max(2, round(side / 330))
    _frames(canvas, boxes, line)
    if show_labels or show_scores:
        size = font_size or max(11, round(side / 46))
        if font is None and not all(box.label.isascii() for box in boxes):
            font = _system_font()
            if font is None:
                boxes = [replace(box, label=_ascii(box.label)) for box in boxes]
        plates = _plates(canvas.size, boxes, _font(font, size), show_labels, show_scores)
        for plate in reversed(plates):  # the best on top
            _paint(canvas, plate)
    return canvas


def _to_pil(pixels: NDArray[np.uint8]) -> "PILImage":
    """Pixels (H, W, 3) BGR, contiguous, as a new PIL image of mode RGB."""
    from PIL import Image

    height, width = pixels.shape[:2]
    # Pillow turns BGR around while it copies: faster than numpy's reversed view.
    return Image.frombytes("RGB", (width, height), pixels.data, "raw", "BGR")


@dataclass(frozen=True, slots=True)
class _Box:
    area: Rectangle
    label: str
    score: float
    colour: RGB


@dataclass(frozen=True, slots=True)
class _Plate:
    area: Rectangle
    text: str
    font: "Font"
    baseline: tuple[float, float]
    """Where the text starts, relative to the plate's left top corner."""
    radius: int
    colour: RGB


def _pixels(detections: Detections, size: tuple[int, int], threshold: float) -> list[_Box]:
    """The boxes to draw in whole pixels of the picture, best first, those outside left out."""
    scale = np.array((size[0] / detections.width, size[1] / detections.height) * 2)
    limits = np.array(size * 2, np.float64)
    made = []
    order = np.argsort(-detections.scores, kind="stable")
    for found in detections[order[detections.scores[order] > np.float32(threshold)]]:
        left, top, right, bottom = np.rint(np.clip(np.multiply(found.box, scale), 0, limits))
        if right > left and bottom > top:
            area = (int(left), int(top), int(right), int(bottom))
            made.append(_Box(area, _printable(found.label), found.score, colour_of(found.index)))
    return made


def _frames(canvas: "PILImage", boxes: Sequence[_Box], line: int) -> None:
    from PIL import ImageDraw

    # A dark rim keeps a light frame visible on a light background.
    rim = max(1, round(line / 4))
    pen = ImageDraw.Draw(canvas, "RGBA")
    for box in reversed(boxes):  # the best on top
        for inset, width, fill in (
            (0, line + 2 * rim, (0, 0, 0, 110)),
            (rim, line, (*box.colour, 255)),
        ):
            _frame(pen, box.area, inset, width, fill)


def _frame(
    pen: Any, area: Rectangle, inset: int, width: int, fill: tuple[int, int, int, int]
) -> None:
    """Four bars that do not overlap, so that a translucent colour stays even in the corners."""
    left, top, right, bottom = area
    if right - left > 2 * inset + 2 and bottom - top > 2 * inset + 2:
        left, top, right, bottom = left + inset, top + inset, right - inset, bottom - inset
    width = max(1, min(width, (right - left + 1) // 2, (bottom - top + 1) // 2))
    bars = (
        (left, top, right, top + width),
        (left, bottom - width, right, bottom),
        (left, top + width, left + width, bottom - width),
        (right - width, top + width, right, bottom - width),
    )
    for x0, y0, x1, y1 in bars:
        if x1 > x0 and y1 > y0:
            pen.rectangle((x0, y0, x1 - 1, y1 - 1), fill=fill)


def _plates(
    size: tuple[int, int],
    boxes: Sequence[_Box],
    font: "Font",
    show_labels: bool,
    show_scores: bool,
) -> list[_Plate]:
    """Where each label goes: inside the picture and, where there is room, over no other label."""
    _, capital_top, _, capital_bottom = font.getbbox("H")
    capital = capital_bottom - capital_top
    pad_x, pad_y = round(0.55 * capital), round(0.5 * capital)
    height = math.ceil(capital + 2 * pad_y)
    radius = max(2, round(height / 5))
    areas = np.array([box.area for box in boxes], np.float64)
    taken = np.empty((len(boxes), 4))
    plates: list[_Plate] = []
    for n, box in enumerate(boxes):
        words = (box.label if show_labels else "", f"{box.score:.2f}" if show_scores else "")
        text = " ".join(word for word in words if word)
        width = math.ceil(font.getlength(text)) + 2 * pad_x
        area = _place(size, box.area, (width, height), taken[:n], areas)
        taken[n] = area
        start = (pad_x, pad_y - capital_top)
        plates.append(_Plate(area, text, font, start, radius, box.colour))
    return plates


def _place(
    size: tuple[int, int],
    box: Rectangle,
    plate: tuple[int, int],
    taken: NDArray[np.float64],
    boxes: NDArray[np.float64],
) -> Rectangle:
    """The cheapest of: above, inside or below the box, left or right, then down its left edge.

    Costs, in pixels covered: other labels in full, boxes by the share that disappears (a label
    may lie over a bus but not over a whole clock), being pushed back into the picture, and a
    little for each later choice.
    """
    left, top, right, bottom = box
    width, height = plate
    wanted = [
        (x, y) for y in (top - height, top, bottom, bottom - height) for x in (left, right - width)
    ]
    wanted += [(left, y) for y in range(top + height, bottom - 2 * height, height)][:8]
    corner = np.array(wanted, np.float64)
    spot = np.clip(corner, 0, np.maximum(np.subtract(size, plate), 0))
    spots = np.hstack((spot, spot + plate))[:, None]  # (places, 1, 4)
    area = width * height
    hidden = _common(spots, boxes) / np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    cost = (
        _common(spots, taken).sum(axis=1)
        + 0.5 * area * (hidden**2).sum(axis=1)
        + np.abs(spot - corner) @ (height / 8, width)
        + 1e-3 * area * np.arange(len(wanted))
    )
    x, y = spot[int(cost.argmin())].astype(int).tolist()
    return (x, y, x + width, y + height)


def _common(spots: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Areas of intersection: spots (p, 1, 4) with others (n, 4) gives (p, n)."""
    sides = np.minimum(spots[..., 2:], others[:, 2:]) - np.maximum(spots[..., :2], others[:, :2])
    return np.asarray(np.clip(sides, 0, None).prod(axis=-1))


def _paint(canvas: "PILImage", plate: _Plate) -> None:
    from PIL import Image, ImageDraw

    left, top, right, bottom = plate.area
    size = (right - left, bottom - top)
    # Rounded corners drawn four times as large and reduced: Pillow's own are jagged.
    mask = Image.new("L", (size[0] * 4, size[1] * 4), 0)
    ImageDraw.Draw(mask).rounded_rectangle(
        (0, 0, size[0] * 4 - 1, size[1] * 4 - 1), plate.radius * 4, fill=255
    )
    tile = Image.new("RGB", size, plate.colour)
    ImageDraw.Draw(tile).text(plate.baseline, plate.text, ink_on(plate.colour), plate.font)
    canvas.paste(tile, (left, top), mask.resize(size, Image.Resampling.BOX))


def _font(path: str | PathLike[str] | None, size: int) -> "Font":
    from PIL import ImageFont

    if path is None:
        return ImageFont.load_default(size)
    try:
        return ImageFont.truetype(str(path), size)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UsageError(
            f"font: {str(path)!r} cannot be read ({error}); give a TrueType or OpenType file"
        ) from error


@cache
def _system_font() -> str | None:
    """The file of the first of :data:`_SYSTEM_FONTS` that is here; Pillow looks through all."""
    from PIL import ImageFont

    for name in _SYSTEM_FONTS:
        with suppress(OSError):
            return str(ImageFont.truetype(name).path)
    return None


def _ascii(text: str) -> str:
    """Letters without their accents; ``?`` for what is no letter of ASCII then either."""
    letters = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    plain = "".join(one for one in letters if not unicodedata.combining(one))
    return plain.encode("ascii", "replace").decode("ascii")


def _printable(text: str) -> str:
    """One line, and no half of a surrogate pair, which FreeType refuses."""
    return "".join(char if char.isprintable() else " " for char in printable_utf8(text))


def to_html(detections: Detections) -> str:
    """A table, and the drawn picture where ``detections.image`` is a readable image file."""
    rows = "".join(
        "<tr>"
        f'<td><span style="color:rgb{colour_of(found.index)}">&#9632;</span> '
        f"{html.escape(_printable(found.label))}</td>"
        f"<td>{found.score:.3f}</td><td>{', '.join(f'{v:.1f}' for v in found.box)}</td>"
        f"<td>{found.index}</td><td>{found.category_id}</td></tr>"
        for found in detections[:_HTML_ROWS]
    )
    more = len(detections) - _HTML_ROWS
    if more > 0:
        rows += f'<tr><td colspan="5">… {more} more</td></tr>'
    name = html.escape(_printable(detections.image)) or "image"
    return (
        f"<div><p><b>{len(detections)}</b> found in {name} "
        f"({detections.width}×{detections.height})</p>{_html_picture(detections)}"
        "<table><thead><tr><th>label</th><th>score</th><th>left, top, right, bottom</th>"
        f"<th>index</th><th>category_id</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _html_picture(detections: Detections) -> str:
    # A view never fails because a file was moved: is_file also keeps it from waiting on a pipe.
    try:
        if not detections.image or not Path(detections.image).is_file():
            return ""
        small = shrink(detections.image, _HTML_WIDTH)
    except (SSDResNet34Error, OSError, ValueError):
        return ""
    return f'<img src="{jpeg_uri(draw(small, detections))}" alt="detections drawn">'


def shrink(image: Any, side: int) -> "PILImage":
    """Any image source as a PIL image of mode RGB, its longer side at most ``side`` pixels.

    Raises:
        ImageError: the image is refused.
    """
    from .images import decode

    small = _to_pil(decode(image).pixels)
    small.thumbnail((side, side))
    return small


def save_png(picture: "PILImage", path: str | PathLike[str]) -> None:
    """Write the picture as PNG, whole or not at all.

    Raises:
        UsageError, OutputError: ``path`` cannot be written.
    """
    data = io.BytesIO()
    picture.save(data, "PNG")
    files.write(path, data.getvalue())


def jpeg_uri(picture: "PILImage") -> str:
    """The picture inside a ``data:`` address, for a page that is one file."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
