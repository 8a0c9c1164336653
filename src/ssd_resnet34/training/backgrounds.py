"""Rendered backgrounds: what lies behind the objects of a scene.

Every painter takes a random generator and a side in pixels and returns a ``(size, size, 3)`` uint8
BGR picture.  Lengths are fractions of the side, so that a smaller scene looks alike.  Anything
smooth is made small and resized up, which keeps a background within a few tens of milliseconds.
"""

import colorsys
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from .canvas import Image

Colour = tuple[float, float, float]
"""Blue, green, red, each 0..255."""

Range = tuple[float, float]


def paint(
    rng: np.random.Generator,
    hue: Range = (0.0, 1.0),
    saturation: Range = (0.1, 0.9),
    value: Range = (0.2, 1.0),
) -> Colour:
    """Draw a colour with hue (a turn is 1), saturation and value (0..1) uniform in the ranges."""
    red, green, blue = colorsys.hsv_to_rgb(
        rng.uniform(*hue) % 1.0, rng.uniform(*saturation), rng.uniform(*value)
    )
    return round(255 * blue), round(255 * green), round(255 * red)


def shaded(colour: Colour, factor: float) -> Colour:
    """Multiply a colour's brightness, saturating."""
    blue, green, red = (min(255.0, max(0.0, part * factor)) for part in colour)
    return blue, green, red


def field(rng: np.random.Generator, size: int, cells: tuple[float, float], octaves: int) -> Image:
    """Smooth noise, ``(size, size)`` uint8 with mean 128: ``cells`` across and down, then finer."""
    fine = max(cells) * 2 ** (octaves - 1)
    side = int(min(size, max(16, 4 * fine)))
    total = np.zeros((side, side), np.float32)
    for octave in range(octaves):
        shape = [max(2, min(side, round(count * 2**octave))) for count in (cells[1], cells[0])]
        grid = rng.standard_normal(shape, np.float32)
        total += cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC) / 2**octave
    grey = cv2.convertScaleAbs(np.clip(128 + 45 * total, 0, 255))
    return np.asarray(cv2.resize(grey, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)


def mapped(grey: Image, colours: Sequence[Colour]) -> Image:
    """Colour an ``(h, w)`` uint8 picture by a ramp through the colours, from level 0 to 255."""
    stops = np.linspace(0, 255, len(colours))
    table = np.stack(
        [np.interp(np.arange(256), stops, [c[channel] for c in colours]) for channel in range(3)],
        axis=1,
    )
    return np.asarray(
        cv2.applyColorMap(np.ascontiguousarray(grey), table.astype(np.uint8)[:, None, :]), np.uint8
    )


def textured(
    rng: np.random.Generator,
    size: int,
    colour: Colour,
    cells: Range,
    depth: float,
    octaves: int = 4,
) -> Image:
    """Noise around one colour; ``depth`` is how far (0..1) it gets darker and lighter."""
    return mapped(
        field(rng, size, cells, octaves), [shaded(colour, 1 - depth), shaded(colour, 1 + depth)]
    )


def _vertical(size: int, colours: Sequence[Colour], rows: int) -> Image:
    """Vertical gradient, ``(rows, size, 3)``."""
    ramp = np.linspace(0, 255, rows).astype(np.uint8)[:, None]
    return np.ascontiguousarray(np.broadcast_to(mapped(ramp, colours), (rows, size, 3)))


_SKIES: tuple[tuple[tuple[Range, Range, Range], tuple[Range, Range, Range]], ...] = (
    (((0.55, 0.62), (0.4, 0.8), (0.6, 1)), ((0.5, 0.6), (0.05, 0.3), (0.8, 1))),
    (((0.6, 0.8), (0.2, 0.6), (0.3, 0.7)), ((0.0, 0.12), (0.3, 0.7), (0.8, 1))),
    (((0.55, 0.65), (0, 0.15), (0.5, 0.8)), ((0.5, 0.6), (0, 0.1), (0.7, 1))),
    (((0.6, 0.7), (0.4, 0.9), (0.08, 0.3)), ((0.6, 0.75), (0.2, 0.6), (0.2, 0.45))),
)
"""Clear, evening, grey and night: hue, saturation and value at the top and at the horizon."""


def _sky(rng: np.random.Generator, size: int) -> Image:
    """A clear, cloudy, grey or evening sky over the full picture."""
    above, below = _SKIES[int(rng.integers(len(_SKIES)))]
    top, low = paint(rng, *above), paint(rng, *below)
    sky = _vertical(size, [top, low], size)
    if rng.random() < 0.7:
        cells = (rng.uniform(2, 5), rng.uniform(4, 10))
        cover = field(rng, size, cells, 4)
        cut = int(rng.integers(110, 165))
        cover = np.asarray(
            cv2.convertScaleAbs(
                cv2.subtract(cover, np.full_like(cover, cut)), alpha=rng.uniform(1, 2.2)
            ),
            np.uint8,
        )
        sky = np.asarray(cv2.add(sky, cv2.merge([cover, cover, cover])), np.uint8)
    return sky


_GROUNDS: tuple[tuple[Range, Range, Range], ...] = (
    ((0.2, 0.38), (0.3, 0.8), (0.25, 0.65)),
    ((0.09, 0.14), (0.2, 0.5), (0.6, 0.9)),
    ((0.04, 0.1), (0.3, 0.6), (0.25, 0.5)),
    ((0.5, 0.65), (0, 0.1), (0.8, 0.97)),
    ((0, 1), (0, 0.12), (0.25, 0.6)),
)


def _ground_colour(rng: np.random.Generator) -> Colour:
    """Grass, sand, soil, snow or asphalt."""
    return paint(rng, *_GROUNDS[int(rng.integers(len(_GROUNDS)))])


def open_ground(rng: np.random.Generator, size: int) -> Image:
    """Sky over plain ground, with a straight horizon and often a strip of far trees."""
    image = _sky(rng, size)
    horizon = int(size * rng.uniform(0.25, 0.7))
    ground = textured(
        rng, size, _ground_colour(rng), (rng.uniform(6, 12), rng.uniform(20, 40)), 0.4
    )
    image[horizon:] = ground[: size - horizon]
    if rng.random() < 0.6:
        steps = int(rng.integers(20, 80))
        x = np.linspace(0, size, steps)
        y = horizon - size * rng.uniform(0.01, 0.1) * rng.uniform(0.3, 1, steps)
        outline = np.concatenate([np.stack([x, y], 1), [[size, horizon + 2], [0, horizon + 2]]])
        tone = paint(rng, (0.22, 0.45), (0.2, 0.6), (0.12, 0.4))
        cv2.fillPoly(image, [outline.astype(np.int32)], tone, cv2.LINE_AA)
    return image


def road(rng: np.random.Generator, size: int) -> Image:
    """A road running to a vanishing point, with lane markings."""
    image = open_ground(rng, size)
    horizon = size * rng.uniform(0.3, 0.55)
    end = np.array([size * rng.uniform(0.3, 0.7), horizon])
    tone = paint(rng, (0.5, 0.7), (0, 0.12), (0.2, 0.5))
    near_left, near_right = size * rng.uniform(-0.5, 0.2), size * rng.uniform(0.8, 1.5)
    mask = np.zeros((size, size), np.uint8)
    far = size * rng.uniform(0.005, 0.03)
    shape = [[near_left, size], [end[0] - far, end[1]], [end[0] + far, end[1]], [near_right, size]]
    cv2.fillPoly(mask, [np.array(shape, np.int32)], 255, cv2.LINE_AA)
    surface = textured(rng, size, tone, (60, 40), 0.2, 3)
    cv2.copyTo(surface, mask, image)
    paint_tone = (235, 240, 240) if rng.random() < 0.7 else (60, 190, 235)
    lanes = int(rng.integers(2, 5))
    for lane in range(lanes + 1):
        foot = near_left + (near_right - near_left) * (0.04 + 0.92 * lane / lanes)
        dashed = 0 < lane < lanes
        pieces = int(rng.integers(6, 12)) if dashed else 1
        for piece in range(pieces):
            # Perspective: even steps along the road shrink towards the horizon.
            low = 1 / (1 + 1.2 * piece) if dashed else 1.0
            high = 1 / (1 + 1.2 * (piece + 0.5)) if dashed else 0.02
            width = size * 0.008
            corners = []
            for share, side in ((low, -1), (high, -1), (high, 1), (low, 1)):
                x = end[0] + (foot - end[0]) * share + side * width * share
                corners.append([x, end[1] + (size - end[1]) * share])
            cv2.fillPoly(image, [np.array(corners, np.int32)], paint_tone, cv2.LINE_AA)
    return image


def grass(rng: np.random.Generator, size: int) -> Image:
    """A lawn seen from above: noise and blades."""
    tone = paint(rng, (0.18, 0.36), (0.35, 0.85), (0.3, 0.65))
    image = textured(rng, size, tone, (rng.uniform(4, 30), rng.uniform(4, 20)), 0.5)
    count = int(rng.integers(400, 1500))
    start = rng.uniform(0, size, (count, 2))
    tip = start + size * rng.normal(0, [0.006, 0.018], (count, 2))
    light = rng.uniform(0.5, 1.7, count)
    for (x0, y0), (x1, y1), factor in zip(start, tip, light, strict=True):
        cv2.line(image, (int(x0), int(y0)), (int(x1), int(y1)), shaded(tone, factor), 2)
    return image


def sea(rng: np.random.Generator, size: int) -> Image:
    """Water with waves up to a horizon, or water only."""
    image = _sky(rng, size)
    horizon = int(size * rng.uniform(0.0, 0.6)) if rng.random() < 0.8 else 0
    deep = paint(rng, (0.45, 0.65), (0.3, 0.85), (0.2, 0.6))
    water = mapped(
        field(rng, size, (rng.uniform(3, 10), rng.uniform(25, 60)), 3),
        [shaded(deep, 0.5), deep, shaded(deep, 1.3), (240, 240, 235)],
    )
    image[horizon:] = water[: size - horizon]
    for _ in range(int(rng.integers(0, 60))):
        y = horizon + (size - horizon) * rng.random() ** 1.5
        x = np.linspace(0, 1, 12) * size * rng.uniform(0.04, 0.3) + size * rng.uniform(-0.1, 1)
        wave = y + size * 0.004 * np.sin(np.linspace(0, rng.uniform(3, 12), 12))
        crest = np.stack([x, wave], 1).astype(np.int32)
        cv2.polylines(image, [crest], False, shaded(deep, rng.uniform(1.2, 2)), 2, cv2.LINE_AA)
    return image


def bricks(rng: np.random.Generator, size: int) -> Image:
    """A brick or stone wall."""
    kind = rng.random()
    brick = paint(rng, (0, 0.08), (0.3, 0.75), (0.35, 0.8)) if kind < 0.6 else paint(rng)
    mortar = paint(rng, (0.05, 0.15), (0, 0.2), (0.3, 0.9))
    image = np.full((size, size, 3), mortar, np.uint8)
    high = size * rng.uniform(0.02, 0.07)
    wide = high * rng.uniform(1.6, 3.2)
    joint = max(1, int(high * rng.uniform(0.05, 0.15)))
    for row in range(int(size / high) + 1):
        for column in range(-1, int(size / wide) + 1):
            x, y = wide * (column + 0.5 * (row % 2)), high * row
            far = (int(x + wide) - joint, int(y + high) - joint)
            tone = shaded(brick, rng.uniform(0.75, 1.2))
            cv2.rectangle(image, (int(x), int(y)), far, tone, cv2.FILLED)
    return grained(rng, image, 0.35)


def grained(rng: np.random.Generator, image: Image, depth: float, cells: Range = (40, 40)) -> Image:
    """Multiply a picture by smooth noise of the given depth (0..1)."""
    grey = cv2.convertScaleAbs(
        field(rng, image.shape[0], cells, 3), alpha=depth, beta=128 * (1 - depth)
    )
    return np.asarray(cv2.multiply(image, cv2.merge([grey, grey, grey]), scale=1 / 128), np.uint8)


def planks(rng: np.random.Generator, size: int) -> Image:
    """Wooden boards, upright or lying, or a table top."""
    wood = paint(rng, (0.05, 0.11), (0.2, 0.7), (0.3, 0.85))
    grain = field(rng, size, (rng.uniform(3, 6), rng.uniform(50, 90)), 3)
    image = mapped(grain, [shaded(wood, 0.55), wood, shaded(wood, 1.2)])
    y = 0.0
    while y < size:
        high = size * rng.uniform(0.05, 0.16)
        rows = image[int(y) : int(y + high)]
        factor = rng.uniform(0.75, 1.15)
        rows[:] = cv2.convertScaleAbs(np.roll(rows, int(rng.integers(size)), axis=1), alpha=factor)
        cv2.line(image, (0, int(y)), (size, int(y)), shaded(wood, 0.3), max(1, size // 400))
        y += high
    return np.ascontiguousarray(np.rot90(image)) if rng.random() < 0.5 else image


def room(rng: np.random.Generator, size: int) -> Image:
    """An indoor wall, plain or striped, over a floor; sometimes a doorway."""
    wall = paint(rng, (0, 1), (0.02, 0.4), (0.5, 0.97))
    image = textured(rng, size, wall, (3, 3), 0.12, 3)
    if rng.random() < 0.4:
        step, width = size * rng.uniform(0.03, 0.12), rng.uniform(0.2, 0.6)
        stripe = shaded(wall, rng.uniform(0.8, 1.1))
        for index in range(int(size / step) + 1):
            corner = (int(step * (index + width)), size)
            cv2.rectangle(image, (int(step * index), 0), corner, stripe, cv2.FILLED)
    edge = int(size * rng.uniform(0.55, 0.85))
    if rng.random() < 0.4:
        x, wide = int(size * rng.uniform(0, 0.8)), int(size * rng.uniform(0.15, 0.25))
        top = int(edge - wide * rng.uniform(1.8, 2.4))
        door = paint(rng, (0.04, 0.12), (0.1, 0.6), (0.3, 0.9))
        cv2.rectangle(image, (x, top), (x + wide, edge), door, cv2.FILLED)
        cv2.rectangle(image, (x, top), (x + wide, edge), shaded(door, 0.7), max(2, size // 100))
    floor = planks(rng, size) if rng.random() < 0.5 else tiles(rng, size)
    image[edge:] = floor[: size - edge]
    band = int(size * rng.uniform(0.01, 0.03))
    cv2.rectangle(image, (0, edge - band), (size, edge), shaded(wall, rng.uniform(0.5, 1.3)), -1)
    return image


def skyline(rng: np.random.Generator, size: int) -> Image:
    """City blocks with windows in front of a sky."""
    image = _sky(rng, size)
    base = int(size * rng.uniform(0.7, 1.0))
    for layer in range(2):
        x = -size * rng.uniform(0, 0.1)
        wall = paint(rng, (0, 1), (0, 0.35), (0.15, 0.6))
        while x < size:
            wide = size * rng.uniform(0.06, 0.2)
            top = base - size * rng.uniform(0.15, 0.6) / (1 + layer * 0.5)
            tone = shaded(wall, rng.uniform(0.7, 1.3))
            cv2.rectangle(image, (int(x), int(top)), (int(x + wide), base), tone, cv2.FILLED)
            across, gap = int(rng.integers(3, 9)), rng.uniform(0.25, 0.5)
            cell = wide / across
            lit, dark = paint(rng, (0.1, 0.17), (0.1, 0.6), (0.7, 1)), shaded(tone, 0.6)
            down = int((base - top) / (cell * 1.4))
            bright = rng.random((down, across)) < rng.uniform(0, 0.7)
            for row in range(down):
                for column in range(across):
                    left, high = x + cell * (column + gap / 2), top + cell * (1.4 * row + gap / 2)
                    corner = (int(left + cell * (1 - gap)), int(high + cell * 1.4 * (1 - gap)))
                    cv2.rectangle(
                        image,
                        (int(left), int(high)),
                        corner,
                        lit if bright[row, column] else dark,
                        cv2.FILLED,
                    )
            x += wide * rng.uniform(0.9, 1.4)
    street = textured(rng, size, _ground_colour(rng), (30, 30), 0.25)
    image[base:] = street[: size - base]
    return image


def hills(rng: np.random.Generator, size: int) -> Image:
    """Fields and hills, each ridge nearer and lower than the last."""
    image = _sky(rng, size)
    layers = int(rng.integers(3, 7))
    top = rng.uniform(0.25, 0.5)
    x = np.linspace(0, size, 80)
    for layer in range(layers):
        level = size * (top + (1 - top) * layer / layers)
        waves = np.zeros_like(x)
        for fold in (1, 2, 4):
            phase = fold * x / size * rng.uniform(2, 6) + rng.uniform(0, 6)
            waves += size * rng.uniform(0.01, 0.05) / fold * np.sin(phase)
        shape = np.concatenate([np.stack([x, level + waves], 1), [[size, size], [0, size]]])
        tone = paint(rng, (0.1, 0.45), (0.15, 0.7), (0.25, 0.75))
        cv2.fillPoly(image, [shape.astype(np.int32)], tone, cv2.LINE_AA)
    return grained(rng, image, 0.3, (20, 40))


def abstract(rng: np.random.Generator, size: int) -> Image:
    """A gradient between random colours with a few flat shapes."""
    corners = rng.integers(0, 256, (2, 2, 3)).astype(np.uint8)
    image = np.asarray(cv2.resize(corners, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)
    for _ in range(int(rng.integers(0, 10))):
        centre = rng.uniform(0, size, 2)
        shape = centre + size * rng.normal(0, rng.uniform(0.05, 0.3), (int(rng.integers(3, 6)), 2))
        cv2.fillPoly(image, [shape.astype(np.int32)], paint(rng), cv2.LINE_AA)
    return grained(rng, image, 0.2, (8, 8))


def colour_noise(rng: np.random.Generator, size: int) -> Image:
    """Smooth noise in each of the three channels."""
    cells = rng.uniform(2, 14)
    octaves = int(rng.integers(1, 5))
    planes = [field(rng, size, (cells, cells), octaves) for _ in range(3)]
    image = cv2.merge(planes)
    return np.asarray(cv2.convertScaleAbs(image, alpha=rng.uniform(0.5, 1.5), beta=0), np.uint8)


def tiles(rng: np.random.Generator, size: int) -> Image:
    """A tiled or checkered floor, seen from above or at a slant."""
    count = int(rng.integers(5, 16))
    first = paint(rng, (0, 1), (0, 0.5), (0.4, 1))
    second = shaded(first, rng.uniform(0.4, 1.1)) if rng.random() < 0.6 else paint(rng)
    grid = np.add.outer(np.arange(2 * count), np.arange(2 * count)) % 2
    small = np.where(grid[:, :, None] == 0, np.array(first), np.array(second))
    small = np.clip(small * rng.uniform(0.9, 1.1, (*grid.shape, 1)), 0, 255).astype(np.uint8)
    flat = cv2.resize(small, (size, size), interpolation=cv2.INTER_NEAREST)
    step = size / (2 * count)
    for index in range(2 * count):
        at = int(index * step)
        cv2.line(flat, (at, 0), (at, size), shaded(first, 0.5), max(1, size // 500))
        cv2.line(flat, (0, at), (size, at), shaded(first, 0.5), max(1, size // 500))
    pinch = rng.uniform(0, 0.35) if rng.random() < 0.6 else 0.0
    source = np.array([[pinch, 0.2], [1 - pinch, 0.2], [1, 1], [0, 1]], np.float32) * size
    target = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32) * size
    view = cv2.getPerspectiveTransform(source, target)
    slanted = cv2.warpPerspective(flat, view, (size, size), borderMode=cv2.BORDER_REFLECT)
    return grained(rng, np.asarray(slanted, np.uint8), 0.2, (10, 10))


def out_of_focus(rng: np.random.Generator, size: int) -> Image:
    """Clutter far out of focus: many shapes, blurred."""
    side = max(32, size // 6)
    image = np.full((side, side, 3), paint(rng), np.uint8)
    for _ in range(int(rng.integers(20, 80))):
        middle = rng.uniform(0, side, 2)
        shape = middle + side * rng.normal(0, 0.1, (int(rng.integers(3, 7)), 2))
        cv2.fillPoly(image, [shape.astype(np.int32)], paint(rng))
    blurred = cv2.GaussianBlur(image, (0, 0), rng.uniform(1.5, 6))
    return np.asarray(cv2.resize(blurred, (size, size), interpolation=cv2.INTER_CUBIC), np.uint8)


BACKGROUNDS: dict[str, Callable[[np.random.Generator, int], Image]] = {
    "open ground": open_ground,
    "road": road,
    "grass": grass,
    "sea": sea,
    "bricks": bricks,
    "planks": planks,
    "room": room,
    "skyline": skyline,
    "hills": hills,
    "abstract": abstract,
    "colour noise": colour_noise,
    "tiles": tiles,
    "out of focus": out_of_focus,
}


def background(rng: np.random.Generator, size: int) -> Image:
    """Paint one of the backgrounds, chosen evenly; ``(size, size, 3)`` uint8 BGR."""
    names = tuple(BACKGROUNDS)
    return np.ascontiguousarray(BACKGROUNDS[names[int(rng.integers(len(names)))]](rng, size))
