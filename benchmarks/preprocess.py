"""Preprocess against the literal recipe of the contract, from decoded pixels, one process.

    python -m benchmarks.preprocess             ratios > 1: ours is faster

Literal: BGR to RGB, float32, OpenCV's bilinear resize, (x/255 - mean) / std, channels first. Runs
are interleaved in pairs; the median of the pairs' ratios counts.
"""

from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.pairs import Comparison, compare, report
from ssd_resnet34.contract import COCO, INPUT_SIZE
from ssd_resnet34.vision.preprocess import preprocess

SIZES = ((640, 480), (1920, 1080), (4000, 3000))


def literal(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """BGR uint8 (H, W, 3) -> float32 (1, 3, 1200, 1200), word by word."""
    image = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB).astype(np.float32)
    large = cv2.resize(image, (INPUT_SIZE, INPUT_SIZE), interpolation=cv2.INTER_LINEAR)
    mean, std = np.array(COCO.mean, np.float32), np.array(COCO.std, np.float32)
    normalised = (large / np.float32(255) - mean) / std
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None], np.float32)


def measure(pairs: int) -> list[Comparison]:
    """One comparison an image size."""
    results = []
    for width, height in SIZES:
        pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
        results.append(
            compare(
                f"preprocess, {width}x{height}, literal / ours",
                partial(literal, pixels),
                partial(preprocess, pixels, colour="bgr"),
                pairs,
            )
        )
    return results


if __name__ == "__main__":
    report(measure, "Preprocess against the literal recipe")
