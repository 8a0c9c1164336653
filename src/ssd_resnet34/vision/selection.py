"""One image's heads -> the chosen boxes: scores, the threshold, decoding, NMS.

Source of the rules: the reference decoder of SSD-ResNet34 in MLPerf Inference. Everything here
works on one image, in fractions of its width and height; checks are the caller's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from ..contract import OFFSETS, SCALE_WH, SCALE_XY

Nms = Literal["exact", "mlperf"]

# An offset may be any float32; these keep every box finite in float32 after scaling to pixels.
MAX_EXPONENT: Final = 60.0
MAX_COORDINATE: Final = 1e30

# One sort key holds class, score and prior: 14 bits are enough for 15130 priors.
_PRIOR_BITS = 14
_SCORE_BITS = 32


@dataclass(frozen=True, slots=True)
class Candidates:
    """Scored boxes of one image as a struct of arrays; ``classes`` are 1..C-1."""

    boxes: NDArray[np.float64]  # (n, 4) left, top, right, bottom, fractions of the image
    scores: NDArray[np.float32]  # (n,)
    classes: NDArray[np.int64]  # (n,)
    priors: NDArray[np.int64]  # (n,) row in the table of priors

    def __getitem__(self, rows: NDArray[np.int64]) -> "Candidates":
        return Candidates(
            self.boxes[rows], self.scores[rows], self.classes[rows], self.priors[rows]
        )


def select(
    cls: Sequence[NDArray[np.float32]],
    loc: Sequence[NDArray[np.float32]],
    priors: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    iou_threshold: float,
    pre_nms_top_k: int,
    top_k: int,
    nms: Nms,
) -> Candidates:
    """The detections of one image, best first.

    Args:
        cls: six float32 (C·A, F, F) logits. loc: six float32 (4·A, F, F) offsets.
        priors: float32 (15130, 4) cx, cy, w, h.
        thresholds: float32 (C,), one a class, exceeded strictly; inf leaves a class out.
            Entry 0, the background, is not looked at.
        iou_threshold: a box is dropped when its IoU with a better one of its class reaches this.
        pre_nms_top_k, top_k: best of a class that enter NMS; best of the image that are returned.

    Equal scores: inside a class the higher prior goes first; in the result the higher class,
    then the lower prior.
    """
    scores, classes, rows = score(cls, thresholds)
    best = _best_of_each_class(scores, classes, rows, pre_nms_top_k)
    scores, classes, rows = scores[best], classes[best], rows[best]
    offsets = np.concatenate([head.reshape(4, -1) for head in loc], axis=1)
    boxes = decode(offsets[:, rows].T, priors[rows])
    kept = suppress(boxes, classes, iou_threshold, nms)
    found = Candidates(boxes[kept], scores[kept], classes[kept], rows[kept])
    return found[np.lexsort((found.priors, -found.classes, -found.scores))[:top_k]]


ROUNDING: Final = np.float32(4 * 2.0**-23)
"""Four units in the last place, as a share of a value."""


# A threshold of 0 lets every class pass (ln 0 = -inf); logits may be as far apart as float32 goes.
@np.errstate(divide="ignore", over="ignore")
def score(
    cls: Sequence[NDArray[np.float32]], thresholds: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Softmax probabilities above their class's threshold: scores, classes, rows of priors, (n,).

    ``cls`` are six float32 (C·A, F, F) logits, ``thresholds`` float32 (C,).

    exp(l_c) / Σ exp(l) > t needs l_c > l_background + ln t. One maximum over the classes thus
    leaves about one prior in fifteen of a usual image, and only these get a softmax.
    """
    depth = len(thresholds)
    log_lowest = np.log(thresholds[1:].min())
    found = []
    for head, offset in zip(cls, OFFSETS, strict=True):
        logits = head.reshape(depth, -1)
        background = logits[0]
        # The sum below rounds; a few units in the last place keep the comparison on the safe side.
        bar = background + log_lowest - ROUNDING * np.abs(background)
        highest = logits[1:].max(axis=0)
        priors = np.flatnonzero(highest > bar)
        exponentials = logits.take(priors, axis=1)
        exponentials -= np.maximum(highest, background)[priors]
        np.exp(exponentials, out=exponentials)
        # Many tiny terms beside a large one: float32 would lose 1e-6 of their sum.
        total = exponentials.sum(axis=0, dtype=np.float64).astype(np.float32)
        probabilities = exponentials[1:] / total
        where, column = np.divmod(
            np.flatnonzero(probabilities > thresholds[1:, None]), max(len(priors), 1)
        )
        found.append((probabilities[where, column], where + 1, priors[column] + offset))
    scores, classes, rows = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return scores, classes, rows


def _best_of_each_class(
    scores: NDArray[np.float32],
    classes: NDArray[np.int64],
    rows: NDArray[np.int64],
    count: int,
) -> NDArray[np.int64]:
    """Positions of each class's ``count`` best, by class, then score (descending), then prior
    (descending)."""
    # Positive floats order like their bits, so one integer key sorts by all three at once.
    falling = (1 << _SCORE_BITS) - 1 - scores.view(np.uint32).astype(np.int64)
    last = (1 << _PRIOR_BITS) - 1
    key = (((classes << _SCORE_BITS) | falling) << _PRIOR_BITS) | (last - rows)
    order = np.argsort(key)
    starts, lengths = _runs(classes[order])
    rank = np.arange(len(order)) - np.repeat(starts, lengths)
    return order[rank < count]


def decode(offsets: NDArray[np.float32], priors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Offsets and their priors, both (n, 4), to float64 (n, 4) left, top, right, bottom.

    centre = 0.1 · d · prior size + prior centre; size = exp(0.2 · d) · prior size. Not clipped
    to the image; always finite.
    """
    offsets = offsets.astype(np.float64)
    sizes = priors[:, 2:]
    centres = SCALE_XY * offsets[:, :2] * sizes + priors[:, :2]
    exponents = (SCALE_WH * offsets[:, 2:]).clip(-MAX_EXPONENT, MAX_EXPONENT)
    halves = np.exp(exponents) * sizes / 2
    corners = np.concatenate([centres - halves, centres + halves], axis=1)
    return corners.clip(-MAX_COORDINATE, MAX_COORDINATE)


def suppress(
    boxes: NDArray[np.float64], classes: NDArray[np.int64], iou_threshold: float, nms: Nms
) -> NDArray[np.int64]:
    """Greedy NMS of all classes at once: positions of the boxes, float64 (n, 4), that stay.

    Boxes come sorted by class, then from best to worst. Every round keeps the best box left in
    each class and drops what overlaps it, so there are as many rounds as the fullest class keeps
    boxes.

    ``mlperf`` reproduces the public reference, which forgets to clamp a negative overlap: two
    boxes apart in both axes get a positive "intersection". There an undefined IoU (no area at
    all) drops the box too.
    """
    left, top, right, bottom = boxes.T
    area = (right - left) * (bottom - top)
    sides = np.stack([left, top, right, bottom, area])
    remaining = np.arange(len(boxes))
    kept = []
    while len(remaining):
        starts, lengths = _runs(classes[remaining])
        kept.append(remaining[starts])
        mine = sides.take(remaining, axis=1)
        best = mine.take(np.repeat(starts, lengths), axis=1)
        overlap = np.minimum(mine[2:4], best[2:4]) - np.maximum(mine[:2], best[:2])
        if nms == "exact":
            np.maximum(overlap, 0, out=overlap)
        shared = overlap[0] * overlap[1]
        with np.errstate(divide="ignore", invalid="ignore"):  # boxes without area: see above
            iou = shared / (mine[4] + best[4] - shared)
        stays = ~(iou >= iou_threshold) if nms == "exact" else iou < iou_threshold
        stays[starts] = False
        remaining = remaining[stays]
    return np.concatenate(kept) if kept else remaining


def _runs(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and lengths of the runs of equal values."""
    starts = np.flatnonzero(np.diff(values, prepend=-1))
    return starts, np.diff(starts, append=len(values))
