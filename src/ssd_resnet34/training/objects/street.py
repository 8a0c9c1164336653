"""Traffic lights, stop signs, benches and umbrellas."""

import itertools

import numpy as np

from ..canvas import Image
from .canvas import Canvas
from .colours import BLACK, STEEL, WHITE, Colour, darker, lighter, mix, pick, vivid
from .outlines import Points, curve, ellipse, outline, rounded

_SIGNALS: tuple[Colour, ...] = ((35.0, 30.0, 235.0), (30.0, 185.0, 255.0), (110.0, 225.0, 40.0))


def draw_traffic_light(rng: np.random.Generator, size: int) -> Image:
    """A three-lamp traffic light; (h, w, 4) uint8 BGR + straight alpha, max(h, w) == size."""
    flat = bool(rng.uniform() < 0.12)
    half = rng.uniform(17.5, 21.5)
    housing = pick(
        rng, ((34.0, 32.0, 32.0), (34.0, 32.0, 32.0), (35.0, 170.0, 225.0), (50.0, 75.0, 30.0))
    )
    plate = bool(rng.uniform() < 0.3)
    pad = 6.0 if plate else 0.0
    middle = half + pad + 1
    wide, tall = 2 * middle, 100 + 2 * pad
    canvas = Canvas(size, tall if flat else wide, wide if flat else tall)

    def spot(along: float) -> tuple[float, float]:
        return (along, middle) if flat else (middle, along)

    def box(inset: float, radius: float) -> None:
        across = (middle - half - pad + inset, middle + half + pad - inset)
        along = (1 + inset, tall - 1 - inset)
        (x0, x1), (y0, y1) = (along, across) if flat else (across, along)
        points = rounded(x0, y0, x1, y1, radius)
        if inset < pad:
            canvas.fill(points, (60.0, 58.0, 58.0) if inset else WHITE)
        else:
            canvas.gradient(points, lighter(housing, 0.25), darker(housing, 0.15), vertical=flat)

    if plate:
        if rng.uniform() < 0.6:
            box(0.0, 6.0)
        box(1.8, 5.0)
    box(pad, rng.uniform(2.0, 12.0))
    lit = int(rng.integers(3))
    radius = min(half * 0.7, 13.0)
    for index, signal in enumerate(_SIGNALS):
        along = tall / 2 + (index - 1) * 31.0
        cx, cy = spot(along)
        canvas.fill(ellipse(cx, cy, radius + 2.2), darker(housing, 0.55))
        if index == lit:
            canvas.glow(cx, cy, radius * 2.3, signal, 0.55)
            canvas.fill(ellipse(cx, cy, radius), signal)
            canvas.glow(cx, cy, radius, lighter(signal, 0.75), 0.9)
        else:
            dull = mix(darker(signal, 0.66), (60.0, 60.0, 60.0), 0.25)
            canvas.fill(ellipse(cx, cy, radius), dull)
            canvas.glow(cx - 3, cy - 4, radius * 0.5, lighter(dull, 0.6), 0.5)
        brim = ellipse(cx, cy, radius + 2.6, radius + 2.6, 180, 360)
        lower = ellipse(cx, cy - 0.5, radius + 2.0, radius * 0.74, 360, 180)
        canvas.gradient(np.concatenate([brim, lower]), lighter(housing, 0.3), darker(housing, 0.5))
    return canvas.finish(rng, flip=False)


def draw_stop_sign(rng: np.random.Generator, size: int) -> Image:
    """An octagonal STOP sign; (h, w, 4) uint8 BGR + straight alpha, max(h, w) == size."""
    canvas = Canvas(size, 100, 100)
    red: Colour = (rng.uniform(25, 55), rng.uniform(15, 45), rng.uniform(165, 215))
    narrow = rng.uniform(0.9, 1.0)
    angles = np.radians(22.5 + 45.0 * np.arange(8))
    octagon = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.array([narrow, 1.0])

    def ring(radius: float) -> Points:
        points: Points = octagon * radius + 50.0
        return points

    border = rng.uniform(2.2, 4.0)
    thin = rng.uniform() < 0.3
    canvas.fill(ring(53.8), darker(red, 0.35) if thin else (225.0, 226.0, 228.0))
    canvas.fill(ring(53.0), WHITE)
    canvas.gradient(ring(53.0 - border), lighter(red, 0.08), darker(red, 0.1))
    tall = rng.uniform(15.0, 18.5)
    reach = rng.uniform(36.0, 39.5) * narrow
    canvas.text("STOP", (50 - reach, 50 - tall, 50 + reach, 50 + tall), WHITE, 16)
    if rng.uniform() < 0.6:
        for y in (11.0, 89.0):
            canvas.fill(ellipse(50, y, 1.6), STEEL)
            canvas.fill(ellipse(50.3, y + 0.3, 0.9), darker(STEEL, 0.4))
    if rng.uniform() < 0.5:
        x = rng.uniform(-10, 60)
        streak = outline((x + 40, -5), (x + 62, -5), (x + 22, 105), (x, 105))
        canvas.tint(streak, WHITE, rng.uniform(0.06, 0.16))
    return canvas.finish(rng, flip=False)


class _Oblique:
    """Boxes in a simple oblique projection: x right, y up, z away from the viewer."""

    def __init__(self, canvas: Canvas, base: float, shift: float, rise: float) -> None:
        self.canvas, self.base, self.shift, self.rise = canvas, base, shift, rise

    def at(self, x: float, y: float, z: float) -> tuple[float, float]:
        return (x + self.shift * z, self.base - y - self.rise * z)

    def box(
        self,
        across: tuple[float, float],
        up: tuple[float, float],
        away: tuple[float, float],
        colour: Colour,
    ) -> None:
        """Front, top and right-hand faces of a box, in three shades."""
        (x0, x1), (y0, y1), (z0, z1) = across, up, away
        at, canvas = self.at, self.canvas
        side = x1 if self.shift >= 0 else x0
        canvas.fill(
            outline(at(side, y0, z0), at(side, y1, z0), at(side, y1, z1), at(side, y0, z1)),
            darker(colour, 0.42),
        )
        canvas.fill(
            outline(at(x0, y1, z0), at(x1, y1, z0), at(x1, y1, z1), at(x0, y1, z1)),
            lighter(colour, 0.22),
        )
        face = outline(at(x0, y0, z0), at(x1, y0, z0), at(x1, y1, z0), at(x0, y1, z0))
        canvas.gradient(face, colour, darker(colour, 0.2))


def draw_bench(rng: np.random.Generator, size: int) -> Image:
    """A slatted park bench; (h, w, 4) uint8 BGR + straight alpha, max(h, w) == size."""
    long = rng.uniform(78, 100)
    seat = rng.uniform(20, 25)
    deep = rng.uniform(22, 28)
    back = bool(rng.uniform() < 0.8)
    high = seat + rng.uniform(20, 27) if back else seat + 2
    front = bool(rng.uniform() < 0.4)
    shift = 0.0 if front else rng.uniform(0.3, 0.75)
    rise = rng.uniform(0.28, 0.5)
    canvas = Canvas(size, long + shift * deep + 2, high + rise * deep + 8)
    scene = _Oblique(canvas, high + rise * deep + 5, shift, rise)
    wood = pick(
        rng,
        ((60.0, 105.0, 165.0), (45.0, 75.0, 125.0), (95.0, 145.0, 195.0), (70.0, 110.0, 60.0),
         (150.0, 155.0, 160.0), (50.0, 60.0, 140.0), (140.0, 90.0, 50.0)),
    )  # fmt: skip
    iron = pick(rng, (BLACK, (58.0, 56.0, 54.0), (150.0, 150.0, 150.0), darker(wood, 0.4)))
    thick = rng.uniform(2.6, 4.0)
    ends = [5.0, long - 5.0 - thick]
    for x in ends:
        scene.box((x, x + thick), (0, high if back else seat), (deep - 3, deep), iron)
    if back:
        slats = int(rng.integers(2, 5))
        edges = np.linspace(seat + 5, high + 2, slats + 1)
        for low, top in itertools.pairwise(edges):
            scene.box((1, long - 1), (low, top - 1.6), (deep - 5, deep - 3), wood)
    boards = int(rng.integers(3, 5))
    for x in ends:
        scene.box((x, x + thick), (seat - 4, seat - 1.5), (2, deep - 3), darker(iron, 0.2))
    steps = np.linspace(deep - 3, 0, boards + 1)
    for z1, z0 in itertools.pairwise(steps):
        scene.box((1, long - 1), (seat - 1.5, seat + 0.8), (z0 + 0.4, z1 - 1.6), wood)
    if rng.uniform() < 0.25:
        ends.insert(1, long / 2 - thick / 2)
    for x in ends:
        scene.box((x, x + thick), (0, seat - 1.5), (0.5, 3), iron)
    if back and rng.uniform() < 0.6:
        for x in (ends[0], ends[-1]):
            scene.box((x, x + thick), (seat, seat + 9), (1, 3.5), iron)
            scene.box((x - 0.6, x + thick + 0.6), (seat + 9, seat + 11), (0, deep - 3), iron)
    return canvas.finish(rng)


def _umbrella_side(rng: np.random.Generator, size: int) -> Image:
    beach = bool(rng.uniform() < 0.3)
    rise = rng.uniform(34, 46)
    length = rng.uniform(80, 105) if beach else rng.uniform(66, 86)
    canvas = Canvas(size, 104, length + 6)
    middle, brim = 52.0, rise + 6.0
    first = vivid(rng)
    second = pick(rng, (first, first, WHITE, vivid(rng)))
    pole = pick(rng, (BLACK, STEEL, (60.0, 95.0, 140.0)))
    shaft: Colour = (200.0, 205.0, 208.0) if beach else pole
    canvas.line(outline((middle, 1.5), (middle, 8)), darker(shaft, 0.2), 2.0)
    canvas.line(outline((middle, 8), (middle, length - (0 if beach else 6))), shaft, 2.4)
    if not beach:
        grip = pick(rng, ((40.0, 70.0, 130.0), BLACK, first))
        hook = ellipse(middle + 6.0, length - 5, 6.0, 7.5, 180, 0 if rng.uniform() < 0.8 else 30)
        canvas.line(outline((middle, length - 18), (middle, length - 5)), grip, 4.2)
        canvas.line(hook, grip, 4.2)
    ribs = int(rng.integers(5, 8))
    feet = middle + 50.0 * np.sin(np.radians(np.linspace(-90.0, 90.0, ribs + 1)))
    apex = (middle, 6.0)

    def rib(x: float) -> Points:
        side = (x - middle) / 50.0
        angle = np.radians(np.linspace(0.0, 90.0, 25))
        return np.stack(
            [middle + 50.0 * side * np.sin(angle), brim - (brim - 6.0) * np.cos(angle)], axis=1
        )

    sag = rng.uniform(4.0, 7.5)
    for index, (x0, x1) in enumerate(itertools.pairwise(feet)):
        lower = curve((float(x1), brim), (float(x0 + x1) / 2, brim - sag), (float(x0), brim))
        panel = np.concatenate([rib(float(x0)), lower[::-1], rib(float(x1))[::-1]])
        colour = first if index % 2 == 0 else second
        lit = darker(colour, 0.05 + 0.3 * index / ribs)
        canvas.gradient(panel, lighter(lit, 0.22), darker(lit, 0.12))
    for x in feet:
        canvas.line(rib(float(x)), darker(first, 0.5), 0.7)
    canvas.fill(ellipse(*apex, 2.4, 1.8), darker(first, 0.4))
    return canvas.finish(rng)


def _umbrella_top(rng: np.random.Generator, size: int) -> Image:
    """Canopy seen from above, or tilted so that it is squashed."""
    canvas = Canvas(size, 100, 100)
    panels = int(rng.choice([8, 8, 8, 6, 10]))
    first = vivid(rng)
    second = pick(rng, (first, WHITE, vivid(rng)))
    squash = rng.uniform(0.7, 1.0)
    angle = rng.uniform(0, 360)
    spin = rng.uniform(0, 360 / panels)
    sag = rng.uniform(0.86, 0.94)
    hub = np.array([50.0, 50.0 - 14.0 * (1 - squash)])

    def seen(radius: float, degrees: float) -> tuple[float, float]:
        turn = np.radians(degrees)
        return (50 + radius * np.cos(turn), 50 + squash * radius * np.sin(turn))

    step = 360.0 / panels
    for index in range(panels):
        low = spin + index * step
        edge = curve(seen(49, low), seen(49 * sag * 0.95, low + step / 2), seen(49, low + step))
        panel = np.concatenate([hub[None], edge])
        colour = first if index % 2 == 0 else second
        facing = 0.5 + 0.5 * np.cos(np.radians(low + step / 2 - angle))
        canvas.fill(panel, mix(darker(colour, 0.32), lighter(colour, 0.15), facing))
    for index in range(panels):
        tip = seen(49, spin + index * step)
        canvas.line(outline((hub[0], hub[1]), tip), darker(first, 0.5), 0.8)
    canvas.fill(ellipse(hub[0], hub[1], 2.6), darker(first, 0.6))
    canvas.fill(ellipse(hub[0], hub[1], 1.2), STEEL)
    return canvas.finish(rng)


def draw_umbrella(rng: np.random.Generator, size: int) -> Image:
    """An open umbrella; (h, w, 4) uint8 BGR + straight alpha, max(h, w) == size."""
    return _umbrella_top(rng, size) if rng.uniform() < 0.22 else _umbrella_side(rng, size)
