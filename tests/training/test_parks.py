"""Landscapes in the manner of the sample: repeatable, honest boxes, seeds of their own."""

import numpy as np
import pytest

from ssd_resnet34.training import held_out, parks, sample
from ssd_resnet34.training.examples import CROP_STREAM
from ssd_resnet34.training.objects import DRAWERS
from ssd_resnet34.training.scenes import Scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    return parks.park_scene(0, 4)


def test_a_park_is_a_square_with_known_objects_inside(scene: Scene) -> None:
    assert scene.image.shape == (1200, 1200, 3)
    assert scene.image.dtype == np.uint8
    assert len(scene.labels) == len(scene.boxes) == len(scene.visible) >= 4
    assert set(scene.labels) <= set(DRAWERS)
    assert (scene.boxes >= 0).all()
    assert (scene.boxes <= 1200).all()
    assert (scene.boxes[:, 2:] > scene.boxes[:, :2]).all()
    assert (scene.visible >= 0.7 - 1e-6).all()


def test_the_same_numbers_give_the_same_park_and_others_another(scene: Scene) -> None:
    again = parks.park_scene(0, 4)
    assert np.array_equal(again.image, scene.image)
    assert np.array_equal(again.boxes, scene.boxes)
    assert not np.array_equal(parks.park_scene(0, 5).image, scene.image)


def test_no_seed_is_one_of_the_sample_or_of_another_stream() -> None:
    others = {
        sample.STREAM,
        held_out.HELD_OUT_STREAM,
        held_out.TRAINING_STREAM,
        CROP_STREAM,
    }
    assert parks.STREAM not in others
