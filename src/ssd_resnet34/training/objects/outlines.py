"""The outlines of drawn objects: (n, 2) float64 x, y in object units, y down."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Points: TypeAlias = NDArray[np.float64]


def outline(*points: tuple[float, float]) -> Points:
    """(n, 2) float64 outline from x, y pairs."""
    return np.array(points, dtype=np.float64)


def rect(x0: float, y0: float, x1: float, y1: float) -> Points:
    """(4, 2) axis-aligned rectangle."""
    return outline((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def ellipse(
    cx: float, cy: float, rx: float, ry: float | None = None, start: float = 0.0, end: float = 360.0
) -> Points:
    """(n, 2) points of an ellipse arc; angles in degrees, clockwise from +x."""
    angle = np.radians(np.linspace(start, end, 73))
    return np.stack([cx + rx * np.cos(angle), cy + (ry or rx) * np.sin(angle)], axis=1)


def rounded(x0: float, y0: float, x1: float, y1: float, radius: float) -> Points:
    """(n, 2) rectangle with rounded corners."""
    r = min(radius, (x1 - x0) / 2, (y1 - y0) / 2)
    left, right, top, bottom = x0 + r, x1 - r, y0 + r, y1 - r
    corners = ((right, bottom, 0), (left, bottom, 90), (left, top, 180), (right, top, 270))
    return np.concatenate([ellipse(cx, cy, r, r, a, a + 90)[::8] for cx, cy, a in corners])


def soften(points: Points, rounds: int = 2) -> Points:
    """Closed outline with its corners cut off `rounds` times (Chaikin)."""
    for _ in range(rounds):
        following = np.roll(points, -1, axis=0)
        pair = np.stack([0.8 * points + 0.2 * following, 0.2 * points + 0.8 * following], axis=1)
        points = pair.reshape(-1, 2)
    return points


def curve(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> Points:
    """(25, 2) quadratic Bezier curve from `a` to `c` pulled towards `b`."""
    t = np.linspace(0.0, 1.0, 25)[:, None]
    path: Points = (1 - t) ** 2 * np.array(a) + 2 * t * (1 - t) * np.array(b) + t**2 * np.array(c)
    return path


def turned(points: Points, degrees: float, centre: tuple[float, float] = (0.0, 0.0)) -> Points:
    """`points` rotated about `centre`."""
    s, c = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    turn = np.array([[c, s], [-s, c]])
    moved: Points = (points - np.array(centre)) @ turn + np.array(centre)
    return moved
