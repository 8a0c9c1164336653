"""Drawn stand-ins for twelve COCO categories, as cut-outs with alpha.

Every drawer takes a random generator and a size in pixels and returns an (h, w, 4) uint8
array, BGR plus straight alpha, upright, tightly cropped, with max(h, w) == size.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .play import draw_foil_kite, draw_kite, draw_sports_ball
from .street import draw_bench, draw_stop_sign, draw_traffic_light, draw_umbrella
from .things import draw_clock, draw_orange, draw_tv
from .vehicles import draw_boat, draw_bus, draw_car

Drawer: TypeAlias = Callable[[np.random.Generator, int], NDArray[np.uint8]]

DRAWERS: dict[str, Drawer] = {
    "car": draw_car,
    "bus": draw_bus,
    "boat": draw_boat,
    "traffic light": draw_traffic_light,
    "stop sign": draw_stop_sign,
    "bench": draw_bench,
    "umbrella": draw_umbrella,
    "sports ball": draw_sports_ball,
    "kite": draw_kite,
    "orange": draw_orange,
    "tv": draw_tv,
    "clock": draw_clock,
}

VARIANTS: dict[str, tuple[str, Drawer]] = {"foil kite": ("kite", draw_foil_kite)}
"""Drawings that their category shows rarely, by a name of their own: category and drawer."""


def drawer(name: str) -> Drawer:
    """Of a category, or of a variant alone."""
    return VARIANTS[name][1] if name in VARIANTS else DRAWERS[name]


def category(name: str) -> str:
    """Of a variant: what it is one of; a category is its own."""
    return VARIANTS[name][0] if name in VARIANTS else name


__all__ = ["DRAWERS", "VARIANTS", "Drawer", "category", "drawer"]
