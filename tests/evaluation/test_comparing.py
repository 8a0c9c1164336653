"""Two runs beside each other: every difference built by hand is named for what it is."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from browser import opened
from html_reading import strict
from small_set import CAT, DOG, KITE, data_set, draw_images, found, truth
from ssd_resnet34.errors import UsageError
from ssd_resnet34.evaluation import agreement, comparison_page
from ssd_resnet34.evaluation.coco import evaluate
from ssd_resnet34.evaluation.comparing import SHIFT, Closeness, Comparison, Side, compare, describe
from ssd_resnet34.evaluation.dataset import Dataset
from ssd_resnet34.evaluation.gallery import Gallery
from ssd_resnet34.evaluation.report import Setting

TRUTHS = [
    truth(1, 1, CAT, 0),
    truth(2, 1, DOG, 1),
    truth(3, 1, KITE, 2),
    truth(4, 2, CAT, 5, iscrowd=1),
]
A = [
    found(1, CAT, 0, 0.90),  # the same in both
    found(1, DOG, 1, 0.80),  # B: a cat
    found(1, KITE, 2, 0.70),  # B: below the threshold
    found(1, KITE, 8, 0.60),  # only here, and wrong
    found(1, DOG, 12, 0.31),  # B: just below the threshold
    found(2, DOG, 3, 0.50),  # B: surer of it
    found(2, DOG, 4, 0.25),  # below the threshold, and only here
]
B = [
    found(1, CAT, 0, 0.85),
    found(1, CAT, 1, 0.75),
    found(1, KITE, 2, 0.20),
    found(1, DOG, 12, 0.29),
    found(2, DOG, 3, 0.95),
    found(2, CAT, 5, 0.55),  # only here, on a crowd
]
SETTING = Setting("Comparison", "ssd-resnet34 eval a --compare A B", {})


def compared(
    a: Sequence[dict[str, Any]],
    b: Sequence[dict[str, Any]],
    dataset: Dataset | None = None,
    shift: float = SHIFT,
) -> Comparison:
    dataset = dataset or data_set(TRUTHS)
    sides = (Side(name, part, evaluate(dataset, part)) for name, part in (("fp32", a), ("int8", b)))
    return compare(dataset, *sides, shift=shift)


def told(comparison: Comparison) -> list[tuple[str, list[str]]]:
    return [
        (image.file_name, [comparison_page.said(one) for one in image.differences])
        for image in comparison.images
    ]


def test_each_difference_of_the_built_runs_is_what_it_was_built_to_be() -> None:
    assert told(compared(A, B)) == [
        (
            "one.png",
            [
                "dog 0.80 (right) in A, cat 0.75 (wrong) in B",
                "only in A: kite 0.60 (wrong)",
                "kite 0.70 in A, 0.20 in B (right)",
            ],
        ),
        ("two.png", ["only in B: cat 0.55 (ignored)", "dog 0.50 in A, 0.95 in B (wrong)"]),
    ]


def test_kinds_are_counted_with_who_is_right() -> None:
    assert comparison_page.tally(compared(A, B)) == [
        ("only in A", 1, "0 right, 1 wrong"),
        ("only in B", 1, "0 right, 0 wrong"),
        ("same box, other class", 1, "A right 1, B right 0, neither 0"),
        ("same box and class, score differs by over 0.1", 2, ""),
    ]


def test_the_numbers_are_those_of_both_evaluations() -> None:
    dataset = data_set(TRUTHS)
    comparison = compared(A, B)
    first, second = (evaluate(dataset, part).scores.numbers for part in (A, B))
    assert comparison.numbers == {name: (first[name], second[name]) for name in first}
    by_label = {a.label: (a.ap, b.ap) for a, b in comparison.classes}
    assert by_label["dog"][1] == 0 < by_label["dog"][0]
    differences = [abs(b.ap - a.ap) for a, b in comparison.classes]
    assert differences == sorted(differences, reverse=True)
    assert differences[0] > 0


def test_boxes_that_are_farther_from_the_truth_are_told_of() -> None:
    """The same classes and scores, but B's cat is moved by 10 of its 40 pixels: IoU 30 / 50."""
    moved = [A[0] | {"bbox": [10.0, 0.0, 40.0, 40.0]}, *A[1:]]
    comparison = compared(A, moved)
    assert comparison.images == ()
    assert comparison.closeness.objects == 3
    assert comparison.closeness.a == pytest.approx(1)
    assert comparison.closeness.b == pytest.approx((0.6 + 1 + 1) / 3)
    assert compared(A, []).closeness == Closeness(0, -1, -1)


def test_a_run_differs_from_itself_in_nothing() -> None:
    comparison = compared(A, A)
    assert comparison.images == ()
    assert comparison.agreement.share == 1
    assert all(a == b for a, b in comparison.numbers.values())


def test_nothing_against_something_and_against_nothing() -> None:
    comparison = compared([], B)
    assert {one.kind for image in comparison.images for one in image.differences} == {"only_b"}
    assert comparison.agreement.share == 0
    assert compared([], []).images == ()


def test_runs_over_other_images_are_refused() -> None:
    dataset = data_set(TRUTHS)
    a = Side("fp32", A, evaluate(dataset, A))
    b = Side("int8", B, evaluate(dataset, B, image_ids=[1]))
    with pytest.raises(UsageError, match=r"other images \(2 and 1, 1 in common\)"):
        compare(dataset, a, b)
    b = Side("int8", B, evaluate(dataset, B, category_ids=[CAT]))
    with pytest.raises(UsageError, match=r"other categories \(3 and 1, 1 in common\)"):
        compare(dataset, a, b)


def test_categories_that_were_not_scored_are_not_compared() -> None:
    dataset = data_set(TRUTHS)
    sides = (Side("x", part, evaluate(dataset, part, category_ids=[KITE])) for part in (A, B))
    assert told(compare(dataset, *sides)) == [
        ("one.png", ["only in A: kite 0.60 (wrong)", "kite 0.70 in A, 0.20 in B (right)"])
    ]


results = st.lists(
    st.builds(
        lambda image, category, place, shift, score: (
            found(image, category, place, score) | {"bbox": [50.0 * place + shift, 0.0, 40.0, 40.0]}
        ),
        st.integers(1, 2),
        st.sampled_from((CAT, DOG, KITE)),
        st.integers(0, 3),
        st.integers(0, 30),
        st.integers(0, 100).map(lambda n: n / 100),
    ),
    max_size=10,
)


@given(results, results)
@settings(max_examples=60)
def test_agreement_is_that_of_the_one_matcher(
    a: list[dict[str, Any]], b: list[dict[str, Any]]
) -> None:
    dataset = data_set(TRUTHS)
    gallery = Gallery(dataset, None)
    total = agreement.NOTHING
    for image in (1, 2):
        shown = [
            gallery.detections(
                image, [one for one in part if one["image_id"] == image and one["score"] > 0.3]
            )
            for part in (a, b)
        ]
        total = total + agreement.compare(*shown)
    ours = compared(a, b, dataset).agreement
    assert (ours.reference, ours.found, ours.matched) == (
        total.reference,
        total.found,
        total.matched,
    )
    assert ours.box_shift == pytest.approx(total.box_shift)
    assert ours.score_shift == pytest.approx(total.score_shift, abs=1e-6)


@given(results, results)
@settings(max_examples=60)
def test_every_detection_above_the_threshold_is_accounted_for_once(
    a: list[dict[str, Any]], b: list[dict[str, Any]]
) -> None:
    """With a shift below any, equal scores are told of as well, so nothing may be left out."""
    comparison = compared(a, b, shift=-1)
    named: tuple[list[int], list[int]] = ([], [])
    for image in comparison.images:
        for one in image.differences:
            for side, finding in zip(named, (one.a, one.b), strict=True):
                if finding is not None:
                    side.append(finding.result)
            scores = [part.score for part in (one.a, one.b) if part is not None]
            assert max(scores) > comparison.threshold
            assert (len(scores) == 1) == one.kind.startswith("only")
    for side, part in zip(named, (a, b), strict=True):
        assert len(side) == len(set(side))
        above = {n for n, one in enumerate(part) if one["score"] > comparison.threshold}
        assert above <= set(side)


def test_json_is_plain_and_holds_every_difference() -> None:
    document = json.loads(json.dumps(describe(compared(A, B)), allow_nan=False))
    assert document["a"] == "fp32"
    assert document["counts"] == {"only_a": 1, "only_b": 1, "class": 1, "score": 2}
    assert document["classes"]["dog"]["AP"]["difference"] == -document["classes"]["dog"]["AP"]["a"]
    first = document["differences"][0]
    assert (first["image_id"], first["file_name"]) == (1, "one.png")
    assert first["differences"][0]["a"] == {
        "result": 1,
        "label": "dog",
        "score": 0.8,
        "box": [50.0, 0.0, 90.0, 40.0],
        "judgement": "right",
    }
    assert document["numbers"]["APs"] == {"a": None, "b": None, "difference": None}


def test_the_page_shows_what_differs_and_nothing_else(tmp_path: Path) -> None:
    dataset = data_set(TRUTHS)
    folder = draw_images(tmp_path, dataset)
    path = tmp_path / "comparison.html"
    comparison_page.write(path, dataset, compared(A, B), SETTING, folder=folder)
    reader = strict(path.read_bytes())
    assert [one.attributes["alt"] for one in reader.all("img")] == [
        "Truth in one.png: 1 cat, 1 dog, 1 kite",
        "A where it differs in one.png: 2 kite, 1 dog",
        "B where it differs in one.png: 1 cat, 1 kite",
        "Truth in two.png: 1 cat (crowd)",
        "A where it differs in two.png: 1 dog",
        "B where it differs in two.png: 1 cat, 1 dog",
    ]
    again = tmp_path / "again.html"
    comparison_page.write(again, dataset, compared(A, B), SETTING, folder=folder)
    assert again.read_bytes() == path.read_bytes()


def test_equal_runs_and_missing_pictures_make_a_page_too(tmp_path: Path) -> None:
    path = tmp_path / "comparison.html"
    comparison_page.write(path, data_set(TRUTHS), compared(A, A), SETTING, folder=None)
    assert "No image differs." in [one.text for one in strict(path.read_bytes()).all("p")]
    comparison_page.write(path, data_set(TRUTHS), compared(A, B), SETTING, folder=tmp_path)
    reader = strict(path.read_bytes())
    assert not reader.all("img")
    assert "missing" in "".join(one.text for one in reader.all("p"))


def test_the_page_is_bounded(tmp_path: Path) -> None:
    count = 30
    dataset = data_set(
        [truth(n, n, CAT, 0) for n in range(1, count + 1)],
        [f"{n}.png" for n in range(1, count + 1)],
    )
    draw_images(tmp_path, dataset)
    many = [
        found(n, DOG, place, 0.9 - n / 100) for n in range(1, count + 1) for place in range(1, 16)
    ]
    path = tmp_path / "comparison.html"
    comparison_page.write(path, dataset, compared([], many, dataset), SETTING, folder=tmp_path)
    reader = strict(path.read_bytes())
    assert len(reader.all("img")) == 30  # three for each of ten images
    assert [one.text for one in reader.all("h3")] == [f"{n}.png" for n in range(1, 11)]
    assert "and 3 more" in [one.text for one in reader.all("li")]


def test_a_browser_shows_it_without_complaint_at_any_width(tmp_path: Path) -> None:
    dataset = data_set(TRUTHS, ["n" * 300, "two.png"], ["<b>" + "w" * 200, "dog", "kite"])
    sides = (Side("s" * 300, part, evaluate(dataset, part)) for part in (A, B))
    path = tmp_path / "comparison.html"
    Path(tmp_path / "two.png").write_bytes(b"")
    comparison_page.write(path, dataset, compare(dataset, *sides), SETTING, folder=tmp_path)
    strict(path.read_bytes())
    with opened(tmp_path / "profile") as browser:
        for width in (390, 1280):
            for dark in (False, True):
                view = browser.look(path, width, dark=dark)
                assert (view.complaints, view.requests) == ([], [path.as_uri()])
                assert view.scroll_width <= width
                assert view.unnamed == []
