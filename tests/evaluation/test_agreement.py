"""Detections of two runs, matched one to one."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssd_resnet34 import Detections
from ssd_resnet34.contract import COCO
from ssd_resnet34.evaluation.agreement import (
    NOTHING,
    TOLERANCES,
    Agreement,
    compare,
    head_difference,
    match,
    pairwise_iou,
)

Box = tuple[float, float, float, float]


def found(*objects: tuple[Box, int, float]) -> Detections:
    """Detections from (box, index, score)."""
    indices = np.array([index for _, index, _ in objects], np.int64)
    categories = [COCO.categories[index - 1] for index in indices]
    return Detections(
        np.array([box for box, _, _ in objects], np.float32).reshape(-1, 4),
        np.array([score for _, _, score in objects], np.float32),
        indices,
        np.array([category.category_id for category in categories], np.int64),
        tuple(category.label for category in categories),
    )


def test_half_an_overlap_is_enough_for_a_pair() -> None:
    whole, half = found(((0, 0, 2, 1), 1, 0.9)), found(((0, 0, 1, 1), 1, 0.9))
    assert pairwise_iou(whole.boxes, half.boxes).tolist() == [[0.5]]
    assert match(whole, half) == [(0, 0)]


def test_two_detections_may_always_miss_and_not_three() -> None:
    tolerance = TOLERANCES["fp32"]
    assert tolerance.violations(0, Agreement(4, 4, 2, 0, 0)) == []
    assert tolerance.violations(0, Agreement(4, 4, 1, 0, 0)) == [
        "agrees on 25.0 % of the detections; expected ≥ 99 %"
    ]
    assert tolerance.violations(0.02, Agreement(300, 300, 297, 0, 0)) == []


places = st.integers(0, 60)
sizes = st.integers(0, 40)
objects = st.tuples(
    st.tuples(places, places, sizes, sizes).map(
        lambda v: (float(v[0]), float(v[1]), float(v[0] + v[2]), float(v[1] + v[3]))
    ),
    st.integers(1, 3),
    st.floats(0, 1, width=32),
)
results = st.lists(objects, max_size=8).map(lambda rows: found(*rows))


@settings(max_examples=150)
@given(results, results)
def test_pairs_are_one_to_one_of_one_class_and_overlap(a: Detections, b: Detections) -> None:
    pairs = match(a, b)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    shares = pairwise_iou(a.boxes, b.boxes)
    assert all(a.indices[i] == b.indices[j] and shares[i, j] >= 0.5 for i, j in pairs)
    order = [shares[i, j] for i, j in pairs]
    assert order == sorted(order, reverse=True)
    left, right = {i for i, _ in pairs}, {j for _, j in pairs}
    for i in set(range(len(a))) - left:  # none is left over that could be paired
        for j in set(range(len(b))) - right:
            assert a.indices[i] != b.indices[j] or shares[i, j] < 0.5


@settings(max_examples=100)
@given(results, results)
def test_agreement_is_between_none_and_all_and_the_same_both_ways(
    a: Detections, b: Detections
) -> None:
    there, back = compare(a, b), compare(b, a)
    assert 0 <= there.share <= 1
    assert (there.reference, there.found) == (len(a), len(b)) == (back.found, back.reference)
    assert there.matched <= min(len(a), len(b))


@settings(max_examples=100)
@given(st.lists(objects.filter(lambda o: o[0][2] > o[0][0] and o[0][3] > o[0][1]), max_size=8))
def test_a_result_agrees_with_itself(rows: list[tuple[Box, int, float]]) -> None:
    same = compare(found(*rows), found(*rows))
    assert same.share == 1
    assert same.matched == len(rows)
    assert same.box_shift == 0


def test_two_empty_results_agree_and_one_empty_result_does_not() -> None:
    one = found(((0, 0, 10, 10), 1, 0.9))
    assert compare(found(), found()) == NOTHING
    assert NOTHING.share == 1
    assert compare(one, found()).share == compare(found(), one).share == 0


def test_the_best_overlap_is_paired_first() -> None:
    a = found(((0, 0, 10, 10), 1, 0.9), ((0, 0, 10, 9), 1, 0.8))
    b = found(((0, 0, 10, 9), 1, 0.7))
    assert match(a, b) == [(1, 0)]
    agreement = compare(a, b)
    assert agreement.share == 0.5
    assert agreement.score_shift == pytest.approx(0.1)


def test_another_class_is_never_a_pair_however_low_the_bound() -> None:
    box = (0.0, 0.0, 10.0, 10.0)
    assert match(found((box, 1, 0.9)), found((box, 2, 0.9)), iou=0.0) == []


def test_shifts_are_the_largest_of_the_pairs() -> None:
    a = found(((0, 0, 100, 100), 1, 0.9), ((200, 200, 300, 300), 2, 0.8))
    b = found(((1, 0, 100, 103), 1, 0.85), ((200, 200, 300, 301), 2, 0.5))
    agreement = compare(a, b)
    assert agreement.box_shift == 3
    assert agreement.score_shift == pytest.approx(0.3)


def test_agreements_add_up_over_images() -> None:
    total = Agreement(3, 2, 2, 1.0, 0.1) + Agreement(1, 4, 1, 0.5, 0.3)
    assert total == Agreement(4, 6, 3, 1.0, 0.3)
    assert total.share == 0.5
    assert total + NOTHING == total


def test_iou_of_boxes_without_area_is_zero() -> None:
    box = np.array([[5, 5, 5, 5]], np.float32)
    assert pairwise_iou(box, box).tolist() == [[0.0]]


def test_the_head_difference_is_the_largest_and_never_hides_a_nan() -> None:
    a = [np.zeros((1, 2, 2, 2), np.float32) for _ in range(3)]
    b = [head.copy() for head in a]
    b[1][0, 1, 0, 1] = -0.25
    assert head_difference(a, b) == 0.25
    for bad in (np.nan, np.inf):
        b[2][0, 0, 0, 0] = bad
        assert head_difference(a, b) == math.inf
        assert head_difference(b[::-1], a[::-1]) == math.inf
    with pytest.raises(ValueError, match="shorter"):
        head_difference(a, b[:2])
