"""LoadGen's accuracy log: rows of seven, samples by position, two numberings of the classes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small_dataset import document, written
from ssd_resnet34.errors import UsageError
from ssd_resnet34.evaluation.coco import score
from ssd_resnet34.evaluation.dataset import Dataset, read
from ssd_resnet34.evaluation.predictions import Predictions
from ssd_resnet34.evaluation.predictions import read as read_predictions

BOXES = [(30, 18, (64.0, 48.0, 128.0, 96.0)), (10, 1, (0.0, 0.0, 320.0, 240.0))]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Images 30, 20, 10 in this order; 20 has no object. Categories 1, 3, 18."""
    made = document(3, [(1, 1, (0, 0, 1, 1))])
    for image, number in zip(made["images"], (30, 20, 10), strict=True):
        image["id"] = number
    made["annotations"] = document(3, BOXES)["annotations"]
    return read(written(tmp_path, made))


def row(index: int, box: Sequence[float], score: float, kind: float) -> list[float]:
    """``box`` is left, top, width, height in pixels of 640×480."""
    left, top, width, height = box
    corners = [top / 480, left / 640, (top + height) / 480, (left + width) / 640]
    return [index, *corners, score, kind]


def record(index: int, *rows: list[float]) -> dict[str, Any]:
    data = np.array(rows, "<f4").tobytes().hex().upper()
    return {"seq_id": index, "qsl_idx": index, "data": data}


def log(folder: Path, *records: Any) -> Path:
    """As LoadGen writes it: a record a line."""
    text = "[\n" + ",\n".join(map(json.dumps, records)) + "\n]\n"
    return written(folder, text, "mlperf_log_accuracy.json")


def found(folder: Path, dataset: Dataset, *records: Any, **options: Any) -> Predictions:
    return read_predictions(log(folder, *records), dataset, **options)


def test_a_log_of_the_truth_scores_one(tmp_path: Path, dataset: Dataset) -> None:
    rows = [
        record(0, row(0, BOXES[0][2], 0.9, 18)),
        record(1),
        record(2, row(2, BOXES[1][2], 1, 1)),
    ]
    read_back = found(tmp_path, dataset, *rows)
    assert read_back.form == "MLPerf accuracy log"
    assert read_back.image_ids == (30, 20, 10)
    assert score(dataset, read_back.results).numbers["AP"] == pytest.approx(1)
    assert "category ids" in read_back.warnings[0]


def test_boxes_are_computed_in_float32(tmp_path: Path, dataset: Dataset) -> None:
    values = np.array([0, 0.1, 0.2, 0.7, 0.9, 0.3, 18], np.float32)
    (one,) = found(tmp_path, dataset, record(0, values.tolist())).results
    left, top = values[2] * np.float32(640), values[1] * np.float32(480)
    wanted = [left, top, values[4] * np.float32(640) - left, values[3] * np.float32(480) - top]
    assert one["bbox"] == [float(value) for value in wanted]
    assert one["score"] == float(np.float32(0.3))


def test_contiguous_classes_are_told_from_ids(tmp_path: Path, dataset: Dataset) -> None:
    read_back = found(tmp_path, dataset, record(0, row(0, BOXES[0][2], 0.9, 2)))  # of 1, 3, 18
    assert read_back.results[0]["category_id"] == 3
    assert "positions among the sorted category ids" in read_back.warnings[0]


def test_classes_that_fit_both_ways_need_to_be_told(tmp_path: Path, dataset: Dataset) -> None:
    records = [record(0, row(0, BOXES[0][2], 0.9, 3), row(0, BOXES[0][2], 0.8, 1))]
    with pytest.raises(UsageError, match="--log-classes category_id or --log-classes index"):
        found(tmp_path, dataset, *records)
    for numbering, wanted in (("category_id", [3, 1]), ("index", [18, 1])):
        read_back = found(tmp_path, dataset, *records, numbering=numbering)
        assert [one["category_id"] for one in read_back.results] == wanted


def test_classes_that_mean_the_same_both_ways_need_nothing(
    tmp_path: Path, dataset: Dataset
) -> None:
    assert found(tmp_path, dataset, record(0, row(0, BOXES[0][2], 0.9, 1))).results


@pytest.mark.parametrize(("kind", "numbering"), [(80, None), (2, "category_id"), (18, "index")])
def test_unknown_classes_are_refused(
    tmp_path: Path, dataset: Dataset, kind: int, numbering: Any
) -> None:
    with pytest.raises(UsageError, match=f"class {kind} is none of"):
        found(tmp_path, dataset, record(0, row(0, BOXES[0][2], 0.9, kind)), numbering=numbering)


def test_repeated_samples_count_once(tmp_path: Path, dataset: Dataset) -> None:
    one = record(0, row(0, BOXES[0][2], 0.9, 18))
    read_back = found(tmp_path, dataset, one, record(0, row(0, BOXES[1][2], 0.9, 18)), one)
    assert len(read_back.results) == 1
    assert read_back.results[0]["bbox"][0] == pytest.approx(64)
    assert "2 records repeat a sample" in read_back.warnings[1]


def test_samples_count_by_the_order_that_is_given(tmp_path: Path, dataset: Dataset) -> None:
    """The mlperf image set leaves out image 20, so that sample 1 is image 10."""
    given = record(1, row(1, BOXES[1][2], 0.9, 1))
    read_back = found(tmp_path, dataset, given, order=dataset.annotated())
    assert read_back.results[0]["image_id"] == 10


def test_a_sample_that_the_set_lacks_is_refused(tmp_path: Path, dataset: Dataset) -> None:
    with pytest.raises(UsageError, match=r"entry 2 is of sample 3, the set has samples 0\.\.2"):
        found(tmp_path, dataset, record(0), record(3))


def test_rows_of_another_sample_are_told(tmp_path: Path, dataset: Dataset) -> None:
    read_back = found(tmp_path, dataset, record(0, row(7, BOXES[0][2], 0.9, 18)))
    assert "1 records hold rows of another sample" in read_back.warnings[1]


@pytest.mark.parametrize("size", [0, 4, 24])
def test_fewer_than_seven_numbers_is_an_image_without_detections(
    tmp_path: Path, dataset: Dataset, size: int
) -> None:
    read_back = found(tmp_path, dataset, {"seq_id": 0, "qsl_idx": 0, "data": "00" * size})
    assert (read_back.results, read_back.image_ids) == ([], (30,))


def test_a_truncated_log_is_refused_by_line(tmp_path: Path, dataset: Dataset) -> None:
    path = log(tmp_path, *[record(n, row(n, BOXES[0][2], 0.9, 18)) for n in range(3)])
    text = path.read_text()
    path.write_text(text[: text.rindex('"data"') + 30])  # inside the third record, line 4
    with pytest.raises(UsageError, match="not JSON from line 4 on, or cut short there"):
        read_predictions(path, dataset)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"qsl_idx": 0}, "'data'"),
        ({"qsl_idx": 0, "data": "0G"}, "non-hexadecimal"),
        ({"qsl_idx": 0, "data": "00" * 30}, "buffer size"),
        ({"qsl_idx": 0, "data": "00" * 32}, "reshape"),
        ({"qsl_idx": "0", "data": ""}, "qsl_idx '0'"),
        (3, "not subscriptable"),
        (record(0, [0, 0, 0, 1, 1, float("nan"), 1]), "NaN, infinity, a number beyond"),
        (record(0, [0, 0, 0, 1, 1, 0.5, 1.5]), "any box or a fraction for a class"),
        (record(0, [0, 0, 0, 1, 1e38, 0.5, 1]), "a number beyond any box"),
    ],
)
def test_a_record_that_is_none_is_refused_by_number(
    tmp_path: Path, dataset: Dataset, entry: Any, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        found(tmp_path, dataset, record(1), entry)
    assert "entry 2" in str(caught.value)
    assert message in str(caught.value)
