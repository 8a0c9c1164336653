"""Things painted into a scene that carry no label and resemble none of the labelled categories.

Every painter takes a random generator and a side in pixels and returns a premultiplied
``(h, w, 4)`` uint8 BGR + alpha sprite whose longest side is about that many pixels.
"""

import math
from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from .backgrounds import Colour, paint, shaded
from .canvas import Image


class Sheet:
    """A transparent drawing area in unit coordinates (0..1 along the longer side).

    Drawn at twice the size and averaged down, which antialiases and leaves premultiplied colours.
    """

    def __init__(self, size: int, wide: float = 1.0, high: float = 1.0) -> None:
        """Make a clear sheet ``wide * size`` by ``high * size`` pixels."""
        self.scale = 2.0 * size
        self.wide, self.high = wide, high
        shape = (max(2, round(self.scale * high)), max(2, round(self.scale * wide)), 4)
        self.pixels: Image = np.zeros(shape, np.uint8)

    def _points(self, points: object) -> NDArray[np.int32]:
        return np.round(np.asarray(points, np.float64) * self.scale).astype(np.int32)

    def polygon(self, points: object, colour: Colour) -> None:
        """Fill an ``(n, 2)`` outline."""
        cv2.fillPoly(self.pixels, [self._points(points)], (*colour, 255))

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Fill an upright rectangle."""
        self.polygon([[left, top], [right, top], [right, bottom], [left, bottom]], colour)

    def ellipse(
        self, x: float, y: float, a: float, b: float, colour: Colour, turn: float = 0.0
    ) -> None:
        """Fill an ellipse with half axes ``a`` and ``b`` turned by ``turn`` degrees."""
        (cx, cy), (rx, ry) = self._points([x, y]).tolist(), self._points([a, b]).tolist()
        cv2.ellipse(self.pixels, (cx, cy), (rx, ry), turn, 0, 360, (*colour, 255), cv2.FILLED)

    def line(self, points: object, colour: Colour, width: float) -> None:
        """Draw a polyline of the given width."""
        thick = max(2, round(width * self.scale))
        cv2.polylines(self.pixels, [self._points(points)], False, (*colour, 255), thick)

    def text(self, words: str, colour: Colour, font: int) -> None:
        """Write one line of text over the width of the sheet."""
        height, width = self.pixels.shape[:2]
        (wide, high), base = cv2.getTextSize(words, font, 1.0, 2)
        scale = min(0.95 * width / wide, 0.9 * height / (high + base))
        corner = (
            int((width - wide * scale) / 2),
            int((height + high * scale) / 2 - base * scale / 4),
        )
        cv2.putText(
            self.pixels, words, corner, font, scale, (*colour, 255), max(2, round(3 * scale))
        )

    def sprite(self) -> Image:
        """Average the drawing down to its final size."""
        height, width = self.pixels.shape[:2]
        half = (max(1, width // 2), max(1, height // 2))
        return np.asarray(cv2.resize(self.pixels, half, interpolation=cv2.INTER_AREA), np.uint8)


def tree(rng: np.random.Generator, size: int) -> Image:
    """A leafy or conical tree."""
    sheet = Sheet(size, 0.7)
    bark = paint(rng, (0.04, 0.1), (0.3, 0.6), (0.15, 0.45))
    leaf = paint(rng, (0.18, 0.4), (0.3, 0.9), (0.2, 0.6))
    sheet.polygon([[0.31, 1], [0.33, 0.4], [0.37, 0.4], [0.39, 1]], bark)
    if rng.random() < 0.5:
        for _ in range(30):
            x, y = 0.35 + rng.normal(0, 0.12), 0.32 + rng.normal(0, 0.12)
            radius = rng.uniform(0.04, 0.09)
            sheet.ellipse(x, y, radius, radius * 0.8, shaded(leaf, rng.uniform(0.6, 1.3)))
    else:
        for level in range(4):
            top, half = 0.17 * level, 0.14 + 0.06 * level
            tone = shaded(leaf, 0.7 + 0.12 * level)
            sheet.polygon([[0.35, top], [0.35 - half, top + 0.33], [0.35 + half, top + 0.33]], tone)
    return sheet.sprite()


def pole(rng: np.random.Generator, size: int) -> Image:
    """A plain or banded post."""
    wide = rng.uniform(0.03, 0.1)
    sheet = Sheet(size, wide)
    tone, band = paint(rng, (0, 1), (0, 0.5), (0.2, 0.9)), paint(rng)
    sheet.box(0, 0, wide, 1, tone)
    sheet.box(0, 0, wide * 0.3, 1, shaded(tone, 1.3))
    if rng.random() < 0.4:
        for index in range(5):
            sheet.box(0, 0.1 + index * 0.18, wide, 0.18 + index * 0.18, band)
    return sheet.sprite()


def triangle(rng: np.random.Generator, size: int) -> Image:
    """A plain triangle."""
    sheet = Sheet(size)
    sheet.polygon([[rng.uniform(0, 1), 0], [1, rng.uniform(0.5, 1)], [0, 1]], paint(rng))
    return sheet.sprite()


def carton(rng: np.random.Generator, size: int) -> Image:
    """A closed box with three visible faces."""
    sheet = Sheet(size)
    tone = paint(rng, (0.05, 0.14), (0.2, 0.6), (0.4, 0.85)) if rng.random() < 0.6 else paint(rng)
    x, y = rng.uniform(0.55, 0.75), rng.uniform(0.2, 0.4)
    sheet.polygon([[0, y], [x, y], [x, 1], [0, 1]], tone)
    sheet.polygon([[0, y], [1 - x, 0], [1, 0], [x, y]], shaded(tone, 1.25))
    sheet.polygon([[x, y], [1, 0], [1, 0.9 - y / 2], [x, 1]], shaded(tone, 0.7))
    sheet.polygon([[x * 0.4, y], [x * 0.6, y], [x * 0.6, 1], [x * 0.4, 1]], shaded(tone, 1.12))
    return sheet.sprite()


def oval(rng: np.random.Generator, size: int) -> Image:
    """A long ellipse, too flat to pass for a ball."""
    flat = rng.uniform(0.2, 0.5)
    sheet = Sheet(size, 1, flat)
    tone = paint(rng)
    sheet.ellipse(0.5, flat / 2, 0.5, flat / 2, tone)
    if rng.random() < 0.6:
        sheet.ellipse(0.5, flat / 2, 0.38, flat * 0.36, shaded(tone, rng.uniform(0.4, 1.5)))
    return sheet.sprite()


def bottle(rng: np.random.Generator, size: int) -> Image:
    """A bottle or a vase."""
    wide = rng.uniform(0.28, 0.5)
    sheet = Sheet(size, wide)
    tone = paint(rng, (0, 1), (0.2, 0.9), (0.2, 0.9))
    y = np.linspace(0, 1, 24)
    neck, shoulder = rng.uniform(0.2, 0.45), rng.uniform(0.25, 0.5)
    half = wide / 2 * (neck + (1 - neck) / (1 + np.exp(-(y - shoulder) * 18)))
    if rng.random() < 0.4:
        half *= 1 - 0.45 * y**4
    left, right = np.stack([wide / 2 - half, y], 1), np.stack([wide / 2 + half, y], 1)
    sheet.polygon(np.concatenate([left, right[::-1]]), tone)
    shine = np.stack([wide / 2 - half * 0.6, y], 1)
    sheet.line(shine[4:-3], shaded(tone, 1.5), 0.02)
    if rng.random() < 0.6:
        low = wide / 2 - half[16]
        sheet.box(low, 0.6, wide - low, 0.8, paint(rng, (0, 1), (0, 0.4), (0.6, 1)))
    return sheet.sprite()


def leaf(rng: np.random.Generator, size: int) -> Image:
    """A leaf with a midrib."""
    wide = rng.uniform(0.3, 0.6)
    sheet = Sheet(size, wide)
    tone = paint(rng, (0.05, 0.4), (0.4, 0.9), (0.25, 0.8))
    y = np.linspace(0, 1, 20)
    half = wide / 2 * np.sin(math.pi * y**0.8)
    edge = np.concatenate(
        [np.stack([wide / 2 - half, y], 1), np.stack([wide / 2 + half, y], 1)[::-1]]
    )
    sheet.polygon(edge, tone)
    sheet.line([[wide / 2, 0], [wide / 2, 1]], shaded(tone, 0.6), 0.015)
    for at in np.linspace(0.2, 0.7, 5):
        for side in (-1, 1):
            tip = [wide / 2 + side * wide * 0.3, at - 0.08]
            sheet.line([[wide / 2, at], tip], shaded(tone, 0.75), 0.008)
    return sheet.sprite()


def star(rng: np.random.Generator, size: int) -> Image:
    """A star with four to seven tips."""
    sheet = Sheet(size)
    tips = int(rng.integers(4, 8))
    angle = np.arange(2 * tips) * math.pi / tips
    radius = np.where(np.arange(2 * tips) % 2 == 0, 0.5, 0.5 * rng.uniform(0.25, 0.6))
    points = np.stack([0.5 + radius * np.sin(angle), 0.5 - radius * np.cos(angle)], 1)
    sheet.polygon(points, paint(rng, (0, 1), (0.3, 1), (0.5, 1)))
    return sheet.sprite()


WORDS: Final = (
    "OPEN",
    "Cafe",
    "EXIT",
    "SALE",
    "hotel",
    "A1",
    "2026",
    "Bakery",
    "R&D",
    "north",
    "Q7",
    "75%",
)
FONTS: Final = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
)


def lettering(rng: np.random.Generator, size: int) -> Image:
    """A word, alone or on a board."""
    word = WORDS[int(rng.integers(len(WORDS)))]
    high = max(0.15, 1.3 / (len(word) + 0.5))
    sheet = Sheet(size, 1, min(1.0, high))
    if rng.random() < 0.5:
        board = paint(rng, (0, 1), (0, 0.9), (0.05, 0.4))
        sheet.box(0, 0, 1, sheet.high, board)
        tone = paint(rng, (0, 1), (0, 0.5), (0.8, 1))
    else:
        tone = paint(rng)
    sheet.text(word, tone, FONTS[int(rng.integers(len(FONTS)))])
    return sheet.sprite()


def cloud(rng: np.random.Generator, size: int) -> Image:
    """A puffy cloud with a flat base."""
    sheet = Sheet(size, 1, 0.5)
    tone = paint(rng, (0.5, 0.65), (0, 0.1), (0.75, 1))
    for shade, drop in ((0.88, 0.02), (1.0, 0.0)):
        for x in np.linspace(0.15, 0.85, 8):
            radius = rng.uniform(0.06, 0.12) + 0.12 * (1 - abs(2 * x - 1))
            sheet.ellipse(x, 0.36 - radius * 0.5 + drop, radius, radius * 0.8, shaded(tone, shade))
    sheet.box(0.12, 0.34, 0.88, 0.44, tone)
    return sheet.sprite()


def sign(rng: np.random.Generator, size: int) -> Image:
    """A blue, green or yellow sign with an arrow, square, triangular or round; on a post or not."""
    sheet = Sheet(size, 0.5 if rng.random() < 0.5 else 1.0)
    wide = sheet.wide
    if wide < 1:
        sheet.box(0.23, 0.3, 0.27, 1, paint(rng, (0, 1), (0, 0.1), (0.4, 0.7)))
    hues = ((0.57, 0.66), (0.33, 0.42), (0.12, 0.16))
    face = paint(rng, hues[int(rng.integers(3))], (0.6, 0.95), (0.5, 0.95))
    mark = (250.0, 250.0, 250.0) if face[2] < 128 else (20.0, 20.0, 20.0)
    kind = rng.integers(3)
    if kind == 0:
        sheet.box(0, 0, wide, wide, mark)
        sheet.box(0.05 * wide, 0.05 * wide, 0.95 * wide, 0.95 * wide, face)
    elif kind == 1:
        sheet.polygon([[0.5 * wide, 0], [wide, wide], [0, wide]], mark)
        inner = np.array([[0.5, 0.12], [0.91, 0.94], [0.09, 0.94]]) * wide
        sheet.polygon(inner, face)
    else:
        sheet.ellipse(wide / 2, wide / 2, wide / 2, wide / 2, mark)
        sheet.ellipse(wide / 2, wide / 2, 0.45 * wide, 0.45 * wide, face)
    arrow = np.array(
        [
            [-0.06, 0.25],
            [-0.06, -0.02],
            [-0.16, -0.02],
            [0, -0.25],
            [0.16, -0.02],
            [0.06, -0.02],
            [0.06, 0.25],
        ]
    )
    turn = rng.uniform(0, 2 * math.pi) if kind != 1 else 0.0
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    lift = 0.62 if kind == 1 else 0.5
    sheet.polygon((arrow @ rotation.T * (0.8 if kind == 1 else 1.1) + [0.5, lift]) * wide, mark)
    return sheet.sprite()


def book(rng: np.random.Generator, size: int) -> Image:
    """One to five books lying on each other, spines to the viewer."""
    count = int(rng.integers(1, 6))
    high = 0.14 * count
    sheet = Sheet(size, 1, high)
    for index in range(count):
        left, right = rng.uniform(0, 0.12), rng.uniform(0.85, 1)
        top = 0.14 * index
        cover = paint(rng, (0, 1), (0.2, 0.9), (0.2, 0.9))
        sheet.box(left, top, right, top + 0.14, cover)
        sheet.box(right - 0.06, top + 0.02, right, top + 0.12, (225, 235, 240))
        for band in (0.1, 0.7):
            at = left + band * (right - left)
            sheet.box(at, top, at + 0.02, top + 0.14, shaded(cover, 1.5))
        sheet.box(left + 0.25, top + 0.05, right - 0.35, top + 0.08, shaded(cover, 1.8))
    return sheet.sprite()


def fence(rng: np.random.Generator, size: int) -> Image:
    """Pickets with gaps to see through."""
    high = rng.uniform(0.3, 0.6)
    sheet = Sheet(size, 1, high)
    tone = paint(rng, (0.05, 0.12), (0, 0.5), (0.4, 1))
    count = int(rng.integers(5, 12))
    for share in (0.3, 0.7):
        sheet.box(0, high * share, 1, high * share + 0.03, shaded(tone, 0.8))
    for index in range(count):
        left, right = index / count + 0.01, (index + rng.uniform(0.4, 0.55)) / count
        middle = (left + right) / 2
        sheet.polygon([[left, 0.06], [middle, 0], [right, 0.06], [right, high], [left, high]], tone)
    return sheet.sprite()


def scrap(rng: np.random.Generator, size: int) -> Image:
    """An irregular flat polygon."""
    sheet = Sheet(size)
    count = int(rng.integers(4, 8))
    angle = np.sort(rng.uniform(0, 2 * math.pi, count))
    radius = rng.uniform(0.2, 0.5, count)
    tone = paint(rng)
    sheet.polygon(np.stack([0.5 + radius * np.cos(angle), 0.5 + radius * np.sin(angle)], 1), tone)
    if sheet.pixels[:, :, 3].max() == 0:
        sheet.box(0.2, 0.2, 0.7, 0.6, tone)
    return sheet.sprite()


def rope(rng: np.random.Generator, size: int) -> Image:
    """A thin sagging line."""
    high = rng.uniform(0.05, 0.4)
    sheet = Sheet(size, 1, high)
    x = np.linspace(0, 1, 24)
    slope = rng.uniform(-0.5, 0.5)
    y = high * (0.5 + slope * (x - 0.5) + rng.uniform(-0.3, 0.3) * np.sin(math.pi * x))
    sheet.line(
        np.stack([x, y], 1), paint(rng, (0, 1), (0, 0.6), (0.1, 0.9)), rng.uniform(0.004, 0.02)
    )
    return sheet.sprite()


DISTRACTORS: dict[str, Callable[[np.random.Generator, int], Image]] = {
    "tree": tree,
    "pole": pole,
    "triangle": triangle,
    "carton": carton,
    "oval": oval,
    "bottle": bottle,
    "leaf": leaf,
    "star": star,
    "lettering": lettering,
    "cloud": cloud,
    "sign": sign,
    "book": book,
    "fence": fence,
    "scrap": scrap,
    "rope": rope,
}


def distractor(rng: np.random.Generator, size: int) -> Image:
    """Paint one distractor about ``size`` pixels long; premultiplied BGR + alpha."""
    names = tuple(DISTRACTORS)
    return DISTRACTORS[names[int(rng.integers(len(names)))]](rng, size)
