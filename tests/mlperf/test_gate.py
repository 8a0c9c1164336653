"""Accuracy logs of any system against the gate."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from small_dataset import document, random_document, random_results, written
from ssd_resnet34.errors import UsageError
from ssd_resnet34.evaluation.coco import score
from ssd_resnet34.evaluation.dataset import Dataset, read
from ssd_resnet34.mlperf.gate import accuracy_text, judge

SIZE = (640, 480)


def log(folder: Path, dataset: Dataset, results: Sequence[Mapping[str, Any]]) -> Path:
    """LoadGen's log of COCO results, every image of the set with a record."""
    records = []
    for index, image in enumerate(dataset.ids()):
        rows = []
        for one in results:
            if one["image_id"] == image:
                left, top, width, height = one["bbox"]
                right, bottom = left + width, top + height
                corners = [top / SIZE[1], left / SIZE[0], bottom / SIZE[1], right / SIZE[0]]
                rows.append([index, *corners, one["score"], one["category_id"]])
        data = np.array(rows, "<f4").tobytes().hex().upper()
        records.append(json.dumps({"seq_id": index, "qsl_idx": index, "data": data}))
    return written(folder, "[\n" + ",\n".join(records) + "\n]\n", "mlperf_log_accuracy.json")


def test_map_is_that_of_the_results_to_a_hundredth_of_a_percent(tmp_path: Path) -> None:
    made = random_document(1)
    dataset = read(written(tmp_path, made))
    results = random_results(made, 2, 400)
    path = log(tmp_path, dataset, results)
    verdict = judge(path, dataset, dataset)
    assert verdict.percent == pytest.approx(100 * score(dataset, results).numbers["AP"], abs=0.01)
    assert 0 < verdict.percent < 100
    assert verdict.images == verdict.whole == 20


def test_the_gate_is_19_8_percent_as_the_checker_reads_it(tmp_path: Path) -> None:
    from dataclasses import replace

    made = random_document(1)
    dataset = read(written(tmp_path, made))
    verdict = judge(log(tmp_path, dataset, random_results(made, 2, 400)), dataset, dataset)
    for ap, passed in ((0.198, True), (0.1979999, True), (0.19799, False), (0.2, True)):
        numbers = {**verdict.scores.numbers, "AP": ap}
        changed = replace(verdict, scores=replace(verdict.scores, numbers=numbers))
        assert changed.passed is passed
    assert accuracy_text(verdict).startswith(f"mAP={verdict.percent:.3f}%\nhash=")


def test_a_log_without_all_images_does_not_pass(tmp_path: Path) -> None:
    box = (10.0, 10.0, 40.0, 30.0)
    dataset = read(written(tmp_path, document(3, [(1, 1, box)])))
    right = [{"image_id": 1, "category_id": 1, "bbox": box, "score": 0.02}]
    part = dataset.only([1])
    path = log(tmp_path, part, right)
    assert judge(path, dataset, part).passed
    verdict = judge(path, dataset, dataset)
    assert verdict.percent == 100
    assert not verdict.passed
    assert "2 of 3 images are not in the log" in verdict.notes[-1]


def test_the_hash_is_of_the_whole_log(tmp_path: Path) -> None:
    dataset = read(written(tmp_path, document()))
    path = log(tmp_path, dataset, [])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert accuracy_text(judge(path, dataset, dataset)).endswith(f"hash={digest}\n")


def test_other_predictions_are_no_accuracy_log(tmp_path: Path) -> None:
    dataset = read(written(tmp_path, document()))
    one = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9], "score": 0.5}
    path = written(tmp_path, [one], "results.json")
    with pytest.raises(UsageError, match="COCO results, no accuracy log; score it with"):
        judge(path, dataset, dataset)


def test_the_log_of_a_performance_run_is_told_as_such(tmp_path: Path) -> None:
    dataset = read(written(tmp_path, document()))
    path = written(tmp_path, [], "mlperf_log_accuracy.json")  # LoadGen writes "[" and "]"
    with pytest.raises(UsageError, match="no record, as after a performance run"):
        judge(path, dataset, dataset)
