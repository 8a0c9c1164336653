"""The one plot: a bar for each run, as long as it is fast beside the baseline, with its spread.

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
"""Pixels of a row of one line."""

_MARGIN: Final = 40
_GAP: Final = 14
_FONT: Final = 22
_SMALL: Final = 18
_LINE: Final = 26
"""Pixels from line to line of small print."""

_TITLE: Final = 28
_ELLIPSIS: Final = "…"

_BASELINE: Final = (120, 120, 128)
_BAR: Final = (38, 110, 190)
_INK: Final = (30, 30, 34)
_FAINT: Final = (96, 96, 104)
_PAPER: Final = (255, 255, 255)


def draw(runs: Sequence[Run], title: str, notes: Sequence[str] = ()) -> "PILImage":
    """A picture of mode RGB, 1200 pixels wide.

    Each row is a run: its name, and a bar as long as the run is fast beside the baseline, by the
    pairs they were timed in; times of different moments are not compared. The first run is the
    baseline and grey, with its images a second. A white line in the bar goes back to the worse
    quartile. What was not measured says why, in small print; ``notes`` are such print below.
    The font is Pillow's own: Latin letters, and not even a ×.
    """
    from PIL import Image, ImageDraw, ImageFont

    font, small, large = map(ImageFont.load_default, (_FONT, _SMALL, _TITLE))
    inside = WIDTH - 2 * _MARGIN
    names = min(inside * 0.4, max((font.getlength(run.name) for run in runs), default=0))
    left = _MARGIN + names + _GAP
    labels = [_label(run, number == 0) for number, run in enumerate(runs)]
    reasons = [
        _wrapped(run.unavailable or run.fault, WIDTH - _MARGIN - left, small) for run in runs
    ]
    heights = [_ROW + _LINE * max(0, len(lines) - 1) for lines in reasons]
    print_below = [line for note in notes for line in _wrapped(note, inside, small)]
    top, bottom = _MARGIN + 2 * _TITLE, _MARGIN + _LINE * len(print_below) + _GAP
    height = top + sum(heights) + bottom
    picture = Image.new("RGB", (WIDTH, height), _PAPER)
    pen = ImageDraw.Draw(picture)

    def write(
        x: float, y: float, lines: Sequence[str], font: "Font", ink: tuple[int, int, int]
    ) -> None:
        for number, line in enumerate(lines):
            down = _LINE * (number - (len(lines) - 1) / 2)  # the lines lie around y
            pen.text((x, y + down), line, ink, font, anchor="lm")

    pen.text((_MARGIN, _MARGIN), _fitted(title, inside, large), _INK, large, anchor="lt")
    room = WIDTH - _MARGIN - max(map(font.getlength, labels), default=0) - _GAP - left
    fastest = max((1 / run.ratio.median for run in runs[1:] if run.ratio), default=1.0)
    unit = room / max(1, fastest)  # pixels of the baseline, which is no times itself
    y = float(top)
    for number, run in enumerate(runs):
        middle = y + heights[number] / 2
        y += heights[number]
        write(_MARGIN, middle, [_fitted(run.name, names, font)], font, _INK)
        if run.ratio is None:
            write(left, middle, reasons[number], small, _FAINT)
            continue
        end = left + max(1, unit if number == 0 else unit / run.ratio.median)
        box = (left, middle - 0.3 * _ROW, end, middle + 0.3 * _ROW)
        pen.rectangle(box, _BASELINE if number == 0 else _BAR)
        pen.line((min(end, left + unit / run.ratio.high), middle, end, middle), _PAPER, 3)
        write(end + _GAP, middle, [labels[number]], font, _INK)
    below = height - bottom + _GAP + _LINE * len(print_below) / 2
    write(_MARGIN, below, print_below, small, _FAINT)
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


def _wrapped(text: str, room: float, font: "Font") -> list[str]:
    """The text as lines no wider than ``room``, broken between words."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else ""
        if lines and font.getlength(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(_fitted(word, room, font))
    return lines


def _label(run: Run, baseline: bool) -> str:
    if run.ratio is None or run.images_per_second is None:
        return ""
    if baseline:
        return f"{figures(run.images_per_second)} images/s"
    return f"{1 / run.ratio.median:.3g} times as fast"
