"""The figures of the documentation, drawn from the code that they explain, as small SVG."""

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np

from ssd_resnet34.contract import COCO, COCO_TENSORFLOW, LEVELS, OFFSETS
from ssd_resnet34.vision.priors import anchor_sizes, priors

INK: Final = "#22303c"
FAINT: Final = "#c3ccd4"
BLUE: Final = "#0b6fb8"
RED: Final = "#c8442b"
GREEN: Final = "#2c8a57"


def heads() -> str:
    """Six squares with the cells of each level."""
    side, gap = 150, 30
    parts = []
    for k, level in enumerate(LEVELS):
        left, top = 20 + (k % 3) * (side + gap), 40 + (k // 3) * (side + 65)
        step = side / level.size
        lines = [
            f"M{left + n * step:.2f} {top}v{side}M{left} {top + n * step:.2f}h{side}"
            for n in range(level.size + 1)
        ]
        width = 0.3 if level.size > 20 else 0.8
        parts.append(f'<path d="{"".join(lines)}" stroke="{BLUE}" stroke-width="{width}"/>')
        parts.append(text(left, top - 8, f"level {k}: {level.size}×{level.size}"))
        parts.append(text(left, top + side + 16, f"{level.anchors} anchors, {level.priors} priors"))
    return picture(550, 440, "Cells and priors of the six levels", parts)


def prior_shapes() -> str:
    """The anchors of each level around one centre, to scale with the image of 1200 pixels."""
    side = 120  # of the image; the largest priors are larger
    colours = (GREEN, GREEN, RED, BLUE, RED, BLUE)  # squares, then lying and upright
    parts = []
    for k in range(len(LEVELS)):
        left, top = 40 + (k % 3) * 200, 60 + (k // 3) * 220
        parts.append(rectangle(left, top, side, side, FAINT, 1))
        for n, (width, height) in enumerate(anchor_sizes(k)):
            w, h = width * side, height * side
            x, y = left + (side - w) / 2, top + (side - h) / 2
            parts.append(rectangle(x, y, w, h, colours[n], 1.4))
        largest = priors()[OFFSETS[k], 2] * 1200
        title = f"level {k}: from {largest:.0f} px"
        parts.append(text(left - 20, top - 36, title))
    return picture(620, 460, "Shapes of the priors of each level, on the image", parts)


def overlap(gap: float, *, clamped: bool) -> float:
    """IoU of two unit squares that are ``gap`` apart in both axes; negative gaps overlap."""
    inside = max(-gap, 0.0) if clamped else -gap
    shared = inside * inside
    return shared / (2 - shared)


def nms_modes() -> str:
    """IoU of two equal squares over their diagonal gap, with and without the clamp."""
    left, top, width, height = 60, 30, 420, 240

    def at(gap: float, iou: float) -> tuple[float, float]:
        return left + (gap + 1) / 3 * width, top + (1.2 - iou) / 1.2 * height

    parts = []
    parts.append(rectangle(left, top, width, height, FAINT, 1))
    for iou in (0.0, 0.5, 1.0):
        x, y = at(-1, iou)
        parts.append(line(x, y, x + width, y, RED if iou == 0.5 else FAINT, 1))
        parts.append(text(x - 34, y + 4, f"{iou:.1f}"))
    for gap in (-1, 0, 1, 2):
        x, _ = at(gap, 0)
        parts.append(text(x - 8, top + height + 18, f"{gap}"))
    for clamped, colour in ((False, RED), (True, BLUE)):
        points = [
            at(gap, overlap(gap, clamped=clamped))
            for gap in np.arange(-1, 2.0001, 0.02)
            if 0 <= overlap(gap, clamped=clamped) <= 1.2
        ]
        parts.append(polyline(points, colour))
    parts.append(text(74, 60, "mlperf: deleted from 0.816 to 1.414", RED))
    parts.append(text(272, 258, "exact: 0 once they are apart", BLUE))
    parts.append(text(left, 20, "IoU"))
    parts.append(text(332, at(0, 0.5)[1] - 8, "deleted from 0.5 on", RED))
    parts.append(
        text(left + 70, top + height + 40, "gap between the squares in both axes, in sides")
    )
    return picture(510, 320, "IoU of two equal squares, by their diagonal gap", parts)


def lineages() -> str:
    """How far the prior centres of the lineages are apart: TensorFlow's less PyTorch's, pixels."""
    left, top, width, height = 60, 40, 420, 240
    tables = (priors(COCO), priors(COCO_TENSORFLOW))

    def at(centre: float, shift: float) -> tuple[float, float]:
        return left + centre / 1200 * width, top - shift / 5 * height

    parts = [rectangle(left, top, width, height, FAINT, 1)]
    parts += [text(left - 26, at(0, shift)[1] + 4, f"{shift}") for shift in range(0, -6, -1)]
    parts += [text(at(x, 0)[0] - 12, top + height + 18, f"{x}") for x in (0, 400, 800, 1200)]
    for k, colour in ((0, INK), (2, RED), (3, BLUE)):
        row = slice(OFFSETS[k], OFFSETS[k] + LEVELS[k].size)
        ours, theirs = (table[row, 0].astype(float) * 1200 for table in tables)
        points = [at(float(x), float(y)) for x, y in zip(ours, theirs - ours, strict=True)]
        parts.append(polyline(points, colour))
        if k:
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in points
            ]
    parts.append(text(left, 24, "centre in TensorFlow − centre in PyTorch, pixels of 1200"))
    parts.append(text(left + 240, top + 20, "levels 0, 1, 4, 5: none"))
    parts.append(text(left + 330, top + 92, "level 3: 7×7", BLUE))
    parts.append(text(left + 225, top + 190, "level 2: 13×13", RED))
    parts.append(
        text(left + 90, top + height + 40, "centre in PyTorch, pixels from the left or top")
    )
    return picture(510, 340, "Shift of the prior centres between the two lineages", parts)


def rounding() -> str:
    """A range of activations and its 256 levels, drawn with 16: scale, zero point, what is cut."""
    low, high, levels = -0.6, 1.8, 16
    scale = (high - low) / (levels - 1)
    left, top, size = 50, 30, 300

    def at(x: float, y: float) -> tuple[float, float]:
        return left + (x + 1.2) / 3.6 * size, top + (2.4 - y) / 3.6 * size

    xs = np.arange(-1.2, 2.4001, 0.005)
    zero = round(-low / scale)
    levels_of = np.clip(np.round(xs / scale) + zero, 0, levels - 1)
    parts = [
        rectangle(left, top, size, size, FAINT, 1),
        polyline([at(float(x), float(x)) for x in (-1.2, 2.4)], FAINT),
        polyline(
            [at(float(x), float((q - zero) * scale)) for x, q in zip(xs, levels_of, strict=True)],
            BLUE,
        ),
        text(left + 10, top + 20, "levels = (q − zero) · scale", BLUE),
        text(left + 130, top + size - 30, "outside the range: cut"),
        text(left, top - 10, "what an int8 layer reads"),
        text(left + 80, top + size + 22, "value of an activation"),
    ]
    return picture(400, 370, "Rounding of activations to levels (16 drawn, 256 in use)", parts)


def road() -> str:
    """The way of the data, and who stands on it."""
    stations = (
        ("bytes", "file, request, row"),
        ("images.decode", "BGR uint8 (H, W, 3)"),
        ("preprocess", "float32 [1, 3, 1200, 1200]"),
        ("Session.run", "twelve heads, float32"),
        ("postprocess", "boxes in pixels"),
        ("Detections", "→ writer, JSON, drawing"),
    )
    parts = []
    for n, (name, what) in enumerate(stations):
        x, y = 20 + (n % 3) * 215, 40 + (n // 3) * 110
        parts.append(rectangle(x, y, 185, 62, BLUE if n == 3 else INK, 1.4))
        parts.append(text(x + 12, y + 26, name, BLUE if n == 3 else INK, 15))
        parts.append(text(x + 12, y + 47, what, INK, 12))
        if n % 3 < 2:
            parts.append(line(x + 185, y + 31, x + 215, y + 31, INK, 1.4))
    parts.append(f'<path d="M542 102v24H112v24" stroke="{INK}" stroke-width="1.4"/>')
    return picture(670, 230, "From bytes to detections", parts)


def picture(width: int, height: int, title: str, parts: Iterable[str]) -> str:
    """A whole SVG with a white ground, so that it can be read on a dark page too."""
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" fill="none" font-family="sans-serif" role="img">',
            f"<title>{title}</title>",
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        )
    )


def text(x: float, y: float, words: str, colour: str = INK, size: int = 14) -> str:
    """Words that begin at (x, y)."""
    return f'<text x="{x:.2f}" y="{y:.2f}" fill="{colour}" font-size="{size}">{words}</text>'


def line(x: float, y: float, to_x: float, to_y: float, colour: str, width: float) -> str:
    """A straight line."""
    return (
        f'<path d="M{x:.2f} {y:.2f}L{to_x:.2f} {to_y:.2f}" stroke="{colour}" '
        f'stroke-width="{width}"/>'
    )


def polyline(points: Iterable[tuple[float, float]], colour: str) -> str:
    """A line through points."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" stroke="{colour}" stroke-width="2"/>'


def rectangle(x: float, y: float, width: float, height: float, colour: str, line: float) -> str:
    """The border of a rectangle."""
    return (
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" '
        f'stroke="{colour}" stroke-width="{line}"/>'
    )


FIGURES: Final[dict[str, Callable[[], str]]] = {
    "heads": heads,
    "lineages": lineages,
    "nms-modes": nms_modes,
    "prior-shapes": prior_shapes,
    "road": road,
    "rounding": rounding,
}
