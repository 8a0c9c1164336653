"""A stream whose neighbours overlap against images one by one, over sizes of pictures.

    python -m benchmarks.overlap [--pairs 15]     ratios > 1: overlap is faster

The network has all cores in both. Each run is eight JPEG files to detections, in the fastest engine
and precision of this machine; runs are interleaved in pairs. The share is that of the network, one
by one: where it is when the ratio crosses 1 is what ``runtime.pipeline.ALONE`` should be.
"""

from collections import deque
from collections.abc import Iterable
from time import perf_counter

import ssd_resnet34
from benchmarks.pairs import report
from ssd_resnet34.benchmarking.pictures import made_up
from ssd_resnet34.detector import Detector
from ssd_resnet34.pairs import Comparison, compare
from ssd_resnet34.runtime.pipeline import overlapped

SIZES = ((640, 480), (1280, 720), (1920, 1080), (2600, 1950), (4000, 3000))

IMAGES = 8
"""In a run: so many that the beginning and the end of an overlap are of little weight."""


def compared(detector: Detector, width: int, height: int, pairs: int) -> Comparison:
    """The two ways with pictures of one size."""
    pictures = [made_up(1, width, height)] * IMAGES

    def one_by_one() -> None:
        _exhaust(map(detector, pictures))

    def overlapping() -> None:
        _exhaust(overlapped(detector, pictures, detector.session.streams + 1))

    one_by_one()  # what is made once
    began, before = perf_counter(), detector.session.busy
    one_by_one()
    share = (detector.session.busy - before) / (perf_counter() - began)
    name = f"{width}x{height}, network {share:.1%}, one by one / overlapping"
    return compare(name, one_by_one, overlapping, pairs)


def measure(pairs: int) -> list[Comparison]:
    """One comparison a size."""
    with ssd_resnet34.load() as detector:
        return [compared(detector, *size, pairs) for size in SIZES]


def _exhaust(items: Iterable[object]) -> None:
    deque(items, maxlen=0)


if __name__ == "__main__":
    report(measure, __doc__)
