"""Matching objects to priors, and the multibox loss with hard-negative mining.

Liu et al., "SSD: Single Shot MultiBox Detector" (2016), section 2.2; one departure is noted at
:func:`match`. All boxes and priors are in pixels of the 1200 layout.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from ..contract import INPUT_SIZE, LEVELS, SCALE_WH, SCALE_XY
from ..vision.priors import anchor_sizes

BACKGROUND: Final = 0
IGNORED: Final = -1
"""Target of a prior that is neither a positive nor a usable negative."""

POSITIVE_IOU: Final = 0.5
"""From here on a prior takes the object."""

NEGATIVE_IOU: Final = 0.4
"""Below it a prior is background."""

IGNORED_IOU: Final = 0.3
"""Over it with a region to ignore a prior is no background either."""

NEAR_BEST: Final = 0.9
"""Share of an object's best IoU that takes it, where that is below ``POSITIVE_IOU``."""

NEGATIVES_PER_POSITIVE: Final = 3

LEAST_NEGATIVES: Final = 16
"""Of an image: one without objects still shows a few of its worst false alarms."""


def layout_priors(size: int, maps: Sequence[tuple[int, int]]) -> Tensor:
    """Priors for a square training input of ``size`` pixels, whose heads have these maps.

    Sizes stay in pixels of the 1200 layout. A whole image (size 1200) has the contract's centres,
    (x + ½)/F; a crop has one centre a network stride (24, 48, 96, … pixels), since its last cell
    does not end at the border.

    Returns:
        (n, 4) float32 cx, cy, w, h, pixels, in the contract's order (level, anchor, y, x).
    """
    rows = []
    for k, (level, (height, width)) in enumerate(zip(LEVELS, maps, strict=True)):
        step = INPUT_SIZE / level.size if size == INPUT_SIZE else level.step
        y, x = torch.meshgrid(
            (torch.arange(height) + 0.5) * step, (torch.arange(width) + 0.5) * step, indexing="ij"
        )
        for size_of_image in anchor_sizes(k):
            wh = (
                (torch.tensor(size_of_image) * INPUT_SIZE)
                .clamp(max=INPUT_SIZE)
                .expand(height * width, 2)
            )
            rows.append(torch.cat([torch.stack([x.flatten(), y.flatten()], 1), wh], 1))
    return torch.cat(rows)


def maps_of(heads: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Height and width of the six maps, from the twelve heads."""
    return [(head.shape[2], head.shape[3]) for head in heads[: len(LEVELS)]]


def corners_of(boxes: Tensor) -> Tensor:
    """(n, 4) centre, size -> (n, 4) left, top, right, bottom."""
    return torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of (n, 4) and (m, 4) left-top-right-bottom boxes: (n, m)."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = (high - low).clamp(min=0).prod(2)
    areas = [(v[:, 2:] - v[:, :2]).prod(1) for v in (a, b)]
    return overlap / (areas[0][:, None] + areas[1][None] - overlap).clamp(min=1e-9)


@dataclass(frozen=True)
class Target:
    """What one image teaches: ``classes`` (n,) int64 with IGNORED, ``offsets`` (n, 4) float32.

    ``unknown`` are the classes whose objects the image's source does not label: where it shows
    background, they may or may not be there.
    """

    classes: Tensor
    offsets: Tensor
    unknown: frozenset[int] = frozenset()


def match(priors: Tensor, boxes: Tensor, indices: Tensor, ignored: Tensor) -> Target:
    """Assign objects to priors.

    A prior takes the object it overlaps best if their IoU is at least 0.5; each object also takes
    the best prior that no other object has taken so. Departure from the paper: objects far smaller
    than the smallest prior (24 px against 84 px) overlap several priors almost equally, so an
    object whose best IoU is below 0.5 / 0.9 takes every prior within 90 % of it instead of an
    arbitrary single one, and other priors from 0.4 teach nothing.

    Args:
        priors: (p, 4) cx, cy, w, h, pixels.
        boxes: (n, 4) left, top, right, bottom, pixels.
        indices: (n,) int64 model indices, 1-based.
        ignored: (m, 4) regions that must not become negatives (objects mostly out of the crop).
    """
    classes = torch.full((len(priors),), BACKGROUND, dtype=torch.int64)
    offsets = torch.zeros(len(priors), 4)
    corners = corners_of(priors)
    if len(ignored):
        classes[pairwise_iou(corners, ignored).amax(1) > IGNORED_IOU] = IGNORED
    if len(boxes) == 0:
        return Target(classes, offsets)
    iou = pairwise_iou(corners, boxes)
    best_of_object = iou.amax(0)
    claimed = (iou >= (best_of_object * NEAR_BEST).clamp(max=POSITIVE_IOU)) & (iou > 0)
    score = torch.where(claimed, iou, torch.full_like(iou, -1.0))
    # An object's very best prior is its own even where another object overlaps it more; two
    # objects in the same place take one each, the better fit first.
    free = iou.clone()
    for j in best_of_object.argsort(descending=True).tolist():
        best, prior = free[:, j].max(0)
        if best > 0:
            score[prior, j] = 2.0 + best
            free[prior] = -1.0
    value, owner = score.max(1)
    positive = value > 0
    near = (iou.amax(1) >= NEGATIVE_IOU) & ~positive
    classes[near] = IGNORED
    classes[positive] = indices[owner[positive]]
    chosen = boxes[owner]
    centre, extent = (chosen[:, :2] + chosen[:, 2:]) / 2, chosen[:, 2:] - chosen[:, :2]
    offsets[:, :2] = (centre - priors[:, :2]) / priors[:, 2:] / SCALE_XY
    offsets[:, 2:] = torch.log(extent.clamp(min=1e-3) / priors[:, 2:]) / SCALE_WH
    return Target(classes, torch.where(positive[:, None], offsets, torch.zeros(())))


@dataclass(frozen=True)
class Loss:
    """``classes`` and ``boxes`` are sums, divided by the number of positives; ``positives`` are
    those of these images."""

    classes: Tensor
    boxes: Tensor
    positives: int

    @property
    def total(self) -> Tensor:
        return self.classes + self.boxes


def flattened(heads: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Logits [N, priors, C] and offsets [N, priors, 4], float32, of twelve heads of any size."""

    def join(parts: Sequence[Tensor]) -> Tensor:
        rows = [
            head.float().reshape(len(head), -1, level.anchors * head.shape[2] * head.shape[3])
            for head, level in zip(parts, LEVELS, strict=True)
        ]
        return torch.cat(rows, 2).transpose(1, 2)

    return join(heads[: len(LEVELS)]), join(heads[len(LEVELS) :])


def multibox_loss(
    heads: Sequence[Tensor], targets: Sequence[Target], *, positives: int | None = None
) -> Loss:
    """Cross-entropy over positives and the hardest negatives (3:1 an image), smooth L1 on boxes.

    At background priors the softmax leaves out the classes that the image's source does not label:
    what looks like one of them is no false alarm there, and its logit gets no gradient.

    Args:
        heads: twelve tensors [N, C·A | 4·A, F, F] in the contract's order.
        targets: one an image.
        positives: what the sums are divided by, where these images are a part of a batch only:
            the positives of the whole batch, in all processes. Default: those of ``targets``.
    """
    logits, offsets = flattened(heads)
    classes = torch.stack([target.classes for target in targets])
    wanted = torch.stack([target.offsets for target in targets])
    positive = classes > BACKGROUND
    logits = _without_unknown(logits, classes, targets)
    entropy = functional.cross_entropy(
        logits.flatten(0, 1), classes.clamp(min=0).flatten(), reduction="none"
    ).view_as(classes)
    candidates = entropy.detach().masked_fill(classes != BACKGROUND, -1.0)
    rank = candidates.argsort(1, descending=True).argsort(1)
    quota = positive.sum(1, keepdim=True) * NEGATIVES_PER_POSITIVE
    quota = quota.clamp(min=LEAST_NEGATIVES)
    negative = (rank < quota) & (classes == BACKGROUND)
    found = int(positive.sum())
    scale = max(found if positives is None else positives, 1)
    class_loss = entropy[positive | negative].sum() / scale
    box_loss = (
        functional.smooth_l1_loss(offsets[positive], wanted[positive], reduction="sum") / scale
    )
    return Loss(class_loss, box_loss, found)


def _without_unknown(logits: Tensor, classes: Tensor, targets: Sequence[Target]) -> Tensor:
    """``logits`` [N, priors, C] with −∞ for unknown classes at background priors."""
    if not any(target.unknown for target in targets):
        return logits
    unknown = torch.zeros(len(targets), logits.shape[2], dtype=torch.bool)
    for row, target in zip(unknown, targets, strict=True):
        row[sorted(target.unknown)] = True
    hidden = (classes == BACKGROUND)[:, :, None] & unknown.to(logits.device)[:, None]
    return logits.masked_fill(hidden, -torch.inf)
