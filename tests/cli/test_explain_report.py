"""The explanation on the terminal and as JSON: 80 columns, the verdict in words, nothing lost."""

import json
from collections.abc import Callable

import pytest

from evaluation.test_causes import BENCH, DIAGONAL, HALF, bbox, scorer_of, sure
from ssd_resnet34.cli import explain_report
from ssd_resnet34.evaluation.bootstrap import Interval
from ssd_resnet34.evaluation.causes import BY_KEY
from ssd_resnet34.evaluation.explaining import (
    Effect,
    Explanation,
    Scorer,
    diagnose,
    explain,
)

Show = Callable[..., str]


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Show:
    """``shown(scorer, mine)`` -> what stands on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def show(scorer: Scorer, mine: float | None = None) -> str:
        found = explain(scorer)
        diagnosis = None if mine is None else diagnose(scorer, found, mine)
        explain_report.show(found, diagnosis)
        text = capsys.readouterr().out
        assert max(map(len, text.splitlines())) <= 80
        return text

    return show


def words(text: str) -> str:
    return " ".join(text.split())


def test_the_largest_change_comes_first_and_what_changes_nothing_last(shown: Show) -> None:
    text = words(shown(scorer_of([DIAGONAL])))
    assert "AP 1.000 as it is, 1 image. One thing done differently:" in text
    assert "IoU without a clamp 0.505 −0.495" in text
    assert text.index("boxes from 0 to 1 0.000") < text.index("IoU without a clamp")
    still = text[text.index("No effect here: ") :]
    assert "100 boxes an image" in still
    assert "Yours" not in text


def test_a_cause_that_fits_is_told_with_its_mend(shown: Show) -> None:
    text = words(shown(scorer_of([DIAGONAL]), HALF))
    assert "Yours is 0.505, this run 1.000." in text
    assert "these give it to 0.2 points: 0.505 IoU without a clamp" in text
    assert f"mend: {BY_KEY['iou-without-clamp'].mend}" in text


def test_many_that_fit_are_all_named(shown: Show) -> None:
    """One bench, found: seven mistakes and more give 0."""
    text = words(shown(scorer_of([[BENCH]]), 0.0))
    assert text.count("mend:") == 5
    assert "also " in text[text.index("mend:") :]
    for name in ("class one too low", "class one too high", "boxes from 0 to 1"):
        assert name in text[text.index("Yours") :]
    assert "Near it in print, all of COCO val2017:" in text
    assert "#2416" in text


def test_a_number_without_a_cause_is_said_to_have_none(shown: Show) -> None:
    text = words(shown(scorer_of([DIAGONAL]), 0.7))
    assert "No known cause gives it, nor the pairs that were tried." in text
    assert "The nearest is IoU without a clamp: 0.505." in text
    assert "other images" not in text  # one image has no spread


def test_what_other_images_may_give_is_told_as_no_more_than_that(shown: Show) -> None:
    truths = [[(1, bbox(one, (400, 400))) for one in DIAGONAL], [(1, (1.0, 1.0, 9.0, 9.0))]]
    text = words(shown(scorer_of([DIAGONAL, sure(0.9)], truths), 0.4))
    assert "If it is of other images: 2 images leave AP uncertain by" in text
    assert "as it is (" in text


def test_a_long_list_says_how_much_more_there_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    explain_report._say_list("names: ", [str(n) for n in range(20)])
    assert capsys.readouterr().out == "names: 0; 1; 2; 3; 4; 5; 6; 7; and 12 more.\n"


def test_samples_and_what_was_not_tried_are_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    point = Interval(0.4, 0.5)
    base = Effect((), 0.45, 0.6, point, 0.0, Interval(0, 0), 100)
    bgr = Effect((BY_KEY["bgr"],), 0.4, 0.5, point, -0.05, Interval(-0.06, -0.04), 20)
    found = Explanation(base, (bgr,), {"int8": "no ranges; calibrate \x1b[2J"})
    explain_report.show(found)
    text = capsys.readouterr().out
    assert "BGR for RGB   0.400   −0.050   −0.060 to −0.040       20" in text
    assert "measured on a sample" in words(text)
    assert "Not tried: int8: no ranges; calibrate" in text
    assert "\x1b" not in text


def test_machines_get_everything() -> None:
    scorer = scorer_of([DIAGONAL])
    found = explain(scorer)
    document = explain_report.describe(found, diagnose(scorer, found, HALF))
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert len(document["causes"]) == len(found.effects)
    first = document["diagnosis"]["fitting"][0]
    assert first["causes"][0]["key"] == "iou-without-clamp"
    assert first["causes"][0]["mend"] == BY_KEY["iou-without-clamp"].mend
    assert first["expected"] == pytest.approx(HALF)
    assert document["as_it_is"]["AP"] == pytest.approx(1)
    assert explain_report.describe(found)["diagnosis"] is None


def test_another_set_of_images_has_no_interval_of_its_change() -> None:
    found = explain(scorer_of([sure(0.9), sure(0.95)], [[(1, (4, 4, 8, 8))], []]))
    document = explain_report.describe(found)
    (effect,) = (one for one in document["causes"] if one["causes"][0]["key"] == "annotated-images")
    assert effect["change_interval"] is None
    assert effect["images"] == 1
