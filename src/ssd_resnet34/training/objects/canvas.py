"""A small anti-aliased drawing surface for upright objects with alpha.

Coordinates are object units (the drawer picks its own extents, about 100 along the
longest side), x to the right and y down.  Colours are BGR triples in 0..255.  The
surface holds premultiplied BGRA, so nothing dark bleeds in at the edges.  What is
finished here is placed in a scene by :mod:`..canvas`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..canvas import Image
from .colours import Colour
from .outlines import Points, outline, rect

Weights: TypeAlias = NDArray[np.float32]
"""How much of what is painted replaces what was there, 0..1 a pixel."""

_SUBPIXEL_BITS: Final = 4
"""OpenCV's drawing takes whole numbers of 1/16 pixel."""

_MARGIN: Final = 3.0
"""Object units around what is drawn, for strokes that reach over."""

_SPHERE: Final = 128
"""Side in pixels of the ball that shading is computed on."""

_PAINTED: Final = 40
"""Alpha over which a pixel belongs to the object: fainter edges are cropped."""


@lru_cache(maxsize=64)
def _lettering(text: str, bold: int) -> Image:
    """(h, w) uint8 tight coverage mask of `text`, its strokes `bold` pixels of about 100 high."""
    sheet = np.zeros((160, 90 * len(text) + 60), np.uint8)
    cv2.putText(sheet, text, (30, 115), cv2.FONT_HERSHEY_SIMPLEX, 3.0, 255, bold, cv2.LINE_AA)
    x, y, w, h = cv2.boundingRect(sheet)
    return np.ascontiguousarray(sheet[y : y + h, x : x + w])


@lru_cache(maxsize=1)
def _sphere_normals() -> NDArray[np.float32]:
    """(_SPHERE, _SPHERE, 3) float32 x, y, z surface normals of a ball seen from the front."""
    axis = np.linspace(-1.0, 1.0, _SPHERE, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    z = np.sqrt(np.clip(1.0 - x * x - y * y, 0.0, 1.0))
    return np.stack([x, y, z], axis=2)


def _supersampling(size: int) -> float:
    """Pixels drawn for one of the finished picture: small ones need it more, and cost less."""
    if size <= 64:
        return 4.0
    if size <= 140:
        return 2.5
    return 1.5 if size <= 420 else 1.15


def _sheet(rows: int, columns: int, colour: Colour) -> Image:
    """(rows, columns, 4) uint8 BGRA filled with one opaque colour."""
    sheet = np.empty((rows, columns, 4), np.uint8)
    sheet[:] = np.array((*colour, 255.0)).astype(np.uint8)
    return sheet


class Canvas:
    """Premultiplied BGRA surface covering `width` x `height` object units plus a margin."""

    def __init__(self, size: int, width: float, height: float) -> None:
        """Start empty; `size` is the wanted longest side of the finished picture in pixels."""
        self.size = size
        self.scale = size * _supersampling(size) / max(width, height)
        rows = int(np.ceil((height + 2 * _MARGIN) * self.scale))
        columns = int(np.ceil((width + 2 * _MARGIN) * self.scale))
        self.pixels: Image = np.zeros((rows, columns, 4), np.uint8)

    # -------------------------------------------------- geometry
    def _to_pixels(self, points: Points) -> Points:
        pixels: Points = (points + _MARGIN) * self.scale - 0.5
        return pixels

    def _fixed(self, points: Points) -> NDArray[np.int32]:
        return np.round(self._to_pixels(points) * (1 << _SUBPIXEL_BITS)).astype(np.int32)

    def _window(self, points: Points) -> tuple[slice, slice]:
        """Row and column slices of the pixels that `points` may touch."""
        pixels = self._to_pixels(points)
        rows, columns = self.pixels.shape[:2]
        x0, y0 = np.floor(pixels.min(axis=0)).astype(int) - 1
        x1, y1 = np.ceil(pixels.max(axis=0)).astype(int) + 2
        return (
            slice(int(np.clip(y0, 0, rows)), int(np.clip(y1, 0, rows))),
            slice(int(np.clip(x0, 0, columns)), int(np.clip(x1, 0, columns))),
        )

    def _coverage(self, points: Points, window: tuple[slice, slice]) -> Image:
        """(h, w) uint8 coverage of a filled outline inside `window`."""
        rows, columns = window
        mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        offset = np.array([columns.start, rows.start], np.int32) << _SUBPIXEL_BITS
        fixed = self._fixed(points) - offset
        cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
        return mask

    def _blend(
        self, window: tuple[slice, slice], source: Image, weights: Weights, atop: bool
    ) -> None:
        """Blend opaque BGRA `source` into `window` with weights in 0..1."""
        if source.size == 0:
            return
        target = np.ascontiguousarray(self.pixels[window])
        if atop:
            alpha = np.ascontiguousarray(np.repeat(target[:, :, 3:], 4, axis=2))
            source = np.asarray(cv2.multiply(source, alpha, scale=1 / 255), np.uint8)
        rest = np.ascontiguousarray(np.float32(1.0) - weights)
        self.pixels[window] = cv2.blendLinear(
            np.ascontiguousarray(source), target, np.ascontiguousarray(weights), rest
        )

    # -------------------------------------------------- flat paint
    def fill(self, points: Points, colour: Colour) -> None:
        """Fill a closed outline with one opaque colour."""
        cv2.fillPoly(
            self.pixels, [self._fixed(points)], (*colour, 255.0), cv2.LINE_AA, _SUBPIXEL_BITS
        )

    def line(self, points: Points, colour: Colour, width: float, closed: bool = False) -> None:
        """Stroke a path with an opaque colour; `width` in object units."""
        thickness = max(1, round(width * self.scale))
        cv2.polylines(
            self.pixels,
            [self._fixed(points)],
            closed,
            (*colour, 255.0),
            thickness,
            cv2.LINE_AA,
            _SUBPIXEL_BITS,
        )

    # -------------------------------------------------- blended paint
    def gradient(
        self,
        points: Points,
        start: Colour,
        end: Colour,
        vertical: bool = True,
        opacity: float = 1.0,
        atop: bool = False,
    ) -> None:
        """Fill an outline with a linear gradient (top to bottom, or left to right)."""
        window = self._window(points)
        mask = self._coverage(points, window)
        h, w = mask.shape
        steps = np.linspace(0.0, 1.0, h if vertical else w)[:, None]
        ramp = np.full((len(steps), 4), 255.0)
        ramp[:, :3] = np.array(start) * (1 - steps) + np.array(end) * steps
        strip = ramp.astype(np.uint8)[:, None] if vertical else ramp.astype(np.uint8)[None]
        source = np.ascontiguousarray(np.broadcast_to(strip, (h, w, 4)))
        self._blend(window, source, mask.astype(np.float32) * np.float32(opacity / 255), atop)

    def tint(self, points: Points, colour: Colour, opacity: float) -> None:
        """Lay a translucent colour over an outline, only where paint is."""
        self.gradient(points, colour, colour, opacity=opacity, atop=True)

    def glow(self, cx: float, cy: float, radius: float, colour: Colour, opacity: float) -> None:
        """Soft round light on what is already painted."""
        window = self._window(rect(cx - radius, cy - radius, cx + radius, cy + radius))
        h, w = self.pixels[window].shape[:2]
        distance = _sphere_normals()[:, :, 2] ** 2
        fall = np.clip(distance, 0.0, 1.0) ** 2 * opacity
        if h and w:
            weights = cv2.resize(fall.astype(np.float32), (w, h), interpolation=cv2.INTER_LINEAR)
            source = _sheet(h, w, colour)
            self._blend(window, source, np.asarray(weights, np.float32), atop=True)

    def text(
        self,
        text: str,
        box: tuple[float, float, float, float],
        colour: Colour,
        bold: int,
    ) -> None:
        """Letter `text` stretched into the box x0, y0, x1, y1; see :func:`_lettering`."""
        x0, y0, x1, y1 = box
        corners = np.round(self._to_pixels(outline((x0, y0), (x1, y1))) + 0.5).astype(int)
        (left, top), (right, bottom) = np.maximum(corners, 0).tolist()
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        window = (slice(top, bottom), slice(left, right))
        mask = cv2.resize(
            _lettering(text, bold), (right - left, bottom - top), interpolation=cv2.INTER_AREA
        )
        source = _sheet(bottom - top, right - left, colour)
        self._blend(window, source, mask.astype(np.float32) * np.float32(1 / 255), atop=True)

    # -------------------------------------------------- surfaces
    def paste(self, box: tuple[float, float, float, float], image: ArrayLike) -> None:
        """Stretch an (h, w, 3) uint8 BGR picture over the box, where paint is."""
        x0, y0, x1, y1 = box
        window = self._window(rect(x0, y0, x1, y1))
        h, w = self.pixels[window].shape[:2]
        picture = np.ascontiguousarray(np.asarray(image, np.uint8))
        stretched = cv2.resize(picture, (w, h), interpolation=cv2.INTER_LINEAR)
        source = np.asarray(cv2.cvtColor(stretched, cv2.COLOR_BGR2BGRA), np.uint8)
        self._blend(window, source, np.ones((h, w), np.float32), atop=True)

    def ball_shade(
        self,
        box: tuple[float, float, float, float],
        light: tuple[float, float],
        gloss: float,
        depth: float,
        relief: NDArray[np.float32] | None = None,
    ) -> None:
        """Shade what is painted in the box as a ball lit from (x, y) on its front.

        `gloss` and `depth` are how strong highlight and shadow are, 0..1; `relief` is an optional
        (_SPHERE, _SPHERE) brightness field added to the light.
        """
        normals = _sphere_normals()
        direction = np.array([light[0], light[1], 0.75], np.float32)
        direction /= np.linalg.norm(direction)
        facing = np.clip(normals @ direction, 0.0, 1.0)
        factor = (1.0 - depth) + depth * np.sqrt(facing)
        if relief is not None:
            factor = factor + relief
        shine = gloss * facing**28
        window = self._window(rect(*box))
        h, w = self.pixels[window].shape[:2]
        level = cv2.resize((np.clip(factor, 0, 1) * 255).astype(np.uint8), (w, h))
        target = np.ascontiguousarray(self.pixels[window])
        alpha = target[:, :, 3].copy()
        grey = np.asarray(cv2.merge([level, level, level, level]), np.uint8)
        shaded = np.asarray(cv2.multiply(target, grey, scale=1 / 255), np.uint8)
        shaded[:, :, 3] = alpha
        self.pixels[window] = shaded
        weights = cv2.resize(shine.astype(np.float32), (w, h))
        source = np.full((h, w, 4), 255, np.uint8)
        self._blend(window, source, np.asarray(weights, np.float32), atop=True)

    @contextmanager
    def clipped(self, points: Points) -> Iterator[None]:
        """Confine everything painted inside the block to a closed outline."""
        before = self.pixels.copy()
        yield
        window = self._window(points)
        weights = self._coverage(points, window).astype(np.float32) * np.float32(1 / 255)
        after = np.ascontiguousarray(self.pixels[window])
        self.pixels = before
        self._blend(window, after, weights, atop=False)

    def finish(self, rng: np.random.Generator, flip: bool = True) -> Image:
        """Light the picture from above, crop it to its paint and shrink it.

        Returns (h, w, 4) uint8 BGR + straight alpha with max(h, w) == size.  With `flip`
        the picture is mirrored half of the time.
        """
        mirrored = bool(rng.uniform() < 0.5)
        drop, lean = float(rng.uniform(0.0, 0.2)), float(rng.uniform(-0.08, 0.08))
        x, y, w, h = cv2.boundingRect((self.pixels[:, :, 3] > _PAINTED).astype(np.uint8))
        cropped = np.ascontiguousarray(self.pixels[y : y + h, x : x + w])
        ratio = self.size / max(w, h, 1)
        columns, rows = max(1, round(w * ratio)), max(1, round(h * ratio))
        if (columns, rows) != (w, h):
            shrunk = cv2.resize(cropped, (columns, rows), interpolation=cv2.INTER_AREA)
            cropped = np.asarray(shrunk, np.uint8)
        alpha = cropped[:, :, 3]
        down = np.linspace(0.0, 1.0, rows, dtype=np.float32)[:, None]
        across = np.linspace(-1.0, 1.0, columns, dtype=np.float32)[None]
        light = np.clip(1.0 - drop * down - abs(lean) + lean * across, 0.0, 1.0)
        gain = light * (np.float32(255.0) / np.maximum(alpha, 1))
        straight = np.full((rows, columns, 4), 128, np.uint8)
        for channel in range(3):
            straight[:, :, channel] = np.minimum(cropped[:, :, channel] * gain, 255.0)
        straight[:, :, 3] = alpha
        if flip and mirrored:
            straight = straight[:, ::-1]
        return np.ascontiguousarray(straight)
