"""Every cause on data built for it: what it does to AP is computed by hand beside each case.

AP is the mean over 101 recalls 0, 0.01, … 1 and over ten IoUs 0.5, 0.55, … 0.95. So one of two
objects found, and nothing wrong, is 51/101; a box with IoU 0.64 counts at three IoUs of ten: 0.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from planted_heads import Thing, planted
from ssd_resnet34.contract import COCO
from ssd_resnet34.evaluation.causes import BY_KEY, CAUSES, causes_of, compatible
from ssd_resnet34.evaluation.dataset import Dataset
from ssd_resnet34.evaluation.explaining import Scorer, collector_for
from ssd_resnet34.evaluation.recipe import REFERENCE, Recipe

Box = tuple[float, float, float, float]
"""left, top, width, height in pixels, as COCO's bbox."""

HALF, THIRD, TWO_THIRDS = 51 / 101, 34 / 101, 67 / 101


def truth_of(images: Sequence[Sequence[tuple[int, Box]]], size: tuple[int, int]) -> Dataset:
    """Images 1, 2, …, each with (category id, bbox)."""
    annotations = [(n, *one) for n, image in enumerate(images, 1) for one in image]
    return Dataset(
        "made by hand",
        tuple(
            {"id": n, "file_name": f"{n}.png", "width": size[0], "height": size[1]}
            for n in range(1, len(images) + 1)
        ),
        tuple(
            {
                "id": n,
                "image_id": image,
                "category_id": category,
                "bbox": list(box),
                "area": box[2] * box[3],
                "iscrowd": 0,
                "ignore": 0,
            }
            for n, (image, category, box) in enumerate(annotations, 1)
        ),
        tuple({"id": one.category_id, "name": one.label} for one in COCO.categories),
    )


def bbox(thing: Thing, size: tuple[int, int]) -> Box:
    left, top, right, bottom = thing.box
    width, height = size
    return left * width, top * height, (right - left) * width, (bottom - top) * height


def category(index: int) -> int:
    return COCO.categories[index - 1].category_id


def scorer_of(
    found: Sequence[Sequence[Thing]],
    truths: Sequence[Sequence[tuple[int, Box]]] | None = None,
    size: tuple[int, int] = (400, 400),
    base: Recipe = REFERENCE,
) -> Scorer:
    """``found`` is what the heads of each image hold; the truth is by default just that."""
    if truths is None:
        truths = [[(category(one.index), bbox(one, size)) for one in image] for image in found]
    collector = collector_for(COCO, base)
    for n, image in enumerate(found, 1):
        collector.add(n, collector.select(planted(image, size)))
    dataset = truth_of(truths, size)
    return Scorer(collector, dataset, dataset.labelled())


@dataclass(frozen=True)
class Case:
    """AP of the run as it is, and with the cause in it."""

    key: str
    before: float
    after: float
    found: Sequence[Sequence[Thing]]
    truths: Sequence[Sequence[tuple[int, Box]]] | None = None
    size: tuple[int, int] = (400, 400)
    base: Recipe = REFERENCE


def grid(count: int, columns: int = 25) -> list[Box]:
    """Small boxes, left, top, right, bottom, that do not touch."""
    return [
        (x, y, x + 0.02, y + 0.02)
        for x, y in (
            (0.01 + 0.038 * (n % columns), 0.01 + 0.09 * (n // columns)) for n in range(count)
        )
    ]


# Equal squares of side 0.2, a gap of 0.18 in both axes: negative overlaps -0.18 · -0.18 = 0.0324
# are "shared", 0.0324 / (0.08 - 0.0324) = 0.68, and the weaker square is deleted.
DIAGONAL = [Thing((0.1, 0.1, 0.3, 0.3)), Thing((0.48, 0.48, 0.68, 0.68), score=0.8)]

# Squares of side 0.2, one 0.07 to the right: IoU 0.13 / 0.27 = 0.481.
BESIDE = [Thing((0.1, 0.1, 0.3, 0.3)), Thing((0.17, 0.1, 0.37, 0.3), score=0.8)]


def sure(*scores: float) -> list[Thing]:
    return [Thing(box, score=score) for box, score in zip(grid(9), scores, strict=False)]


def repeated(times: int) -> tuple[list[Thing], list[tuple[int, Box]]]:
    """An object reported many times over, and a less certain one; and the two of them."""
    one, other = Thing((0.1, 0.1, 0.4, 0.4)), Thing((0.6, 0.6, 0.9, 0.9), score=0.3)
    copies = [Thing(one.box, score=0.9 - 0.001 * n) for n in range(times)]
    return [*copies, other], [(1, bbox(thing, (400, 400))) for thing in (one, other)]


ONE_EMPTY = [[(1, bbox(sure(0.9)[0], (400, 400)))], []]

# 250 objects, 50 of each of five classes; class by class less certain.
MANY = [
    Thing(box, index=1 + n // 50, score=0.95 - 0.15 * (n // 50) - 0.0001 * n)
    for n, box in enumerate(grid(250))
]

# On the last level the widest prior, 1044·√2 = 1476 pixels of 1200, is 1 in the PyTorch lineage,
# 1.2304 in the other: the box comes out 1.2304 times as wide, IoU 0.813, counted at seven IoUs.
WIDEST = 15094 + 2 * 9 + 4

SINGLE = Thing((0.1, 0.4, 0.35, 0.6))
"""In 400×200: left 40, top 80, width 100, height 40."""

IN_WIDE = (400, 200)

PLACES: dict[str, Box] = {
    "corners-as-size": (40, 80, 140, 120),
    "centre-as-corner": (90, 100, 100, 40),
    "x-y-swapped": (80, 40, 40, 100),
    "pixels-of-1200": (120, 480, 300, 240),
    "fractions": (0.1, 0.4, 0.25, 0.2),
}
"""What each cause writes for SINGLE."""

# Class of index 14 (bench, id 15) as each mistake numbers it.
NAMES = {
    "contiguous-ids": 14,  # parking meter
    "contiguous-from-0": 13,  # stop sign
    "class-before": 14,  # index 13, parking meter
    "class-after": 16,  # index 15, bird
}

BENCH = Thing((0.2, 0.2, 0.6, 0.6), index=14)

CASES = [
    Case("iou-without-clamp", 1, HALF, [DIAGONAL]),
    Case("iou-with-clamp", HALF, 1, [DIAGONAL], base=Recipe(nms="mlperf")),
    Case("nms-0.45", 1, HALF, [BESIDE]),
    Case("threshold-0.01", HALF, 1, [sure(0.9, 0.02)]),
    Case("threshold-0.05", HALF, 1, [sure(0.9, 0.2)], base=Recipe(score_threshold=0.3)),
    Case("threshold-0.3", 1, TWO_THIRDS, [sure(0.9, 0.4, 0.2)]),
    Case("threshold-0.5", 1, THIRD, [sure(0.9, 0.4, 0.2)]),
    Case("threshold-0.5", 1, HALF, [sure(0.9, 0.5)]),  # 0.5 itself is not over 0.5
    # One object takes all places before NMS, the other never gets there.
    Case("before-nms-100", 1, HALF, [repeated(120)[0]], [repeated(120)[1]]),
    Case("before-nms-all", HALF, 1, [repeated(220)[0]], [repeated(220)[1]]),
    Case("top-100", 0.8, 0.4, [MANY], size=(4000, 4000)),
    Case("top-200", 0.4, 0.8, [MANY], size=(4000, 4000), base=Recipe(top_k=100)),
    Case("other-priors", 1, 0.7, [[Thing((0.25, 0.35, 0.75, 0.65), prior=WIDEST)]]),
    *(Case(key, 1, 0, [[BENCH]]) for key in NAMES),
    *(
        Case(key, 0, 1, [[BENCH]], [[(number, bbox(BENCH, (400, 400)))]])
        for key, number in NAMES.items()
    ),
    # Person is 1 either way, a stop sign is id 13 and index 12, which is no category at all.
    Case("contiguous-ids", 1, 0.5, [[Thing(BENCH.box, 1), Thing((0.7, 0.7, 0.9, 0.9), 12)]]),
    *(Case(key, 1, 0, [[SINGLE]], size=IN_WIDE) for key in PLACES),
    *(Case(key, 0, 1, [[SINGLE]], [[(1, box)]], IN_WIDE) for key, box in PLACES.items()),
    # From 10.9 to 14.1 becomes 10 to 14. IoU with that 3.1² / (3.2² + 4² − 3.1²) = 0.578.
    Case("whole-pixels", 0.2, 1, [[Thing((0.109, 0.109, 0.141, 0.141))]], [[(1, (10, 10, 4, 4))]],
         (100, 100)),
    # A side of 4 becomes 5: 16 / 25 = 0.64.
    Case("plus-one", 0.3, 1, [[Thing((0.1, 0.1, 0.14, 0.14))]], [[(1, (10, 10, 5, 5))]],
         (100, 100)),
    # 36 of its 96 pixels lie outside: 60 / 96 = 0.625.
    Case("clipped", 0.3, 1, [[Thing((-0.36, 0, 0.6, 1))]], [[(1, (0, 0, 60, 100))]], (100, 100)),
    # A surer report in an empty image: precision 1/2 at every recall.
    Case("annotated-images", 0.5, 1, [sure(0.9), sure(0.95)], ONE_EMPTY),
    Case("all-images", 1, 0.5, [sure(0.9), sure(0.95)], ONE_EMPTY, base=Recipe(images="annotated")),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.key}-{case.after:.3f}")
def test_a_cause_changes_average_precision_as_computed_by_hand(case: Case) -> None:
    scorer = scorer_of(case.found, case.truths, case.size, case.base)
    assert scorer.effect().ap == pytest.approx(case.before, abs=1e-9)
    effect = scorer.effect([BY_KEY[case.key]])
    assert effect.ap == pytest.approx(case.after, abs=1e-9)
    assert effect.change == pytest.approx(case.after - case.before, abs=1e-9)


def test_every_cause_at_the_heads_has_a_case() -> None:
    assert {case.key for case in CASES} == {one.key for one in CAUSES if one.kind == "heads"}


def test_the_ap_of_two_causes_together_is_computed_too() -> None:
    """Threshold 0.5 leaves one of two benches, and its class is called by another name; of two
    persons one."""
    things = [
        Thing(box, index, score)
        for box, index, score in zip(grid(4), (1, 1, 14, 14), (0.9, 0.4, 0.9, 0.4), strict=True)
    ]
    scorer = scorer_of([things], size=(4000, 4000))
    pair = [BY_KEY["threshold-0.5"], BY_KEY["contiguous-ids"]]
    assert scorer.effect(pair[:1]).ap == pytest.approx(HALF)
    assert scorer.effect(pair[1:]).ap == pytest.approx(0.5)
    assert scorer.effect(pair).ap == pytest.approx(HALF / 2)


def test_a_cause_that_the_run_already_has_is_none() -> None:
    keys = {one.key for one in causes_of(REFERENCE, "heads")}
    assert keys.isdisjoint({"iou-with-clamp", "threshold-0.05", "top-200", "all-images"})
    assert {"iou-without-clamp", "threshold-0.3"} <= keys
    base = Recipe(nms="mlperf", score_threshold=0.3, precision="int8", resize="pillow")
    keys = {one.key for one in causes_of(base, "heads")}
    assert "iou-without-clamp" not in keys
    assert {"iou-with-clamp", "threshold-0.05"} <= keys
    keys = {one.key for one in causes_of(base, "input")}
    assert keys.isdisjoint({"int8", "resize-pillow"})
    assert {"fp32", "bf16", "resize-opencv"} <= keys


def test_causes_that_change_the_same_thing_are_not_combined() -> None:
    assert not compatible(BY_KEY["threshold-0.3"], BY_KEY["threshold-0.5"])
    assert compatible(BY_KEY["threshold-0.3"], BY_KEY["contiguous-ids"])


def test_kinds_are_told_by_what_they_change() -> None:
    prepared = {"resize", "colour", "scaling", "precision"}
    for cause in CAUSES:
        assert (cause.kind == "input") == bool(prepared & set(cause.changes)), cause.key


def test_causes_are_told_apart_and_fit_a_table() -> None:
    assert len({one.key for one in CAUSES}) == len({one.name for one in CAUSES}) == len(CAUSES)
    for cause in CAUSES:
        assert len(cause.name) <= 26, cause.name
        assert cause.what, cause.key
        assert cause.mend, cause.key
