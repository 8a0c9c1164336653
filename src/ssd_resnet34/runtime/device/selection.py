"""The twelve heads of a batch -> the chosen boxes of each image, in torch operations.

The rules, the order of equals and the float64 arithmetic of boxes are those of
:mod:`ssd_resnet34.vision.selection`; what differs is that a whole batch, and all classes of it, are
done at once, and that greedy NMS is found as a fixed point instead of box by box.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from ...contract import LEVELS, SCALE_WH, SCALE_XY
from ...vision.postprocess import Rules
from ...vision.selection import MAX_COORDINATE, MAX_EXPONENT, ROUNDING, Candidates, Nms

MAX_GROUPS: Final = 1 << 19
"""Images × classes of one call: what a sort key has room for."""

# A sort key: group (19 bits), how far the score is from 1 (30 bits), prior (14 bits).
_PRIOR_BITS: Final = 14
_SCORE_BITS: Final = 30
_LAST_PRIOR: Final = (1 << _PRIOR_BITS) - 1
_ONE: Final = 0x3F800000  # the bits of 1.0; positive floats order like their bits

_PAIRS: Final = 1 << 24
"""Pairs of boxes that are compared at a time: 128 MB of float64 for each step of the IoU."""

_BLOCK: Final = 512
"""Boxes of a class that are compared with one another at a time; by default it has 200 at most."""


def flattened(heads: Sequence[Tensor], num_classes: int) -> tuple[Tensor, Tensor]:
    """Logits float32 [N, 15130, classes] and offsets float32 [N, 15130, 4] of the twelve heads."""

    def rows(parts: Sequence[Tensor], depth: int) -> Tensor:
        levels = [
            head.view(-1, depth, level.anchors, level.size, level.size)
            .permute(0, 2, 3, 4, 1)
            .flatten(1, 3)
            for head, level in zip(parts, LEVELS, strict=True)
        ]
        return torch.cat(levels, dim=1).float()

    count = len(LEVELS)
    return rows(heads[:count], num_classes), rows(heads[count:], 4)


def finite(logits: Tensor, offsets: Tensor) -> Tensor:
    """Whether there is no NaN or infinity, as a tensor of one bool."""
    return torch.stack([*logits.aminmax(), *offsets.aminmax()]).isfinite().all()


@dataclass(frozen=True, eq=False)
class _Scored:
    """Candidates of a batch as a struct of tensors, all int64 but the float32 ``scores``."""

    images: Tensor
    classes: Tensor
    priors: Tensor
    scores: Tensor

    def __getitem__(self, rows: Tensor) -> "_Scored":
        return _Scored(*(values[rows] for values in vars(self).values()))


def select(logits: Tensor, offsets: Tensor, priors: Tensor, rules: Rules) -> list[Candidates]:
    """The detections of each image, best first.

    Args:
        logits: float32 [N, P, classes], finite. offsets: float32 [N, P, 4], finite.
        priors: float64 [P, 4] cx, cy, w, h.
        rules: as of :func:`ssd_resnet34.vision.postprocess.rules`.

    N · classes is at most :data:`MAX_GROUPS`.
    """
    images, _, depth = logits.shape
    found = _scored(logits, torch.from_numpy(rules.thresholds).to(logits.device))
    found, ranks = _best_of_each_class(found, images, depth, rules.pre_nms_top_k)
    boxes = decode(offsets[found.images, found.priors], priors[found.priors])
    groups = found.images * depth + found.classes
    kept = suppress(boxes, groups, ranks, rules.iou_threshold, rules.nms).nonzero().squeeze(1)
    return _best_of_each_image(found[kept], boxes[kept], images, depth, rules.top_k)


def _scored(logits: Tensor, thresholds: Tensor) -> _Scored:
    """Softmax probabilities above their class's threshold; few priors pay for an exp."""
    count = logits.shape[1]
    background = logits[..., 0]
    highest = logits[..., 1:].amax(dim=-1)
    bar = background + thresholds[1:].min().log() - float(ROUNDING) * background.abs()
    rows = (highest > bar).flatten().nonzero().squeeze(1)
    exponentials = logits.flatten(0, 1)[rows]
    exponentials -= torch.maximum(highest, background).flatten()[rows, None]
    exponentials.exp_()
    total = exponentials.sum(dim=1, dtype=torch.float64).float()
    probabilities = exponentials[:, 1:] / total[:, None]
    row, column = (probabilities > thresholds[1:]).nonzero().unbind(1)
    places = rows[row]
    return _Scored(places // count, column + 1, places % count, probabilities[row, column])


def _falling(scores: Tensor) -> Tensor:
    """Integers that are smaller for larger scores (0..1)."""
    return _ONE - scores.view(torch.int32).to(torch.int64)


def _ranks(groups: Tensor, count: int) -> Tensor:
    """Place of each in its group, from 0; ``groups`` is sorted, below ``count``."""
    lengths = torch.zeros(count, dtype=torch.int64, device=groups.device)
    lengths.index_add_(0, groups, torch.ones_like(groups))
    starts = lengths.cumsum(0) - lengths
    return torch.arange(len(groups), device=groups.device) - starts[groups]


def _best_of_each_class(
    found: _Scored, images: int, depth: int, most: int
) -> tuple[_Scored, Tensor]:
    """The ``most`` best of each image's class and their ranks, by group, score (descending), prior
    (descending)."""
    groups = found.images * depth + found.classes
    key = (groups << _SCORE_BITS | _falling(found.scores)) << _PRIOR_BITS
    key, order = (key | (_LAST_PRIOR - found.priors)).sort()
    ranks = _ranks(key >> (_SCORE_BITS + _PRIOR_BITS), images * depth)
    rows = (ranks < most).nonzero().squeeze(1)
    return found[order[rows]], ranks[rows]


def decode(offsets: Tensor, priors: Tensor) -> Tensor:
    """Offsets float32 and their priors float64, both (n, 4), to float64 (n, 4) left, top, right,
    bottom as fractions of the image; always finite."""
    offsets = offsets.double()
    sizes = priors[:, 2:]
    centres = SCALE_XY * offsets[:, :2] * sizes + priors[:, :2]
    exponents = (SCALE_WH * offsets[:, 2:]).clamp(-MAX_EXPONENT, MAX_EXPONENT)
    halves = exponents.exp() * sizes / 2
    corners = torch.cat([centres - halves, centres + halves], dim=1)
    return corners.clamp(-MAX_COORDINATE, MAX_COORDINATE)


def suppress(
    boxes: Tensor, groups: Tensor, ranks: Tensor, iou_threshold: float, nms: Nms
) -> Tensor:
    """Greedy NMS inside each group: whether each box stays, bool (n,).

    ``boxes`` float64 (n, 4) come sorted by group, then from best to worst; ``ranks`` are their
    places in the group.
    """
    kept = torch.zeros_like(groups, dtype=torch.bool)
    if not len(groups):
        return kept
    rows = torch.cat([groups.new_zeros(1), (groups.diff() != 0).cumsum(0)])
    count, longest = (int(value) + 1 for value in torch.stack([rows[-1], ranks.max()]).tolist())
    table = boxes.new_zeros(count, longest, 4)
    table[rows, ranks] = boxes
    present = kept.new_zeros(count, longest)
    present[rows, ranks] = True
    step = max(1, _PAIRS // min(longest, _BLOCK) ** 2)
    stays = torch.cat(
        [
            _greedy(table[start : start + step], present[start : start + step], iou_threshold, nms)
            for start in range(0, count, step)
        ]
    )
    return stays[rows, ranks]


def _greedy(boxes: Tensor, present: Tensor, iou_threshold: float, nms: Nms) -> Tensor:
    """Rows of boxes, best first: those that no better one that stays drops.

    A box's fate depends on better boxes alone. Starting from "all stay" and asking again with each
    answer, the n best are settled after n rounds at the latest, and an answer that comes back
    unchanged is the greedy one: chains of boxes that drop one another are short.
    """
    stays = present.clone()
    for start in range(0, boxes.shape[1], _BLOCK):
        block = slice(start, start + _BLOCK)
        mine = boxes[:, block]
        for first in range(0, start, _BLOCK):
            better = slice(first, first + _BLOCK)
            drops = _drops(boxes[:, better], mine, iou_threshold, nms)
            stays[:, block] &= ~(drops & stays[:, better, None]).any(dim=1)
        left = stays[:, block]
        drops = _drops(mine, mine, iou_threshold, nms).triu_(1) & left[:, :, None]
        before, after = None, left
        while before is None or not torch.equal(before, after):
            before, after = after, left & ~(drops & after[:, :, None]).any(dim=1)
        stays[:, block] = after
    return stays


def _drops(better: Tensor, worse: Tensor, iou_threshold: float, nms: Nms) -> Tensor:
    """Whether each box of ``better`` (R, n, 4) would drop each of ``worse`` (R, m, 4)."""
    left, top, right, bottom = better[:, :, None].unbind(-1)
    left2, top2, right2, bottom2 = worse[:, None].unbind(-1)
    width = torch.minimum(right, right2) - torch.maximum(left, left2)
    height = torch.minimum(bottom, bottom2) - torch.maximum(top, top2)
    if nms == "exact":
        width.clamp_(min=0)
        height.clamp_(min=0)
    shared = width.mul_(height)
    area, area2 = (right - left) * (bottom - top), (right2 - left2) * (bottom2 - top2)
    iou = shared / (area + area2 - shared)
    # The two differ where there is no area at all: see vision.selection.suppress.
    return iou >= iou_threshold if nms == "exact" else ~(iou < iou_threshold)


def _best_of_each_image(
    found: _Scored, boxes: Tensor, images: int, depth: int, most: int
) -> list[Candidates]:
    """The ``most`` best of each image on the host, by score (descending), class (descending),
    prior."""
    key = (found.images << _SCORE_BITS | _falling(found.scores)) * depth
    key = (key + depth - 1 - found.classes) << _PRIOR_BITS
    _, order = (key | found.priors).sort()
    sorted_images = found.images[order]
    best = (_ranks(sorted_images, images) < most).nonzero().squeeze(1)
    rows = order[best]
    chosen = found[rows]
    # One transfer instead of five: every integer and float32 here is exact as float64.
    columns = (chosen.images, chosen.classes, chosen.priors, chosen.scores)
    packed = torch.cat([boxes[rows], torch.stack([c.double() for c in columns], 1)], 1)
    host = packed.cpu().numpy()
    ends = np.searchsorted(host[:, 4], np.arange(images), side="right")
    return [
        Candidates(
            np.ascontiguousarray(part[:, :4]),
            part[:, 7].astype(np.float32),
            part[:, 5].astype(np.int64),
            part[:, 6].astype(np.int64),
        )
        for part in np.split(host, ends[:-1])
    ]
