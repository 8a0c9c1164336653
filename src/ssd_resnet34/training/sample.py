"""The sample picture of the README: a lakeside park composed out of the renderer's drawings.

Unlike a training scene it is arranged, not thrown together: everything stands on the ground it
would stand on, lit from the left.  ``python -m ssd_resnet34.training.sample samples`` writes it.

Its seeds are ``(STREAM, number)``; those of training begin with 1, 2 or 3 and those of the held-out
set with ``0x5CE7E5``, so no drawing here was ever trained or scored on.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ..contract import COCO
from .canvas import Canvas, Image, Pose, posed, premultiplied, recoloured
from .landscape import HEIGHT, WIDTH, landscape
from .objects import DRAWERS
from .scenes import Scene, annotation, scene_of

STREAM: Final = 0x5A3713

_LANDSCAPE: Final = 1000
"""Number of the landscape's own generator, far from those of the drawings."""

_UPRIGHT: Final = Pose()


@dataclass(frozen=True)
class _Placed:
    """One drawing and where it stands; lengths in pixels of the finished picture."""

    label: str
    number: int
    """Which drawing: the second number of the seed."""

    side: float
    """Longest side of the drawing's solid part."""

    middle: float
    foot: float
    """Middle of the drawing across, and its lowest row."""

    pose: Pose = _UPRIGHT
    gain: float = 1.0
    pool: tuple[float, float, float, float] | None = None
    """Shadow on the ground: an oval's middle, right of and below the foot, and its half axes."""

    afloat: bool = False
    """Whether the water below mirrors it."""

    post: tuple[float, float] | None = None
    """For what hangs on a post: the row of the post's foot and its width."""


_PLACED: Final = (
    _Placed("kite", 0, 250, 1010, 318, Pose(angle=-12)),
    _Placed("kite", 1, 190, 420, 206, Pose(angle=8)),
    _Placed("boat", 6, 170, 400, 592, afloat=True),
    _Placed("boat", 11, 250, 1296, 606, afloat=True),
    _Placed("bus", 0, 540, 900, 806, Pose(aspect=1.12, mirrored=True), pool=(12, -3, 268, 17)),
    _Placed("car", 6, 312, 350, 889, Pose(aspect=1.05), pool=(10, -3, 156, 13)),
    _Placed("clock", 11, 138, 132, 478, post=(946, 11)),
    _Placed("traffic light", 8, 200, 572, 616, post=(942, 10)),
    _Placed("stop sign", 3, 150, 1496, 650, post=(952, 9)),
    _Placed("bench", 10, 360, 352, 1136, Pose(aspect=1.06), pool=(34, -18, 186, 27)),
    _Placed("umbrella", 0, 330, 800, 1138, Pose(aspect=1.08), pool=(120, 4, 168, 30)),
    _Placed("sports ball", 0, 104, 1120, 1142, pool=(26, -7, 54, 13)),
)


def _sprite(placed: _Placed) -> Image:
    """The drawing in its final size, cut to its solid part plus two pixels."""
    rng = np.random.Generator(np.random.PCG64((STREAM, placed.number)))
    drawing = premultiplied(DRAWERS[placed.label](rng, round(1.5 * placed.side)))
    return posed(recoloured(drawing, 0.0, placed.gain, 0.0), placed.side, placed.pose)


def _shaded(canvas: Canvas, outline: NDArray[np.float64], strength: float, softness: int) -> None:
    """Darken an ``(n, 2)`` outline of x, y on the ground."""
    low = np.floor(outline.min(axis=0)).astype(int)
    width, height = (np.ceil(outline.max(axis=0)).astype(int) - low + 1).tolist()
    sprite = np.zeros((height, width, 4), np.uint8)
    points = np.round((outline - low) * 16).astype(np.int32)
    cv2.fillPoly(sprite, [points], (255, 255, 255, 255), cv2.LINE_AA, 4)
    canvas.shade(sprite, int(low[0]), int(low[1]), strength, softness)


def _pooled(canvas: Canvas, placed: _Placed) -> None:
    """Lay an object's shadow on the ground: a soft oval, darker where the object stands."""
    if placed.pool is None:
        return
    right, below, across, down = placed.pool
    turn = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    oval = np.stack([across * np.cos(turn), down * np.sin(turn)], axis=1)
    foot = np.array([placed.middle, placed.foot + below])
    _shaded(canvas, oval + foot + [right, 0], 0.36, max(3, round(0.32 * down)))
    _shaded(canvas, oval * [0.86, 0.5] + foot + [0.5 * right, 0], 0.34, max(2, round(0.2 * down)))


def _reflected(canvas: Canvas, sprite: Image, x: int, y: int) -> None:
    """Paint a faint, broken, shortened mirror image on the water under a boat's hull."""
    height, width = sprite.shape[:2]
    high = min(48, round(0.34 * height))
    mirror = cv2.resize(sprite[::-1], (width, round(0.7 * height)), interpolation=cv2.INTER_AREA)
    mirror = np.asarray(cv2.GaussianBlur(mirror, (0, 0), sigmaX=5, sigmaY=2), np.float32)[:high]
    rows = np.arange(high)
    for row in rows:
        mirror[row] = np.roll(mirror[row], round(3 * np.sin(row * 0.9)), axis=0)
    fade = np.linspace(0.5, 0, high, dtype=np.float32)[:, None, None]
    veil = np.clip(np.rint(mirror * fade), 0, 255).astype(np.uint8)
    canvas.paint(np.ascontiguousarray(veil), x, y + height - 5, is_object=False)


def post(canvas: Canvas, middle: float, top: float, foot: float, width: float) -> None:
    """Paint a dark round post with a small base, and its shadow on the lawn."""
    high, wide = round(foot - top), round(width)
    left = round(middle - width / 2)
    laid = np.array([[-0.5, -4.0], [168.0, 22.0], [166.0, 28.0], [0.5, 4.0]])
    _shaded(canvas, laid + np.array([middle, foot - 3]), 0.42, 3)
    light = np.array([0.75, 1.35, 1.6, 1.15, 0.8, 0.6])
    across = np.interp(np.linspace(0, 1, wide), np.linspace(0, 1, light.size), light)
    tone = np.clip(np.array([62.0, 60.0, 54.0]) * across[:, None], 0, 255).astype(np.uint8)
    shaft = np.full((high, wide, 4), 255, np.uint8)
    shaft[:, :, :3] = tone
    canvas.paint(shaft, left, round(top), is_object=False)
    base = np.full((16, 2 * wide, 4), 255, np.uint8)
    base[:, :, :3] = np.repeat(tone, 2, axis=0)
    canvas.paint(base, round(middle - wide), round(foot) - 16, is_object=False)


def _string(image: Image, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw a sagging kite string that fades out on its way down."""
    t = np.linspace(0, 1, 200)
    x = start[0] + (end[0] - start[0]) * t
    y = start[1] + (end[1] - start[1]) * t**0.72
    mask = np.zeros(image.shape[:2], np.uint8)
    points = np.round(np.stack([x, y], 1) * 16).astype(np.int32)
    for first, second, part in zip(points[:-1], points[1:], t, strict=False):
        ends = (first.tolist(), second.tolist())
        cv2.line(mask, *ends, round(150 * (1 - part) ** 1.2), 1, cv2.LINE_AA, 4)
    share = mask.astype(np.float32)[:, :, None] / 255
    image[:] = np.rint(image + share * (np.array([90, 84, 80], np.float32) - image)).astype(
        np.uint8
    )


def _graded(image: Image) -> Image:
    """Warm the light of the left side a little and darken the corners."""
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j].astype(np.float32)
    light = 1.02 - 0.035 * x - 0.07 * np.clip(x * x + y * y - 0.7, 0, None)
    warm = np.stack([light * 0.985, light, light * (1.012 - 0.012 * x)], axis=2)
    return np.asarray(np.clip(np.rint(image * warm), 0, 255), np.uint8)


def sample_scene() -> Scene:
    """Compose the sample picture; always the same.

    ``image`` is ``(1200, 1600, 3)`` uint8 BGR, the one scene that is not square.
    """
    painted = landscape(np.random.Generator(np.random.PCG64((STREAM, _LANDSCAPE))))
    # A canvas is square: the spare rows below the picture stay empty and are cut off again.
    square = np.zeros((WIDTH, WIDTH, 3), np.uint8)
    square[:HEIGHT] = painted
    canvas = Canvas(square)
    _string(canvas.image, (1050, 257), (1268, 560))
    _string(canvas.image, (406, 196), (268, 470))

    sprites = [(placed, _sprite(placed)) for placed in _PLACED]
    corners = [
        (round(placed.middle - sprite.shape[1] / 2), round(placed.foot - sprite.shape[0] + 2))
        for placed, sprite in sprites
    ]
    # Light comes before matter: a shadow lies on the ground and on no object.
    for (placed, sprite), (x, y) in zip(sprites, corners, strict=True):
        _pooled(canvas, placed)
        if placed.afloat:
            _reflected(canvas, sprite, x, y)
        if placed.post is not None:
            foot, width = placed.post
            post(canvas, placed.middle, y + sprite.shape[0] / 2, foot, width)
    for (_, sprite), (x, y) in zip(sprites, corners, strict=True):
        canvas.paint(sprite, x, y, is_object=True)

    picture = _graded(np.ascontiguousarray(canvas.image[:HEIGHT]))
    return scene_of(canvas, picture, [placed.label for placed in _PLACED])


def truth(scene: Scene, file_name: str) -> dict[str, object]:
    """What is in the picture, as a COCO document."""
    ids = {category.label: category.category_id for category in COCO.categories}
    height, width = scene.image.shape[:2]
    annotations = [
        annotation(number, 1, ids[label], box)
        for number, (label, box) in enumerate(
            zip(scene.labels, scene.boxes.tolist(), strict=True), 1
        )
    ]
    used = sorted(set(scene.labels), key=ids.__getitem__)
    return {
        "images": [{"id": 1, "file_name": file_name, "width": width, "height": height}],
        "annotations": annotations,
        "categories": [{"id": ids[label], "name": label} for label in used],
    }


def _png(image: NDArray[np.uint8]) -> bytes:
    done, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise OSError("could not encode the sample picture as PNG")
    return bytes(data.tobytes())


def write(folder: Path) -> None:
    """Write ``scene.png`` and ``scene.json`` into a folder, which is made if there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    scene = sample_scene()
    (folder / "scene.png").write_bytes(_png(scene.image))
    document = json.dumps(truth(scene, "scene.png"), indent=1)
    (folder / "scene.json").write_text(document + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m ssd_resnet34.training.sample FOLDER")
    write(Path(sys.argv[1]))
