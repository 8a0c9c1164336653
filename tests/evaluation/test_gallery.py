"""Pictures of a data set: small, drawn, and in words."""

from pathlib import Path

import numpy as np
from PIL import Image

from small_set import CAT, DOG, data_set, draw_images, found, square, truth
from ssd_resnet34.evaluation.dataset import Dataset
from ssd_resnet34.evaluation.gallery import SIDE, Gallery

SET = data_set([truth(1, 1, CAT, 0)])


def test_results_and_annotations_become_detections_with_the_classes_of_the_set() -> None:
    entries = [found(1, DOG, 1, 0.5), truth(1, 1, CAT, 0)]
    made = Gallery(SET, None).detections(1, entries)
    assert made.boxes.tolist() == [[50, 0, 90, 40], [0, 0, 40, 40]]
    assert made.scores.tolist() == [0.5, 1.0]
    assert made.indices.tolist() == [2, 1]
    assert made.category_ids.tolist() == [DOG, CAT]
    assert made.labels == ("dog", "cat")
    assert (made.image, made.width, made.height) == ("one.png", 200, 200)


def test_a_picture_of_another_size_than_annotated_gets_its_boxes_scaled(tmp_path: Path) -> None:
    Image.new("RGB", (400, 400), (90, 140, 90)).save(tmp_path / "one.png")
    (picture,), reason = Gallery(SET, tmp_path).pictures(1, {"Truth": SET.annotations})
    assert reason == ""
    assert (picture.width, picture.height) == (400, 400)


def test_a_large_picture_is_made_small_and_a_small_one_stays(tmp_path: Path) -> None:
    Image.new("RGB", (3000, 1500)).save(tmp_path / "one.png")
    draw_images(tmp_path, Dataset("x", SET.images[1:], (), SET.categories))
    gallery = Gallery(SET, tmp_path)
    (large,), _ = gallery.pictures(1, {"Truth": []})
    (small,), _ = gallery.pictures(2, {"Truth": []})
    assert (large.width, large.height) == (SIDE, SIDE // 2)
    assert (small.width, small.height) == (200, 200)
    assert large.words == "Truth in one.png: nothing"


def test_many_classes_are_not_all_named() -> None:
    labels = [f"class {n}" for n in range(3)]
    dataset = data_set([], labels=labels)
    wide = Dataset(
        "x", dataset.images, (), tuple({"id": n, "name": f"class {n}"} for n in range(1, 13))
    )
    entries = [
        {"image_id": 1, "category_id": n, "bbox": square(n), "score": 0.5} for n in range(1, 13)
    ]
    (picture,), _ = Gallery(wide, None).pictures(1, {"Detections": entries})
    assert picture.words.endswith("1 class 8 and 4 more classes")
    assert picture.uri is None


def test_low_scores_are_drawn_as_well(tmp_path: Path) -> None:
    """What is drawn is what was chosen; no second threshold hides it."""
    folder = draw_images(tmp_path, data_set([]))
    gallery = Gallery(data_set([]), folder)
    pictures, _ = gallery.pictures(1, {"none": [], "low": [found(1, CAT, 5, 0.01)]})
    assert pictures[0].uri != pictures[1].uri
    assert np.diff([len(one.uri or "") for one in pictures])[0] > 200
