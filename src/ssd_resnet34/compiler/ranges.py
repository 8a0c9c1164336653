"""From the histogram of a tensor to the range that its 256 levels cover.

A range [low, high] holds zero, which stays exact: zero is padding and what ReLU makes. Its levels
are those of ONNX Runtime's quantizer: scale (high - low) / 255, zero point round(-low / scale).
All methods but ``min-max`` may cut rare large values off so that the others get finer levels.
"""

import math
from collections.abc import Callable
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .histogram import BINS, Histogram

Method = Literal["min-max", "entropy", "percentile", "mse", "sqnr"]

METHODS: Final[tuple[Method, ...]] = get_args(Method)

DEFAULT_PERCENTAGE: Final = 99.99
"""Of the values, per cent, that ``percentile`` keeps inside."""

CANDIDATES: Final = 128
"""Ends of a range that are tried: this many fractions of the largest value."""

LEVELS: Final = 256

_ROUNDS: Final = 8
_HALF: Final = BINS // 2
_ABSENT: Final = 1e-12
"""Probability of what the quantized distribution cannot show, so that its logarithm exists."""

Range = tuple[float, float]


def check_method(method: str, percentage: float = DEFAULT_PERCENTAGE) -> None:
    """Refuse a method that does not exist and a percentage that keeps nothing.

    Raises:
        UsageError: names what there is.
    """
    if method not in METHODS:
        raise UsageError(f"calibration method {method!r} is unknown; use {', '.join(METHODS)}")
    if not 50 < percentage <= 100:
        raise UsageError(f"percentage: {percentage} is outside 50 (excluded) to 100")


def find_range(
    histogram: Histogram,
    method: Method,
    *,
    symmetric: bool = False,
    percentage: float = DEFAULT_PERCENTAGE,
) -> Range:
    """The range of one tensor.

    - ``min-max``: everything seen.
    - ``percentile``: ``percentage`` of the values; half of the rest is cut off at each end.
    - ``mse``: least mean square difference between values and their levels.
    - ``sqnr``: least mean over the images of noise / signal power. The two differ where images
      differ in strength: an image of faint activations counts as much as a strong one.
    - ``entropy``: least Kullback–Leibler divergence of the quantized distribution from the one seen
      (Migacz, "8-bit Inference with TensorRT", 2017), exact zeros left out: they stay exact.

    Args:
        symmetric: [-m, m]; for a tensor without negative values [0, m], which is symmetric for
            unsigned levels and does not waste half of them.

    Raises:
        UsageError: unknown method, percentage out of range, or an empty histogram.
    """
    check_method(method, percentage)
    if not histogram.total:
        raise UsageError("the histogram is empty; calibrate with at least one image")
    full = min(histogram.lowest, 0.0), max(histogram.highest, 0.0)
    if symmetric and full[0] < 0:
        full = -max(-full[0], full[1]), max(-full[0], full[1])
    if method == "min-max" or full == (0.0, 0.0):
        found = full
    elif method == "percentile":
        found = _percentile(histogram, percentage / 100, full, symmetric)
    else:
        found = _search(_objective(histogram, method), full, symmetric and full[0] < 0)
    return float(np.float32(found[0])) + 0.0, float(np.float32(found[1])) + 0.0  # no -0.0


def grid(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point of the levels of a range that holds zero."""
    scale = (high - low) / (LEVELS - 1)
    return scale, int(np.rint(-low / scale))


def _objective(histogram: Histogram, method: Method) -> Callable[[float, float], float]:
    if method == "entropy":
        return lambda low, high: divergence(histogram, low, high)
    filled = np.flatnonzero(histogram.counts)
    first, last = int(filled[0]), int(filled[-1])
    weights: NDArray[Any] = histogram.counts
    if method == "sqnr":
        weights = histogram.shares / histogram.squares()
        # Too faint for the levels of any range worth having: noise is all of their signal. Taken
        # as spread over the bin, they would seem to gain from a range that clips everything else.
        weights[_HALF - 1 : _HALF + 1] = 0
    weights = weights[first : last + 1]
    edges = histogram.edges()[first : last + 2]
    return lambda low, high: noise(weights, edges, low, high)


def _search(objective: Callable[[float, float], float], full: Range, symmetric: bool) -> Range:
    """The best candidate, of equals the widest; two free ends are improved in turn until neither
    moves."""
    steps = np.arange(CANDIDATES, 0, -1) / CANDIDATES
    low, high = full
    if symmetric:
        return min(((-step * high, step * high) for step in steps), key=lambda r: objective(*r))
    for _ in range(_ROUNDS):
        before = low, high
        if full[1] > 0:
            high = min((step * full[1] for step in steps), key=lambda end: objective(low, end))
        if full[0] < 0:
            low = min((step * full[0] for step in steps), key=lambda end: objective(end, high))
        if (low, high) == before or 0 in full:
            break
    return low, high


def noise(
    weights: NDArray[Any],
    edges: NDArray[np.float64],
    low: float,
    high: float,
) -> float:
    """Weighted sum of squared differences between values and their levels.

    ``weights`` (n,) are those of the bins between ``edges`` float64 (n + 1,).

    Values are taken as spread evenly over their bin, over which the square is integrated exactly,
    so levels narrower than a bin are judged right as well.
    """
    scale, zero = grid(low, high)
    level = np.clip(np.rint(edges / scale), -zero, LEVELS - 1 - zero)
    # From 0 to x: a twelfth of a cube for each level passed, and a third of the rest's cube.
    integral = level * scale**3 / 12 + (edges - level * scale) ** 3 / 3
    width = edges[1] - edges[0]
    return float(np.dot(weights, np.diff(integral)) / width)


def divergence(histogram: Histogram, low: float, high: float) -> float:
    """KL divergence, in nats, of the quantized distribution from the clipped one."""
    scale, zero = grid(low, high)
    counts = histogram.counts
    # Bins that the range only touches count as inside: a constant lies in the last one.
    first = math.floor(low / histogram.width) + _HALF
    after = math.floor(high / histogram.width) + _HALF + 1
    seen = counts[first:after].astype(np.float64)
    filled = seen > 0
    if not filled.any():
        return float("inf")
    centres = (np.arange(first, after) - _HALF + 0.5) * histogram.width
    places = np.clip(np.rint(centres / scale) + zero, 0, LEVELS - 1).astype(np.int64)
    sums = np.bincount(places, seen, LEVELS)
    spread = np.bincount(places, filled, LEVELS)
    shown = np.where(filled, sums[places] / np.maximum(spread[places], 1), 0)
    seen[0] += counts[:first].sum()
    seen[-1] += counts[after:].sum()
    p, q = seen / seen.sum(), np.maximum(shown / shown.sum(), _ABSENT)
    there = p > 0
    return float(np.sum(p[there] * np.log(p[there] / q[there])))


def _percentile(histogram: Histogram, share: float, full: Range, symmetric: bool) -> Range:
    if symmetric and full[0] < 0:
        folded = histogram.counts[_HALF:] + histogram.counts[:_HALF][::-1]
        most = _quantile(folded, histogram.zeros, share, histogram.width)
        return -min(most, full[1]), min(most, full[1])
    tail = (1 - share) / 2
    positive, negative = histogram.counts[_HALF:], histogram.counts[:_HALF][::-1]
    below = int(negative.sum())
    above = int(positive.sum())
    high = _quantile(positive, histogram.zeros + below, 1 - tail, histogram.width)
    low = _quantile(negative, histogram.zeros + above, 1 - tail, histogram.width)
    return max(-low, full[0]), min(high, full[1])


def _quantile(counts: NDArray[np.int64], smaller: int, share: float, width: float) -> float:
    """Where ``share`` of the values lie below: ``smaller`` at or under zero, then bins upwards."""
    reached = smaller + np.cumsum(counts)
    wanted = share * reached[-1]
    if wanted <= smaller:
        return 0.0
    place = int(np.searchsorted(reached, wanted))
    before = reached[place] - counts[place]
    return float((place + (wanted - before) / max(int(counts[place]), 1)) * width)
