"""Rendered scenes: labelled drawings on a painted background, with exact boxes.

A scene is a pure function of its seed.  Larger objects are painted before smaller ones, and a new
sprite goes only where every object painted before keeps its promised visible share.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from .backgrounds import background
from .camera import photographed
from .canvas import (
    Canvas,
    Image,
    Pose,
    bounds,
    posed,
    premultiplied,
    recoloured,
    solid,
)
from .distractors import distractor
from .objects import DRAWERS, drawer

NAMES: Final = tuple(sorted(DRAWERS))
NEVER_MIRRORED: Final = frozenset({"stop sign", "clock"})
FREELY_TURNED: Final = frozenset({"sports ball", "orange", "kite"})
TRUE_COLOURED: Final = frozenset({"stop sign", "orange", "traffic light"})
"""Categories told by their colour, whose hue is hardly changed."""

_LARGEST_DRAWING: Final = 640
"""Larger objects are drawn at this side, in pixels, and enlarged: time grows with the area."""

_SMALLEST_DRAWING: Final = 96
"""Smaller objects are drawn at this side, in pixels, and averaged down, as a lens would do."""

_MOST_OUTSIDE: Final = 0.25
"""Largest share of an object's area that may lie beyond the image border."""


@dataclass(frozen=True)
class Scene:
    """One rendered picture and what is in it."""

    image: NDArray[np.uint8]
    """``(size, size, 3)`` uint8 BGR."""

    boxes: NDArray[np.float32]
    """``(n, 4)`` left, top, right, bottom in pixels, tight around each object's own alpha as if
    nothing covered it, clipped to the image; right and bottom are pixel edges (exclusive)."""

    labels: tuple[str, ...]
    """``n`` COCO names, in painting order."""

    visible: NDArray[np.float32]
    """``(n,)`` share of the object's own in-image area that nothing painted later covers."""


def scene_of(canvas: Canvas, image: Image, labels: Sequence[str]) -> Scene:
    """The objects of a canvas, ``labels`` in painting order, in what its picture has become."""
    visible = np.asarray(canvas.seen, np.float64) / np.asarray(canvas.areas, np.float64)
    return Scene(
        image=np.ascontiguousarray(image),
        boxes=np.asarray(canvas.boxes, np.float32).reshape(-1, 4),
        labels=tuple(labels),
        visible=visible.astype(np.float32),
    )


def annotation(
    number: int, image_id: int, category_id: int, box: Sequence[float]
) -> dict[str, Any]:
    """An object as a COCO file has it.

    ``box`` is left, top, right, bottom in pixels; ``area`` is that of the box, as scenes carry no
    outline.
    """
    left, top, right, bottom = map(float, box)
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [left, top, right - left, bottom - top],
        "area": (right - left) * (bottom - top),
        "iscrowd": 0,
    }


def _sides(rng: np.random.Generator, count: int, low: float, high: float, size: int) -> list[float]:
    """Longest sides in pixels, descending: usually one or two large, the rest spread by octave.

    The exponent thins out the smallest octave: a quarter of a scene under 50 pixels would make the
    set a test of what the smallest prior (84 pixels) cannot hold.
    """
    high = min(high, 0.75 * size)
    low = min(low, high)
    split = min(max(low, size / 3), high)
    large = int(rng.choice(3, p=(0.1, 0.55, 0.35))) if split < high else 0
    large = min(large, count)
    rest = count - large
    places = (np.arange(rest) + rng.random(rest)) / max(rest, 1)
    sides = [*(split * (high / split) ** rng.random(large)), *(low * (split / low) ** places**0.65)]
    return sorted((float(side) for side in sides), reverse=True)


def _object_pose(rng: np.random.Generator, name: str) -> Pose:
    spread = rng.uniform(-15, 15) if rng.random() < 0.85 else rng.uniform(-45, 45)
    if name in FREELY_TURNED:
        spread = rng.uniform(-180, 180) if name == "kite" else rng.uniform(-60, 60)
    tilt = rng.uniform(-0.12, 0.12, 2)
    return Pose(
        angle=float(spread),
        shear=float(rng.uniform(-0.12, 0.12)),
        tilt=(float(tilt[0]), float(tilt[1])),
        aspect=float(np.exp(rng.uniform(math.log(0.85), math.log(1.15)))),
        mirrored=name not in NEVER_MIRRORED and bool(rng.random() < 0.5),
    )


def _blurred(rng: np.random.Generator, sprite: Image) -> Image:
    """Blur a sprite lightly, evenly or along a line; grows it by the blur's reach."""
    reach = int(np.clip(0.03 * max(sprite.shape[:2]), 1, 5))
    sprite = np.asarray(
        cv2.copyMakeBorder(sprite, reach, reach, reach, reach, cv2.BORDER_CONSTANT), np.uint8
    )
    if rng.random() < 0.5:
        kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.uint8)
        angle = rng.uniform(0, math.pi)
        step = (round(reach * math.cos(angle)), round(reach * math.sin(angle)))
        cv2.line(kernel, (reach - step[0], reach - step[1]), (reach + step[0], reach + step[1]), 1)
        line = kernel.astype(np.float32) / kernel.sum()
        return np.asarray(cv2.filter2D(sprite, -1, line), np.uint8)
    side = 2 * reach + 1
    return np.asarray(cv2.GaussianBlur(sprite, (side, side), reach / 2.5), np.uint8)


def _drawn_side(side: float) -> int:
    """Pixels that something of ``side`` pixels in the scene is drawn at."""
    return round(min(max(side, _SMALLEST_DRAWING), _LARGEST_DRAWING))


def object_sprite(rng: np.random.Generator, name: str, side: float) -> Image:
    """Draw one object whose solid part is ``side`` pixels along its longer side."""
    sprite = premultiplied(drawer(name)(rng, _drawn_side(side)))
    hue = rng.normal(0, 3 if name in TRUE_COLOURED else 8)
    gain = float(np.exp(np.clip(rng.normal(0, 0.17), -0.45, 0.35)))
    sprite = recoloured(sprite, hue, gain, rng.uniform(-18, 18))
    sprite = posed(sprite, side, _object_pose(rng, name))
    return _blurred(rng, sprite) if rng.random() < 0.15 else sprite


def _anywhere(
    rng: np.random.Generator, canvas: Canvas, sprite: Image, *, cut: bool
) -> tuple[int, int]:
    """A corner such that the sprite lies in the image, or with ``cut`` crosses one border."""
    lengths = (sprite.shape[1], sprite.shape[0])
    place = [int(rng.integers(0, max(1, canvas.size - length + 1))) for length in lengths]
    if cut:
        axis = int(rng.integers(2))
        over = round(rng.uniform(0.04, 0.28) * lengths[axis])
        place[axis] = -over if rng.random() < 0.5 else canvas.size - lengths[axis] + over
    return place[0], place[1]


def _beside(rng: np.random.Generator, canvas: Canvas, sprite: Image) -> tuple[int, int]:
    """A corner such that the sprite reaches over an edge of some object already painted."""
    left, top, right, bottom = canvas.boxes[int(rng.integers(len(canvas.boxes)))]
    angle = rng.uniform(0, 2 * math.pi)
    share = rng.uniform(0.55, 0.95)
    reach_x = (right - left + sprite.shape[1]) / 2 * share * math.cos(angle)
    reach_y = (bottom - top + sprite.shape[0]) / 2 * share * math.sin(angle)
    x = (left + right - sprite.shape[1]) / 2 + reach_x
    y = (top + bottom - sprite.shape[0]) / 2 + reach_y
    return round(x), round(y)


def find_place(
    rng: np.random.Generator, canvas: Canvas, sprite: Image, max_occlusion: float, overlap: float
) -> tuple[int, int] | None:
    """Look for a corner where the sprite is mostly in the image and hides no object too much.

    With probability ``overlap`` the first tries aim at another object; otherwise they want to
    touch none.  The last tries take whatever the visibility rule allows.
    """
    mask = solid(sprite)
    area = int(cv2.countNonZero(mask))
    if area == 0:
        return None
    aimed = bool(canvas.boxes) and rng.random() < overlap
    cut = min(sprite.shape[:2]) > 0.05 * canvas.size and rng.random() < 0.2
    for attempt in range(14):
        if aimed and attempt < 8:
            x, y = _beside(rng, canvas, sprite)
        else:
            x, y = _anywhere(rng, canvas, sprite, cut=cut and attempt < 10)
        hidden = canvas.hidden_by(mask, x, y)
        if hidden.sum() < (1 - _MOST_OUTSIDE) * area:
            continue
        if not aimed and attempt < 10 and hidden[1:].sum() > 0.02 * area:
            continue
        if canvas.tolerates(hidden, max_occlusion):
            return x, y
    return None


def _longest(mask: Image) -> int:
    """Longest side in pixels of the box around the non-zero part of a mask."""
    left, top, right, bottom = bounds(mask)
    return max(right - left, bottom - top)


def _add_object(
    rng: np.random.Generator,
    canvas: Canvas,
    name: str,
    side: float,
    sides: tuple[float, float],
    max_occlusion: float,
) -> bool:
    """Paint one object, smaller if it does not fit; say whether a place was found."""
    sprite = object_sprite(rng, name, side)
    # Blur and clipping must not leave an object smaller than the scene promises.
    for _ in range(4):
        mask = solid(sprite)
        if _longest(mask) < sides[0]:
            break
        place = find_place(rng, canvas, sprite, max_occlusion, 0.25)
        if place is not None:
            x, y = place
            _, _, rows, columns = canvas.window(x, y, mask.shape[1], mask.shape[0])
            if _longest(np.ascontiguousarray(mask[rows, columns])) >= sides[0]:
                if rng.random() < 0.45:
                    cast_shadow(rng, canvas, sprite, x, y)
                canvas.paint(sprite, x, y, is_object=True)
                return True
        smaller = tuple(max(2, round(0.75 * length)) for length in sprite.shape[1::-1])
        sprite = np.asarray(cv2.resize(sprite, smaller, interpolation=cv2.INTER_AREA), np.uint8)
    return False


def cast_shadow(rng: np.random.Generator, canvas: Canvas, sprite: Image, x: int, y: int) -> None:
    """Shade the ground beside a sprite, or the strip it stands on."""
    height, width = sprite.shape[:2]
    strength = rng.uniform(0.2, 0.6)
    softness = max(1, round(rng.uniform(0.01, 0.05) * max(height, width)))
    if rng.random() < 0.5:
        shift = rng.uniform(-0.06, 0.06, 2) * max(height, width)
        canvas.shade(sprite, x + round(shift[0]), y + round(shift[1]), strength, softness)
    else:
        flat = np.asarray(cv2.resize(sprite, (width, max(2, height // 8))), np.uint8)
        canvas.shade(flat, x, y + height - height // 12, strength, softness)


def _add_distractor(
    rng: np.random.Generator, canvas: Canvas, side: float, max_occlusion: float, overlap: float
) -> None:
    """Paint one unlabelled thing, if a place for it is found."""
    pose = Pose(
        angle=float(rng.normal(0, 10) if rng.random() < 0.8 else rng.uniform(-180, 180)),
        shear=float(rng.uniform(-0.15, 0.15)),
    )
    flat = recoloured(
        distractor(rng, _drawn_side(side)),
        0.0,
        float(rng.uniform(0.75, 1.2)),
        float(rng.uniform(-15, 15)),
    )
    if cv2.countNonZero(solid(flat)) == 0:
        return
    sprite = posed(flat, side, pose)
    place = find_place(rng, canvas, sprite, max_occlusion, overlap)
    if place is not None:
        canvas.paint(sprite, *place, is_object=False)


def render_scene(
    seed: int | Sequence[int],
    *,
    size: int = 1200,
    objects: tuple[int, int] = (8, 16),
    sides: tuple[int, int] = (24, 900),
    max_occlusion: float = 0.4,
    names: Sequence[str] = NAMES,
) -> Scene:
    """Render the scene of a seed.

    ``size`` is the side of the picture and ``sides`` the range of the objects' longest sides, all
    in pixels; ``objects`` is the range (both ends included) of their number; no object is hidden
    by more than ``max_occlusion`` of its area; ``names`` are the categories, one that occurs twice
    being drawn twice as often.  Raises ``ValueError`` for ranges that cannot be met and
    ``RuntimeError`` if the picture is too small for the least number of objects.
    """
    if not 1 <= objects[0] <= objects[1] <= 200:
        raise ValueError(f"objects must be an increasing range within 1..200, not {objects}")
    if not 8 <= sides[0] <= sides[1]:
        raise ValueError(f"sides must be an increasing range from 8 pixels, not {sides}")
    if not 0 <= max_occlusion < 1:
        raise ValueError(f"max_occlusion must be in 0..1, not {max_occlusion}")
    rng = np.random.Generator(np.random.PCG64(seed))
    canvas = Canvas(background(rng, size))
    labels: list[str] = []
    clutter = int(rng.integers(0, 13))
    behind = int(rng.binomial(clutter, 0.55))
    span = (0.03 * size, 0.55 * size)

    for _ in range(behind):
        side = span[0] * (span[1] / span[0]) ** rng.random()
        _add_distractor(rng, canvas, side, max_occlusion, 0.0)

    wanted = int(rng.integers(objects[0], objects[1] + 1))
    promised = (float(sides[0]), float(sides[1]))
    # Cutting a shuffled deck keeps the categories even within a scene and over a short run.
    deck: list[str] = []
    for side in _sides(rng, wanted, *promised, size):
        if not deck:
            deck = [names[index] for index in rng.permutation(len(names))]
        target = min(max(side, 1.08 * promised[0]), promised[1])
        if _add_object(rng, canvas, deck[-1], target, promised, max_occlusion):
            labels.append(deck.pop())
    for _ in range(40 * objects[0]):
        if len(labels) >= objects[0]:
            break
        name = names[int(rng.integers(len(names)))]
        side = min(promised[0] * rng.uniform(1.1, 2.0), promised[1])
        if _add_object(rng, canvas, name, side, promised, max_occlusion):
            labels.append(name)
    if len(labels) < objects[0]:
        raise RuntimeError(f"no room for {objects[0]} objects in {size} pixels, seed {seed!r}")

    for _ in range(clutter - behind):
        side = span[0] * (span[1] / span[0]) ** rng.random()
        _add_distractor(rng, canvas, side, max_occlusion, 0.8)

    return scene_of(canvas, photographed(rng, canvas.image), labels)
