"""The one plot: a bar of images a second for each run, with its spread.

Drawn with Pillow, which is here anyway: a plotting library would be a dependency for one picture.
"""

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Final

from ..vision.draw import save_png
from ..wording import figures
from .runs import Run

if TYPE_CHECKING:
    from PIL import ImageFont
    from PIL.Image import Image as PILImage

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

WIDTH: Final = 1200
"""Pixels."""

_ROW: Final = 56
_MARGIN: Final = 40
_GAP: Final = 14
_FONT: Final = 22
_LINE: Final = 32
_TITLE: Final = 28
_ELLIPSIS: Final = "…"

_BASELINE: Final = (120, 120, 128)
_BAR: Final = (38, 110, 190)
_INK: Final = (30, 30, 34)
_FAINT: Final = (96, 96, 104)
_PAPER: Final = (255, 255, 255)


def draw(runs: Sequence[Run], title: str, notes: Sequence[str] = ()) -> "PILImage":
    """A picture of mode RGB, 1200 pixels wide.

    Each row is a run: its name, a bar as long as its median images a second, the number, and how
    many times as fast as the baseline that is. A white line in the bar goes back to the images a
    second of the time's 90th percentile. The first run is the baseline and grey. What was not
    measured says why.
    ``notes`` are lines below. The font is Pillow's own: Latin letters, and not even a ×.
    """
    from PIL import Image, ImageDraw, ImageFont

    font, large = ImageFont.load_default(_FONT), ImageFont.load_default(_TITLE)
    top, bottom = _MARGIN + 2 * _TITLE, _MARGIN + _LINE * len(notes) + _GAP
    height = top + _ROW * len(runs) + bottom
    picture = Image.new("RGB", (WIDTH, height), _PAPER)
    pen = ImageDraw.Draw(picture)
    inside = WIDTH - 2 * _MARGIN

    def write(x: float, y: float, text: str, room: float, ink: tuple[int, int, int]) -> None:
        pen.text((x, y), _fitted(text, room, font), ink, font, anchor="lm")

    pen.text((_MARGIN, _MARGIN), _fitted(title, inside, large), _INK, large, anchor="lt")
    names = min(inside * 0.4, max((font.getlength(run.name) for run in runs), default=0))
    texts = [_value(run, number == 0) for number, run in enumerate(runs)]
    values = max(map(font.getlength, texts), default=0)
    left = _MARGIN + names + _GAP
    room = WIDTH - _MARGIN - values - _GAP - left
    fastest = max((run.images_per_second or 0 for run in runs), default=0) or 1
    for number, run in enumerate(runs):
        y = top + _ROW * (number + 0.5)
        write(_MARGIN, y, run.name, names, _INK)
        if run.seconds is None or run.images_per_second is None:
            write(left, y, run.unavailable or run.fault, WIDTH - _MARGIN - left, _FAINT)
            continue
        length = room * run.images_per_second / fastest
        box = (left, y - 0.3 * _ROW, left + max(1, length), y + 0.3 * _ROW)
        pen.rectangle(box, _BASELINE if number == 0 else _BAR)
        slow = left + room / run.seconds.p90 / fastest  # nine of ten images are faster than this
        pen.line((slow, y, left + length, y), _PAPER, 3)
        write(left + length + _GAP, y, texts[number], WIDTH, _INK)
    for number, note in enumerate(notes):
        write(_MARGIN, height - bottom + _GAP + _LINE * (number + 0.5), note, inside, _FAINT)
    return picture


def save(
    path: str | PathLike[str], runs: Sequence[Run], title: str, notes: Sequence[str] = ()
) -> None:
    """Write :func:`draw`'s picture as PNG, whole or not at all.

    Raises:
        UsageError, OutputError: ``path`` cannot be written.
    """
    save_png(draw(runs, title, notes), path)


def _fitted(text: str, room: float, font: "Font") -> str:
    """One line of a text, as much as is no wider than ``room``, with an ellipsis for the rest."""
    text = " ".join(text.split())
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + _ELLIPSIS) > room:
        text = text[:-1]
    return text.rstrip() + _ELLIPSIS


def _value(run: Run, baseline: bool) -> str:
    if run.images_per_second is None:
        return ""
    found = f"{figures(run.images_per_second)} images/s"
    if run.ratio is None or baseline:
        return found
    return f"{found}, {1 / run.ratio.median:.3g} times as fast"
