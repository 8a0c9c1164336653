"""The lakeside park of the sample picture, before any object stands in it.

Every painter works in place on an ``(h, w, 3)`` float32 BGR picture of levels 0..255.  Nothing
here is round, framed or lettered, so that a detector has nothing to mistake for an object.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from .backgrounds import Colour, field

Picture = NDArray[np.float32]

WIDTH: Final = 1600
HEIGHT: Final = 1200
"""Of the picture, pixels."""

HORIZON: Final = 500
"""Row of the far shore."""

BANK: Final = 648
"""Row where the lake ends and the far lawn begins."""

ROAD: Final = (738, 908)
"""Rows of the far and the near edge of the road."""


def _noise(rng: np.random.Generator, across: float, down: float, octaves: int) -> Picture:
    """Smooth noise of ``(HEIGHT, WIDTH)`` around 0, mostly within -1..1."""
    square = field(rng, WIDTH, (across, down), octaves)[:HEIGHT]
    return np.asarray((square.astype(np.float32) - 128) / 64, np.float32)


def _ramp(values: Picture, low: float, high: float) -> Picture:
    """Smoothly 0 below ``low`` and 1 above ``high``."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)


def _blend(picture: Picture, colour: Colour | Picture, share: Picture) -> None:
    """Move the picture towards a colour or another picture by an ``(h, w)`` share of 0..1."""
    tone = np.asarray(colour, np.float32)
    picture += share[:, :, None] * (tone - picture)


def _gradient(rows: Picture, colours: tuple[tuple[float, Colour], ...]) -> Picture:
    """Colours at rows, interpolated: ``(n,)`` to ``(n, 3)``."""
    stops = [stop for stop, _ in colours]
    planes = [
        np.interp(rows, stops, [tone[channel] for _, tone in colours]) for channel in (0, 1, 2)
    ]
    return np.stack(planes, axis=1).astype(np.float32)


def _filled(points: NDArray[np.float64], height: int = HEIGHT, width: int = WIDTH) -> Picture:
    """Share of every pixel inside an ``(n, 2)`` outline of x, y, its edge antialiased."""
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return np.asarray(mask / 255, np.float32)


def _fill(picture: Picture, points: NDArray[np.float64], colour: Colour, share: float) -> None:
    """Fill a small outline, looking at no more of the picture than it covers."""
    low = np.maximum(np.floor(points.min(axis=0)).astype(int) - 2, 0)
    high = np.maximum(np.ceil(points.max(axis=0)).astype(int) + 3, low)
    part = picture[low[1] : high[1], low[0] : high[0]]
    if part.size:
        _blend(part, colour, share * _filled(points - low, part.shape[0], part.shape[1]))


def _sky(rng: np.random.Generator, picture: Picture) -> None:
    """A clear afternoon with fair-weather clouds and a warm glow low on the left."""
    rows = np.arange(HEIGHT, dtype=np.float32)
    tones = (
        (0.0, (206.0, 142.0, 74.0)),
        (260.0, (228.0, 188.0, 136.0)),
        (500.0, (228.0, 226.0, 218.0)),
    )
    picture[:] = _gradient(rows, tones)[:, None]
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    glow = np.exp(-(((x - 120) / 760) ** 2) - ((y - 470) / 300) ** 2)
    _blend(picture, (186.0, 224.0, 252.0), np.asarray(0.62 * glow, np.float32))
    puffs = _noise(rng, 5, 13, 5) + 0.25 * _noise(rng, 26, 44, 3)
    # The same puffs a little lower: where those are thicker, this side looks at the light.
    lower = np.roll(puffs, -14, axis=0)
    height = np.interp(rows, (0, 90, 330, 470), (0.15, 0.9, 0.75, 0.0)).astype(np.float32)
    cover = _ramp(puffs, 0.30, 1.05) * height[:, None]
    lit = _ramp(lower - puffs, -0.35, 0.35)[:, :, None]
    white = np.asarray((252, 252, 253), np.float32)
    grey = np.asarray((226, 214, 204), np.float32)
    _blend(picture, np.asarray(grey + lit * (white - grey), np.float32), 0.92 * cover)


def _ridge(
    rng: np.random.Generator, level: float, relief: float, folds: tuple[float, ...], rough: float
) -> NDArray[np.float64]:
    """Outline of a range of hills standing on the far shore."""
    x = np.arange(-4.0, WIDTH + 8, 4)
    rise = np.zeros_like(x)
    for fold in folds:
        rise += np.sin(2 * np.pi * fold * x / WIDTH + rng.uniform(0, 6.3)) / fold**0.8
    y = level - relief * rise / len(folds) - rough * rng.random(x.size)
    ends = [[WIDTH + 8.0, HORIZON + 2.0], [-8.0, HORIZON + 2.0]]
    return np.concatenate([np.stack([x, np.minimum(y, HORIZON - 3)], axis=1), ends])


def _hills(rng: np.random.Generator, picture: Picture) -> None:
    """Four ranges, each nearer one darker, greener and less hazy."""
    rows = np.arange(HEIGHT, dtype=np.float32)
    ranges = (
        (368.0, 62.0, (1.3, 2.9, 6.1), 2.0, (204.0, 186.0, 160.0), (222.0, 214.0, 200.0)),
        (418.0, 44.0, (1.1, 2.3, 5.2), 1.5, (178.0, 164.0, 126.0), (206.0, 202.0, 178.0)),
        (452.0, 30.0, (0.9, 2.6, 4.3), 2.0, (136.0, 146.0, 100.0), (170.0, 182.0, 142.0)),
        (482.0, 18.0, (1.4, 3.1, 7.0), 7.0, (78.0, 112.0, 74.0), (104.0, 142.0, 104.0)),
    )
    folds = _noise(rng, 14, 20, 3)
    for level, relief, waves, rough, top, foot in ranges:
        shape = _filled(_ridge(rng, level, relief, waves, rough))
        tone = _gradient(rows, ((level - relief, top), (float(HORIZON), foot)))[:, None]
        _blend(picture, np.asarray(tone * (1 + 0.035 * folds[:, :, None]), np.float32), shape)


def _lake(rng: np.random.Generator, picture: Picture) -> None:
    """Still water: the far side upside down, broken by ripples that widen towards the viewer."""
    rows = np.arange(HORIZON, BANK + 30)
    depth = (rows - HORIZON).astype(np.float32)
    ripple = _noise(rng, 16, 150, 2)[rows]
    y, x = np.meshgrid(depth, np.arange(WIDTH, dtype=np.float32), indexing="ij")
    mirror_y = HORIZON - 1 - y * 1.25 + ripple * (1 + y / 11)
    mirror_x = x + ripple * (2 + y / 18)
    mirrored = cv2.remap(
        picture.copy(),
        mirror_x.astype(np.float32),
        np.clip(mirror_y, 0, HORIZON - 1).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )
    water: Picture = np.asarray(mirrored, np.float32)
    deep = np.interp(depth, (0, 150), (0.18, 0.5)).astype(np.float32)
    _blend(water, (158.0, 124.0, 66.0), np.repeat(deep[:, None], WIDTH, axis=1))
    glints = _ramp(_noise(rng, 12, 170, 2)[rows], 0.95, 1.7) * _ramp(y, 4, 60)
    _blend(water, (246.0, 240.0, 228.0), 0.45 * glints)
    shore = np.exp(-depth / 5).astype(np.float32)
    _blend(water, (84.0, 104.0, 74.0), np.repeat(0.6 * shore[:, None], WIDTH, axis=1))
    picture[rows] = water


def _lawn(rng: np.random.Generator, picture: Picture) -> None:
    """Grass from the lake to the viewer; the road is laid over it."""
    x = np.arange(0.0, WIDTH + 20, 20)
    edge = BANK + 7 * np.sin(x / 210) + 4 * np.sin(x / 83 + 1)
    shape = np.concatenate([np.stack([x, edge], 1), [[WIDTH, HEIGHT], [0, HEIGHT]]])
    rows = np.arange(HEIGHT, dtype=np.float32)
    tone = _gradient(
        rows,
        (
            (float(BANK), (92.0, 176.0, 142.0)),
            (float(ROAD[0]), (70.0, 158.0, 118.0)),
            (float(ROAD[1]), (62.0, 158.0, 112.0)),
            (float(HEIGHT), (38.0, 118.0, 72.0)),
        ),
    )[:, None]
    near = _ramp(rows, 640, 1200)[:, None]
    broad = _noise(rng, 7, 26, 3)
    fine = _noise(rng, 90, 150, 2)
    light = 1 + 0.055 * broad + (0.02 + 0.05 * near) * fine
    _blend(picture, (134.0, 186.0, 190.0), _filled(shape - np.array([0, 3])))
    _blend(picture, np.asarray(tone * light[:, :, None], np.float32), _filled(shape))


def _tree(rng: np.random.Generator, picture: Picture, x: float, foot: float, tall: float) -> None:
    """A slender conifer in three tones of green, its left side in the light."""
    trunk = np.array([[-0.02, 0], [0.02, 0], [0.02, -0.2], [-0.02, -0.2]]) * tall + [x, foot]
    _fill(picture, trunk, (48.0, 66.0, 84.0), 1.0)
    tiers = 7
    for tier in range(tiers):
        low = -0.1 - 0.9 * tier / tiers
        half = 0.21 * (1 - tier / tiers) ** 0.85 + 0.025
        top = low - 0.3 * (1 - 0.35 * tier / tiers)
        sway = rng.uniform(-0.012, 0.012)
        outline = np.array(
            [[sway, max(top, -1.0)], [half, low], [half * 0.4, low - 0.02], [0, low + 0.02],
             [-half * 0.5, low - 0.015], [-half, low]]
        )  # fmt: skip
        shade = 0.72 + 0.5 * tier / tiers
        dark = (52.0 * shade, 92.0 * shade, 50.0 * shade)
        _fill(picture, outline * tall + [x, foot], dark, 1.0)
        lit = outline[[0, 3, 4, 5]] * tall + [x, foot]
        bright = (66.0 * shade, 124.0 * shade, 78.0 * shade)
        _fill(picture, lit, bright, 0.85)


def _trees(rng: np.random.Generator, picture: Picture) -> None:
    """Conifers in loose groups on the far lawn, their shadows to the right."""
    groups = (
        (26, 704, 150), (262, 700, 92), (300, 706, 126), (350, 698, 80),
        (1196, 696, 92), (1232, 702, 70), (1408, 700, 84), (1562, 704, 186), (1602, 706, 140),
    )  # fmt: skip
    for x, foot, tall in groups:
        rows, columns = slice(foot - 24, foot + 24), slice(max(0, x - tall), x + tall)
        part = picture[rows, columns]
        y, column = np.mgrid[rows, columns.start : columns.start + part.shape[1]]
        spot = np.exp(-(((column - x - 0.16 * tall) / (0.3 * tall)) ** 2) - ((y - foot) / 7) ** 2)
        _blend(part, (30.0, 74.0, 50.0), np.asarray(0.55 * spot, np.float32))
        _tree(rng, picture, x, foot, tall)


def _road(rng: np.random.Generator, picture: Picture) -> None:
    """Asphalt across the whole picture between pale kerbs, with a broken centre line."""
    top, low = ROAD
    rows = np.arange(HEIGHT, dtype=np.float32)
    share = np.zeros((HEIGHT, WIDTH), np.float32)
    share[top:low] = 1
    tone = _gradient(rows, ((float(top), (132.0, 124.0, 120.0)), (float(low), (104.0, 97.0, 94.0))))
    grain = 1 + 0.025 * _noise(rng, 40, 60, 3) + 0.02 * _noise(rng, 6, 40, 2)
    _blend(picture, np.asarray(tone[:, None] * grain[:, :, None], np.float32), share)
    for first, last, colour in (
        (top - 7, top - 2, (188.0, 196.0, 200.0)),
        (top - 2, top + 1, (112.0, 118.0, 122.0)),
        (low, low + 9, (190.0, 198.0, 204.0)),
        (low + 9, low + 17, (132.0, 140.0, 146.0)),
    ):
        picture[first:last] = colour
    middle = 817.0
    for start in range(-60, WIDTH, 168):
        dash = np.array([[4.0, -3.0], [92.0, -3.0], [88.0, 4.0], [0.0, 4.0]])
        _fill(picture, dash + np.array([start, middle]), (226.0, 234.0, 236.0), 0.9)


def _path(rng: np.random.Generator, picture: Picture) -> None:
    """A gravel path that winds from the kerb to the lower right corner."""
    t = np.linspace(0, 1, 60)
    centre = 1330 - 70 * np.sin(2.6 * t) + 180 * t**2.2
    half = 34 + 92 * t**1.3
    y = ROAD[1] + 17 + t * (HEIGHT - ROAD[1] - 15)
    left, right = np.stack([centre - half, y], 1), np.stack([centre + half, y], 1)
    outline = np.concatenate([left, right[::-1]])
    grain = 1 + 0.03 * _noise(rng, 60, 90, 2)
    rim = np.asarray(cv2.GaussianBlur(_filled(outline), (0, 0), 7), np.float32)
    _blend(picture, (58.0, 120.0, 96.0), 0.8 * rim)
    gravel = np.asarray((158.0, 190.0, 208.0) * grain[:, :, None], np.float32)
    _blend(picture, gravel, _filled(outline))


def _meadow(rng: np.random.Generator, picture: Picture) -> None:
    """Blades of grass and small flowers, larger towards the viewer."""
    flat = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    gravel = picture[:, :, 2] > 140
    count = 1500
    depth = np.sort(rng.random(count) ** 0.8)
    feet = np.stack([rng.uniform(0, WIDTH, count), 940 + 256 * depth], 1)
    lean, tone = rng.normal(0, 3.0, count), rng.uniform(0.72, 1.3, count)
    kinds = ((250.0, 252.0, 252.0), (96.0, 214.0, 250.0), (196.0, 150.0, 232.0))
    beds = _noise(rng, 6, 12, 2)
    for (x, y), near, bend, light in zip(feet, depth, lean, tone, strict=True):
        if gravel[min(int(y), HEIGHT - 1), min(int(x), WIDTH - 1)]:
            continue
        tall = 5 + 13 * near
        blade = tuple(part * light for part in (52.0, 142.0, 94.0))
        tip = (round(16 * (x + bend * (0.5 + near))), round(16 * (y - tall)))
        foot = (round(16 * x), round(16 * y))
        cv2.line(flat, foot, tip, blade, 1 + int(near > 0.6), cv2.LINE_AA, 4)
        if light > 1.13 and beds[int(y) - 1, int(x)] > 0.25:
            petal = kinds[int(rng.integers(len(kinds)))]
            cv2.circle(flat, tip, round(16 * (1.4 + 2.0 * near)), petal, -1, cv2.LINE_AA, 4)
    picture[:] = flat


def landscape(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Paint sky, hills, lake, lawn, trees, road and path; ``(1200, 1600, 3)`` uint8 BGR."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for painter in (_sky, _hills, _lake, _lawn, _trees, _road, _path, _meadow):
        painter(rng, picture)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
