"""How far two runs over the same image agree: heads, and detections matched one to one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ..vision.detections import Detections

MATCH_IOU: Final = 0.5
"""From here on two boxes are of one object."""


@dataclass(frozen=True)
class Agreement:
    """Detections of one run matched to those of a reference.

    ``matched`` pairs have the same class and IoU ≥ 0.5, each detection in one pair at most;
    ``box_shift`` is the largest coordinate difference of a pair in pixels, ``score_shift`` the
    largest score difference.
    """

    reference: int
    found: int
    matched: int
    box_shift: float
    score_shift: float

    @property
    def share(self) -> float:
        """Matched pairs over the larger count, 0..1; two empty results agree fully."""
        most = max(self.reference, self.found)
        return self.matched / most if most else 1.0

    def __add__(self, other: "Agreement") -> "Agreement":
        return Agreement(
            self.reference + other.reference,
            self.found + other.found,
            self.matched + other.matched,
            max(self.box_shift, other.box_shift),
            max(self.score_shift, other.score_shift),
        )


NOTHING: Final = Agreement(0, 0, 0, 0.0, 0.0)
"""The neutral element of ``+``."""


@dataclass(frozen=True)
class Tolerance:
    """How far a run may be from fp32: the largest head difference, and the least share of
    detections that agree; ``FEW`` of them may always miss."""

    heads: float
    share: float

    def __str__(self) -> str:
        share = f"agree ≥ {100 * self.share:g} %"
        return share if math.isinf(self.heads) else f"heads ≤ {self.heads:g} logits, {share}"

    def violations(self, heads: float, agreement: Agreement) -> list[str]:
        """What is out of tolerance, in words; nothing if all is well."""
        found = []
        if heads > self.heads:
            found.append(f"differs by {heads:.3g}; expected ≤ {self.heads:g}")
        missed = max(agreement.reference, agreement.found) - agreement.matched
        if agreement.share < self.share and missed > FEW:
            found.append(
                f"agrees on {100 * agreement.share:.1f} % of the detections; expected ≥ "
                f"{100 * self.share:g} %"
            )
        return found


FEW: Final = 2
"""Detections whose score crosses the threshold by rounding say nothing of an engine."""

TOLERANCES: Final = {
    "fp32": Tolerance(2e-2, 0.99),
    "bf16": Tolerance(math.inf, 0.9),
    "fp16": Tolerance(math.inf, 0.97),
    "int8": Tolerance(math.inf, 0.85),
}
"""The agreement test of every engine, by precision. fp32: logits reach ±20, so 2e-2 is about 1e-3
of them. bf16 has 8 bits of mantissa, fp16 11, int8 256 levels: their heads differ by up to tenths,
and what counts is that the same objects are found."""


def pairwise_iou(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """IoU of (n, 4) and (m, 4) left-top-right-bottom boxes: (n, m) float64."""
    first, second = a.astype(np.float64), b.astype(np.float64)
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    overlap = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(np.clip(v[:, 2:] - v[:, :2], 0, None), axis=1) for v in (first, second)]
    union = areas[0][:, None] + areas[1][None] - overlap
    shares: NDArray[np.float64] = overlap / np.where(union > 0, union, 1)
    return shares


def match(
    reference: Detections, found: Detections, iou: float = MATCH_IOU
) -> list[tuple[int, int]]:
    """Pairs (position in reference, position in found) of the same class, best IoU first."""
    overlaps = pairwise_iou(reference.boxes, found.boxes)
    overlaps[reference.indices[:, None] != found.indices[None]] = -1
    return one_to_one(overlaps, iou)


def one_to_one(overlaps: NDArray[np.float64], iou: float = MATCH_IOU) -> list[tuple[int, int]]:
    """Pairs (row, column) of an (n, m) table of IoU, best first: each row and column once."""
    left: set[int] = set()
    right: set[int] = set()
    pairs = []
    for flat in np.argsort(-overlaps, axis=None, kind="stable"):
        i, j = (int(v) for v in np.unravel_index(flat, overlaps.shape))
        if overlaps[i, j] < iou:
            break
        if i not in left and j not in right:
            pairs.append((i, j))
            left.add(i)
            right.add(j)
    return pairs


def compare(reference: Detections, found: Detections) -> Agreement:
    """Agreement of two results for the same image."""
    pairs = match(reference, found)
    boxes = [np.abs(reference.boxes[i] - found.boxes[j]).max() for i, j in pairs]
    scores = [abs(float(reference.scores[i] - found.scores[j])) for i, j in pairs]
    return Agreement(
        len(reference),
        len(found),
        len(pairs),
        float(max(boxes, default=0.0)),
        float(max(scores, default=0.0)),
    )


def head_difference(reference: Sequence[Any], found: Sequence[Any]) -> float:
    """Largest absolute difference over all heads; infinite where one of them is not finite."""
    largest = 0.0
    for a, b in zip(reference, found, strict=True):
        difference = np.abs(a - b)
        if not np.isfinite(difference).all():
            return math.inf  # max() would pass over a NaN
        largest = max(largest, float(difference.max(initial=0.0)))
    return largest
