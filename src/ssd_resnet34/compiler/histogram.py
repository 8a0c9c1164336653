"""Histograms of one tensor over a stream of images, in one pass and bounded memory.

Nobody knows the largest activation before the last image. The bins therefore have a width that is
a power of two; when a value lies outside, the width doubles and neighbours are added, which is
exact: the counts depend on the values alone, not on their order.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

BINS: Final = 8192
"""Half of them below zero, half from zero up."""

_HALF: Final = BINS // 2
_SMALLEST_EXPONENT: Final = -60
_BLOCK: Final = 1 << 18
"""Values counted at a time: what stays in the cache."""


@dataclass
class Histogram:
    """Counts over ``BINS`` bins of width 2^exponent around zero, and what bins cannot say.

    ``counts`` int64 without the exact zeros, which a ReLU makes by the million and every
    quantization keeps; ``zeros`` is their number. ``shares`` float64 says how much of an image's
    sum of squares lies in each bin, 1 in all, added up over the images: with it the
    noise-to-signal ratio of each image counts the same. It takes values as spread evenly over
    their bin; all else is exact.
    """

    exponent: int = _SMALLEST_EXPONENT
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    shares: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))
    zeros: int = 0
    lowest: float = math.inf
    highest: float = -math.inf

    @property
    def width(self) -> float:
        """Of a bin, in the tensor's unit."""
        return 2.0**self.exponent

    @property
    def total(self) -> int:
        """Values seen, zeros included."""
        return int(self.counts.sum()) + self.zeros

    def edges(self) -> NDArray[np.float64]:
        """The ``BINS + 1`` borders of the bins."""
        return np.arange(-_HALF, _HALF + 1, dtype=np.float64) * self.width

    def observe(self, values: NDArray[np.float32]) -> None:
        """Add one image's values of the tensor, any shape, finite.

        Raises:
            ValueError: empty, NaN or infinite values.
        """
        flat = values.reshape(-1)
        lowest, highest = (float(flat.min()), float(flat.max())) if flat.size else (math.nan,) * 2
        if not (math.isfinite(lowest) and math.isfinite(highest)):  # min() passes a NaN on
            raise ValueError("the tensor has no values, or NaN or infinite ones")
        self.lowest, self.highest = min(self.lowest, lowest), max(self.highest, highest)
        self._widen(max(-lowest, highest))
        counts = np.zeros(BINS, np.int64)
        # Scaling by a power of two is exact, so a value never lands in a neighbour's bin; but in
        # float32 a tiny one would become zero where the bins are wider than 1.
        real = np.dtype(np.float32 if self.exponent <= 0 else np.float64)
        scale = np.array(1 / self.width, real)
        for start in range(0, flat.size, _BLOCK):
            block = flat[start : start + _BLOCK].astype(real, copy=False)
            place = np.floor(block * scale).astype(np.int32)
            place += _HALF
            counts += np.bincount(place, minlength=BINS)
        zeros = flat.size - int(np.count_nonzero(flat))
        counts[_HALF] -= zeros
        self.zeros += zeros
        self.counts += counts
        powers = counts * self.squares()
        if zeros < flat.size:
            self.shares += powers / powers.sum()

    def squares(self) -> NDArray[np.float64]:
        """Mean square of a value in each bin, for values spread evenly over it."""
        edges = self.edges()
        return (edges[1:] ** 2 + edges[1:] * edges[:-1] + edges[:-1] ** 2) / 3

    def _widen(self, most: float) -> None:
        while most >= _HALF * self.width:
            self.exponent += 1
            self.counts, self.shares = _halved(self.counts), _halved(self.shares)


def _halved(counts: NDArray[Any]) -> NDArray[Any]:
    """The same histogram in bins twice as wide; zero stays the border in the middle."""
    wide = np.zeros_like(counts)
    wide[_HALF // 2 : _HALF // 2 + _HALF] = counts.reshape(-1, 2).sum(1)
    return wide
