"""Training pictures in the manner of the sample: landscapes with objects scattered over them.

The sample is wider than high, so the network sees it squeezed to a square; these are squeezed in
the same way. Landscapes and drawings have seeds of their own: none of the sample's is among them.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import cv2
import numpy as np

from ..contract import INPUT_SIZE
from .camera import photographed
from .canvas import Canvas, Image
from .landscape import HEIGHT, WIDTH, landscape
from .objects import category
from .sample import post
from .scenes import NAMES, Scene, cast_shadow, find_place, object_sprite, scene_of

STREAM: Final = 3
"""First number of every seed; training scenes begin with 1 or 2."""

SIDES: Final = (60, 680)
"""Longest side of an object, pixels of the 1600×1200 picture."""

_ON_POSTS: Final = frozenset({"clock", "stop sign", "traffic light"})

_MOST_HIDDEN: Final = 0.3
"""Largest share of an object's area that others may hide."""

_OVERLAP: Final = 0.15
"""How often an object is tried where it reaches over another."""

_SERVES: Final = 6
"""Scenes in a row that share a landscape, each another part of it: painting one takes a second."""

_SQUEEZE: Final = HEIGHT / WIDTH
"""Width of a thing in the network's square by its width in the landscape."""


def park_scene(seed: int, number: int, names: Sequence[str] = NAMES) -> Scene:
    """A scene of 1200×1200 pixels; a pure function of its arguments.

    ``names``: categories and variants, drawn from alike.
    """
    rng = np.random.Generator(np.random.PCG64((STREAM, seed, number)))
    canvas = Canvas(_ground(rng, _landscape(seed, number // _SERVES)))
    labels: list[str] = []
    count = int(rng.integers(8, 17))
    for side in sorted(SIDES[0] * (SIDES[1] / SIDES[0]) ** rng.random(count), reverse=True):
        name = names[int(rng.integers(len(names)))]
        sprite = object_sprite(rng, name, float(side))
        narrow = (max(2, round(_SQUEEZE * sprite.shape[1])), sprite.shape[0])
        sprite = np.asarray(cv2.resize(sprite, narrow, interpolation=cv2.INTER_AREA), np.uint8)
        place = find_place(rng, canvas, sprite, _MOST_HIDDEN, _OVERLAP)
        if place is None:
            continue
        x, y = place
        if name in _ON_POSTS and rng.random() < 0.6:
            _stand(rng, canvas, sprite, x, y)
        if rng.random() < 0.6:
            cast_shadow(rng, canvas, sprite, x, y)
        canvas.paint(sprite, x, y, is_object=True)
        labels.append(category(name))
    image = canvas.image if rng.random() < 0.5 else photographed(rng, canvas.image)
    return scene_of(canvas, image, labels)


@lru_cache(maxsize=2)
def _landscape(seed: int, number: int) -> Image:
    return landscape(np.random.Generator(np.random.PCG64((STREAM, seed, number, 1))))


def _ground(rng: np.random.Generator, painted: Image) -> Image:
    """A landscape, or a part of one, mirrored or not, squeezed to the network's square."""
    if rng.random() < 0.5:
        painted = painted[:, ::-1]
    share = rng.uniform(0.7, 1.0)
    height, width = round(share * HEIGHT), round(share * WIDTH)
    top, left = (int(rng.integers(0, 1 + most)) for most in (HEIGHT - height, WIDTH - width))
    part = np.ascontiguousarray(painted[top : top + height, left : left + width])
    square = cv2.resize(part, (INPUT_SIZE, INPUT_SIZE), interpolation=cv2.INTER_LINEAR)
    return np.asarray(square, np.uint8)


def _stand(rng: np.random.Generator, canvas: Canvas, sprite: Image, x: int, y: int) -> None:
    """A post under what hangs there; it covers no object that was painted before."""
    middle, top = x + sprite.shape[1] / 2, y + sprite.shape[0] / 2
    foot = min(canvas.size, y + sprite.shape[0] * rng.uniform(1.5, 4))
    width = float(np.clip(0.05 * sprite.shape[0], 4, 14))
    columns = slice(max(0, int(middle - width)), int(middle + width) + 1)
    below = canvas.owner[max(0, int(top)) : int(foot), columns]
    if top >= 0 and columns.stop <= canvas.size and not below.any():
        post(canvas, middle, top, foot, width)
