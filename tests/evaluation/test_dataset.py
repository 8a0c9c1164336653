"""Annotations: what is read, what is filled in, and what is refused by name."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from small_dataset import document, written
from ssd_resnet34.contract import COCO
from ssd_resnet34.errors import UsageError
from ssd_resnet34.evaluation.dataset import read, scored_categories


def changed(change: Callable[[dict[str, Any]], Any], **options: Any) -> dict[str, Any]:
    made = document(**options)
    change(made)
    return made


def test_images_keep_the_order_of_the_file(tmp_path: Path) -> None:
    made = document(4)
    made["images"].reverse()
    found = read(written(tmp_path, made))
    assert found.ids() == (4, 3, 2, 1)
    assert found.only([2, 4]).ids() == (4, 2)


@pytest.mark.parametrize(
    ("listed", "looked_for"),
    [
        (r"C:\Users\Jürgen\a 1.jpg", "/Users/Jürgen/a 1.jpg"),
        (r"photos\1.jpg", "photos/1.jpg"),
        (r"\\nas\share\photos\1.jpg", "/photos/1.jpg"),
        ("photos/1.jpg", "photos/1.jpg"),
    ],
)
def test_paths_of_windows_are_read_as_paths(tmp_path: Path, listed: str, looked_for: str) -> None:
    made = changed(lambda made: made["images"][0].update(file_name=listed))
    assert read(written(tmp_path, made)).images[0]["file_name"] == looked_for


def test_a_set_in_another_form_says_how_to_make_it_this_one(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("train: images")
    with pytest.raises(UsageError, match=r"data\.yaml --format yolo --out DIR --check` makes one"):
        read(tmp_path / "data.yaml")
    (tmp_path / "a.xml").touch()
    with pytest.raises(UsageError, match="--format voc --out DIR --check` makes one"):
        read(tmp_path)


def test_a_folder_that_may_not_be_listed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied")

    for name in ("listdir", "scandir"):  # root may list any
        monkeypatch.setattr(os, name, denied)
    with pytest.raises(UsageError, match=r"cannot be read .*give a COCO JSON file"):
        read(tmp_path)


@pytest.mark.parametrize("entries", ["images", "categories"])
def test_an_id_that_is_no_number_is_called_so(tmp_path: Path, entries: str) -> None:
    made = changed(lambda made: made[entries][0].update(id="0001"))
    with pytest.raises(UsageError, match=r"0 of the list has the id '0001'; give whole numbers"):
        read(written(tmp_path, made))


def test_difficult_and_ignore_both_mean_to_ignore(tmp_path: Path) -> None:
    box = (1, 1, (0, 0, 9, 9))
    made = document(boxes=[box, box, box])
    made["annotations"][0]["difficult"] = 1
    made["annotations"][1]["ignore"] = True
    assert [one["ignore"] for one in read(written(tmp_path, made)).annotations] == [1, 1, 0]


@pytest.mark.parametrize("mark", ["iscrowd", "ignore", "difficult"])
@pytest.mark.parametrize("no", [0, False, None, 0.0])
def test_a_mark_may_say_no_in_several_ways(tmp_path: Path, mark: str, no: Any) -> None:
    made = changed(lambda made: made["annotations"][0].update({mark: no}))
    (one,) = read(written(tmp_path, made)).annotations
    assert (one["iscrowd"], one["ignore"]) == (0, 0)


@pytest.mark.parametrize("mark", ["iscrowd", "ignore", "difficult"])
@pytest.mark.parametrize("word", ["0", "1", "false", []])
def test_a_mark_in_words_is_refused_not_taken_for_yes(tmp_path: Path, mark: str, word: Any) -> None:
    made = changed(lambda made: made["annotations"][0].update({mark: word}))
    with pytest.raises(UsageError, match=rf"annotation 1 has the {mark} .*; give 0 or 1"):
        read(written(tmp_path, made))


@pytest.mark.parametrize("boxless", [None, [], "absent"])
def test_entries_without_boxes_are_left_out_and_counted(tmp_path: Path, boxless: Any) -> None:
    made = document(boxes=[(1, 1, (0, 0, 9, 9)), (2, 3, (0, 0, 9, 9))])
    if boxless == "absent":
        del made["annotations"][1]["bbox"]
    else:
        made["annotations"][1]["bbox"] = boxless
    found = read(written(tmp_path, made))
    assert [one["id"] for one in found.annotations] == [1]
    assert found.warnings == ("1 of 2 annotations have no box and are left out",)


def test_a_missing_area_is_that_of_the_box_and_is_told(tmp_path: Path) -> None:
    made = changed(lambda made: made["annotations"][0].pop("area"))
    found = read(written(tmp_path, made))
    assert found.annotations[0]["area"] == 40 * 30
    assert "have no area" in found.warnings[0]


def test_an_area_beyond_any_float_is_as_if_missing(tmp_path: Path) -> None:
    made = changed(lambda made: made["annotations"][0].update(area=10**400))
    assert read(written(tmp_path, made)).annotations[0]["area"] == 40 * 30


def test_a_box_beyond_any_float_is_refused(tmp_path: Path) -> None:
    made = changed(lambda made: made["annotations"][0].update(bbox=[0, 0, 10**400, 1]))
    with pytest.raises(UsageError, match=r"annotation 1 has the bbox \[0, 0, 1000"):
        read(written(tmp_path, made))
    made = changed(lambda made: made["annotations"][0].update(bbox=[0, 0, 1e39, 1]))
    with pytest.raises(UsageError, match=r"annotation 1 has the bbox \[0, 0, 1e\+39"):
        read(written(tmp_path, made))  # pictures are drawn in float32


def test_a_box_without_area_is_told(tmp_path: Path) -> None:
    found = read(written(tmp_path, document(boxes=[(1, 1, (5, 5, 0, 9))])))
    assert len(found.annotations) == 1
    assert "no area, which no detection can match" in found.warnings[0]


def test_names_find_ids_with_and_without_their_folder(tmp_path: Path) -> None:
    made = document(3)
    for image, name in zip(made["images"], ("a/1.jpg", "b/1.jpg", "b/2.jpg"), strict=True):
        image["file_name"] = name
    names = read(written(tmp_path, made)).ids_by_name()
    assert names == {"a/1.jpg": 1, "b/1.jpg": 2, "b/2.jpg": 3, "2.jpg": 3}  # 1.jpg is two images


def test_what_is_annotated_and_what_is_labelled(tmp_path: Path) -> None:
    found = read(written(tmp_path, document(3, [(3, 18, (0, 0, 9, 9)), (1, 1, (0, 0, 9, 9))])))
    assert found.annotated() == (1, 3)
    assert found.labelled() == (1, 18)
    assert found.labels()[3] == "car"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not JSON, or cut short"),
        (json.dumps(document())[:-40], "not JSON, or cut short"),
        ("[" * 100_000, "not JSON, or cut short"),
        ([], "no COCO annotations but a list"),
        ({"images": []}, "list of images is empty"),
        ({"images": [3]}, "no list of images"),
        (changed(lambda made: made.pop("categories")), "no list of categories"),
        (changed(lambda made: made["images"][1].pop("id")), "image 1 of the list"),
        (changed(lambda made: made["images"][1].pop("height")), "image 2 has no width and height"),
        (changed(lambda made: made["categories"][0].update(id="1")), "category 0 of the list"),
        (changed(lambda made: made["annotations"][0].pop("image_id")), "annotation 0 of the list"),
        (changed(lambda made: made["annotations"][0].update(bbox=[1, 2, 3])), "bbox [1, 2, 3]"),
        (
            changed(lambda made: made["annotations"][0].update(bbox=[9, 9, -2, 5])),
            "a negative size; COCO's is left, top, width, height",
        ),
    ],
)
def test_what_is_no_annotation_file_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(written(tmp_path, content))
    assert message in str(caught.value)


@pytest.mark.parametrize("what", ["images", "categories", "annotations"])
def test_duplicate_ids_are_refused_by_name(tmp_path: Path, what: str) -> None:
    made = document(boxes=[(1, 1, (0, 0, 9, 9)), (2, 1, (0, 0, 9, 9))])
    made[what][1]["id"] = made[what][0]["id"]
    kind = {"images": "image", "categories": "category", "annotations": "annotation"}[what]
    with pytest.raises(UsageError, match=f"{kind} id 1 more than once"):
        read(written(tmp_path, made))


def test_two_images_of_one_file_are_refused(tmp_path: Path) -> None:
    made = changed(lambda made: made["images"][1].update(file_name="000001.jpg"))
    with pytest.raises(UsageError, match=r"image file_name 000001\.jpg more than once"):
        read(written(tmp_path, made))


def test_annotations_of_unknown_images_and_categories_are_refused(tmp_path: Path) -> None:
    for field, message in (("image_id", "of image 77"), ("category_id", "of category 77")):
        made = document()
        made["annotations"][0][field] = 77
        with pytest.raises(UsageError, match=f"1 annotations are {message}, which the file"):
            read(written(tmp_path, made))


@pytest.mark.parametrize("left", ["none", "boxless"])
def test_zero_annotations_are_refused(tmp_path: Path, left: str) -> None:
    made = document()
    if left == "none":
        made["annotations"].clear()
    else:
        made["annotations"][0]["bbox"] = []
    with pytest.raises(UsageError, match=r"list of annotations is empty|no annotation with a box"):
        read(written(tmp_path, made))


@pytest.mark.parametrize("path", ["nothing.json", ".", "nul\0"])
def test_an_unreadable_file_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(UsageError, match=r"cannot be read|not JSON"):
        read(tmp_path / path)


def test_categories_count_where_id_and_name_are_the_models(tmp_path: Path) -> None:
    boxes = [(1, 1, (0, 0, 9, 9)), (1, 18, (0, 0, 9, 9)), (1, 12, (0, 0, 9, 9))]
    names = {1: "person", 2: "bicycle", 12: "street sign", 18: "dog"}
    found = read(written(tmp_path, document(boxes=boxes, categories=names)))
    assert scored_categories(found, COCO) == ((1, 18), ["street sign"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({1: "RBC"}, "1 is 'RBC', the model's is 'person'"),
        ({1: "person", 12: "stop sign"}, "'stop sign' is 12, the model's is 13"),
        ({91: "hairbrush"}, "none of hairbrush is a class of the model"),
    ],
)
def test_categories_that_mean_something_else_are_refused(
    tmp_path: Path, names: dict[int, str], message: str
) -> None:
    boxes = [(1, category, (0, 0, 9, 9)) for category in names]
    found = read(written(tmp_path, document(boxes=boxes, categories=names)))
    with pytest.raises(UsageError) as caught:
        scored_categories(found, COCO)
    assert message in str(caught.value)


def test_the_blood_cells_are_no_categories_of_coco(shared: Path) -> None:
    found = read(shared / "data" / "bccd" / "annotations" / "instances_val.json")
    with pytest.raises(UsageError, match="its categories are not the model's"):
        scored_categories(found, COCO)


def test_voc_is_scored_on_its_twenty(shared: Path) -> None:
    found = read(shared / "data" / "voc2007" / "annotations" / "instances_val.json")
    known, unknown = scored_categories(found, COCO)
    assert len(found.categories) == 80
    assert (len(known), unknown) == (20, [])
    assert sum(one["ignore"] for one in found.annotations) == 178


OUTLINES: tuple[Any, ...] = (
    [[1, 2.5, -3e-2, 4, 5, 6]],
    [[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]],
    [],
    {"counts": [1, 2, 3], "size": [480, 640]},
    {"size": [480, 640], "counts": "PXa0e`0"},
)


@pytest.mark.parametrize("outline", OUTLINES, ids=str)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", " : ")])
def test_outlines_are_left_out_and_all_else_stays(
    tmp_path: Path, outline: Any, last: bool, separators: tuple[str, str]
) -> None:
    text = document(2, [(1, 1, (1, 2, 30, 40)), (2, 3, (5, 6, 70, 80))])
    plain = read(written(tmp_path, text, "plain.json"))
    for one in text["annotations"]:
        rest = dict(one)
        one.clear()
        one.update(rest | {"segmentation": outline} if last else {"segmentation": outline} | rest)
    text["images"][0]["file_name"] = 'a "segmentation": [[1]].jpg'  # a name, no outline
    full = read(written(tmp_path, json.dumps(text, separators=separators), "full.json"))
    assert full.annotations == plain.annotations
    assert full.images[0]["file_name"] == 'a "segmentation": [[1]].jpg'
    assert full.images[1] == plain.images[1]
