"""Which causes fit a number: the right one is named, and what cannot be told apart is listed."""

from dataclasses import replace

import pytest

from evaluation.test_causes import BENCH, DIAGONAL, HALF, grid, scorer_of, sure
from planted_heads import Thing
from ssd_resnet34.contract import COCO
from ssd_resnet34.errors import UsageError
from ssd_resnet34.evaluation.bootstrap import Interval
from ssd_resnet34.evaluation.causes import BY_KEY, applied, causes_of
from ssd_resnet34.evaluation.explaining import (
    SAME,
    Diagnosis,
    Effect,
    Explanation,
    Scorer,
    as_fraction,
    collector_for,
    diagnose,
    explain,
    sample_of,
)
from ssd_resnet34.evaluation.published import PUBLISHED, near
from ssd_resnet34.evaluation.recipe import REFERENCE, Recipe

TWO_CLASSES = [
    [
        Thing(box, index, score)
        for box, index, score in zip(grid(4), (1, 1, 14, 14), (0.9, 0.4, 0.9, 0.4), strict=True)
    ]
]
"""Two persons and two benches, one of each certain; in 4000×4000."""


def diagnosis(scorer: Scorer, mine: float) -> Diagnosis:
    return diagnose(scorer, explain(scorer), mine)


def keys(suspects: tuple[object, ...]) -> list[tuple[str, ...]]:
    found = []
    for one in suspects:
        effect: Effect = one.effect  # type: ignore[attr-defined]  # tuples of Suspect
        found.append(tuple(cause.key for cause in effect.causes))
    return found


def test_every_cause_is_measured_against_the_run_as_it_is() -> None:
    told: list[Effect] = []
    scorer = scorer_of([DIAGONAL])
    found = explain(scorer, on_effect=told.append)
    assert [one.causes[0] for one in found.effects] == list(causes_of(REFERENCE, "heads"))
    assert list(found.effects) == told
    assert (found.base.causes, found.base.change) == ((), 0)
    assert found.base.ap == pytest.approx(1)
    changes = {one.causes[0].key: one.change for one in found.effects}
    assert changes["iou-without-clamp"] == pytest.approx(HALF - 1)
    assert changes["top-100"] == 0


def test_the_interval_of_a_change_holds_it_and_is_absent_for_another_set_of_images() -> None:
    found = explain(scorer_of([DIAGONAL, sure(0.9), sure(0.9, 0.8)]))
    effects = {one.causes[0].key: one for one in found.effects}
    effect = effects["iou-without-clamp"]
    assert effect.moved is not None
    assert effect.moved.low < effect.change < effect.moved.high
    assert effect.interval.low < effect.ap < effect.interval.high
    assert effects["clipped"].moved == Interval(0, 0)
    assert effects["clipped"].interval == found.base.interval
    for one in found.effects:  # AP is from 0 to 1, before and after
        assert one.moved is not None
        assert found.base.ap + one.moved.low >= 0
        assert found.base.ap + one.moved.high <= 1
    scorer = scorer_of([sure(0.9), sure(0.95)], [[(1, (4, 4, 8, 8))], []])
    effects = {one.causes[0].key: one for one in explain(scorer).effects}
    assert effects["annotated-images"].moved is None
    assert (effects["annotated-images"].images, effects["clipped"].images) == (1, 2)


def test_the_cause_that_gives_the_number_comes_first() -> None:
    found = diagnosis(scorer_of([DIAGONAL]), HALF)
    assert keys(found.fitting)[0] == ("iou-without-clamp",)
    assert found.fitting[0].expected == pytest.approx(HALF)
    assert found.fitting[0].distance == pytest.approx(0, abs=1e-9)
    assert found.nearest is found.fitting[0]


def test_a_number_that_the_run_itself_gives_needs_no_cause() -> None:
    found = diagnosis(scorer_of([DIAGONAL]), 0.999)
    assert keys(found.fitting) == [()]


def test_two_causes_together_are_named_after_one_that_does_alone() -> None:
    """Threshold 0.5 costs half of each class, the other numbering all of one of two classes. So
    does an exchange of x and y: of the four objects only the first lies on the diagonal."""
    found = diagnosis(scorer_of(TWO_CLASSES, size=(4000, 4000)), HALF / 2)
    assert keys(found.fitting)[0] == ("x-y-swapped",)
    assert ("threshold-0.5", "contiguous-ids") in keys(found.fitting)
    assert [len(one) for one in keys(found.fitting)][1:] == [2] * (len(found.fitting) - 1)


def test_one_cause_comes_before_two_that_are_nearer() -> None:
    scorer = scorer_of(TWO_CLASSES, size=(4000, 4000))
    found = explain(scorer)
    near_by = replace(found.effects[0], causes=(BY_KEY["nms-0.45"],), change=HALF / 2 - 1 + 0.001)
    found = replace(found, effects=(*found.effects, near_by))
    diagnosed = diagnose(scorer, found, HALF / 2)
    assert keys(diagnosed.fitting)[:2] == [("x-y-swapped",), ("nms-0.45",)]
    assert diagnosed.fitting[1].distance > diagnosed.fitting[2].distance
    assert len(keys(diagnosed.fitting)[2]) == 2


def test_causes_that_give_the_same_number_are_all_named() -> None:
    """One bench: every mistaken numbering loses it, and so do most mistaken boxes."""
    found = diagnosis(scorer_of([[BENCH]]), 0)
    names = keys(found.fitting)
    for key in ("contiguous-ids", "contiguous-from-0", "class-before", "class-after", "fractions"):
        assert (key,) in names
    assert found.possible == ()
    assert all(len(one) == 1 for one in names)  # more mistakes would not be seen


def test_what_other_images_might_give_is_told_apart_from_what_fits() -> None:
    """Ten images, half of them wrong: AP is uncertain by many points."""
    images = [sure(0.9) if n % 2 else DIAGONAL for n in range(10)]
    scorer = scorer_of(images, [*[[(1, (1, 1, 30, 30))], [(1, (4, 4, 8, 8))]] * 5])
    explanation = explain(scorer)
    spread = explanation.base.interval.width / 2
    assert spread > 0.02
    found = diagnose(scorer, explanation, explanation.base.ap - spread)
    assert () not in keys(found.fitting)
    assert () in keys(found.possible)
    for one in found.possible:
        assert SAME < one.distance <= SAME + one.effect.interval.width / 2
    assert ("fractions",) not in keys(found.possible)  # it gives 0 for other images, too
    far = diagnose(scorer, explanation, explanation.base.ap - spread - SAME - 1e-6)
    assert () not in keys((*far.fitting, *far.possible))


def test_a_number_that_nothing_gives_has_a_nearest_cause_and_no_fitting_one() -> None:
    found = diagnosis(scorer_of([DIAGONAL]), 0.7)
    assert found.fitting == ()
    assert keys((found.nearest,)) == [("iou-without-clamp",)]
    assert found.nearest.distance == pytest.approx(0.7 - HALF)


def test_what_changes_nothing_is_no_suspect() -> None:
    scorer = scorer_of([DIAGONAL])
    explanation = explain(scorer)
    still = {one.causes[0].key for one in explanation.effects if abs(one.change) < 1e-9}
    found = diagnose(scorer, explanation, 1.0)
    named = {key for pair in keys((*found.fitting, *found.possible)) for key in pair}
    assert still
    assert not still & named


def test_an_effect_of_a_sample_is_added_to_the_run_and_its_spread_counts() -> None:
    """0.30 − 0.05 = 0.25 on all images, known to 0.01: 0.242 fits, 0.23 does not."""
    point = Interval(0.3, 0.3)
    effect = Effect((BY_KEY["bgr"],), 0.45, 0.6, point, -0.05, Interval(-0.06, -0.04), 20)
    base = Effect((), 0.3, 0.5, point, 0.0, Interval(0, 0), 200)
    scorer = scorer_of([[]], [[(1, (1, 1, 9, 9))]])
    explanation = Explanation(base, (effect,), {})
    assert keys(diagnose(scorer, explanation, 0.242).fitting) == [("bgr",)]
    assert diagnose(scorer, explanation, 0.242).fitting[0].expected == pytest.approx(0.25)
    assert diagnose(scorer, explanation, 0.23).fitting == ()


def test_a_run_that_finds_nothing_is_explained_without_pairs() -> None:
    found = diagnosis(scorer_of([[]], [[(1, (1, 1, 9, 9))]]), 0.2)
    assert found.fitting == ()
    assert found.nearest.expected == 0


def test_the_base_may_be_any_recipe() -> None:
    base = Recipe(nms="mlperf", score_threshold=0.3)
    found = diagnosis(scorer_of([DIAGONAL], base=base), 1.0)
    assert keys(found.fitting)[0] == ("iou-with-clamp",)


def test_images_without_any_object_that_counts_are_refused() -> None:
    with pytest.raises(UsageError, match="no object of the chosen images counts"):
        explain(scorer_of([sure(0.9)], [[]]))


@pytest.mark.parametrize(
    ("given", "wanted"), [(0.196, 0.196), (19.6, 0.196), (0, 0), (1, 1), (100, 1)]
)
def test_a_number_above_one_is_in_percent(given: float, wanted: float) -> None:
    assert as_fraction(given) == pytest.approx(wanted)


@pytest.mark.parametrize("given", [-0.1, 100.1, float("nan"), float("inf")])
def test_other_numbers_are_no_average_precision(given: float) -> None:
    with pytest.raises(UsageError, match="no average precision"):
        as_fraction(given)


def test_a_sample_is_spread_over_the_images_that_have_objects() -> None:
    truths = [[(1, (1.0, 1.0, 9.0, 9.0))] if n % 2 else [] for n in range(20)]
    dataset = scorer_of([[]] * 20, truths).dataset
    assert sample_of(dataset, dataset.ids(), 5) == (2, 6, 10, 14, 18)
    assert sample_of(dataset, dataset.ids(), 99) == tuple(range(2, 21, 2))
    assert sample_of(dataset, (1, 2, 3, 4), 1) == (2,)
    with pytest.raises(UsageError, match="none of the images has an object"):
        sample_of(dataset, (1, 3), 2)


def test_a_collector_serves_every_cause_at_the_heads_of_any_base() -> None:
    for base in (REFERENCE, Recipe(nms="mlperf", top_k=100, score_threshold=0.5)):
        collector = collector_for(COCO, base)
        assert all(collector.holds(applied([one], base)) for one in causes_of(base, "heads"))


# ------------------------------------------------------------------------------ in print


def test_published_numbers_are_in_order_and_within_reach() -> None:
    values = [one.ap for one in PUBLISHED]
    assert values == sorted(values)
    assert all(0 <= value < 0.3 for value in values)


def test_published_numbers_near_another_come_nearest_first() -> None:
    assert [one.ap for one in near(0.196, 0.001)] == [0.19618, 0.1958, 0.195]
    assert [one.what for one in near(0.09, 0)] == ["a user, training repository's code (#764)"]
    assert near(0.5, 0.01) == ()
    found = diagnosis(scorer_of([DIAGONAL]), 0.19618)
    assert found.published[0].what.startswith("MLPerf reference")


def test_numbers_in_print_say_nothing_of_a_model_of_other_categories() -> None:
    scorer = scorer_of([DIAGONAL])
    explanation = explain(scorer)
    scorer.collector.contract = replace(COCO, categories=COCO.categories[:-1])
    assert diagnose(scorer, explanation, 0.19618).published == ()
