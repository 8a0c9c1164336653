"""Preprocess against the literal recipe of the contract, from decoded pixels, one process.

    python -m benchmarks.preprocess             ratios > 1: ours is faster

Literal: BGR to RGB, float32, OpenCV's bilinear resize, (x/255 - mean) / std, channels first. Runs
are interleaved in pairs; the median of the pairs' ratios counts.
"""

from functools import partial

import numpy as np

from benchmarks.pairs import report
from ssd_resnet34.benchmarking import literal
from ssd_resnet34.contract import COCO
from ssd_resnet34.pairs import Comparison, compare
from ssd_resnet34.vision.preprocess import preprocess

SIZES = ((640, 480), (1920, 1080), (4000, 3000))


def measure(pairs: int) -> list[Comparison]:
    """One comparison an image size."""
    results = []
    for width, height in SIZES:
        pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
        results.append(
            compare(
                f"preprocess, {width}x{height}, literal / ours",
                partial(literal.preprocess, pixels, COCO),
                partial(preprocess, pixels, colour="bgr"),
                pairs,
            )
        )
    return results


if __name__ == "__main__":
    report(measure, __doc__)
