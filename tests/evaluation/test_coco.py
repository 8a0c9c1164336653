"""Average precision: ground truth scores 1, and numbers are those of plain pycocotools."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ssd_resnet34.errors import UsageError
from ssd_resnet34.evaluation.coco import NAMES, Truth


def as_results(annotations: list[dict[str, Any]], rng: np.random.Generator) -> list[dict[str, Any]]:
    """Shifted, sometimes mislabelled copies of the truth, with random scores."""
    categories = sorted({one["category_id"] for one in annotations})
    return [
        {
            "image_id": one["image_id"],
            "category_id": int(rng.choice(categories))
            if rng.random() < 0.2
            else one["category_id"],
            "bbox": [float(v + rng.normal(0, 4)) for v in one["bbox"][:2]] + one["bbox"][2:],
            "score": float(rng.random()),
        }
        for one in annotations
    ]


@pytest.fixture
def voc(shared: Path) -> Path:
    return shared / "data" / "voc2007" / "annotations" / "instances_val.json"


def test_the_truth_as_results_scores_one(shared: Path) -> None:
    path = shared / "data" / "bccd" / "annotations" / "instances_val.json"
    annotations = json.loads(path.read_text())["annotations"]
    results = [one | {"score": 1.0} for one in annotations]
    truth = Truth(path)
    numbers, each = truth.score(results, list(truth.ids.values()))
    assert numbers["AP"] == pytest.approx(1)
    assert set(each) == {"RBC", "WBC", "Platelets"}
    assert all(value == pytest.approx(1) for value in each.values())


def test_numbers_are_those_of_plain_pycocotools(voc: Path, tmp_path: Path) -> None:
    document = json.loads(voc.read_text())
    for one in document["annotations"]:
        del one["ignore"], one["difficult"]  # plain pycocotools forgets them
    voc = tmp_path / "voc.json"
    voc.write_text(json.dumps(document))
    ids = [image["id"] for image in document["images"]][:100]
    chosen = [one for one in document["annotations"] if one["image_id"] in set(ids)]
    results = as_results(chosen, np.random.default_rng(0))
    numbers, _ = Truth(voc).score(results, ids)
    with contextlib.redirect_stdout(io.StringIO()):
        plain = COCO(str(voc))
        evaluation = COCOeval(plain, plain.loadRes(results), "bbox")
        evaluation.params.imgIds = ids
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert list(numbers) == list(NAMES)
    assert list(numbers.values()) == pytest.approx(list(evaluation.stats), abs=1e-12)


def test_no_detections_score_zero(voc: Path) -> None:
    truth = Truth(voc)
    numbers, _ = truth.score([], list(truth.ids.values()))
    assert numbers["AP"] == 0


@pytest.mark.parametrize("text", ["", "[]", '{"images": []}', '{"images": [{}], "categories": []}'])
def test_what_is_no_annotation_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "truth.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="COCO JSON file"):
        Truth(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        Truth(tmp_path / "nothing.json")
