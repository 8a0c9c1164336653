"""Sports balls and kites."""

import itertools
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ..canvas import Image
from .canvas import Canvas
from .colours import BLACK, WHITE, Colour, darker, hsv, lighter, pick, vivid
from .outlines import Points, curve, ellipse, outline, turned

_BALL: Final = (1.0, 1.0, 99.0, 99.0)
"""The box that a ball fills: left, top, right, bottom in object units."""

_SKIN: Final = 240
"""Side in pixels of the picture that is stretched over a ball."""


# ---------------------------------------------------------------- balls
def _rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """(3, 3) uniformly random rotation."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    turn: NDArray[np.float64] = q * np.sign(np.diag(r))
    return turn


@lru_cache(maxsize=1)
def _icosahedron() -> tuple[NDArray[np.float64], list[list[int]]]:
    """The 12 unit corners and each corner's five neighbours."""
    golden = (1 + 5**0.5) / 2
    corners = []
    for a in (-1.0, 1.0):
        for b in (-golden, golden):
            corners += [(0.0, a, b), (a, b, 0.0), (b, 0.0, a)]
    unit = np.array(corners) / np.hypot(1.0, golden)
    near = unit @ unit.T
    return unit, [[j for j in range(12) if 0.1 < near[i, j] < 0.9] for i in range(12)]


def _on_ball(points: NDArray[np.float64]) -> Points:
    """Orthographic (n, 2) image of (n, 3) points, moved onto the unit sphere.

    Points on the far side land on the rim.
    """
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    flat = unit[:, :2]
    rim = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    image: Points = 50.0 + 49.0 * np.where(unit[:, 2:] < 0, rim, flat)
    return image


def _visible_runs(path: NDArray[np.float64]) -> list[Points]:
    """Front-facing pieces of an (n, 3) path on the unit sphere, as image outlines."""
    front = path[:, 2] > -0.02
    cuts = np.flatnonzero(np.diff(front.astype(np.int8))) + 1
    pieces = np.split(path, cuts)
    seen = [piece for piece in pieces if len(piece) > 1 and piece[0, 2] > -0.02]
    return [50.0 + 49.0 * piece[:, :2] for piece in seen]


def _soccer(rng: np.random.Generator, canvas: Canvas) -> None:
    base = pick(rng, (WHITE, WHITE, (225.0, 235.0, 240.0), (90.0, 235.0, 245.0)))
    patch = pick(rng, (BLACK, BLACK, BLACK, (130.0, 50.0, 20.0), (30.0, 30.0, 170.0)))
    canvas.fill(ellipse(50, 50, 49), base)
    unit, neighbours = _icosahedron()
    unit = unit @ _rotation(rng)
    with canvas.clipped(ellipse(50, 50, 49)):
        for i, corner in enumerate(unit):
            ring = [(2 * corner + unit[j]) / 3 for j in neighbours[i]]
            for j in neighbours[i]:
                ends = np.stack([(2 * corner + unit[j]) / 3, (corner + 2 * unit[j]) / 3])
                if j > i and ends[:, 2].min() > -0.1:
                    canvas.line(_on_ball(ends), (120.0, 118.0, 116.0), 1.3)
            if corner[2] < -0.25:
                continue
            side = np.cross(corner, ring[0])
            up = np.cross(corner, side)
            angle = [float(np.arctan2(p @ up, p @ side)) for p in ring]
            order = np.array([ring[k] for k in np.argsort(angle)])
            dense = np.concatenate(
                [np.linspace(a, b, 6) for a, b in zip(order, np.roll(order, -1, 0), strict=True)]
            )
            canvas.fill(_on_ball(dense), patch)


def _basketball(rng: np.random.Generator, canvas: Canvas) -> None:
    base: Colour = (rng.uniform(30, 50), rng.uniform(85, 115), rng.uniform(185, 220))
    canvas.fill(ellipse(50, 50, 49), base)
    turn = _rotation(rng)
    t = np.linspace(0.0, 2 * np.pi, 121)
    c, s = np.cos(t), np.sin(t)
    paths = [np.stack([c, s, 0 * t], 1), np.stack([c, 0 * t, s], 1)]
    for sign in (-1, 1):
        bow = np.stack([sign * (0.72 - 0.24 * np.cos(2 * t)), 0.85 * c, 0.85 * s], 1)
        paths.append(bow / np.linalg.norm(bow, axis=1, keepdims=True))
    with canvas.clipped(ellipse(50, 50, 49)):
        for path in paths:
            for run in _visible_runs(path @ turn):
                canvas.line(run, (28.0, 26.0, 30.0), 2.6)


def _tennis(rng: np.random.Generator, canvas: Canvas) -> None:
    canvas.fill(ellipse(50, 50, 49), hsv(rng.uniform(0.17, 0.22), rng.uniform(0.6, 0.8), 0.9))
    t = np.linspace(0.0, 2 * np.pi, 161)
    a, b = 0.75, 0.25
    path = np.stack(
        [
            a * np.cos(t) + b * np.cos(3 * t),
            a * np.sin(t) - b * np.sin(3 * t),
            2 * np.sqrt(a * b) * np.sin(2 * t),
        ],
        axis=1,
    )
    with canvas.clipped(ellipse(50, 50, 49)):
        for run in _visible_runs(path @ _rotation(rng)):
            canvas.line(run, (238.0, 245.0, 245.0), 4.5)


def _panelled(rng: np.random.Generator, canvas: Canvas, beach: bool) -> None:
    """Volleyball (six faces of three strips) or beach ball (coloured gores)."""
    axis = np.linspace(-1.0, 1.0, _SKIN)
    x, y = np.meshgrid(axis, axis)
    z = np.sqrt(np.clip(1.0 - x * x - y * y, 0.0, 1.0))
    u = np.stack([x, y, z], axis=2) @ _rotation(rng)
    if beach:
        strong = [vivid(rng) for _ in range(3)]
        palette = np.array([strong[0], WHITE, strong[1], WHITE, strong[2], WHITE, WHITE])
        gore = ((np.arctan2(u[..., 1], u[..., 0]) / (2 * np.pi) + 0.5) * 6).astype(int) % 6
        index = np.where(np.abs(u[..., 2]) > 0.97, 6, gore)
        skin = palette[index]
    else:
        sets: tuple[tuple[Colour, Colour, Colour], ...] = (
            (WHITE, WHITE, WHITE),
            ((60.0, 215.0, 245.0), (160.0, 75.0, 30.0), (60.0, 215.0, 245.0)),
            (WHITE, (150.0, 70.0, 30.0), (50.0, 200.0, 240.0)),
            (WHITE, (50.0, 45.0, 200.0), (80.0, 130.0, 40.0)),
        )
        palette = np.array(sets[int(rng.integers(len(sets)))])
        face = np.argmax(np.abs(u), axis=2)
        across = np.take_along_axis(u, ((face + 1) % 3)[..., None], axis=2)[..., 0]
        along = np.take_along_axis(u, face[..., None], axis=2)[..., 0]
        place = (across / np.maximum(np.abs(along), 1e-6) + 1) * 1.5
        skin = palette[np.clip(place.astype(int), 0, 2)]
        code = face * 8 + np.clip(place.astype(int), 0, 2) + 100 * (along > 0)
        seam = cv2.morphologyEx(code.astype(np.int16), cv2.MORPH_GRADIENT, np.ones((3, 3)))
        skin = np.where((np.asarray(seam) > 0)[..., None], skin * 0.45, skin)
    smooth = cv2.GaussianBlur(skin.astype(np.uint8), (3, 3), 0)
    canvas.fill(ellipse(50, 50, 49), WHITE)
    canvas.paste(_BALL, smooth)


def draw_sports_ball(rng: np.random.Generator, size: int) -> Image:
    """A sports ball; (h, w, 4) uint8 BGR + straight alpha, max(h, w) == size."""
    canvas = Canvas(size, 100, 100)
    kind = rng.uniform()
    gloss = 0.4
    if kind < 0.35:
        _soccer(rng, canvas)
    elif kind < 0.55:
        _basketball(rng, canvas)
        gloss = 0.15
    elif kind < 0.72:
        _tennis(rng, canvas)
        gloss = 0.08
    else:
        _panelled(rng, canvas, beach=kind > 0.86)
    canvas.ball_shade(_BALL, (rng.uniform(-0.5, 0.5), rng.uniform(-0.7, -0.3)), gloss, 0.5)
    return canvas.finish(rng)


# ---------------------------------------------------------------- kites
def _tail(
    rng: np.random.Generator, canvas: Canvas, start: tuple[float, float], length: float
) -> None:
    """Wavy string with bows hanging from `start`."""
    t = np.linspace(0.0, 1.0, 60)
    swing, phase = rng.uniform(4, 9), rng.uniform(0, 2 * np.pi)
    x = start[0] + swing * t * np.sin(phase + 7.0 * t)
    path = np.stack([x, start[1] + length * t], axis=1)
    canvas.line(path, (90.0, 90.0, 90.0), 1.0)
    count = max(2, round(length / 13))
    for k in range(1, count + 1):
        cx, cy = path[min(59, round(59 * k / count))]
        colour = vivid(rng)
        for side in (-1, 1):
            wing = outline((0, 0), (side * 5.5, -3), (side * 5.5, 3))
            canvas.fill(turned(wing, rng.uniform(-25, 25)) + np.array([cx, cy]), colour)


def _diamond_kite(rng: np.random.Generator, size: int) -> Image:
    long = rng.uniform(0, 46) if rng.uniform() < 0.8 else 0.0
    canvas = Canvas(size, 96, 80 + long + 10)
    tilt = rng.uniform(-22, 22)
    half, cross = rng.uniform(25, 33), rng.uniform(22, 32)
    middle = 48.0
    corners = outline((0, 2), (half, cross), (0, 76), (-half, cross), (0, cross))
    top, right, low, left, centre = turned(corners, tilt, (0.0, 40.0)) + np.array([middle, 4.0])
    first, second = vivid(rng), vivid(rng)
    four = (first, second, first, second)
    style = int(rng.integers(3))
    if style == 1:
        four = (first, vivid(rng), second, vivid(rng))
    elif style == 2:
        four = (first, first, second, second)
    if long > 8:
        _tail(rng, canvas, (float(low[0]), float(low[1])), long)
    quarters = ((top, right), (right, low), (low, left), (left, top))
    for index, (a, b) in enumerate(quarters):
        shade = darker(four[index], 0.14 if index in (0, 1) else 0.0)
        canvas.gradient(np.stack([a, b, centre]), lighter(shade, 0.15), darker(shade, 0.1))
    whole = np.stack([top, right, low, left])
    if style == 2 and rng.uniform() < 0.5:
        canvas.fill(centre + (whole - centre) * 0.45, lighter(first, 0.65))
    canvas.line(np.stack([top, low]), (60.0, 75.0, 95.0), 1.4)
    canvas.line(np.stack([left, right]), (60.0, 75.0, 95.0), 1.4)
    canvas.line(whole, darker(first, 0.45), 1.0, closed=True)
    return canvas.finish(rng)


def _delta_kite(rng: np.random.Generator, size: int) -> Image:
    canvas = Canvas(size, 110, 92)
    tilt = rng.uniform(-16, 16)
    drop, belly = rng.uniform(40, 52), rng.uniform(34, 42)
    streamers = int(rng.integers(0, 4))
    base = np.array([55.0, 12.0])

    def at(*points: tuple[float, float]) -> Points:
        moved: Points = turned(outline(*points), tilt, (0.0, 25.0)) + base
        return moved

    first, second, third = vivid(rng), vivid(rng), vivid(rng)
    for k in range(streamers):
        x = (k - (streamers - 1) / 2) * 7.0
        sway = rng.uniform(-9, 9)
        ribbon = curve((x, belly - 2), (x + sway, belly + 16), (x - sway * 0.6, belly + 34))
        canvas.line(at(*[(float(a), float(b)) for a, b in ribbon]), vivid(rng), 2.6)
    for sign, shade in ((-1, 0.0), (1, 0.16)):
        for share, colour in ((1.0, first), (0.66, second), (0.34, third)):
            wing = at((0, 0), (sign * 48 * share, drop * share), (0, belly))
            tone = darker(colour, shade)
            canvas.gradient(wing, lighter(tone, 0.18), darker(tone, 0.1))
    canvas.line(at((0, 0), (0, belly)), (55.0, 60.0, 70.0), 1.5)
    canvas.line(at((-24, drop / 2), (24, drop / 2)), (55.0, 60.0, 70.0), 1.2)
    canvas.line(at((-48, drop), (0, 0), (48, drop)), darker(first, 0.5), 1.2)
    return canvas.finish(rng)


def draw_foil_kite(rng: np.random.Generator, size: int) -> Image:
    """Inflated arc kite with lines running down to one point."""
    canvas = Canvas(size, 104, 88)
    cells = int(rng.integers(6, 11))
    thick, bend = rng.uniform(0.62, 0.74), rng.uniform(30, 42)
    angle = np.linspace(188, 352, cells + 1)
    first, second = vivid(rng), pick(rng, (WHITE, vivid(rng), BLACK))
    foot = (52 + rng.uniform(-8, 8), 66.0)
    for degrees in angle[:: max(1, cells // 4)]:
        rim = ellipse(52, bend + 4, 50 * thick, bend * thick, degrees, degrees + 1)[0]
        canvas.line(outline((float(rim[0]), float(rim[1])), foot), (110.0, 110.0, 110.0), 0.6)
    for index, (low, high) in enumerate(itertools.pairwise(angle)):
        outer = ellipse(52, bend + 4, 50, bend, low, high)
        inner = ellipse(52, bend + 4, 50 * thick, bend * thick, high, low)
        colour = first if index % 2 == 0 else second
        cell = np.concatenate([outer, inner])
        canvas.gradient(cell, lighter(colour, 0.2), darker(colour, 0.18))
        canvas.line(cell, darker(first, 0.5), 0.6, closed=True)
    return canvas.finish(rng)


def draw_kite(rng: np.random.Generator, size: int) -> Image:
    """A kite; (h, w, 4) uint8 BGR + straight alpha, max(h, w) == size."""
    kind = rng.uniform()
    if kind < 0.55:
        return _diamond_kite(rng, size)
    return _delta_kite(rng, size) if kind < 0.85 else draw_foil_kite(rng, size)
