"""COCO's form: crowds, folders, and files that are not what they should be."""

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssd_resnet34.contract import COCO
from ssd_resnet34.errors import UsageError
from ssd_resnet34.training.data.assembling import Names
from ssd_resnet34.training.data.coco import read
from written_sets import PICTURES, Picture, document, paint, write_coco


def changed(root: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    write_coco(root)
    file = root / "annotations" / "instances_train.json"
    made = document()
    change(made)
    file.write_text(json.dumps(made))
    return file


@pytest.mark.parametrize("mark", ["iscrowd", "ignore", "difficult"])
def test_crowds_and_difficult_objects_are_ignored(tmp_path: Path, mark: str) -> None:
    file = changed(tmp_path, lambda made: made["annotations"][1].update({mark: 1}))
    assert read(file).samples[0].ignored.tolist() == [False, True]


def test_a_mark_in_words_is_refused(tmp_path: Path) -> None:
    file = changed(tmp_path, lambda made: made["annotations"][1].update(iscrowd="0"))
    with pytest.raises(UsageError, match=r"annotation \d+ has the iscrowd '0'; give 0 or 1"):
        read(file)


def test_boxes_that_are_none_are_left_out_and_named(tmp_path: Path) -> None:
    values = [
        [float("nan"), 1, 2, 3],
        [float("inf"), 1, 2, 3],
        [1, 2, 3],
        "1 2 3 4",
        [1, 2, 3, None],
        [1, 2, 3, True],
        [10**400, 2, 3, 4],
        [5, 5, -3, 4],
    ]

    def change(made: dict[str, Any]) -> None:
        for n, value in enumerate(values):
            one = {"id": 9000 + n, "image_id": 3, "category_id": 1, "bbox": value}
            made["annotations"].append(one)
        made["annotations"].append({"id": 1, "image_id": 3, "category_id": 1})

    found = read(changed(tmp_path, change))
    assert [len(sample.boxes) for sample in found.samples] == [2, 1, 0]
    told = "\n".join(found.warnings)
    assert "1 of 12 annotations has no box: left out" in told
    assert "7 of 11 boxes are not four finite numbers and are left out" in told
    assert "annotation 9000" in told
    assert "1 of 11 boxes has no area" in told


def test_corners_in_the_place_of_sizes_are_told_as_what_they_are(tmp_path: Path) -> None:
    pictures = [Picture(f"{n}.png", (64, 48), ((0, (40, 30, 60, 45)),)) for n in range(20)]
    write_coco(tmp_path, pictures)
    file = tmp_path / "annotations" / "instances_train.json"
    made = json.loads(file.read_text())
    assert not any("do not fit" in text for text in read(file).warnings)
    for one in made["annotations"]:
        left, top, width, height = one["bbox"]
        one["bbox"] = [left, top, left + width, top + height]
    file.write_text(json.dumps(made))
    told = "most boxes do not fit in their images: boxes are left, top, width, height in pixels"
    assert any(text.startswith(told) for text in read(file).warnings)


def test_fractions_in_the_place_of_pixels_are_refused(tmp_path: Path) -> None:
    def change(made: dict[str, Any]) -> None:
        for one in made["annotations"]:
            one["bbox"] = [side / 200 for side in one["bbox"]]

    with pytest.raises(UsageError, match="most of its boxes are within one pixel, as fractions"):
        read(changed(tmp_path, change))


def test_boxes_of_nothing_are_no_fractions(tmp_path: Path) -> None:
    """Some tools write 0, 0, 0, 0 where an image has no object."""

    def change(made: dict[str, Any]) -> None:
        nothing = {**made["annotations"][0], "bbox": [0, 0, 0, 0]}
        made["annotations"] += [{**nothing, "id": 100 + n} for n in range(10)]

    (told, *_) = read(changed(tmp_path, change)).warnings
    assert told.startswith("10 of 13 boxes have no area and are left out")


def test_annotations_belong_to_their_image_in_any_order(tmp_path: Path) -> None:
    def change(made: dict[str, Any]) -> None:
        made["annotations"].reverse()
        made["images"].reverse()
        made["categories"].reverse()

    found = read(changed(tmp_path, change))
    assert found.contract.labels == ("anvil", "bell", "cork")  # by their ids
    assert [sample.path.name for sample in found.samples] == ["c.jpg", "b.png", "a.jpg"]
    assert [sample.indices.tolist() for sample in found.samples] == [[], [2], [3, 1]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda made: made["annotations"][0].update(category_id=7), "are of category 7, which"),
        (lambda made: made["annotations"][0].update(image_id=7), "are of image 7, which"),
        (lambda made: made["annotations"][0].update(category_id=None), "no image_id and category"),
        (lambda made: made["annotations"][0].update(image_id=[1]), "no image_id and category_id"),
        (lambda made: made["images"][0].update(width=0), "no width and height in pixels"),
        (lambda made: made["images"][0].update(width=10**400), "image 1: a side over 1048576 pix"),
        (lambda made: made["images"][0].update(id=2), "image id 2 more than once"),
        (lambda made: made["categories"][0].update(id=2), "category id 2 more than once"),
        (lambda made: made["categories"][0].update(name="bell"), "'bell' occurs twice"),
        (lambda made: made.update(images=[]), "its list of images is empty"),
        (lambda made: made.update(annotations=[]), "its list of annotations is empty"),
        (lambda made: made.pop("categories"), "no list of categories"),
    ],
)
def test_contradictions_are_refused_by_name(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read(changed(tmp_path, change))
    assert "instances_train.json" in str(caught.value)
    assert gc.isenabled()


@pytest.mark.parametrize("text", ["", "[1, 2", "null", "[]", '{"images": 3}', "[" * 100_000])
def test_what_is_no_annotation_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "some.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"some\.json"):
        read(file)


def test_a_file_cut_short_is_refused_wherever_it_is_cut(tmp_path: Path) -> None:
    file = changed(tmp_path, lambda _: None)
    data = file.read_bytes()
    for length in range(0, len(data) - 1, 37):
        file.write_bytes(data[:length])
        with pytest.raises(UsageError, match="not JSON, or cut short"):
            read(file)


@pytest.mark.parametrize("place", ["train", "images/train", "images", "annotations", "elsewhere"])
def test_images_are_found_where_the_usual_layouts_have_them(tmp_path: Path, place: str) -> None:
    (tmp_path / "annotations").mkdir()
    file = tmp_path / "annotations" / "instances_train.json"
    file.write_text(json.dumps(document()))
    paint(tmp_path / place)
    images = tmp_path / place if place == "elsewhere" else None
    found = read(file, images=images)
    assert [sample.path for sample in found.samples] == [
        tmp_path / place / picture.name for picture in PICTURES
    ]


def test_the_layout_of_one_folder_a_split_is_read(tmp_path: Path) -> None:
    paint(tmp_path / "valid")
    (tmp_path / "valid" / "_annotations.coco.json").write_text(json.dumps(document()))
    found = read(tmp_path, split="valid")
    assert all(sample.path.is_file() for sample in found.samples)


def test_names_with_folders_are_found_with_and_without_them(tmp_path: Path) -> None:
    def change(made: dict[str, Any]) -> None:
        for one in made["images"]:
            one["file_name"] = f"train/{one['file_name']}"

    file = changed(tmp_path, change)
    assert read(file, images=tmp_path).samples[0].path == tmp_path / "train" / "a.jpg"
    assert read(file, images=tmp_path / "train").samples[0].path == tmp_path / "train" / "a.jpg"


def test_paths_of_another_machines_windows_are_found_by_their_last_part(tmp_path: Path) -> None:
    def change(made: dict[str, Any]) -> None:
        for one in made["images"]:
            one["file_name"] = f"C:\\Users\\Jürgen\\{one['file_name']}"

    assert read(changed(tmp_path, change)).samples[0].path == tmp_path / "train" / "a.jpg"


def test_the_split_val_is_found_under_roboflows_name(tmp_path: Path) -> None:
    paint(tmp_path / "valid")
    (tmp_path / "valid" / "_annotations.coco.json").write_text(json.dumps(document()))
    assert read(tmp_path, split="val").samples[0].path == tmp_path / "valid" / "a.jpg"


def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    def change(made: dict[str, Any]) -> None:
        made["images"][0]["file_name"] = "../../secret/a.jpg"
        made["images"][1]["file_name"] = "/etc/b.png"

    file = changed(tmp_path, change)
    assert [sample.path.parent for sample in read(file).samples] == [tmp_path / "train"] * 3


def test_a_folder_without_any_of_the_images_is_refused(tmp_path: Path) -> None:
    file = changed(tmp_path, lambda _: None)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(
        UsageError, match=r"none of its 3 images \(a.jpg, …\) is in .*images=FOLDER"
    ):
        read(file, images=other)
    with pytest.raises(UsageError, match="nowhere: no such folder; name the one with the images"):
        read(file, images=tmp_path / "nowhere")


def test_folders_that_were_tried_are_named_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(tmp_path, lambda _: None)
    (tmp_path / "train").rename(tmp_path / "other")
    monkeypatch.chdir(tmp_path / "annotations")
    with pytest.raises(UsageError) as caught:
        read("instances_train.json")
    assert f"is in {tmp_path / 'train'} or {tmp_path / 'images' / 'train'}" in str(caught.value)


def test_images_are_looked_for_elsewhere_where_the_usual_places_have_none(tmp_path: Path) -> None:
    file = changed(tmp_path, lambda _: None)
    other = tmp_path / "other"
    paint(other)
    assert read(file, also=[other]).samples[0].path.parent == tmp_path / "train"
    (tmp_path / "train").rename(tmp_path / "gone")
    assert read(file, also=[tmp_path, other]).samples[0].path.parent == other


def test_ids_of_the_file_are_kept(tmp_path: Path) -> None:
    def change(made: dict[str, Any]) -> None:
        made["images"][0]["id"] = 70
        for one in made["annotations"]:
            if one["image_id"] == 1:
                one["image_id"] = 70

    found = read(changed(tmp_path, change))
    assert [one.image_id for one in found.samples] == [70, 2, 3]
    assert found.category_ids == {"anvil": 1, "bell": 2, "cork": 3}


def test_messages_name_the_arguments_as_the_asker_calls_them(tmp_path: Path) -> None:
    file = changed(tmp_path, lambda _: None)
    names = Names("--val-images DIR", "--val-split", None)
    with pytest.raises(UsageError, match=r"with --val-images DIR$"):
        read(file, images=tmp_path / "nowhere", names=names)
    with pytest.raises(UsageError, match=r"leave out --val-split \('val'\)"):
        read(file, split="val", names=names)


def test_some_missing_images_are_left_to_the_loader(tmp_path: Path) -> None:
    file = changed(tmp_path, lambda _: None)
    (tmp_path / "train" / "a.jpg").unlink()
    assert len(read(file).samples) == 3


def test_a_file_is_one_split_already(tmp_path: Path) -> None:
    file = changed(tmp_path, lambda _: None)
    with pytest.raises(UsageError, match=r"is one split already.*split=NAME \('val'\)"):
        read(file, split="val")


def test_cocos_names_with_other_ids_become_cocos_own(tmp_path: Path) -> None:
    def change(made: dict[str, Any]) -> None:
        made["categories"] = [{"id": n, "name": one} for n, one in enumerate(COCO.labels, 1)]
        made["annotations"][0]["category_id"] = 80

    found = read(changed(tmp_path, change), unknown="unlabelled")
    assert found.contract is COCO
    assert found.samples[0].indices.tolist() == [80, 3]
    assert found.warnings == ("its category ids are not the model's, which go by the names",)


@pytest.mark.parametrize(
    ("place", "split", "images", "boxes", "ignored"),
    [
        ("bccd", "train", 205, 2804, 0),
        ("bccd", "val", 87, 1137, 0),
        ("coco", "train2017", 343, 2974, 29),
        ("coco", "val2017", 206, 1786, 21),
        ("voc2007", "val", 400, 1101, 178),
    ],
)
def test_real_sets_have_what_their_page_says(
    shared: Path, place: str, split: str, images: int, boxes: int, ignored: int
) -> None:
    root = shared / "data" / place
    if not root.is_dir():
        pytest.skip(f"no image data at {root}")
    found = read(root, split=split)
    assert len(found.samples) == images
    assert sum(len(sample.boxes) for sample in found.samples) == boxes
    assert sum(int(sample.ignored.sum()) for sample in found.samples) == ignored
    assert all(sample.path.is_file() for sample in found.samples)
    if place != "bccd":
        assert found.contract is COCO
    for sample in found.samples:
        assert (sample.boxes >= 0).all()
        assert (sample.boxes[:, 2:] <= np.array(sample.size)).all()
