"""The page "Why is my mAP different?" says what the code says."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks import causes as page

from evaluation.test_causes import DIAGONAL, scorer_of
from fake_scenes import FakeRenderer
from ssd_resnet34.evaluation.bootstrap import Interval
from ssd_resnet34.evaluation.causes import BY_KEY, causes_of
from ssd_resnet34.evaluation.explaining import Effect, Explanation, explain
from ssd_resnet34.evaluation.published import PUBLISHED
from ssd_resnet34.evaluation.recipe import REFERENCE
from ssd_resnet34.training import held_out

WRITTEN = Path(__file__).resolve().parents[2] / "docs" / "why-is-my-map-different.md"


def rows(text: str) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]


def test_the_page_of_the_docs_has_every_cause_and_every_published_number() -> None:
    cells = {tuple(row) for row in rows(WRITTEN.read_text("utf-8"))}
    named = {row[0]: row[-2:] for row in cells}
    for cause in causes_of(REFERENCE, "heads"):
        assert named.get(cause.name) == (cause.what, cause.mend), (
            f"{cause.key}: the page is older than the code; python -m benchmarks.causes --page"
        )
    for one in PUBLISHED:
        assert (page._percent(one.ap), one.what, one.differs) in cells


def test_the_page_says_why_its_ap_is_not_the_one_of_the_model_card() -> None:
    measured = page.Measured(explain(scorer_of([DIAGONAL])), REFERENCE, "weights", "one image")
    assert page.AS_PAINTED in page.render(replace(measured, besides=page.AS_PAINTED))
    assert page.AS_PAINTED in WRITTEN.read_text("utf-8")
    assert "model-card" not in page.render(measured), "of other images there is no such number"


def test_numbers_of_the_page_are_those_that_were_measured() -> None:
    found = explain(scorer_of([DIAGONAL]))
    bgr = Effect(
        (BY_KEY["bgr"],), 0.4, 0.5, Interval(0.4, 0.4), -0.0512, Interval(-0.06, -0.04), 20
    )
    measured = page.Measured(
        Explanation(found.base, (*found.effects, bgr), {"int8": "no ranges"}),
        REFERENCE, "weights, fp32 in engine", "one image",
    )  # fmt: skip
    text = page.render(measured)
    assert "$" not in text
    named = {row[0]: row for row in rows(text)}
    assert named["IoU without a clamp"][1:3] == ["−49.5", "–"]  # no interval of one image
    assert named["BGR for RGB"][1:3] == ["−5.1", "−6.0 to −4.0"]
    assert named["int8"][1:3] == ["–", "not to be had there"]
    assert named["100 boxes an image"][1:3] == ["0", "0 to 0"]
    assert "weights, fp32 in engine, on one image: AP 1.000" in text
    assert "on 20 of the images" in text
    assert "So few images" in text


@pytest.mark.parametrize(
    ("change", "text"), [(0, "0"), (-0.0004, "0"), (-0.1, "−10.0"), (0.0151, "+1.5"), (1, "+100.0")]
)
def test_points_have_a_sign_and_one_digit(change: float, text: str) -> None:
    assert page._points(change) == text


@pytest.mark.parametrize(
    ("ap", "text"), [(0, "0.0"), (0.2, "20.0"), (0.19618, "19.618"), (0.1997, "19.97")]
)
def test_published_numbers_have_the_digits_that_were_printed(ap: float, text: str) -> None:
    assert page._percent(ap) == text


def test_a_folder_that_is_kept_gives_as_many_photographs_as_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out, "render_scene", FakeRenderer())
    for count in (2, 1, 3):
        path = page.photographs(tmp_path, count)
        document = json.loads(path.read_bytes())
        named = [one["file_name"] for one in document["images"]]
        assert named == [f"{n:03d}.jpg" for n in range(count)]
        assert {one["image_id"] for one in document["annotations"]} == set(range(count))
        assert all((path.parent / name).is_file() for name in named)
