"""What became of every object and detection, by hand and for any set."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small_set import CAT, DOG, KITE, LABELS, data_set, found, truth
from ssd_resnet34.evaluation.coco import evaluate
from ssd_resnet34.evaluation.confusion import (
    Outcome,
    Verdict,
    best_threshold,
    confusion,
    judge,
    outcome,
)
from ssd_resnet34.evaluation.dataset import Dataset

TRUTHS = [
    truth(10, 1, CAT, 0),
    truth(11, 1, CAT, 1),
    truth(12, 1, DOG, 2),
    truth(13, 1, KITE, 3),
    truth(14, 1, CAT, 4, ignore=1),
    truth(15, 1, DOG, 5, iscrowd=1),
    truth(20, 2, KITE, 0),
]
RESULTS = [
    found(1, CAT, 0, 0.9),  # 0: right
    found(1, DOG, 1, 0.8),  # 1: a cat taken for a dog
    found(1, DOG, 2, 0.2),  # 2: right, but below the threshold: the dog is missed
    found(1, CAT, 3, 0.7),  # 3: the kite taken for a cat
    found(1, CAT, 4, 0.6),  # 4: on an object to ignore
    found(1, DOG, 5, 0.6),  # 5: on a crowd
    found(1, KITE, 8, 0.5),  # 6: where nothing is
    found(1, CAT, 0, 0.4),  # 7: the first cat once more
    found(2, KITE, 1, 0.9),  # 8: next to the kite
]


def judged(dataset: Dataset, results: list[dict[str, Any]], threshold: float) -> list[Verdict]:
    return judge(dataset, results, evaluate(dataset, results).matches, threshold)


def test_each_detection_of_the_built_set_is_what_it_was_built_to_be() -> None:
    first, second = judged(data_set(TRUTHS), RESULTS, 0.3)
    assert first.right == ((0, 10),)
    assert set(first.confused) == {(1, 11), (3, 13)}
    assert first.missed == (12,)
    assert first.repeated == (7,)
    assert first.invented == (6,)
    assert set(first.ignored) == {4, 5}
    assert first.mistakes == 5
    assert first.f1 == pytest.approx(2 / (4 + 5))
    assert second == Verdict(2, missed=(20,), invented=(8,))
    assert second.f1 == 0


def test_the_table_of_the_built_set_is_this() -> None:
    dataset = data_set(TRUTHS)
    table = confusion(dataset, RESULTS, judged(dataset, RESULTS, 0.3), (CAT, DOG, KITE))
    assert table.labels == LABELS
    assert table.counts.tolist() == [
        [1, 1, 0, 0],  # cats
        [0, 0, 0, 1],
        [1, 0, 0, 1],
        [1, 0, 2, 0],  # nothing
    ]
    assert table.confused() == [(0, 1, 1), (2, 0, 1)]
    assert table.alone() == [(2, 1, 2), (0, 0, 1), (1, 1, 0)]


def test_a_lower_threshold_finds_the_dog() -> None:
    first, _ = judged(data_set(TRUTHS), RESULTS, 0.1)
    assert set(first.right) == {(0, 10), (2, 12)}
    assert first.missed == ()


def test_a_detection_of_its_own_class_is_never_a_confusion() -> None:
    """Two objects of two classes on one place: each detection finds its own, in any order."""
    dataset = data_set([truth(1, 1, CAT, 0), truth(2, 1, DOG, 0)])
    results = [found(1, DOG, 0, 0.9), found(1, CAT, 0, 0.8)]
    first, second = judged(dataset, results, 0.3)
    assert set(first.right) == {(0, 2), (1, 1)}
    assert first.confused == ()
    assert (second.mistakes, second.f1) == (0, 1.0)


def shifted(category: int, pixels: int, score: float) -> dict[str, Any]:
    """A result beside place 0, whose boxes are 40 pixels wide."""
    result = found(1, category, 0, score)
    left, *rest = result["bbox"]
    return {**result, "bbox": [left + pixels, *rest]}


@pytest.mark.parametrize(
    ("category", "pixels", "kind"),
    [
        (CAT, 10, "right"),  # IoU 0.6
        (CAT, 20, "misplaced"),  # a third
        (CAT, 32, "misplaced"),  # a ninth
        (CAT, 34, "invented"),  # less than a tenth
        (DOG, 10, "confused"),
        (DOG, 20, "invented"),
    ],
)
def test_a_box_that_is_off_is_misplaced_as_long_as_it_is_of_the_object(
    category: int, pixels: int, kind: str
) -> None:
    dataset = data_set([truth(1, 1, CAT, 0)])
    first, _ = judged(dataset, [shifted(category, pixels, 0.9)], 0.3)
    kinds = ("right", "confused", "misplaced", "invented")
    assert [one for one in kinds if getattr(first, one)] == [kind]
    assert bool(first.missed) is (kind == "invented")
    counts = confusion(dataset, [shifted(category, pixels, 0.9)], [first], (CAT, DOG, KITE)).counts
    if kind == "misplaced":
        assert (counts[0, -1], counts[-1, 0]) == (1, 1)
        assert (first.mistakes, first.f1) == (1, 0)


def test_all_verdicts_add_up() -> None:
    added = outcome(judged(data_set(TRUTHS), RESULTS, 0.3))
    assert added == Outcome(
        objects=5, right=1, confused=2, misplaced=0, missed=2, repeated=1, invented=2, ignored=2
    )


def test_the_best_threshold_is_the_one_with_the_highest_f1() -> None:
    dataset = data_set([truth(n, 1, CAT, n) for n in range(4)])
    results = [
        found(1, CAT, 0, 0.9),
        found(1, DOG, 1, 0.8),
        found(1, CAT, 2, 0.6),
        found(1, KITE, 9, 0.4),
        found(1, KITE, 10, 0.4),
        found(1, KITE, 12, 0.4),
        found(1, CAT, 3, 0.4),  # would help, but not without the three kites
        found(1, KITE, 11, 0.3),
    ]
    choice = best_threshold(results, evaluate(dataset, results).matches)
    assert choice is not None
    assert choice.threshold == pytest.approx((0.6 + 0.4) / 2)
    assert (choice.precision, choice.recall) == (2 / 3, 2 / 4)
    assert choice.f1 == pytest.approx(4 / 7)
    verdict, _ = judged(dataset, results, choice.threshold)
    assert verdict.f1 == pytest.approx(choice.f1)


def test_where_nothing_is_right_there_is_no_best_threshold() -> None:
    dataset = data_set([truth(1, 1, CAT, 0)])
    for results in ([], [found(1, DOG, 5, 0.9)]):
        assert best_threshold(results, evaluate(dataset, results).matches) is None


def test_an_ignored_object_that_is_not_found_is_not_missed() -> None:
    dataset = data_set([truth(1, 1, CAT, 0, ignore=1), truth(2, 1, DOG, 1, iscrowd=1)])
    first, _ = judged(dataset, [], 0.3)
    assert first == Verdict(1)


@st.composite
def sets(draw: st.DrawFn) -> tuple[Dataset, list[dict[str, Any]], float]:
    categories = st.sampled_from((CAT, DOG, KITE))
    places, images = st.integers(0, 5), st.integers(1, 2)
    truths = draw(st.lists(st.tuples(images, categories, places, st.integers(0, 2)), max_size=12))
    results = draw(st.lists(st.tuples(images, categories, places, st.floats(0, 1)), max_size=12))
    return (
        data_set(
            [
                truth(n, image, category, place, ignore=int(kind == 1), iscrowd=int(kind == 2))
                for n, (image, category, place, kind) in enumerate(truths)
            ]
        ),
        [found(*one) for one in results],
        draw(st.floats(0, 1)),
    )


@given(sets())
@settings(max_examples=60)
def test_everything_that_counts_has_one_verdict(
    case: tuple[Dataset, list[dict[str, Any]], float],
) -> None:
    dataset, results, threshold = case
    verdicts = judged(dataset, results, threshold)
    seen: Counter[int] = Counter()
    objects: Counter[int] = Counter()
    for one in verdicts:
        pairs = one.right + one.confused + one.misplaced
        seen.update([result for result, _ in pairs])
        seen.update(one.repeated + one.invented + one.ignored)
        objects.update([annotation for _, annotation in pairs])
        objects.update(one.missed)
    counted = {n for n, one in enumerate(results) if one["score"] > threshold}
    assert seen == Counter(dict.fromkeys(counted, 1))
    plain = {a["id"] for a in dataset.annotations if not (a["ignore"] or a["iscrowd"])}
    assert objects == Counter(dict.fromkeys(plain, 1))
    table = confusion(dataset, results, verdicts, (CAT, DOG, KITE))
    classes = Counter(a["category_id"] for a in dataset.annotations if a["id"] in plain)
    rows = table.counts.sum(axis=1).tolist()
    assert rows[:-1] == [classes[category] for category in (CAT, DOG, KITE)]


def test_a_reduced_table_keeps_every_count() -> None:
    dataset = data_set(TRUTHS)
    table = confusion(dataset, RESULTS, judged(dataset, RESULTS, 0.3), (CAT, DOG, KITE))
    small = table.reduced(1)
    assert small.labels == ("kite", "other classes")
    assert small.counts.tolist() == [[0, 1, 1], [0, 2, 1], [2, 1, 0]]
    assert table.reduced(3) is table
    assert np.array_equal(table.reduced(2).counts.sum(), table.counts.sum())
