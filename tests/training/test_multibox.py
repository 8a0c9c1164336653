"""Priors of training inputs, matching against a slow form, and what the loss looks at."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from ssd_resnet34.contract import INPUT_SIZE, LEVELS, SCALE_WH, SCALE_XY
from ssd_resnet34.training.multibox import (
    BACKGROUND,
    IGNORED,
    Target,
    layout_priors,
    match,
    multibox_loss,
    pairwise_iou,
)
from ssd_resnet34.vision.priors import priors

WHOLE = [(level.size, level.size) for level in LEVELS]
CROP = [(17, 17), (9, 9), (5, 5), (3, 3), (1, 1), (1, 1)]
"""The maps of a 408×408 crop."""

SMALL = [(2, 2), (1, 1), (1, 1), (1, 1), (1, 1), (1, 1)]
NOTHING = torch.zeros(0, 4)


# ---------------------------------------------------------------- priors


def test_priors_of_a_whole_image_are_the_contracts_to_one_unit_in_the_last_place() -> None:
    found = layout_priors(INPUT_SIZE, WHOLE).numpy() / np.float32(INPUT_SIZE)
    np.testing.assert_array_max_ulp(found, priors(), maxulp=1)


def test_priors_of_a_crop_are_a_network_stride_apart_and_keep_their_sizes() -> None:
    found = layout_priors(408, CROP)
    whole = layout_priors(INPUT_SIZE, WHOLE)
    at = start = 0
    for level, (side, _), stride in zip(LEVELS, CROP, (24, 48, 96, 192, 384, 384), strict=True):
        for anchor in range(level.anchors):
            block = found[at : at + side * side].reshape(side, side, 4)
            centres = (torch.arange(side) + 0.5) * stride
            assert torch.equal(block[:, :, 0], centres.expand(side, side))  # x runs fastest
            assert torch.equal(block[:, :, 1], centres[:, None].expand(side, side))
            size = whole[start + anchor * level.size**2, 2:]
            assert (block[:, :, 2:] == size).all()
            at += side * side
        start += level.priors
    assert at == len(found)


# ---------------------------------------------------------------- matching


def iou_of(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """IoU of two boxes left, top, right, bottom, as its definition says."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    overlap = width * height
    areas = [(v[2] - v[0]) * (v[3] - v[1]) for v in (a, b)]
    return float(overlap / (areas[0] + areas[1] - overlap))


def slow_match(
    table: NDArray[np.float64],
    boxes: NDArray[np.float64],
    indices: list[int],
    ignored: NDArray[np.float64],
) -> list[tuple[int, int | None]]:
    """(class, object) of every prior, one prior and one object at a time."""
    corners = [np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]) for x, y, w, h in table]
    iou = [[iou_of(corner, box) for box in boxes] for corner in corners]
    best = [max(row[j] for row in iou) for j in range(len(boxes))]
    own: dict[int, int] = {}
    for j in sorted(range(len(boxes)), key=lambda j: -best[j]):
        free = [p for p in range(len(table)) if p not in own and iou[p][j] > 0]
        if free:
            own[max(free, key=lambda p: iou[p][j])] = j
    result: list[tuple[int, int | None]] = []
    for p, row in enumerate(iou):
        takers = [j for j, v in enumerate(row) if v > 0 and v >= min(0.5, 0.9 * best[j])]
        if p in own:
            result.append((indices[own[p]], own[p]))
        elif takers:
            winner = max(takers, key=lambda j: row[j])
            result.append((indices[winner], winner))
        elif (row and max(row) >= 0.4) or any(iou_of(corners[p], box) > 0.3 for box in ignored):
            result.append((IGNORED, None))
        else:
            result.append((BACKGROUND, None))
    return result


def random_boxes(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Boxes left, top, right, bottom of 10 to 200 pixels within 300×300."""
    corner, size = rng.uniform(0, 200, (count, 2)), rng.uniform(10, 100, (count, 2))
    return np.concatenate([corner, corner + size], 1)


def decode(offsets: Tensor, table: Tensor) -> Tensor:
    """The design's formula: boxes left, top, right, bottom of offsets dx, dy, dw, dh."""
    centre = SCALE_XY * offsets[:, :2] * table[:, 2:] + table[:, :2]
    extent = torch.exp(SCALE_WH * offsets[:, 2:]) * table[:, 2:]
    return torch.cat([centre - extent / 2, centre + extent / 2], 1)


# Irregular numbers: no IoU falls on a threshold or ties with another within float32.
@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(0, 6), st.integers(0, 2))
def test_matching_equals_its_definition_prior_by_prior(
    seed: int, objects: int, regions: int
) -> None:
    rng = np.random.default_rng(seed)
    table = np.concatenate([rng.uniform(0, 300, (80, 2)), rng.uniform(20, 120, (80, 2))], 1)
    boxes, ignored = random_boxes(rng, objects), random_boxes(rng, regions)
    indices = rng.integers(1, 81, objects)
    priors_ = torch.tensor(table, dtype=torch.float32)
    found = match(
        priors_,
        torch.tensor(boxes, dtype=torch.float32),
        torch.tensor(indices),
        torch.tensor(ignored, dtype=torch.float32),
    )
    wanted = slow_match(table, boxes, indices.tolist(), ignored)
    assert found.classes.tolist() == [kind for kind, _ in wanted]
    decoded = decode(found.offsets, priors_).numpy()
    for p, (_, owner) in enumerate(wanted):
        if owner is None:
            assert not found.offsets[p].any()
        else:
            np.testing.assert_allclose(decoded[p], boxes[owner], atol=2e-3)


@settings(max_examples=30)
@given(st.lists(st.tuples(*[st.integers(0, 380)] * 2, *[st.integers(8, 300)] * 2), max_size=5))
def test_every_object_owns_a_prior_even_where_objects_coincide(
    places: list[tuple[int, int, int, int]],
) -> None:
    table = layout_priors(408, CROP)
    rows = [(x, y, min(x + w, 408), min(y + h, 408)) for x, y, w, h in places]
    boxes = torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
    found = match(table, boxes, torch.arange(1, len(rows) + 1), NOTHING)
    assert set(range(1, len(rows) + 1)) <= set(found.classes.tolist())
    positive = found.classes > 0
    owners = boxes[found.classes[positive] - 1]
    decoded = decode(found.offsets[positive], table[positive])
    torch.testing.assert_close(decoded, owners, rtol=1e-5, atol=1e-2)


def test_an_object_without_area_owns_nothing() -> None:
    table = layout_priors(408, CROP)
    found = match(table, torch.tensor([[50.0, 50.0, 50.0, 90.0]]), torch.tensor([3]), NOTHING)
    assert not found.classes.any()


def test_an_object_beats_an_ignored_region_on_its_own_prior() -> None:
    table = torch.tensor([[50.0, 50.0, 40.0, 40.0], [300.0, 300.0, 40.0, 40.0]])
    box = torch.tensor([[30.0, 30.0, 70.0, 70.0]])
    found = match(table, box, torch.tensor([7]), box)
    assert found.classes.tolist() == [7, BACKGROUND]
    alone = match(table, NOTHING, torch.zeros(0, dtype=torch.int64), box)
    assert alone.classes.tolist() == [IGNORED, BACKGROUND]


def test_iou_of_disjoint_boxes_is_zero_even_where_both_axes_are_apart() -> None:
    a, b = torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.tensor([[20.0, 20.0, 30.0, 30.0]])
    assert pairwise_iou(a, b).item() == 0


# ---------------------------------------------------------------- loss


def heads_for(maps: list[tuple[int, int]], images: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(images, depth * level.anchors, *shape, generator=generator, requires_grad=True)
        for depth in (81, 4)
        for level, shape in zip(LEVELS, maps, strict=True)
    ]


def gradients(heads: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Gradients of logits [N, priors, 81] and offsets [N, priors, 4]."""
    sides = []
    for depth, part in ((81, heads[:6]), (4, heads[6:])):
        rows = []
        for head in part:
            assert head.grad is not None
            rows.append(head.grad.reshape(len(head), depth, -1))
        sides.append(torch.cat(rows, 2).transpose(1, 2))
    return sides[0], sides[1]


def target_of(maps: list[tuple[int, int]], classes: dict[int, int]) -> Target:
    count = sum(h * w * level.anchors for (h, w), level in zip(maps, LEVELS, strict=True))
    kinds = torch.zeros(count, dtype=torch.int64)
    for prior, kind in classes.items():
        kinds[prior] = kind
    offsets = torch.where(kinds[:, None] > 0, torch.tensor(0.5), torch.tensor(0.0)).expand(-1, 4)
    return Target(kinds, offsets)


def test_the_loss_sees_positives_and_three_of_the_hardest_negatives_each() -> None:
    heads = heads_for(CROP, 1)
    objects = dict.fromkeys(range(10), 5)
    target = target_of(CROP, objects | dict.fromkeys(range(10, 400), IGNORED))
    multibox_loss(heads, [target]).total.backward()  # type: ignore[no-untyped-call]
    logits, offsets = gradients(heads)
    taught = logits[0].abs().sum(1).nonzero().flatten().tolist()
    assert set(range(10)) <= set(taught)
    assert len(taught) == 10 + 30
    assert not set(range(10, 400)) & set(taught)
    assert offsets[0].abs().sum(1).nonzero().flatten().tolist() == list(range(10))

    rows = torch.cat(
        [head.detach().reshape(81, -1) for head in heads[:6]], 1
    )  # [81, priors]: the chosen negatives are those with the least background probability
    background = rows.softmax(0)[0]
    negatives = [prior for prior in taught if prior >= 400]
    others = sorted(set(range(400, rows.shape[1])) - set(negatives))
    assert background[negatives].max() <= background[others].min()


def slow_loss(heads: list[Tensor], targets: list[Target]) -> tuple[float, float]:
    """Sums of both parts in float64, one prior at a time."""
    classes = boxes = 0.0
    for image, target in enumerate(targets):
        logits = torch.cat([h[image].detach().reshape(81, -1) for h in heads[:6]], 1).double()
        offsets = torch.cat([h[image].detach().reshape(4, -1) for h in heads[6:]], 1).double()
        negatives: list[float] = []
        positives: list[float] = []
        for p, kind in enumerate(target.classes.tolist()):
            known = [c for c in range(81) if kind != BACKGROUND or c not in target.unknown]
            column = [float(logits[c, p]) for c in known]
            highest = max(column)
            total = sum(math.exp(v - highest) for v in column)
            if kind == IGNORED:
                continue
            entropy = highest + math.log(total) - float(logits[kind, p])
            (positives if kind > BACKGROUND else negatives).append(entropy)
            if kind > BACKGROUND:
                wanted = target.offsets[p].tolist()
                for value, right in zip(offsets[:, p].tolist(), wanted, strict=True):
                    error = abs(value - right)
                    boxes += 0.5 * error**2 if error < 1 else error - 0.5
        negatives.sort(reverse=True)
        classes += sum(positives) + sum(negatives[: max(16, 3 * len(positives))])
    return classes, boxes


@pytest.mark.parametrize("seed", range(4))
def test_the_loss_equals_its_formula_with_ignored_priors_and_unknown_classes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    heads = [head * 3 for head in heads_for(SMALL, 3, seed=seed)]
    targets = []
    for unknown in (frozenset[int](), frozenset({2, 40, 80}), frozenset(range(21, 81))):
        places = rng.permutation(len(target_of(SMALL, {}).classes))
        kinds = {int(p): int(rng.integers(1, 21)) for p in places[: rng.integers(1, 7)]}
        kinds |= dict.fromkeys(places[10:16].tolist(), IGNORED)
        target = target_of(SMALL, kinds)
        targets.append(Target(target.classes, target.offsets, unknown))
    found = multibox_loss(heads, targets)
    classes, boxes = slow_loss(heads, targets)
    assert found.positives == sum(int((target.classes > 0).sum()) for target in targets)
    assert found.classes.item() == pytest.approx(classes / found.positives, rel=1e-5)
    assert found.boxes.item() == pytest.approx(boxes / found.positives, rel=1e-5)
    part = multibox_loss(heads, targets, positives=100)
    assert part.classes.item() == pytest.approx(classes / 100, rel=1e-5)
    assert part.boxes.item() == pytest.approx(boxes / 100, rel=1e-5)


def test_where_a_source_shows_background_its_unknown_classes_are_not_taught() -> None:
    heads = heads_for(SMALL, 2)
    one = target_of(SMALL, {0: 3, 7: 5})
    targets = [one, Target(one.classes, one.offsets, frozenset({4, 60}))]
    multibox_loss(heads, targets).total.backward()  # type: ignore[no-untyped-call]
    logits, _ = gradients(heads)
    background = one.classes == BACKGROUND
    taught = logits.abs().sum(2) > 0
    assert (logits[0][taught[0]][:, [4, 60]] > 0).all()
    assert not logits[1][background][:, [4, 60]].any()
    assert (logits[1][~background][:, [4, 60]] > 0).all()  # an object is known to be no other
    assert taught[1][background].any()


@pytest.mark.parametrize("size", [1.0, 1e4])
def test_the_gradient_is_finite_also_without_objects_and_with_huge_logits(size: float) -> None:
    heads = [(head.detach() * size).requires_grad_() for head in heads_for(SMALL, 2)]
    found = multibox_loss(heads, [target_of(SMALL, {}), target_of(SMALL, {})])
    assert found.positives == 0
    assert found.boxes.item() == 0
    assert math.isfinite(found.total.item())
    found.total.backward()  # type: ignore[no-untyped-call]
    logits, offsets = gradients(heads)
    assert torch.isfinite(logits).all()
    assert logits.any()  # the worst false alarms are still taught
    assert not offsets.any()


def test_an_image_that_is_all_ignored_teaches_nothing() -> None:
    heads = heads_for(SMALL, 1)
    everything = target_of(SMALL, {}).classes.new_full((len(target_of(SMALL, {}).classes),), -1)
    target = Target(everything, torch.zeros(len(everything), 4))
    multibox_loss(heads, [target]).total.backward()  # type: ignore[no-untyped-call]
    logits, offsets = gradients(heads)
    assert not logits.any()
    assert not offsets.any()
