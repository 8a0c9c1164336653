"""Claims about class names as people type them."""

from typing import Any

import numpy as np
import pytest

from ssd_resnet34.contract import COCO, Category, Contract
from ssd_resnet34.errors import UsageError
from ssd_resnet34.vision.labels import resolve


def test_labels_and_indices_mix_and_keep_their_order() -> None:
    assert resolve(["toothbrush", 3, "person", int(np.int64(80))], COCO) == (80, 3, 1)


def test_one_class_needs_no_list() -> None:
    assert resolve("stop sign", COCO) == (12,)
    assert resolve(12, COCO) == (12,)
    assert resolve((name for name in ("cat", "dog")), COCO) == (16, 17)


def test_nothing_resolves_to_nothing() -> None:
    assert resolve([], COCO) == ()


@pytest.mark.parametrize(
    ("typed", "near"),
    [("Person", "'person'"), ("trafic light", "'traffic light'"), (" dog ", "'dog'")],
)
def test_an_unknown_label_names_near_matches(typed: str, near: str) -> None:
    with pytest.raises(UsageError, match=near):
        resolve([typed], COCO)


def test_labels_in_capitals_are_near_matches_too() -> None:
    cells = Contract((Category(1, "RBC"), Category(2, "Platelets")))
    for typed, near in (("rbc", "'RBC'"), ("platelet", "'Platelets'")):
        with pytest.raises(UsageError, match=f"did you mean {near}"):
            resolve(typed, cells)


def test_a_strange_label_is_answered_with_the_labels_there_are() -> None:
    with pytest.raises(UsageError, match="80 labels: person, bicycle"):
        resolve("qqqq", COCO)
    with pytest.raises(UsageError, match=r"1 labels: cell$"):
        resolve("qqqq", Contract((Category(1, "cell"),)))


@pytest.mark.parametrize("wrong", [0, 81, -1, 90])
def test_indices_outside_the_contract_are_refused(wrong: int) -> None:
    with pytest.raises(UsageError, match=r"1\.\.80"):
        resolve([wrong], COCO)


@pytest.mark.parametrize("wrong", [1.5, None, True, (1, 2)])
def test_other_things_are_no_classes(wrong: Any) -> None:
    with pytest.raises(UsageError, match="neither a label nor an index"):
        resolve([wrong], COCO)
