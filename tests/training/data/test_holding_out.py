"""A share kept apart: which images it has, and what never lies on both sides."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ssd_resnet34.errors import UsageError
from ssd_resnet34.training.data.example import DataSet
from ssd_resnet34.training.data.holding_out import held_out


def names(data: DataSet) -> list[str]:
    return [sample.path.name for sample in data.samples]


def test_every_image_is_on_one_side_in_the_order_of_the_set(ten: DataSet) -> None:
    learned, judged = held_out(ten, 0.3)
    assert len(judged.samples) == 3
    assert sorted(names(learned) + names(judged)) == names(ten)
    assert names(learned) == sorted(names(learned))
    assert learned.contract == judged.contract == ten.contract


def test_the_same_images_are_kept_apart_wherever_they_lie_and_in_whatever_order(
    ten: DataSet,
) -> None:
    elsewhere = [replace(one, path=Path("/other") / one.path.name) for one in ten.samples]
    moved = replace(ten, samples=tuple(reversed(elsewhere)))
    assert set(names(held_out(moved, 0.3)[1])) == set(names(held_out(ten, 0.3)[1]))


def test_copies_of_one_file_stay_together(ten: DataSet) -> None:
    kept = held_out(ten, 0.3)[1].samples[0]
    copy = next(one for one in held_out(ten, 0.3)[0].samples)
    shutil.copy(kept.path, copy.path)
    _, judged = held_out(ten, 0.3)
    assert (copy.path.name in names(judged)) is (kept.path.name in names(judged))


def test_what_was_left_out_of_the_set_is_told_once(ten: DataSet) -> None:
    learned, judged = held_out(replace(ten, warnings=("a box",)), 0.3)
    assert learned.warnings == ("a box",)
    assert "a box" not in judged.warnings


def test_classes_without_an_object_held_out_are_named(ten: DataSet) -> None:
    learned, judged = held_out(ten, 0.1)  # one image, and so one of three classes
    (told,) = judged.warnings
    here = ten.contract.labels[judged.samples[0].indices[0] - 1]
    others = sorted({"anvil", "bell", "cork"} - {here})
    assert told.startswith(f"{others[0]}, {others[1]}: no object is held out")
    assert learned.warnings == ten.warnings


@pytest.mark.parametrize("share", [0, 1, -0.2, 20, float("nan")])
def test_what_is_no_share_is_refused(ten: DataSet, share: float) -> None:
    with pytest.raises(UsageError, match=r"give a share between 0 and 1, like 0\.2"):
        held_out(ten, share)


def test_a_side_without_objects_is_refused(ten: DataSet) -> None:
    nothing = np.zeros(0, np.bool_)
    first = held_out(ten, 0.1)[1].samples[0].path
    empty = [
        replace(one, ignored=nothing, boxes=one.boxes[:0], indices=one.indices[:0])
        if one.path == first
        else one
        for one in ten.samples
    ]
    with pytest.raises(UsageError, match="of 10 images 1 are left to score on, without any object"):
        held_out(replace(ten, samples=tuple(empty)), 0.1)
    with pytest.raises(UsageError, match="0 are left to train on"):
        held_out(ten, 0.99)
