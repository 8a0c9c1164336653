"""The painting surface of a rendered scene: sprites, warps, blends and bookkeeping of visibility.

A *sprite* here is an ``(h, w, 4)`` uint8 array, blue-green-red plus alpha, with the colours already
multiplied by alpha (premultiplied).  Premultiplied colours are what resizing, warping and blurring
need: a transparent pixel then carries no colour that could bleed into an edge.
"""

import math
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

FREE: Final = 0
"""Owner id of pixels where no object is on top (background or a distractor)."""

SOLID: Final = 127
"""A pixel belongs to a sprite where the sprite's alpha is greater than this."""

_MARGIN: Final = 2
"""Pixels around the solid part of a warped sprite, for its soft edge."""


@dataclass(frozen=True)
class Pose:
    """How an upright sprite is turned into the view the scene shows.

    ``angle`` is in degrees, ``shear`` is dimensionless (x gained per y), ``tilt`` are the two
    perspective terms as the change of depth across the sprite, ``aspect`` multiplies the width.
    """

    angle: float = 0.0
    shear: float = 0.0
    tilt: tuple[float, float] = (0.0, 0.0)
    aspect: float = 1.0
    mirrored: bool = False


def premultiplied(straight: Image) -> Image:
    """Turn an ``(h, w, 4)`` uint8 BGR + straight alpha picture into a premultiplied sprite."""
    alpha = straight[:, :, 3]
    colour = cv2.multiply(straight[:, :, :3], cv2.merge([alpha, alpha, alpha]), scale=1 / 255)
    return np.asarray(cv2.merge([*cv2.split(colour), alpha]), np.uint8)


def solid(sprite: Image) -> Image:
    """Return the ``(h, w)`` uint8 mask, 255 where the sprite's alpha is greater than ``SOLID``."""
    alpha = np.ascontiguousarray(sprite[:, :, 3])
    return np.asarray(cv2.threshold(alpha, SOLID, 255, cv2.THRESH_BINARY)[1], np.uint8)


def bounds(mask: Image) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (right and bottom exclusive) of the non-zero part of a mask."""
    left, top, width, height = cv2.boundingRect(mask)
    return left, top, left + width, top + height


def _outline(mask: Image) -> NDArray[np.float64]:
    """Return ``(n, 2)`` x, y of the first and last solid pixel edges of every row of a mask."""
    hits = mask > 0
    rows = np.flatnonzero(hits.any(axis=1))
    if rows.size == 0:
        raise ValueError("the sprite has no solid pixel")
    first = hits.argmax(axis=1)[rows]
    last = hits.shape[1] - hits[:, ::-1].argmax(axis=1)[rows]
    x = np.concatenate([first, last, first, last])
    y = np.concatenate([rows, rows, rows + 1, rows + 1])
    return np.stack([x, y], axis=1).astype(np.float64)


def posed(sprite: Image, side: float, pose: Pose) -> Image:
    """Warp a sprite so that the longest side of its solid part is ``side`` pixels.

    Returns a sprite cut to that solid part plus two pixels on each side.
    """
    height, width = sprite.shape[:2]
    angle = math.radians(pose.angle)
    cos, sin = math.cos(angle), math.sin(angle)
    centre = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])
    stretch = np.diag([-pose.aspect if pose.mirrored else pose.aspect, 1.0, 1.0])
    half = max(width, height) / 2
    depth = np.array([[1, 0, 0], [0, 1, 0], [pose.tilt[0] / half, pose.tilt[1] / half, 1]])
    skew = np.array([[1, pose.shear, 0], [0, 1, 0], [0, 0, 1]])
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    view = turn @ skew @ depth @ stretch @ centre

    points = cv2.perspectiveTransform(_outline(solid(sprite))[None], view)[0]
    low, high = points.min(axis=0), points.max(axis=0)
    scale = side / float((high - low).max())
    # Bilinear sampling aliases below half size: warp to a larger picture and average it down.
    fine = min(4, max(1, math.ceil(0.75 / scale)))
    frame_w, frame_h = (np.ceil((high - low) * scale).astype(int) + 2 * _MARGIN).tolist()
    place = np.array(
        [
            [scale * fine, 0, _MARGIN * fine - low[0] * scale * fine],
            [0, scale * fine, _MARGIN * fine - low[1] * scale * fine],
            [0, 0, 1],
        ]
    )
    # Drawings put pixel centres at +0.5; cv2 puts them at whole numbers.
    to_edge = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    matrix = np.linalg.inv(to_edge) @ place @ view @ to_edge
    warped = cv2.warpPerspective(sprite, matrix, (frame_w * fine, frame_h * fine))
    if fine > 1:
        warped = cv2.resize(warped, (frame_w, frame_h), interpolation=cv2.INTER_AREA)
    return np.asarray(warped, np.uint8)


def recoloured(sprite: Image, hue: float, gain: float, offset: float) -> Image:
    """Rotate the hue by ``hue`` degrees, multiply by ``gain`` and add ``offset`` grey levels.

    One 4x4 matrix does all three: on premultiplied colours an offset is a multiple of alpha.
    """
    angle = math.radians(hue)
    cos, sin = math.cos(angle), math.sin(angle) / math.sqrt(3)
    matrix = np.zeros((4, 4), np.float32)
    matrix[:3, :3] = (1 - cos) / 3
    for channel in range(3):
        matrix[channel, channel] += cos
        matrix[channel, (channel + 1) % 3] += sin
        matrix[channel, (channel + 2) % 3] -= sin
    matrix[:3] *= gain
    matrix[:3, 3] = offset / 255
    matrix[3, 3] = 1
    return np.asarray(cv2.transform(sprite, matrix), np.uint8)


@dataclass
class Canvas:
    """A square picture being painted, and for each object what of it can still be seen.

    ``image`` is ``(size, size, 3)`` uint8 BGR.  ``owner`` is ``(size, size)`` uint8: ``FREE``, or
    one more than the index of the object on top at that pixel.  ``areas`` and ``seen`` count, per
    object, the solid pixels inside the image and those of them nothing covers.
    """

    image: Image
    owner: Image = field(init=False)
    areas: list[int] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)
    boxes: list[tuple[int, int, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start with nothing on the background."""
        self.owner = np.zeros(self.image.shape[:2], np.uint8)

    @property
    def size(self) -> int:
        """Side of the picture in pixels."""
        return int(self.image.shape[0])

    def window(self, x: int, y: int, width: int, height: int) -> tuple[slice, slice, slice, slice]:
        """Rows and columns of the image, then of the sprite, where a sprite at x, y is inside."""
        left, top = max(x, 0), max(y, 0)
        right, bottom = max(left, min(x + width, self.size)), max(top, min(y + height, self.size))
        return (
            slice(top, bottom),
            slice(left, right),
            slice(top - y, bottom - y),
            slice(left - x, right - x),
        )

    def hidden_by(self, mask: Image, x: int, y: int) -> NDArray[np.int64]:
        """``(256,)`` pixels of each owner that a solid mask at x, y would cover."""
        rows, columns, own_rows, own_columns = self.window(x, y, mask.shape[1], mask.shape[0])
        below = np.ascontiguousarray(self.owner[rows, columns])
        inside = np.ascontiguousarray(mask[own_rows, own_columns])
        if inside.size == 0:
            return np.zeros(256, np.int64)
        counts = cv2.calcHist([below], [0], inside, [256], [0, 256])
        return counts.reshape(256).astype(np.int64)

    def tolerates(self, hidden: NDArray[np.int64], max_occlusion: float) -> bool:
        """Whether every object would keep ``1 - max_occlusion`` of its in-image area visible."""
        lost = hidden[1 : len(self.areas) + 1]
        left = np.asarray(self.seen, np.int64) - lost
        floor = np.ceil((1 - max_occlusion) * np.asarray(self.areas)).astype(np.int64)
        return bool(np.all((lost == 0) | (left >= floor)))

    def shade(self, sprite: Image, x: int, y: int, strength: float, softness: int) -> None:
        """Darken the image under a blurred copy of a sprite's alpha; ``softness`` is in pixels."""
        step = max(1, softness // 2)
        reach = 3 * softness
        alpha = cv2.copyMakeBorder(
            np.ascontiguousarray(sprite[:, :, 3]), reach, reach, reach, reach, cv2.BORDER_CONSTANT
        )
        wide, high = alpha.shape[1], alpha.shape[0]
        # A blurred mask has no detail, so it is blurred small and grown again.
        small = cv2.resize(
            alpha, (max(1, wide // step), max(1, high // step)), interpolation=cv2.INTER_AREA
        )
        small = cv2.GaussianBlur(small, (0, 0), max(0.6, softness / step))
        light = cv2.resize(cv2.convertScaleAbs(small, alpha=-strength, beta=255), (wide, high))
        rows, columns, own_rows, own_columns = self.window(x - reach, y - reach, wide, high)
        part = light[own_rows, own_columns]
        if part.size:
            self.image[rows, columns] = cv2.multiply(
                self.image[rows, columns], cv2.merge([part, part, part]), scale=1 / 255
            )

    def paint(self, sprite: Image, x: int, y: int, *, is_object: bool) -> None:
        """Blend a sprite with its top left corner at x, y and update what can be seen."""
        rows, columns, own_rows, own_columns = self.window(x, y, sprite.shape[1], sprite.shape[0])
        part = np.ascontiguousarray(sprite[own_rows, own_columns])
        if part.size == 0:
            return
        clear = cv2.bitwise_not(np.ascontiguousarray(part[:, :, 3]))
        kept = cv2.multiply(
            self.image[rows, columns], cv2.merge([clear, clear, clear]), scale=1 / 255
        )
        self.image[rows, columns] = cv2.add(kept, np.ascontiguousarray(part[:, :, :3]))

        inside = solid(part)
        hidden = self.hidden_by(solid(sprite), x, y)
        for index in range(len(self.areas)):
            self.seen[index] -= int(hidden[index + 1])
        if is_object:
            area = int(cv2.countNonZero(inside))
            left, top, right, bottom = bounds(inside)
            row, column = rows.start, columns.start
            self.areas.append(area)
            self.seen.append(area)
            self.boxes.append((left + column, top + row, right + column, bottom + row))
        self.owner[rows, columns][inside > 0] = len(self.areas) if is_object else FREE
