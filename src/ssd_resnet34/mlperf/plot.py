"""One picture: published results as dots on a logarithmic scale, and this run's among them."""

import math
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Final

from ..vision.draw import save_png
from ..wording import figures
from .published import Kind, Row, place

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

WIDTH: Final = 1200
"""Pixels."""

_ROW: Final = 34
_MARGIN: Final = 40
_GAP: Final = 14
_FONT: Final = 20
_TITLE: Final = 28
_DOT: Final = 8

_THEIRS: Final = (120, 120, 128)
_OURS: Final = (38, 110, 190)
_INK: Final = (30, 30, 34)
_FAINT: Final = (96, 96, 104)
_GRID: Final = (228, 228, 232)
_PAPER: Final = (255, 255, 255)

_HEADINGS: Final[dict[Kind, str]] = {"core": "CPUs", "accelerator": "accelerators"}


def draw(
    rows: Sequence[Row], ours: tuple[str, Kind, float], title: str, notes: Sequence[str] = ()
) -> "PILImage":
    """A picture of mode RGB, 1200 pixels wide.

    A line for each result, CPUs and accelerators apart, in the order of ``rows``; ``ours`` (name,
    kind, value per unit) is at its place among its kind, in blue. The scale is logarithmic with a
    line at each power of ten. ``notes`` are lines below. The font is Pillow's own: Latin letters,
    and not even a ×.
    """
    from PIL import Image, ImageDraw, ImageFont

    font, large = ImageFont.load_default(_FONT), ImageFont.load_default(_TITLE)
    name, our_kind, our_value = ours
    entries = [
        (row.result.kind, (f"{row.result.round}  {row.result.system}", row.each, False))
        for row in rows
    ]
    entries.insert(place(rows, our_kind), (our_kind, (name, our_value, True)))
    groups: list[tuple[str, list[tuple[str, float, bool]]]] = []
    for kind, heading in _HEADINGS.items():
        lines = [line for one, line in entries if one == kind]
        if lines:
            groups.append((heading, lines))
    values = [value for _, lines in groups for _, value, _ in lines]
    low = math.floor(math.log10(min(values)))
    high = max(low + 1, math.ceil(math.log10(max(values))))
    count = sum(1 + len(lines) for _, lines in groups)
    top = _MARGIN + 2 * _TITLE
    bottom = top + _ROW * (count + 1)
    height = bottom + _MARGIN + _ROW * len(notes)
    picture = Image.new("RGB", (WIDTH, height), _PAPER)
    pen = ImageDraw.Draw(picture)
    pen.text((_MARGIN, _MARGIN), title, _INK, large, anchor="lt")
    names = max(font.getlength(text) for _, lines in groups for text, _, _ in lines)
    left = _MARGIN + names + 2 * _GAP
    room = WIDTH - _MARGIN - left - 5 * _FONT  # for the number beside the last dot
    for power in range(low, high + 1):
        x = left + room * (power - low) / (high - low)
        pen.line((x, top, x, bottom - _ROW), _GRID, 2)
        pen.text((x, bottom - _ROW / 2), f"{10.0**power:g}", _FAINT, font, anchor="mm")
    y = top + _ROW / 2
    for heading, lines in groups:
        pen.text((_MARGIN, y), heading, _FAINT, font, anchor="lm")
        y += _ROW
        for text, value, mine in lines:
            x = left + room * (math.log10(value) - low) / (high - low)
            colour = _OURS if mine else _THEIRS
            pen.text((_MARGIN, y), text, colour if mine else _INK, font, anchor="lm")
            pen.line((left, y, x, y), _GRID, 2)
            pen.ellipse((x - _DOT, y - _DOT, x + _DOT, y + _DOT), colour)
            pen.text((x + 2 * _DOT, y), figures(value), colour, font, anchor="lm")
            y += _ROW
    for number, note in enumerate(notes):
        pen.text((_MARGIN, bottom + _ROW * (number + 0.5)), note, _FAINT, font, anchor="lm")
    return picture


def save(
    path: str | PathLike[str],
    rows: Sequence[Row],
    ours: tuple[str, Kind, float],
    title: str,
    notes: Sequence[str] = (),
) -> None:
    """Write :func:`draw`'s picture as PNG, whole or not at all.

    Raises:
        UsageError, OutputError: ``path`` cannot be written.
    """
    save_png(draw(rows, ours, title, notes), path)
