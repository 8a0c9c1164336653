"""The committed sample picture and its truth are what the renderer makes."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ssd_resnet34.contract import COCO
from ssd_resnet34.training.held_out import HELD_OUT_STREAM, TRAINING_STREAM
from ssd_resnet34.training.sample import STREAM, sample_scene, truth
from ssd_resnet34.training.scenes import Scene

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


@pytest.fixture(scope="module")
def scene() -> Scene:
    return sample_scene()


@pytest.fixture(scope="module")
def committed() -> Any:
    return json.loads((SAMPLES / "scene.json").read_text(encoding="utf-8"))


def test_the_committed_truth_is_the_scenes(scene: Scene, committed: Any) -> None:
    assert committed == json.loads(json.dumps(truth(scene, "scene.png")))


def test_the_committed_picture_is_the_scene(scene: Scene) -> None:
    file = SAMPLES / "scene.png"
    picture = cv2.imread(str(file))
    assert picture is not None
    assert picture.shape == scene.image.shape == (1200, 1600, 3)
    # Another OpenCV may blend an edge differently; anything that moved would differ by far more.
    assert np.abs(picture.astype(np.int16) - scene.image).mean() < 1
    assert file.stat().st_size <= 2_500_000


def test_it_holds_nine_objects_or_more_of_eight_categories_or_more(scene: Scene) -> None:
    assert 9 <= len(scene.labels) <= 12
    assert len(set(scene.labels)) >= 8


def test_every_object_lies_inside_the_picture_and_hides_no_other(scene: Scene) -> None:
    left, top, right, bottom = scene.boxes.T
    assert left.min() > 0
    assert top.min() > 0
    assert right.max() < 1600
    assert bottom.max() < 1200
    assert (scene.visible > 0.97).all()


def test_every_object_is_90_to_420_pixels_at_the_network_input(scene: Scene) -> None:
    sides = (scene.boxes[:, 2:] - scene.boxes[:, :2]) * (1200 / 1600, 1.0)
    assert sides.max(axis=1).min() >= 90
    assert sides.max(axis=1).max() <= 420


def test_its_annotations_name_categories_of_the_contract(committed: Any) -> None:
    known = {category.category_id: category.label for category in COCO.categories}
    named = {category["id"]: category["name"] for category in committed["categories"]}
    assert {number: known[number] for number in named} == named
    assert {annotation["category_id"] for annotation in committed["annotations"]} == set(named)


def test_its_random_stream_is_neither_trainings_nor_the_held_out_sets() -> None:
    from ssd_resnet34.training.examples import CROP_STREAM  # needs torch, the others do not

    assert STREAM not in {TRAINING_STREAM, CROP_STREAM, HELD_OUT_STREAM}
