"""The classical SSD augmentation: distorted colours, zoom-out, a crop by IoU, a mirror, a resize.

Sources: Liu et al., "SSD: Single Shot MultiBox Detector" (2016), section 2.2 ("Data augmentation")
and 3.6 (zoom-out); numbers and rules that the paper leaves open are those of its Caffe code
(https://github.com/weiliu89/caffe, branch ssd: ``examples/ssd/ssd_pascal.py``,
``util/im_transforms.cpp``, ``util/sampler.cpp``). Departures, each for a reason:

- What a crop leaves of an object whose centre it loses is ignored; Caffe drops the object, and
  teaches what is still seen of it as background.
- An object that becomes smaller than :data:`LEAST_SIDE` is ignored: no prior is near its size.
- The hue turns round its circle; Caffe's saturates in 8 bits.
- Pixels are always resized bilinearly, which is how the network is used; Caffe draws one of five
  filters.

Every choice comes from one ``numpy`` generator: same generator, same example. Geometry is decided
first, as a rectangle in pixels of the original (:class:`View`), and done in one resampling.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from ...contract import Contract
from ...errors import UsageError
from ...evaluation.agreement import pairwise_iou
from .example import Example, Sample

Boxes = NDArray[np.float32]
Pixels = NDArray[np.uint8]

OVERLAPS: Final = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Least IoU of a crop with some object; a whole picture and any crop at all are two choices more
(the paper's section 2.2; each is as likely as another)."""

_WHOLE: Final = -1.0

TRIALS: Final = 50
"""Crops drawn for one overlap before another choice is taken (``max_trials``)."""

CROP_SCALES: Final = (0.3, 1.0)
"""√(share of the picture's area) of a crop; the paper has 0.1 to 1, the code 0.3."""

CROP_ASPECTS: Final = (0.5, 2.0)

BRIGHTNESS: Final = 32.0
"""Largest shift, of 255."""

CONTRAST: Final = (0.5, 1.5)
SATURATION: Final = (0.5, 1.5)

HUE: Final = 18.0
"""Largest turn, of 180 (OpenCV's half degrees)."""

LEAST_SIDE: Final = 1 / 150
"""Of the input's side: 8 pixels of 1200, a tenth of the smallest prior."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How often each part is done, 0..1; 0 leaves it out.

    Attributes:
        distortion: of brightness, contrast, saturation and hue, each on its own.
        zoom_out: onto a canvas of the mean colour, up to ``largest`` times as wide and high.
        largest: 1 or more; the paper's 16 times the area are 4.
        crop: of choosing between the whole picture and the kinds of crops.
        mirror: left and right; 0 where classes are told by their side (letters, signs).

    Raises:
        UsageError: a value out of its range.
    """

    distortion: float = 0.5
    zoom_out: float = 0.5
    largest: float = 4.0
    crop: float = 1.0
    mirror: float = 0.5

    def __post_init__(self) -> None:
        for name in ("distortion", "zoom_out", "crop", "mirror"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name}: {getattr(self, name)} is no probability; give 0..1")
        if not 1 <= self.largest <= 16:
            raise UsageError(f"largest: {self.largest} times; give 1..16")


@dataclass(frozen=True, slots=True)
class View:
    """The rectangle that the network gets to see, pixels of the displayed original; outside of the
    picture there is the mean colour. ``mirrored``: left and right exchanged."""

    left: float
    top: float
    right: float
    bottom: float
    mirrored: bool = False


def mean_colour(contract: Contract) -> tuple[int, int, int]:
    """BGR 0..255 of what the network gets as about 0."""
    red, green, blue = (round(255 * value) for value in contract.mean)
    return blue, green, red


def augmented(
    sample: Sample,
    pixels: Pixels,
    size: int,
    rng: np.random.Generator,
    augmentation: Augmentation,
    fill: tuple[int, int, int],
) -> Example:
    """The sample as one of its many possible views.

    Args:
        pixels: (h, w, 3) BGR of ``sample.size``.
        size: side of the network's input, pixels.
        fill: BGR around a picture that is zoomed out.
    """
    height, width = pixels.shape[:2]
    view = drawn_view(rng, (width, height), sample.boxes[~sample.ignored], augmentation)
    image = resampled(
        pixels, view, size, fill, lambda part: distorted(rng, part, augmentation.distortion)
    )
    return _example(sample, image, view)


def whole(sample: Sample, pixels: Pixels, size: int) -> Example:
    """The sample as it is, resized."""
    height, width = pixels.shape[:2]
    view = View(0, 0, width, height)
    return _example(sample, resampled(pixels, view, size, (0, 0, 0)), view)


def _example(sample: Sample, image: Pixels, view: View) -> Example:
    size = len(image)
    boxes = projected(sample.boxes, view, size)
    inside = np.clip(boxes, 0, size)
    seen = (inside[:, 2:] > inside[:, :2]).all(axis=1)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    learnt = (
        seen
        & ~sample.ignored
        & ((centres >= 0) & (centres < size)).all(axis=1)
        & (inside[:, 2:] - inside[:, :2] >= LEAST_SIDE * size).all(axis=1)
    )
    return Example(
        image,
        inside[learnt],
        sample.indices[learnt],
        inside[seen & ~learnt],
        sample.unknown,
        sample.path,
        sample.indices[seen & ~learnt],
    )


# ---------------------------------------------------------------- geometry


def drawn_view(
    rng: np.random.Generator, size: tuple[int, int], boxes: Boxes, augmentation: Augmentation
) -> View:
    """Zoom-out, then a crop of what that gives, then a mirror.

    Args:
        size: width, height of the picture, pixels.
        boxes: (n, 4) the objects that a crop is chosen by.
    """
    width, height = size
    canvas = np.array([0.0, 0.0, width, height])
    if rng.random() < augmentation.zoom_out:
        ratio = rng.uniform(1, augmentation.largest)
        corner = -rng.uniform(0, (ratio - 1) * np.array(size, np.float64))
        canvas = np.concatenate([corner, corner + ratio * np.array(size)])
    if rng.random() < augmentation.crop:
        canvas = _crop(rng, canvas, boxes)
    mirrored = bool(rng.random() < augmentation.mirror)
    edges = np.rint(canvas)  # whole pixels, so that a crop is a slice
    edges[2:] = np.maximum(edges[2:], edges[:2] + 1)
    left, top, right, bottom = edges.tolist()
    return View(left, top, right, bottom, mirrored)


def _crop(
    rng: np.random.Generator, canvas: NDArray[np.float64], boxes: Boxes
) -> NDArray[np.float64]:
    for choice in rng.permutation([_WHOLE, 0.0, *OVERLAPS]).tolist():
        if choice == _WHOLE:
            return canvas
        if (crop := _fitting(rng, canvas, boxes, choice)) is not None:
            return crop
    return canvas


def _fitting(
    rng: np.random.Generator, canvas: NDArray[np.float64], boxes: Boxes, least: float
) -> NDArray[np.float64] | None:
    """A crop whose IoU with some box is at least ``least``, None if none of the trials has it."""
    if len(boxes) == 0:
        return None
    crops = _crops(rng, canvas)
    fits = np.flatnonzero(pairwise_iou(crops, boxes).max(axis=1) >= least)
    return np.asarray(crops[fits[0]]) if len(fits) else None


def _crops(rng: np.random.Generator, canvas: NDArray[np.float64]) -> NDArray[np.float64]:
    """(TRIALS, 4) rectangles inside ``canvas``, by ``sampler.cpp``."""
    scale = rng.uniform(*CROP_SCALES, TRIALS)
    aspect = np.clip(rng.uniform(*CROP_ASPECTS, TRIALS), scale**2, 1 / scale**2)
    extent = np.stack([scale * np.sqrt(aspect), scale / np.sqrt(aspect)], 1).clip(max=1)
    corner = rng.random((TRIALS, 2)) * (1 - extent)
    sides = canvas[2:] - canvas[:2]
    low = canvas[:2] + corner * sides
    return np.concatenate([low, low + extent * sides], 1)


def projected(boxes: Boxes, view: View, size: int) -> Boxes:
    """Boxes in pixels of the original -> in pixels of the input, not clipped."""
    corner = np.array([view.left, view.top] * 2)
    scale = size / np.array([view.right - view.left, view.bottom - view.top] * 2)
    moved = (boxes - corner) * scale
    if view.mirrored:
        moved = np.stack([size - moved[:, 2], moved[:, 1], size - moved[:, 0], moved[:, 3]], 1)
    return np.asarray(moved, np.float32)


def resampled(
    pixels: Pixels,
    view: View,
    size: int,
    fill: tuple[int, int, int],
    recoloured: Callable[[Pixels], Pixels] = lambda part: part,
) -> Pixels:
    """The view as (size, size, 3), bilinear without keeping the aspect, as
    :mod:`~ssd_resnet34.vision.preprocess` does it.

    Args:
        fill: BGR around the picture.
        recoloured: changes the colours of the picture, but not those around it, as Caffe does.
    """
    height, width = pixels.shape[:2]
    if view.left >= 0 and view.top >= 0 and view.right <= width and view.bottom <= height:
        left, top, right, bottom = map(int, (view.left, view.top, view.right, view.bottom))
        part = cv2.resize(
            pixels[top:bottom, left:right], (size, size), interpolation=cv2.INTER_LINEAR
        )
        image = recoloured(np.asarray(part, np.uint8))
    else:
        image = np.full((size, size, 3), fill, np.uint8)
        plain = replace(view, mirrored=False)
        edges = projected(np.array([[0, 0, width, height]], np.float32), plain, size)[0]
        left, top, right, bottom = np.rint(edges).clip(0, size).astype(int).tolist()
        if right > left and bottom > top:
            sx, sy = size / (view.right - view.left), size / (view.bottom - view.top)
            # Pixel centres are at a half: x' + ½ = (x + ½ - view.left) · sx - left.
            matrix = np.array(
                [
                    [sx, 0, (0.5 - view.left) * sx - left - 0.5],
                    [0, sy, (0.5 - view.top) * sy - top - 0.5],
                ]
            )
            part = cv2.warpAffine(
                pixels,
                matrix,
                (right - left, bottom - top),
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
            image[top:bottom, left:right] = recoloured(np.asarray(part, np.uint8))
    return mirrored(image) if view.mirrored else image


def mirrored(image: Pixels) -> Pixels:
    """Left and right exchanged."""
    return np.asarray(cv2.flip(image, 1), np.uint8)


# ---------------------------------------------------------------- colours


def distorted(rng: np.random.Generator, image: Pixels, often: float) -> Pixels:
    """Brightness; contrast before or after saturation and hue; each with probability ``often``."""
    shift = rng.uniform(-BRIGHTNESS, BRIGHTNESS) if rng.random() < often else 0.0
    contrast = rng.uniform(*CONTRAST) if rng.random() < often else 1.0
    saturation = rng.uniform(*SATURATION) if rng.random() < often else 1.0
    turn = rng.uniform(-HUE, HUE) if rng.random() < often else 0.0
    contrast_first = rng.random() < 0.5
    levels = np.arange(256.0)
    first = _bytes(levels + shift)
    if contrast_first:
        first = _bytes(first * contrast)
    if shift != 0 or (contrast_first and contrast != 1):
        image = np.asarray(cv2.LUT(image, first), np.uint8)
    if saturation != 1 or turn != 0:
        table = np.stack(
            [
                np.mod(np.rint(levels + turn), 180).astype(np.uint8),
                _bytes(levels * saturation),
                levels.astype(np.uint8),
            ],
            axis=1,
        )
        hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_BGR2HSV), table[None])
        image = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR), np.uint8)
    if not contrast_first and contrast != 1:
        image = np.asarray(cv2.LUT(image, _bytes(levels * contrast)), np.uint8)
    return image


def _bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
