"""What the renderer promises of every scene, and the frozen held-out set."""

import numpy as np
import pytest

from ssd_resnet34.contract import COCO
from ssd_resnet34.training.held_out import (
    FROZEN_DIGEST,
    HELD_OUT_COUNT,
    HELD_OUT_STREAM,
    TRAINING_STREAM,
    digest,
    held_out_scene,
    training_seed,
)
from ssd_resnet34.training.objects import DRAWERS
from ssd_resnet34.training.scenes import Scene, render_scene

FIRST_THREE_ANNOTATIONS = "3a4ffa901a21c47dea7ab591cd918ce8f9c0b51c553e74ca1ffa0766faea17ce"
"""``digest(3)["annotations"]``: the quick part of the frozen digest."""

SEEDS = ((1, 0), (1, 1), (1, 2), (0x5CE7E5, 7))


@pytest.fixture(scope="module", params=SEEDS, ids=str)
def scene(request: pytest.FixtureRequest) -> Scene:
    return render_scene(request.param)


def test_a_scene_is_a_function_of_its_seed() -> None:
    first, again, other = (render_scene(seed, size=600) for seed in ((1, 5), (1, 5), (1, 6)))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.boxes, again.boxes)
    assert first.labels == again.labels
    assert not np.array_equal(first.image, other.image)


def test_a_scene_is_a_square_bgr_picture_with_one_label_and_share_a_box(scene: Scene) -> None:
    assert scene.image.shape == (1200, 1200, 3)
    assert scene.image.dtype == np.uint8
    assert scene.boxes.shape == (len(scene.labels), 4)
    assert scene.visible.shape == (len(scene.labels),)


def test_a_scene_holds_at_least_eight_objects_of_drawn_categories(scene: Scene) -> None:
    assert 8 <= len(scene.labels) <= 16
    assert set(scene.labels) <= set(DRAWERS)


def test_every_drawn_category_is_one_of_the_contract() -> None:
    assert set(DRAWERS) <= set(COCO.labels)


def test_the_longest_side_of_every_object_is_in_the_range(scene: Scene) -> None:
    longest = (scene.boxes[:, 2:] - scene.boxes[:, :2]).max(axis=1)
    assert longest.min() >= 24
    assert longest.max() <= 900


def test_every_object_is_at_least_60_percent_visible(scene: Scene) -> None:
    assert (scene.visible >= 0.6).all()
    assert (scene.visible <= 1).all()


def test_every_box_lies_inside_the_picture(scene: Scene) -> None:
    left, top, right, bottom = scene.boxes.T
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (right <= 1200).all()
    assert (bottom <= 1200).all()
    assert (left < right).all()
    assert (top < bottom).all()


@pytest.mark.parametrize(
    "ranges",
    [{"objects": (0, 3)}, {"objects": (5, 4)}, {"sides": (2, 90)}, {"max_occlusion": 1.0}],
)
def test_ranges_that_cannot_be_met_are_refused(ranges: dict[str, tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        render_scene((1, 0), **ranges)  # type: ignore[arg-type]  # one wrong range at a time


def test_training_and_held_out_scenes_share_no_seed() -> None:
    training = {training_seed(index) for index in range(10_000)}
    held_out = {(HELD_OUT_STREAM, index) for index in range(HELD_OUT_COUNT)}
    assert not training & held_out
    assert HELD_OUT_STREAM != TRAINING_STREAM


def test_a_held_out_scene_beyond_the_last_is_refused() -> None:
    with pytest.raises(IndexError, match=r"0\.\.199"):
        held_out_scene(HELD_OUT_COUNT)


def test_the_first_three_held_out_scenes_are_the_frozen_ones() -> None:
    assert digest(3)["annotations"] == FIRST_THREE_ANNOTATIONS


@pytest.mark.proof
def test_all_held_out_scenes_are_the_frozen_ones() -> None:
    assert digest()["annotations"] == FROZEN_DIGEST["annotations"]
