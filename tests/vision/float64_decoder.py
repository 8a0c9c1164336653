"""The decoder's rules once more, in float64, straight from the words and without any shortcut:
what ``postprocess`` is tested against where there are no golden numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssd_resnet34.contract import LEVELS


@dataclass(frozen=True)
class Rules:
    """``exact`` by default; RUST is the vendor's decoder with two of its deviations (the third,
    a softmax that overflows, shows only from logits of about 88)."""

    score: float = 0.05
    iou: float = 0.5
    per_class: int = 200
    per_image: int = 200
    clamp: bool = True
    added_to_union: float = 0.0
    equal_iou_stays: bool = False


RUST = Rules(added_to_union=1e-5, equal_iou_stays=True)


@dataclass(frozen=True)
class Found:
    boxes: NDArray[np.float64]  # (n, 4) left, top, right, bottom, fractions
    scores: NDArray[np.float64]
    classes: NDArray[np.int64]


def decode(
    heads: Sequence[NDArray[Any]], priors: NDArray[Any], rules: Rules = Rules(), image: int = 0
) -> Found:
    half = len(LEVELS)
    depth = heads[0].shape[1] // LEVELS[0].anchors
    rows = [head[image].astype(np.float64) for head in heads]
    logits = np.concatenate([row.reshape(depth, -1) for row in rows[:half]], axis=1)
    offsets = np.concatenate([row.reshape(4, -1) for row in rows[half:]], axis=1).T
    exponentials = np.exp(logits - logits.max(axis=0))
    scores = exponentials / exponentials.sum(axis=0)
    centres = 0.1 * offsets[:, :2] * priors[:, 2:] + priors[:, :2]
    sizes = np.exp(0.2 * offsets[:, 2:]) * priors[:, 2:]
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
    found = []
    for index in range(1, depth):
        candidates = np.flatnonzero(scores[index] > rules.score)
        order = np.lexsort((-candidates, -scores[index, candidates]))
        for row in greedy(boxes, candidates[order][: rules.per_class], rules):
            found.append((-scores[index, row], -index, row))
    best = sorted(found)[: rules.per_image]
    chosen = [row for _, _, row in best]
    return Found(
        boxes[chosen],
        np.array([-score for score, _, _ in best]),
        np.array([-index for _, index, _ in best], np.int64),
    )


def greedy(boxes: NDArray[Any], order: NDArray[Any], rules: Rules) -> list[int]:
    """The rows of ``order``, best first, that no better kept one drops."""
    kept: list[int] = []
    for row in order.tolist():
        overlaps = (iou(boxes[row], boxes[other], rules) for other in kept)
        if all(
            value < rules.iou or (rules.equal_iou_stays and value == rules.iou)
            for value in overlaps
        ):
            kept.append(row)
    return kept


def iou(a: NDArray[Any], b: NDArray[Any], rules: Rules) -> float:
    (left, top, right, bottom), (left2, top2, right2, bottom2) = a.tolist(), b.tolist()
    width = min(right, right2) - max(left, left2)
    height = min(bottom, bottom2) - max(top, top2)
    if rules.clamp:
        width, height = max(width, 0.0), max(height, 0.0)
    shared = width * height
    areas = (right - left) * (bottom - top) + (right2 - left2) * (bottom2 - top2)
    union = areas - shared + rules.added_to_union
    if union == 0:
        return 0.0 if rules.clamp else float("inf")
    return float(shared / union)
