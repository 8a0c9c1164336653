"""Oranges, televisions and clocks."""

import cv2
import numpy as np

from ..canvas import Image
from .canvas import Canvas
from .colours import BLACK, STEEL, WHITE, Colour, darker, hsv, lighter, mix, pick, vivid
from .outlines import Points, curve, ellipse, outline, rect, rounded, soften, turned


# ---------------------------------------------------------------- oranges
def _leaf(canvas: Canvas, start: tuple[float, float], degrees: float, length: float) -> None:
    half = curve((0, 0), (length * 0.45, -length * 0.42), (length, 0))
    shape = np.concatenate([half, (half * np.array([1.0, -0.8]))[::-1]])
    green: Colour = (50.0, 140.0, 50.0)
    place = np.array(start)
    canvas.gradient(turned(shape, degrees) + place, lighter(green, 0.2), darker(green, 0.25))
    vein = turned(outline((0, 0), (length * 0.9, 0)), degrees) + place
    canvas.line(vein, lighter(green, 0.45), 0.9)


def _cut_orange(rng: np.random.Generator, canvas: Canvas, peel: Colour) -> None:
    squash = rng.uniform(0.86, 1.0)
    pulp = mix(peel, (20.0, 150.0, 255.0), 0.5)

    def disc(radius: float) -> Points:
        return ellipse(50, 50, radius, radius * squash)

    canvas.fill(disc(49), peel)
    canvas.fill(disc(45.5), (175.0, 225.0, 250.0))
    count = int(rng.integers(8, 12))
    spin = rng.uniform(0, 360)
    step = 360.0 / count
    for k in range(count):
        low, high = spin + k * step + 2.2, spin + (k + 1) * step - 2.2
        middle = np.radians((low + high) / 2)
        rim = ellipse(50, 50, 42.5, 42.5 * squash, low, high)
        tip = outline((50 + 6 * np.cos(middle), 50 + 6 * squash * np.sin(middle)))
        wedge = soften(np.concatenate([rim[::18], tip]), 2)
        canvas.fill(wedge, mix(pulp, (60.0, 190.0, 255.0), rng.uniform(0.0, 0.35)))
        for _ in range(5):
            turn = np.radians(rng.uniform(low + 5, high - 5))
            near = rng.uniform(14, 26)
            ray = np.array([np.cos(turn), squash * np.sin(turn)])
            canvas.line(
                np.stack([50 + near * ray, 50 + (near + 9) * ray]), lighter(pulp, 0.35), 0.9
            )


def draw_orange(rng: np.random.Generator, size: int) -> Image:
    """An orange, whole or cut in half; (h, w, 4) uint8 BGR + straight alpha, max(h, w) == size."""
    peel: Colour = (rng.uniform(0, 30), rng.uniform(125, 165), rng.uniform(240, 255))
    kind = rng.uniform()
    if kind < 0.25:
        canvas = Canvas(size, 100, 100)
        _cut_orange(rng, canvas, peel)
        return canvas.finish(rng)
    top = 16.0 if kind < 0.7 else 1.0
    squash = rng.uniform(0.9, 1.0)
    canvas = Canvas(size, 100, 98 * squash + top + 2)
    cy = top + 49 * squash
    shape = ellipse(50, cy, 49, 49 * squash)
    canvas.fill(shape, peel)
    grain = rng.normal(0.0, 1.0, (128, 128)).astype(np.float32)
    grain = np.asarray(cv2.GaussianBlur(grain, (0, 0), 1.1), np.float32)
    light = (rng.uniform(-0.55, 0.55), rng.uniform(-0.7, -0.35))
    box = (1.0, top, 99.0, top + 98 * squash)
    canvas.ball_shade(box, light, 0.4, 0.42, grain * np.float32(0.08) - np.float32(0.02))
    hub = (50 + rng.uniform(-10, 10), top + rng.uniform(5, 11))
    canvas.fill(ellipse(*hub, 6.5, 3.2), darker(peel, 0.3))
    if top > 2:
        lean = rng.uniform(-5, 5)
        canvas.line(outline(hub, (hub[0] + lean, hub[1] - 12)), (35.0, 75.0, 80.0), 3.0)
        for _ in range(int(rng.integers(1, 3))):
            _leaf(canvas, (hub[0], hub[1] - 3), rng.choice([-20, 200]) + rng.uniform(-14, 14), 34)
    else:
        for angle in np.radians(np.arange(5) * 72.0 + 18.0):
            tip = (hub[0] + 7 * np.cos(angle), hub[1] + 3.6 * np.sin(angle))
            canvas.line(outline(hub, tip), (45.0, 120.0, 70.0), 2.2)
    return canvas.finish(rng)


# ---------------------------------------------------------------- televisions
def _programme(rng: np.random.Generator, canvas: Canvas, screen: Points) -> None:
    """Paint a random picture on the screen outline."""
    (x0, y0), (x1, y1) = screen.min(axis=0), screen.max(axis=0)
    w, h = x1 - x0, y1 - y0
    show = int(rng.integers(6))
    with canvas.clipped(screen):
        if show == 0:
            canvas.gradient(screen, (58.0, 48.0, 42.0), (22.0, 20.0, 18.0))
        elif show == 1:
            canvas.gradient(screen, vivid(rng), lighter(vivid(rng), 0.5))
            sun = ellipse(x0 + rng.uniform(0.2, 0.8) * w, y0 + 0.3 * h, 0.1 * h)
            canvas.fill(sun, (150.0, 235.0, 255.0))
            for share, green in ((0.55, 0.35), (0.7, 0.5), (0.82, 0.65)):
                knots = np.linspace(x0, x1, 7)
                ridge = y0 + h * (share + rng.uniform(-0.12, 0.12, 7))
                land = np.concatenate([np.stack([knots, ridge], 1), outline((x1, y1), (x0, y1))])
                canvas.fill(land, hsv(rng.uniform(0.25, 0.4), 0.6, green))
        elif show == 2:
            for k in range(7):
                green, red, blue = (225.0 * ((7 - k) >> bit & 1) for bit in (2, 1, 0))
                bar = rect(x0 + k * w / 7, y0, x0 + (k + 1) * w / 7, y1)
                canvas.fill(bar, (blue, green, red))
        elif show == 3:
            canvas.gradient(screen, hsv(rng.uniform(0.5, 0.75), 0.7, 0.75), hsv(0.6, 0.8, 0.3))
            cx = x0 + rng.uniform(0.3, 0.7) * w
            coat = darker(vivid(rng), 0.3)
            canvas.fill(ellipse(cx, y1, 0.24 * w, 0.42 * h), coat)
            canvas.fill(ellipse(cx, y0 + 0.4 * h, 0.085 * w, 0.19 * h), (130.0, 170.0, 225.0))
            hair = ellipse(cx, y0 + 0.36 * h, 0.09 * w, 0.18 * h, 180, 360)
            canvas.fill(hair, (35.0, 45.0, 60.0))
            canvas.fill(rect(x0, y0 + 0.8 * h, x1, y0 + 0.93 * h), (45.0, 35.0, 190.0))
            canvas.fill(rect(x0 + 0.05 * w, y0 + 0.84 * h, x0 + 0.7 * w, y0 + 0.88 * h), WHITE)
        elif show == 4:
            canvas.gradient(screen, (70.0, 175.0, 60.0), (45.0, 135.0, 40.0))
            for k in range(0, 8, 2):
                canvas.tint(rect(x0 + k * w / 8, y0, x0 + (k + 1) * w / 8, y1), WHITE, 0.09)
            canvas.line(outline((x0 + w / 2, y0), (x0 + w / 2, y1)), WHITE, 0.7)
            canvas.line(ellipse(x0 + w / 2, y0 + h / 2, 0.2 * h), WHITE, 0.7)
            for _ in range(8):
                px, py = x0 + rng.uniform(0.05, 0.95) * w, y0 + rng.uniform(0.15, 0.9) * h
                canvas.fill(rounded(px, py - 0.1 * h, px + 0.03 * w, py, 0.8), vivid(rng))
        else:
            canvas.gradient(screen, vivid(rng), vivid(rng), vertical=False)
            for _ in range(int(rng.integers(3, 8))):
                px, py = x0 + rng.uniform() * w, y0 + rng.uniform() * h
                canvas.fill(ellipse(px, py, rng.uniform(0.05, 0.25) * w), vivid(rng))
        shine = rng.uniform(0.1, 0.6)
        glare = outline(
            (x0 + shine * w, y0), (x0 + (shine + 0.22) * w, y0),
            (x0 + (shine - 0.05) * w, y1), (x0 + (shine - 0.27) * w, y1),
        )  # fmt: skip
        canvas.tint(glare, WHITE, 0.16 if show == 0 else 0.1)


def _flat_tv(rng: np.random.Generator, size: int) -> Image:
    tall = rng.uniform(54, 62)
    bezel = rng.uniform(1.6, 4.0)
    canvas = Canvas(size, 100, tall + 12)
    body = pick(rng, (BLACK, BLACK, (48.0, 46.0, 46.0), (150.0, 148.0, 146.0)))
    foot = int(rng.integers(4))
    if foot == 0:
        canvas.gradient(rect(44, tall - 1, 56, tall + 8), darker(body, 0.2), lighter(body, 0.2))
        canvas.fill(rounded(28, tall + 6.5, 72, tall + 10, 2), lighter(body, 0.12))
    elif foot == 1:
        for x, side in ((20.0, -1), (80.0, 1)):
            canvas.line(outline((x, tall - 1), (x + side * 6, tall + 9)), lighter(body, 0.15), 2.2)
            canvas.line(outline((x, tall - 1), (x - side * 4, tall + 9)), lighter(body, 0.05), 2.2)
    elif foot == 2:
        neck = outline((42, tall), (58, tall), (62, tall + 7), (38, tall + 7))
        canvas.fill(neck, lighter(body, 0.1))
        canvas.fill(ellipse(50, tall + 7, 22, 3.4), lighter(body, 0.18))
    canvas.gradient(rounded(1, 1, 99, tall, 1.8), lighter(body, 0.15), body)
    screen = rect(1 + bezel, 1 + bezel, 99 - bezel, tall - bezel - 1.6)
    _programme(rng, canvas, screen)
    canvas.line(screen, darker(body, 0.5), 0.6, closed=True)
    canvas.fill(ellipse(50, tall - bezel / 2 - 0.4, 0.7), STEEL)
    return canvas.finish(rng)


def _tube_tv(rng: np.random.Generator, size: int) -> Image:
    canvas = Canvas(size, 100, 104)
    body = pick(
        rng,
        ((45.0, 75.0, 115.0), (60.0, 58.0, 56.0), (150.0, 155.0, 158.0), darker(vivid(rng), 0.25)),
    )
    antenna = bool(rng.uniform() < 0.7)
    top = 30.0 if antenna else 4.0
    if antenna:
        for x in (50 - rng.uniform(14, 30), 50 + rng.uniform(14, 30)):
            canvas.line(outline((50, top), (x, 4)), (120.0, 118.0, 116.0), 1.5)
            canvas.fill(ellipse(x, 4, 1.7), STEEL)
        canvas.fill(ellipse(50, top + 1, 9, 5), BLACK)
    for x in (16.0, 78.0):
        low = top + 64
        canvas.fill(outline((x, low), (x + 6, low), (x + 5, low + 7), (x + 1, low + 7)), BLACK)
    canvas.gradient(rounded(2, top, 98, top + 66, 7), lighter(body, 0.25), darker(body, 0.2))
    canvas.fill(rounded(6.5, top + 5, 75, top + 61, 10), darker(body, 0.6))
    screen = soften(rect(9, top + 7.5, 72.5, top + 58.5), 3)
    canvas.fill(screen, BLACK)
    _programme(rng, canvas, screen)
    for y in (top + 13, top + 28):
        canvas.fill(ellipse(86.5, y, 5.6), darker(body, 0.6))
        canvas.fill(ellipse(86.5, y, 4.4), STEEL)
        canvas.line(outline((86.5, y - 4), (86.5, y + 1)), BLACK, 1.2)
    for y in np.linspace(top + 40, top + 57, 6):
        canvas.line(outline((80, y), (93, y)), darker(body, 0.6), 1.1)
    return canvas.finish(rng)


def draw_tv(rng: np.random.Generator, size: int) -> Image:
    """A television; (h, w, 4) uint8 BGR + straight alpha, max(h, w) == size."""
    return _tube_tv(rng, size) if rng.uniform() < 0.25 else _flat_tv(rng, size)


# ---------------------------------------------------------------- clocks
def _dial(
    rng: np.random.Generator,
    canvas: Canvas,
    centre: tuple[float, float],
    radius: float,
    ink: Colour,
) -> None:
    """Ticks, perhaps numerals, and hands."""
    middle = np.array(centre)

    def at(hours: float, reach: float) -> Points:
        turn = np.radians(hours * 30.0)
        return middle + radius * reach * np.array([np.sin(turn), -np.cos(turn)])

    numerals = bool(rng.uniform() < 0.5)
    minutes = bool(rng.uniform() < 0.5)
    if minutes:
        for k in range(60):
            canvas.line(np.stack([at(k / 5, 0.92), at(k / 5, 0.97)]), ink, 0.014 * radius)
    for hour in range(1, 13):
        if numerals:
            cx, cy = at(hour, 0.75)
            tall = 0.105 * radius
            wide = tall * (0.75 if hour < 10 else 1.25)
            if hour in (1, 11):
                wide *= 0.6 if hour == 1 else 0.85
            canvas.text(str(hour), (cx - wide, cy - tall, cx + wide, cy + tall), ink, 12)
        else:
            strong = hour % 3 == 0
            start = 0.72 if strong else 0.8
            width = 0.085 if strong else 0.05
            canvas.line(np.stack([at(hour, start), at(hour, 0.92)]), ink, width * radius)
    hours, minute = rng.uniform(0, 12), rng.uniform(0, 12)
    canvas.line(np.stack([at(hours + 6, 0.1), at(hours, 0.5)]), ink, 0.095 * radius)
    canvas.line(np.stack([at(minute + 6, 0.12), at(minute, 0.76)]), ink, 0.06 * radius)
    if rng.uniform() < 0.6:
        second = rng.uniform(0, 12)
        tip = np.stack([at(second + 6, 0.2), at(second, 0.84)])
        canvas.line(tip, (35.0, 30.0, 205.0), 0.025 * radius)
    canvas.fill(ellipse(*centre, 0.065 * radius), ink)


def draw_clock(rng: np.random.Generator, size: int) -> Image:
    """An analogue clock; (h, w, 4) uint8 BGR + straight alpha, max(h, w) == size."""
    kind = rng.uniform()
    alarm, square = kind < 0.2, kind > 0.8
    rim = pick(
        rng,
        (BLACK, (60.0, 58.0, 58.0), STEEL, (45.0, 80.0, 130.0), (60.0, 160.0, 195.0), vivid(rng)),
    )
    cream, mist, night = (215.0, 238.0, 246.0), (235.0, 228.0, 220.0), (38.0, 36.0, 36.0)
    face = pick(rng, (WHITE, WHITE, cream, mist, night))
    ink = (30.0, 28.0, 28.0) if sum(face) > 380 else (240.0, 240.0, 240.0)
    top = 20.0 if alarm else 1.0
    width = rng.uniform(5.0, 9.0)
    canvas = Canvas(size, 100, 100 + (26 if alarm else 0))
    centre = (50.0, top + 49.0)
    if alarm:
        for sign in (-1, 1):
            leg = outline((50 + sign * 26, 100), (50 + sign * 38, 123))
            canvas.line(leg, darker(rim, 0.2), 6.0)
            bell = turned(ellipse(0, 0, 17, 15, 180, 360), sign * 32)
            bell = bell + np.array([50 + sign * 27, 19])
            canvas.gradient(bell, lighter(rim, 0.4), darker(rim, 0.15))
        canvas.line(outline((50, 22), (50, 6)), darker(rim, 0.3), 3.0)
        canvas.fill(rounded(43, 3, 57, 8, 2), darker(rim, 0.3))

    def frame(inset: float) -> Points:
        if square:
            return rounded(1 + inset, top + inset, 99 - inset, top + 98 - inset, 9 - 0.4 * inset)
        return ellipse(*centre, 49 - inset)

    canvas.gradient(frame(0), lighter(rim, 0.35), darker(rim, 0.2))
    canvas.gradient(frame(width * 0.75), darker(rim, 0.35), lighter(rim, 0.15))
    canvas.gradient(frame(width), darker(face, 0.1), face)
    _dial(rng, canvas, centre, 49 - width, ink)
    if rng.uniform() < 0.5:
        with canvas.clipped(frame(width)):
            glare = outline((10, top), (48, top), (12, top + 98), (-26, top + 98))
            canvas.tint(glare, WHITE, 0.14)
    return canvas.finish(rng, flip=False)
