"""Cars, buses and boats."""

import itertools

import numpy as np

from ..canvas import Image
from .canvas import Canvas
from .colours import BLACK, STEEL, WHITE, Colour, darker, hsv, lighter, mix, pick, vivid
from .outlines import Points, curve, ellipse, outline, rect, rounded, soften

_LAMP_RED: Colour = (40.0, 35.0, 205.0)
_LAMP_WHITE: Colour = (225.0, 245.0, 250.0)
_AMBER: Colour = (30.0, 150.0, 250.0)
_TYRE: Colour = (38.0, 35.0, 34.0)
_GLASS: tuple[Colour, ...] = (
    (120.0, 95.0, 70.0),
    (90.0, 80.0, 72.0),
    (165.0, 145.0, 115.0),
    (70.0, 58.0, 50.0),
)
_CAR_PAINT: tuple[Colour, ...] = (
    (238.0, 238.0, 236.0),
    (52.0, 48.0, 46.0),
    (150.0, 146.0, 142.0),
    (45.0, 40.0, 190.0),
    (150.0, 80.0, 35.0),
    (70.0, 105.0, 40.0),
    (60.0, 190.0, 235.0),
    (190.0, 160.0, 90.0),
    (50.0, 90.0, 200.0),
)


def _paint(rng: np.random.Generator) -> Colour:
    return vivid(rng) if rng.uniform() < 0.25 else pick(rng, _CAR_PAINT)


def _wheel(canvas: Canvas, cx: float, cy: float, radius: float, spokes: int) -> None:
    canvas.fill(ellipse(cx, cy, radius), _TYRE)
    canvas.fill(ellipse(cx, cy, radius * 0.64), STEEL)
    canvas.fill(ellipse(cx, cy, radius * 0.54), (95.0, 92.0, 90.0))
    for angle in np.linspace(0.0, 2 * np.pi, spokes, endpoint=False):
        tip = (cx + radius * 0.58 * np.cos(angle), cy + radius * 0.58 * np.sin(angle))
        canvas.line(outline((cx, cy), tip), (200.0, 198.0, 196.0), radius * 0.16)
    canvas.fill(ellipse(cx, cy, radius * 0.17), (215.0, 213.0, 210.0))


def _glaze(canvas: Canvas, pane: Points, glass: Colour) -> None:
    """Glass pane with a sky gradient and one slanted reflection."""
    canvas.gradient(pane, lighter(glass, 0.42), darker(glass, 0.25))
    (x0, y0), (x1, y1) = pane.min(axis=0), pane.max(axis=0)
    w, lean = x1 - x0, (y1 - y0) * 0.7
    with canvas.clipped(pane):
        start = x0 + 0.25 * w
        streak = outline(
            (start + lean, y0), (start + lean + 0.16 * w, y0), (start + 0.16 * w, y1), (start, y1)
        )
        canvas.tint(streak, WHITE, 0.28)


# Profiles face right: rear x, roof rear x, roof front x, windscreen foot x, roof y, tail y.
_CAR_PROFILES: dict[str, tuple[float, float, float, float, float, float]] = {
    "sedan": (15.0, 30.0, 56.0, 74.0, 22.5, 35.0),
    "hatch": (4.0, 13.0, 54.0, 72.0, 20.5, 34.0),
    "van": (2.5, 5.0, 70.0, 86.0, 12.0, 33.0),
    "pickup": (37.0, 40.0, 60.0, 73.0, 19.0, 34.0),
    "suv": (2.5, 7.0, 62.0, 77.0, 17.0, 33.0),
    "coupe": (12.0, 36.0, 52.0, 72.0, 25.0, 35.0),
}


def _car_side(rng: np.random.Generator, size: int) -> Image:
    kinds = list(_CAR_PROFILES)
    kind = kinds[int(rng.choice(len(kinds), p=[0.26, 0.24, 0.12, 0.1, 0.18, 0.1]))]
    rear, roof_rear, roof_front, foot, roof, tail = _CAR_PROFILES[kind]
    roof += rng.uniform(-1.5, 1.5)
    lift = rng.uniform(-1.0, 1.0) + (1.5 if kind in ("suv", "pickup", "van") else 0.0)
    stretch = rng.uniform(0.86, 1.04)
    radius = rng.uniform(7.6, 9.2)
    sill, wheel_y = 51.0 - lift, 60.0 - radius
    belt = 34.0
    paint, glass = _paint(rng), pick(rng, _GLASS)
    canvas = Canvas(size, 100 * stretch, 61 - roof)

    def place(points: Points) -> Points:
        moved: Points = (points - np.array([0.0, roof - 1])) * np.array([stretch, 1.0])
        return moved

    nose = rng.uniform(36.0, 38.5)
    cabin = outline((rear, belt + 3), (roof_rear, roof), (roof_front, roof), (foot, belt + 3))
    body = outline(
        (1, sill), (1, tail + 4), (2.5, tail), (rear + 2, belt - 0.5), (foot, belt),
        (94, nose), (98.5, nose + 4), (99, sill), (60, sill + 1), (40, sill + 1),
    )  # fmt: skip
    canvas.fill(place(rect(8, sill - 4, 92, sill + 2.5)), BLACK)
    canvas.gradient(place(soften(cabin)), lighter(paint, 0.3), paint)
    canvas.gradient(place(soften(body)), lighter(paint, 0.22), darker(paint, 0.3))

    top, bottom = roof + 2.2, belt + 0.4
    slope_rear = (roof_rear - rear) / (belt - roof)
    slope_front = (foot - roof_front) / (belt - roof)
    if kind == "van" and rng.uniform() < 0.5:
        left = 48.0
        pane = outline((left, top), (roof_front - 1, top), (foot - 3.4, bottom), (left, bottom))
        pillars = [62.0]
    else:
        pane = outline(
            (roof_rear + 2.6 - slope_rear * 0.5, top), (roof_front - 1.2, top),
            (foot - 3.0 - slope_front * 0.6, bottom), (rear + 3.6, bottom),
        )  # fmt: skip
        middle = (roof_rear + roof_front) / 2
        pillars = {"pickup": [roof_front - 6], "coupe": [middle + 1]}.get(
            kind, [middle + 3] if kind == "sedan" else [roof_rear + 11, middle + 8]
        )
    _glaze(canvas, place(pane), glass)
    for x in pillars:
        pillar = place(outline((x, top + 0.2), (x - 0.6, bottom)))
        canvas.line(pillar, darker(paint, 0.15), 1.7)
        canvas.line(place(outline((x - 0.6, bottom), (x - 1, sill - 3))), darker(paint, 0.45), 0.5)
        canvas.line(place(outline((x - 6, belt + 4), (x - 3, belt + 4))), darker(paint, 0.5), 0.9)
    canvas.line(
        place(outline((foot - 6, belt + 1), (foot - 5, sill - 3))), darker(paint, 0.45), 0.5
    )
    if kind == "pickup":
        canvas.line(place(outline((3, tail + 0.6), (36, tail + 0.2))), darker(paint, 0.5), 0.9)
    canvas.line(place(outline((3, belt + 6.5), (96, belt + 7.5))), lighter(paint, 0.35), 0.6)
    canvas.fill(place(soften(rect(0.8, sill - 4, 13, sill + 0.3))), darker(paint, 0.55))
    canvas.fill(place(soften(rect(87, sill - 4, 99.4, sill + 0.3))), darker(paint, 0.55))
    canvas.fill(place(soften(outline((90, 40), (97.8, 40.4), (98.8, 44), (92, 43.4)))), _LAMP_WHITE)
    canvas.fill(place(soften(rect(0.9, tail + 3, 5, tail + 8))), _LAMP_RED)
    canvas.fill(place(soften(rect(foot - 7, belt - 2.4, foot - 3, belt + 0.8))), darker(paint, 0.3))
    spokes = int(rng.integers(5, 9))
    for x in (20.5, 79.0):
        cx, cy = place(outline((x, wheel_y)))[0]
        arch = ellipse(cx, cy, radius * 1.17)
        arch[:, 1] = np.minimum(arch[:, 1], cy + 3)
        canvas.fill(arch, (30.0, 27.0, 26.0))
        _wheel(canvas, float(cx), float(cy), radius, spokes)
    return canvas.finish(rng)


def _car_front(rng: np.random.Generator, size: int) -> Image:
    """Car from the front, or from behind (red lamps, no grille)."""
    behind = bool(rng.uniform() < 0.4)
    roof = rng.uniform(2.0, 12.0)
    inset = rng.uniform(15.0, 20.0)
    paint, glass = _paint(rng), pick(rng, _GLASS)
    canvas = Canvas(size, 100, 84)
    for x in (8.0, 74.0):
        canvas.fill(rounded(x, 55, x + 18, 82, 4), _TYRE)
    cabin = outline((9, 36), (inset + 2, roof), (98 - inset, roof), (91, 36), (91, 46), (9, 46))
    canvas.gradient(soften(cabin), lighter(paint, 0.25), paint)
    for x in (-2.0, 92.0):
        canvas.fill(rounded(x + 1, 29, x + 9, 35.5, 2.5), darker(paint, 0.2))
    screen = outline((14.5, 34), (inset + 6, roof + 4), (94 - inset, roof + 4), (85.5, 34))
    _glaze(canvas, soften(screen, 1), glass)
    body = outline((4, 44), (10, 35), (90, 35), (96, 44), (97, 66), (93, 73), (7, 73), (3, 66))
    canvas.gradient(soften(body), lighter(paint, 0.22), darker(paint, 0.32))
    canvas.line(curve((12, 39), (50, 36), (88, 39)), darker(paint, 0.28), 0.8)
    lamp = _LAMP_RED if behind else _LAMP_WHITE
    for sign in (-1, 1):
        points = soften(outline((27, 44), (44, 42), (44, 51), (30, 52)))
        points[:, 0] = 50 + sign * points[:, 0]
        canvas.fill(points, darker(lamp, 0.55))
        canvas.fill((points - points.mean(axis=0)) * 0.84 + points.mean(axis=0), lamp)
        if not behind:
            canvas.fill(ellipse(50 + sign * 37, 47.3, 3.1), WHITE)
    canvas.fill(soften(rect(6, 63, 94, 73)), darker(paint, 0.62))
    if behind:
        canvas.line(outline((26, 56), (74, 56)), darker(paint, 0.4), 0.8)
    else:
        canvas.fill(soften(outline((30, 45), (70, 45), (66, 58), (34, 58))), (32.0, 30.0, 30.0))
        for y in (48.0, 51.0, 54.0):
            canvas.line(outline((34, y), (66, y)), STEEL, 0.9)
        for x in (13.0, 87.0):
            canvas.fill(ellipse(x, 66, 2.6), (215.0, 225.0, 225.0))
    canvas.fill(rounded(39, 60, 61, 66.5, 1), WHITE)
    canvas.line(outline((42, 63.3), (58, 63.3)), (90.0, 60.0, 50.0), 1.8)
    return canvas.finish(rng)


def draw_car(rng: np.random.Generator, size: int) -> Image:
    """A car; (h, w, 4) uint8 BGR + straight alpha, max(h, w) == size."""
    return _car_front(rng, size) if rng.uniform() < 0.32 else _car_side(rng, size)


def _bus_side(rng: np.random.Generator, size: int) -> Image:
    double = bool(rng.uniform() < 0.28)
    height = rng.uniform(41, 47) if double else rng.uniform(27, 34)
    paint, glass = _paint(rng), pick(rng, _GLASS)
    if double and rng.uniform() < 0.5:
        paint = (40.0, 30.0, 195.0)
    second = pick(rng, (WHITE, darker(paint, 0.4), vivid(rng)))
    canvas = Canvas(size, 100, height + 5)
    floor, radius = height, 5.0
    canvas.fill(rect(6, floor - 4, 94, floor + 1.5), BLACK)
    shell = rounded(1, 1, 99, floor, 3.2)
    canvas.gradient(shell, lighter(paint, 0.25), darker(paint, 0.2))
    with canvas.clipped(shell):
        style = int(rng.integers(3))
        if style == 0:
            canvas.fill(rect(0, floor - 8.5, 100, floor - 5.5), second)
        elif style == 1:
            canvas.fill(outline((0, floor - 10), (45, floor - 10), (30, floor), (0, floor)), second)
        canvas.fill(rect(0, 0, 100, 2.6), lighter(paint, 0.45))
        canvas.fill(rect(0, floor - 2, 100, floor), darker(paint, 0.5))
    count = int(rng.integers(6, 10))
    decks = [(4.5, 15.0), (20.5, floor - 13.0)] if double else [(6.0, floor - 13.0)]
    for top, bottom in decks:
        upper = double and top < 10
        band = rect(4, top - 0.8, 97.6, bottom + 0.8)
        canvas.fill(band, darker(glass, 0.55))
        stop = 96.5 if upper else 79.0
        edges = np.linspace(5, stop, count + 1 + (2 if upper else 0))
        for x0, x1 in itertools.pairwise(edges):
            _glaze(canvas, rect(x0 + 0.5, top, x1 - 0.5, bottom), glass)
    top, bottom = decks[-1]
    door = rect(81, top, 89, floor - 1.5)
    canvas.fill(door, darker(paint, 0.6))
    for x in (81.7, 85.4):
        _glaze(canvas, rect(x, top + 0.8, x + 3, floor - 3), glass)
    _glaze(canvas, rect(90.5, top, 98.4, bottom + 3), lighter(glass, 0.12))
    board = 16.4 if double else 2.4
    canvas.fill(rounded(62, board, 78, board + 2.8, 0.6), BLACK)
    canvas.line(outline((64, board + 1.4), (76, board + 1.4)), _AMBER, 1.1)
    canvas.fill(rounded(96.6, floor - 6.5, 98.8, floor - 4, 0.8), _LAMP_WHITE)
    canvas.fill(rounded(1.1, floor - 8, 2.5, floor - 3.5, 0.5), _LAMP_RED)
    for x in (22.0, 72.0) if rng.uniform() < 0.7 else (17.0, 26.5, 74.0):
        arch = ellipse(x, floor - 0.5, radius * 1.2, radius * 1.2, 180, 360)
        canvas.fill(arch, (30.0, 27.0, 26.0))
        _wheel(canvas, x, floor - 0.7, radius, 8)
    return canvas.finish(rng)


def _bus_front(rng: np.random.Generator, size: int) -> Image:
    double = bool(rng.uniform() < 0.25)
    paint, glass = _paint(rng), pick(rng, _GLASS)
    width = rng.uniform(64, 78)
    height = 118.0 if double else 92.0
    canvas = Canvas(size, width + 16, height + 8)
    left, right, middle = 8.0, 8.0 + width, 8.0 + width / 2
    for x in (left + 4, right - 16):
        canvas.fill(rounded(x, height - 12, x + 12, height + 6, 3), _TYRE)
    canvas.gradient(rounded(left, 1, right, height, 8), lighter(paint, 0.25), darker(paint, 0.22))
    base = 26.0 if double else 0.0
    if double:
        _glaze(canvas, rounded(left + 4, 6, right - 4, 27, 4), glass)
    canvas.fill(rounded(left + 8, base + 5, right - 8, base + 15, 2), BLACK)
    number = str(int(rng.integers(1, 99)))
    canvas.text(number, (left + 12, base + 7.4, left + 20, base + 12.8), _AMBER, 14)
    canvas.line(outline((left + 25, base + 10), (right - 13, base + 10)), _AMBER, 2.4)
    canvas.fill(rounded(left + 3, base + 17, right - 3, base + 60, 5), darker(glass, 0.6))
    for x0, x1 in ((left + 4.5, middle - 0.7), (middle + 0.7, right - 4.5)):
        _glaze(canvas, rounded(x0, base + 18.5, x1, base + 58, 4), glass)
        canvas.line(outline((x0 + 6, base + 57), (x1 - 5, base + 46)), BLACK, 1.2)
    for x, sign in ((left, -1), (right, 1)):
        arm = curve((x, base + 14), (x + sign * 6, base + 13), (x + sign * 5, base + 22))
        canvas.line(arm, BLACK, 1.6)
        canvas.fill(rounded(x + sign * 5 - 3, base + 20, x + sign * 5 + 3, base + 36, 2), BLACK)
    canvas.fill(rounded(left, height - 14, right, height - 2, 4), darker(paint, 0.6))
    for x in (left + 11, right - 11):
        canvas.fill(rounded(x - 8, height - 26, x + 8, height - 17, 4), (60.0, 58.0, 56.0))
        canvas.fill(ellipse(x - 3, height - 21.5, 3.4), _LAMP_WHITE)
        canvas.fill(ellipse(x + 4, height - 21.5, 2.6), _AMBER)
    canvas.fill(rounded(middle - 11, height - 12, middle + 11, height - 5, 1), WHITE)
    canvas.line(outline((middle - 8, height - 8.5), (middle + 8, height - 8.5)), BLACK, 2.0)
    return canvas.finish(rng, flip=False)


def draw_bus(rng: np.random.Generator, size: int) -> Image:
    """A bus; (h, w, 4) uint8 BGR + straight alpha, max(h, w) == size."""
    return _bus_front(rng, size) if rng.uniform() < 0.3 else _bus_side(rng, size)


def _hull(canvas: Canvas, points: Points, paint: Colour, stripe: Colour) -> None:
    shape = soften(points, 1)
    canvas.gradient(shape, lighter(paint, 0.15), darker(paint, 0.35))
    top, bottom = points[:, 1].min(), points[:, 1].max()
    with canvas.clipped(shape):
        depth = bottom - top
        canvas.fill(rect(-5, bottom - 0.28 * depth, 115, bottom + 2), stripe)
        canvas.line(points[:2] + np.array([0.0, 0.18 * depth]), stripe, 0.12 * depth)


def _sailboat(rng: np.random.Generator, size: int) -> Image:
    width = rng.uniform(62, 86)
    canvas = Canvas(size, width, 100)
    paint = pick(rng, (WHITE, hsv(0.6, 0.8, 0.5), (40.0, 70.0, 120.0), _paint(rng)))
    sail = pick(rng, (WHITE, (215.0, 235.0, 245.0), vivid(rng), WHITE))
    second = sail if rng.uniform() < 0.5 else vivid(rng)
    mast = width * rng.uniform(0.42, 0.55)
    deck = 84.0
    canvas.line(outline((mast, 1), (mast, deck + 3)), (70.0, 95.0, 120.0), 1.7)
    main = np.concatenate(
        [curve((mast - 1.6, 5), (mast * 0.42, 48), (3, deck - 8)), outline((mast - 1.6, deck - 6))]
    )
    canvas.gradient(main, lighter(sail, 0.3), darker(sail, 0.12))
    with canvas.clipped(main):
        for y in np.linspace(24, 66, 4):
            canvas.line(outline((0, y + 6), (mast, y)), darker(sail, 0.2), 0.6)
        if rng.uniform() < 0.4:
            canvas.fill(rect(0, 50, mast, 60), vivid(rng))
    top = rng.uniform(8, 26)
    jib = np.concatenate(
        [
            outline((mast + 1.6, top)),
            curve((mast + 1.6, deck - 10), (mast + 12, deck - 5), (width - 4, deck - 6)),
        ]
    )
    canvas.gradient(jib, lighter(second, 0.25), darker(second, 0.15))
    canvas.line(outline((3, deck - 6), (mast, deck - 4)), (70.0, 95.0, 120.0), 1.4)
    if rng.uniform() < 0.5:
        canvas.fill(outline((mast, 1), (mast + 10, 3.4), (mast, 6)), vivid(rng))
    canvas.fill(rounded(mast - 14, deck - 3, mast + 10, deck + 4, 2), lighter(paint, 0.4))
    hull = outline((1, deck), (width - 0.5, deck - 3), (width - 14, 99), (9, 99))
    _hull(canvas, hull, paint, pick(rng, ((45.0, 40.0, 180.0), (120.0, 60.0, 25.0), BLACK)))
    return canvas.finish(rng)


def _motorboat(rng: np.random.Generator, size: int) -> Image:
    cabin = bool(rng.uniform() < 0.5)
    canvas = Canvas(size, 106, 56)
    paint = pick(rng, (WHITE, WHITE, (130.0, 60.0, 25.0), _paint(rng)))
    glass = pick(rng, _GLASS)
    deck = 31.0
    if cabin:
        canvas.line(outline((34, 2), (34, 18)), STEEL, 1.2)
        house = soften(outline((22, deck + 3), (24, 13), (56, 13), (66, deck + 3)))
        canvas.gradient(house, WHITE, (205.0, 208.0, 210.0))
        canvas.fill(rounded(19, 10.5, 61, 14.5, 2), lighter(paint, 0.1))
        for x in (27.0, 39.0):
            _glaze(canvas, rounded(x, 17.5, x + 9.5, 25.5, 1.5), glass)
        _glaze(canvas, outline((51, 17.5), (56.5, 17.5), (60, 25.5), (51, 25.5)), glass)
        if rng.uniform() < 0.6:
            canvas.fill(outline((34, 2), (44, 4.5), (34, 7)), vivid(rng))
    else:
        _glaze(canvas, outline((44, deck + 2), (42, 20), (52, 20), (66, deck)), lighter(glass, 0.2))
        canvas.line(outline((42, 20), (52, 20), (66, deck)), STEEL, 1.3)
        for x in (22.0, 34.0):
            canvas.fill(rounded(x, deck - 6, x + 5, deck + 3, 2), (150.0, 190.0, 210.0))
    canvas.line(outline((68, deck), (71, deck - 7), (97, deck - 10), (102, deck - 4)), STEEL, 1.0)
    canvas.line(outline((84, deck - 8.5), (84, deck)), STEEL, 1.0)
    canvas.fill(rounded(1, deck - 3, 10, deck + 9, 3), (52.0, 50.0, 50.0))
    canvas.fill(rect(4, deck + 6, 8, 53), (75.0, 72.0, 70.0))
    hull = outline((8, deck + 1), (104.5, deck - 4), (84, 52), (12, 52))
    stripe = pick(rng, ((45.0, 40.0, 185.0), (130.0, 65.0, 20.0), BLACK, vivid(rng)))
    _hull(canvas, hull, paint, stripe)
    return canvas.finish(rng)


def _rowing_boat(rng: np.random.Generator, size: int) -> Image:
    canvas = Canvas(size, 104, 46)
    wood = pick(rng, ((50.0, 90.0, 145.0), (75.0, 120.0, 175.0), (40.0, 60.0, 100.0)))
    paint = wood if rng.uniform() < 0.5 else _paint(rng)
    sag = rng.uniform(5.0, 9.0)
    rim_near = curve((2, 12), (52, 12 + 2.6 * sag), (102, 9))
    rim_far = curve((2, 12), (52, 12 + 0.9 * sag), (102, 9))
    keel = outline((93, 32), (78, 42), (24, 42), (9, 33))
    canvas.gradient(np.concatenate([rim_near, keel]), lighter(paint, 0.15), darker(paint, 0.4))
    for share in (0.35, 0.68):
        plank = rim_near * np.array([1 - 0.13 * share, 1.0])
        plank = plank + np.array([6.5 * share, 17.0 * share])
        canvas.line(plank, darker(paint, 0.4), 0.7)
    inside = np.concatenate([rim_far, rim_near[::-1]])
    canvas.fill(inside, darker(wood, 0.5))
    with canvas.clipped(inside):
        for x in (27.0, 50.0, 73.0):
            canvas.fill(outline((x, 5), (x + 7, 5), (x + 8, 40), (x + 1, 40)), lighter(wood, 0.25))
    canvas.line(rim_far, lighter(wood, 0.2), 1.2)
    canvas.line(rim_near, lighter(wood, 0.35), 2.0)
    for x, reach in ((38.0, rng.uniform(-26, -16)), (60.0, rng.uniform(-26, -16))):
        tip = (x + reach, 44.0)
        canvas.line(outline((x + 9, 6), tip), (110.0, 165.0, 205.0), 1.6)
        blade = mix((110.0, 165.0, 205.0), WHITE, 0.2)
        canvas.line(outline((x + reach * 0.72, 38), tip), blade, 3.6)
    return canvas.finish(rng)


def draw_boat(rng: np.random.Generator, size: int) -> Image:
    """A boat; (h, w, 4) uint8 BGR + straight alpha, max(h, w) == size."""
    kind = rng.uniform()
    if kind < 0.45:
        return _sailboat(rng, size)
    return _motorboat(rng, size) if kind < 0.78 else _rowing_boat(rng, size)
