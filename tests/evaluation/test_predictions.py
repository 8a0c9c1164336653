"""Files of predictions: each form is told by its content, each defect by its place."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small_dataset import document, written
from ssd_resnet34.contract import COCO
from ssd_resnet34.errors import UsageError
from ssd_resnet34.evaluation.coco import score
from ssd_resnet34.evaluation.dataset import Dataset, read
from ssd_resnet34.evaluation.predictions import read as read_predictions
from ssd_resnet34.vision.detections import Detections
from ssd_resnet34.vision.writers import open_writer, save

BOX = [10.0, 20.0, 30.0, 40.0]
BOXES = [(1, 1, BOX), (2, 3, BOX), (3, 18, BOX)]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return read(written(tmp_path, document(boxes=BOXES)))


def coco(image: Any = 1, category: Any = 1, bbox: Any = BOX, score: Any = 0.05) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": bbox, "score": score}


def detections(image: str, indices: Sequence[int] = (1,), score: float = 0.05) -> Detections:
    left, top, width, height = BOX
    n = len(indices)
    return Detections(
        np.array([[left, top, left + width, top + height]] * n, np.float32).reshape(-1, 4),
        np.full(n, score, np.float32),
        np.array(indices, np.int64),
        np.array([COCO.categories[k - 1].category_id for k in indices], np.int64),
        tuple(COCO.labels[k - 1] for k in indices),
        image,
        640,
        480,
        "model",
    )


def test_coco_results_come_as_they_are(tmp_path: Path, dataset: Dataset) -> None:
    given = [coco(2, 3), coco(1, 1, [1, 2, 3, 4], 1)]
    found = read_predictions(written(tmp_path, given, "found.json"), dataset)
    assert (found.form, found.results, found.image_ids) == ("COCO results", given, None)
    assert (found.unknown, found.warnings) == ((), ())


def test_an_empty_list_is_a_result_and_is_told(tmp_path: Path, dataset: Dataset) -> None:
    found = read_predictions(written(tmp_path, [], "found.json"), dataset)
    assert found.results == []
    assert "no detection at all" in found.warnings[0]
    assert score(dataset, found.results).numbers["AP"] == 0


@pytest.mark.parametrize("extension", [".json", ".jsonl", ".coco.json"])
def test_what_this_package_writes_is_read_back(
    tmp_path: Path, dataset: Dataset, extension: str
) -> None:
    path = tmp_path / f"found{extension}"
    made = [detections("images/000002.jpg", (3, 17)), detections("/a/000001.jpg", ())]
    with open_writer(path) as writer:
        for one in made:
            writer.write(one)  # COCO's image ids are 1 and 2 here: names count, not these ids
    found = read_predictions(path, dataset)
    assert found.results == made[0].to_coco(2)
    assert found.image_ids == (1, 2)  # the order of the annotations, an empty image included


def test_one_image_alone_is_read(tmp_path: Path, dataset: Dataset) -> None:
    one = detections("000003.jpg")
    found = read_predictions(written(tmp_path, one.to_json(), "one.json"), dataset)
    assert (found.results, found.image_ids) == (one.to_coco(3), (3,))


def test_windows_paths_end_in_the_name_too(tmp_path: Path, dataset: Dataset) -> None:
    one = detections(r"C:\images\000003.jpg")
    assert read_predictions(written(tmp_path, one.to_json(), "a.jsonl"), dataset).image_ids == (3,)


@pytest.mark.parametrize(
    "lines",
    [
        [detections("000001.jpg").to_json(), detections("cat.jpg").to_json()],
        [json.dumps([coco(1), coco(77)])],
    ],
)
def test_unknown_images_are_left_out_and_named(
    tmp_path: Path, dataset: Dataset, lines: list[str]
) -> None:
    found = read_predictions(written(tmp_path, "\n".join(lines), "found.json"), dataset)
    assert len(found.results) == 1
    assert found.unknown in (("cat.jpg",), ("id 77",))


@pytest.mark.parametrize(
    "content",
    [
        [coco(77), coco(78)],
        detections("cat.jpg").to_json(),
        {"images": [{"id": 1, "file_name": "cat.jpg"}], "annotations": []},
    ],
)
def test_predictions_of_unknown_images_only_are_refused(
    tmp_path: Path, dataset: Dataset, content: Any
) -> None:
    with pytest.raises(UsageError, match="none of its images is in the annotations"):
        read_predictions(written(tmp_path, content, "found.json"), dataset)


def test_unknown_categories_are_refused(tmp_path: Path, dataset: Dataset) -> None:
    path = written(tmp_path, [coco(category=90)], "found.json")
    with pytest.raises(UsageError, match=r"category 90 is not in .*instances"):
        read_predictions(path, dataset)


def test_model_indices_in_the_place_of_ids_are_recognised(tmp_path: Path, dataset: Dataset) -> None:
    path = written(tmp_path, [coco(category=1), coco(category=2)], "found.json")
    with pytest.raises(UsageError, match="look like a model's indices"):
        read_predictions(path, dataset)


def test_a_label_that_contradicts_its_id_is_refused(tmp_path: Path, dataset: Dataset) -> None:
    line = detections("000001.jpg").to_json().replace('"person"', '"dog"')
    with pytest.raises(UsageError, match="line 2: category_id 1 is 'dog' there and 'person' in"):
        read_predictions(written(tmp_path, f"\n{line}\n{line}", "found.jsonl"), dataset)


def test_an_image_twice_is_refused(tmp_path: Path, dataset: Dataset) -> None:
    line = detections("000001.jpg").to_json()
    with pytest.raises(UsageError, match=r"000001\.jpg twice, in line 1 and line 3"):
        read_predictions(written(tmp_path, f"{line}\n\n{line}", "found.jsonl"), dataset)


def test_a_truncated_file_of_lines_is_refused_by_line(tmp_path: Path, dataset: Dataset) -> None:
    lines = "\n".join(detections(f"00000{n}.jpg").to_json() for n in (1, 2, 3))
    with pytest.raises(UsageError, match=r"found\.jsonl: line 3 is not JSON, or cut short"):
        read_predictions(written(tmp_path, lines[:-20], "found.jsonl"), dataset)


def test_a_truncated_list_is_refused_by_line(tmp_path: Path, dataset: Dataset) -> None:
    text = json.dumps([coco()] * 3, indent=0)
    with pytest.raises(UsageError, match=r"not JSON from line \d+ on, or cut short there"):
        read_predictions(written(tmp_path, text[:-30], "found.json"), dataset)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"image_id": 1}, "has no image_id, category_id and score"),
        (coco(score="0.5"), "has no image_id, category_id and score"),
        (coco(score=float("nan")), "has no image_id, category_id and score"),
        (coco(image="1"), "has no image_id, category_id and score"),
        (coco(bbox=[1, 2, 3]), "has the bbox [1, 2, 3]; give left, top, width, height"),
        (coco(bbox=[1, 2, 3, float("inf")]), "has the bbox"),
        (coco(bbox=[9, 9, -1, 3]), "a negative size"),
    ],
)
def test_a_defective_entry_is_refused_by_number(
    tmp_path: Path, dataset: Dataset, entry: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        read_predictions(written(tmp_path, [coco(), entry], "found.json"), dataset)
    assert "entry 2" in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "content",
    ["", "3", '"text"', "[3]", "{}", "[{}]", '{"a": 1}', '{"annotations": 3}', "[" * 100_000, "é{"],
)
def test_what_is_none_of_the_forms_is_refused(
    tmp_path: Path, dataset: Dataset, content: str
) -> None:
    with pytest.raises(UsageError):
        read_predictions(written(tmp_path, content, "found.json"), dataset)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("extension", [".json", ".jsonl"])
def test_what_a_shell_redirected_in_another_unicode_is_read(
    tmp_path: Path, dataset: Dataset, extension: str, encoding: str
) -> None:
    path = tmp_path / f"found{extension}"
    made = [detections("000002.jpg"), detections("000001.jpg")]
    save(path, made)
    path.write_bytes(path.read_text("utf-8").replace("\n", "\r\n").encode(encoding))
    found = read_predictions(path, dataset)
    assert found.results == made[0].to_coco(2) + made[1].to_coco(1)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path, dataset: Dataset) -> None:
    (tmp_path / "found.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not JSON"):
        read_predictions(tmp_path / "found.json", dataset)
    with pytest.raises(UsageError, match="cannot be read"):
        read_predictions(tmp_path / "nothing.json", dataset)


def test_results_that_were_cut_for_people_are_told(tmp_path: Path, dataset: Dataset) -> None:
    path = written(tmp_path, detections("000001.jpg", score=0.31).to_json(), "found.jsonl")
    assert "no score in" in read_predictions(path, dataset).warnings[0]


def test_another_size_than_the_annotations_is_told(tmp_path: Path, dataset: Dataset) -> None:
    line = detections("000001.jpg").to_json().replace('"width":640', '"width":320')
    found = read_predictions(written(tmp_path, line, "found.jsonl"), dataset)
    assert "1 images have another size" in found.warnings[0]


def coco_document(*images: tuple[Any, str], score: float = 0.9) -> dict[str, Any]:
    """What ``detect --coco`` writes: images of its own numbers, a detection in each."""
    return {
        "images": [{"id": key, "file_name": name} for key, name in images],
        "annotations": [coco(key, score=score) for key, _ in images],
    }


def test_a_coco_document_cut_for_people_is_told(tmp_path: Path, dataset: Dataset) -> None:
    for score_, told in ((0.9, True), (0.05, False)):
        given = coco_document((7, "000001.jpg"), score=score_)
        found = read_predictions(written(tmp_path, given, "found.json"), dataset)
        assert [one["image_id"] for one in found.results] == [1]
        assert any("comes out too low" in text for text in found.warnings) is told


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([([], "000001.jpg")], "image 1 of the list has no id"),
        ([(None, "000001.jpg")], "image 1 of the list has no id"),
        ([(7, "000001.jpg"), (7, "000002.jpg")], "image id 7 more than once"),
        ([(7, "000001.jpg"), (8, "a/000001.jpg")], "image 000001.jpg more than once"),
    ],
)
def test_images_of_a_coco_document_are_told_apart(
    tmp_path: Path, dataset: Dataset, images: Sequence[tuple[Any, str]], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        read_predictions(written(tmp_path, coco_document(*images), "found.json"), dataset)


@pytest.mark.parametrize("score", [10**400, 1e300])  # pictures are drawn in float32
def test_a_score_beyond_any_float_is_refused(
    tmp_path: Path, dataset: Dataset, score: float
) -> None:
    with pytest.raises(UsageError, match="entry 1 has no image_id, category_id and score"):
        read_predictions(written(tmp_path, [coco(score=score)], "found.json"), dataset)
