"""The geometry of the plots of a page: numbers to the coordinates of an SVG."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .coco import RECALLS, UNDEFINED

WIDTH: Final = 360
HEIGHT: Final = 270
"""Units of the plot: as wide as a phone, so that its text is never drawn small."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 38, 8, 8, 38


@dataclass(frozen=True)
class Tick:
    """A line of the grid at ``place``, and what it stands for."""

    place: float
    text: str


@dataclass(frozen=True)
class Line:
    """``points`` as an SVG polyline takes them; ``style`` 0 is the thick one, 1.. the colours;
    ``sampled`` is precision at the plot's ``sampled_at``, for a table."""

    label: str
    style: int
    points: str
    sampled: tuple[float, ...]


@dataclass(frozen=True)
class Plot:
    """Recall to the right and precision upwards, both 0..1."""

    lines: tuple[Line, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    sampled_at: tuple[float, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def recall_plot(curves: Iterable[tuple[str, NDArray[np.float64]]], first: int = 0) -> Plot:
    """Precision over recall: a label and float64 (101,) at ``RECALLS``, 0..1, for each curve.

    ``first`` is the style of the first one.
    """
    ticks = (0.0, 0.25, 0.5, 0.75, 1.0)
    tenths = np.arange(0, len(RECALLS), 10)
    return Plot(
        tuple(
            Line(label, style, _points(curve), tuple(float(v) for v in curve[tenths]))
            for style, (label, curve) in enumerate(curves, first)
        ),
        tuple(Tick(_x(value), f"{value:g}") for value in ticks),
        tuple(Tick(_y(value), f"{value:g}") for value in ticks),
        tuple(float(v) for v in RECALLS[tenths]),
    )


def mean_curve(curves: Sequence[NDArray[np.float64]]) -> NDArray[np.float64] | None:
    """Mean over the curves, float64 (recalls,), that are defined; None without any.

    As AP50 is the mean over classes.
    """
    defined = [curve for curve in curves if curve.max(initial=UNDEFINED) > UNDEFINED]
    return np.mean(defined, axis=0) if defined else None


def shade(share: float) -> int:
    """0..10: how dark a cell of a table is; 0 for nothing at all, else at least 1."""
    return min(10, max(1, round(10 * share))) if share > 0 else 0


def _points(curve: NDArray[Any]) -> str:
    places = zip(RECALLS.tolist(), curve.tolist(), strict=True)
    return " ".join(f"{_x(recall):.1f},{_y(precision):.1f}" for recall, precision in places)


def _x(value: float) -> float:
    return _LEFT + value * (WIDTH - _LEFT - _RIGHT)


def _y(value: float) -> float:
    return _TOP + (1 - value) * (HEIGHT - _TOP - _BOTTOM)
