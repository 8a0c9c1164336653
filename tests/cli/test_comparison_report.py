"""The comparison on the terminal: 80 columns, nothing hidden that is not counted."""

from typing import Any

import pytest

from small_set import CAT, DOG, KITE, data_set, found, truth
from ssd_resnet34.cli import comparison_report
from ssd_resnet34.evaluation.coco import evaluate
from ssd_resnet34.evaluation.comparing import Side, compare

TRUTHS = [truth(n, n, (CAT, DOG, KITE)[n % 3], 0) for n in range(1, 13)]


def shown(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    a: list[dict[str, Any]],
    b: list[dict[str, Any]],
    name: str = "int8",
) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    dataset = data_set(TRUTHS, [f"{n:012d}.jpg" for n in range(1, 13)])
    sides = (Side(one, part, evaluate(dataset, part)) for one, part in (("fp32", a), (name, b)))
    comparison_report.show(compare(dataset, *sides))
    return capsys.readouterr().out


def test_it_fits_80_columns_and_says_how_much_more_there_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    a = [found(n, one["category_id"], 0, 0.9) for n, one in enumerate(TRUTHS, 1)]
    b = [found(n, KITE, place, 0.5 + place / 100) for n in range(1, 13) for place in range(6)]
    text = shown(capsys, monkeypatch, a, b)
    assert max(map(len, text.splitlines())) <= 80
    for line in (
        "AP       1.000   0.019   −0.981",  # one class of three: 4 right of the best 71
        "cat         4   1.000   0.000   −1.000",
        "4 detections above 0.3 are the same: 5.6 % of 72",
        "only in B                             60   0 right, 60 wrong",
        "same box, other class                  8   A right 8, B right 0, neither 0",
        "4 more images differ",
        "and 3 more",
    ):
        assert " ".join(line.split()) in " ".join(text.split()), line


def test_equal_runs_have_no_table_of_classes_or_images(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    a = [found(n, one["category_id"], 0, 0.9) for n, one in enumerate(TRUTHS, 1)]
    text = shown(capsys, monkeypatch, a, a)
    assert "most different" not in text
    assert "AP A" not in text
    assert "100.0 % of 12" in text


def test_a_name_cannot_steer_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\x1b" not in shown(capsys, monkeypatch, [], [], "\x1b[2J")
