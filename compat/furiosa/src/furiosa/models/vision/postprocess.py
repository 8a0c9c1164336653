"""Result classes, and the small functions beside them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CXcywhBoundingBox",
    "LtrbBoundingBox",
    "ObjectDetectionResult",
    "XywhBoundingBox",
    "calibration_ltrbbox",
    "collate",
    "sigmoid",
    "xyxytocxcywh",
    "xyxytoxywh",
]


@dataclass
class LtrbBoundingBox:
    """Left, top, right, bottom in pixels of the original image; may reach outside it."""

    left: float
    top: float
    right: float
    bottom: float

    def __iter__(self) -> Iterator[float]:
        return iter((self.left, self.top, self.right, self.bottom))


@dataclass
class XywhBoundingBox:
    """Left, top, width, height, pixels."""

    x: float
    y: float
    width: float
    height: float

    def __iter__(self) -> Iterator[float]:
        return iter((self.x, self.y, self.width, self.height))


@dataclass
class CXcywhBoundingBox:
    """Centre, width, height, pixels."""

    center_x: float
    center_y: float
    width: float
    height: float

    def __iter__(self) -> Iterator[float]:
        return iter((self.center_x, self.center_y, self.width, self.height))


@dataclass
class ObjectDetectionResult:
    """A found object: ``index`` is the model's class, 1..80, not COCO's category id."""

    boundingbox: LtrbBoundingBox
    score: float
    label: str
    index: int


def xyxytoxywh(xyxy: LtrbBoundingBox) -> XywhBoundingBox:
    """Left, top, width, height. (The vendor's height is bottom + top, an error.)"""
    return XywhBoundingBox(xyxy.left, xyxy.top, xyxy.right - xyxy.left, xyxy.bottom - xyxy.top)


def xyxytocxcywh(xyxy: LtrbBoundingBox) -> CXcywhBoundingBox:
    """Centre, width, height. (The vendor's height is bottom + top, an error.)"""
    return CXcywhBoundingBox(
        (xyxy.left + xyxy.right) / 2,
        (xyxy.top + xyxy.bottom) / 2,
        xyxy.right - xyxy.left,
        xyxy.bottom - xyxy.top,
    )


def calibration_ltrbbox(bbox: NDArray[Any], width: float, height: float) -> NDArray[Any]:
    """Scale boxes (n, 4) of fractions to pixels, in place; gives them back."""
    bbox *= np.array((width, height, width, height), bbox.dtype)
    return bbox


def collate(data: Sequence[Sequence[NDArray[Any]]], batch_axis: int = 0) -> list[NDArray[Any]]:
    """Outputs of several images, a list of arrays each, as one list of batches."""
    return [np.concatenate(arrays, axis=batch_axis) for arrays in zip(*data, strict=True)]


def sigmoid(x: NDArray[Any]) -> NDArray[Any]:
    """1 / (1 + exp(-x)), without overflow."""
    small = np.exp(-np.abs(x))
    result: NDArray[Any] = np.where(np.asarray(x) >= 0, 1, small) / (1 + small)
    return result
