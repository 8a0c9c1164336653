"""The bootstrap: exact where pycocotools can be asked, and as wide as statistics says."""

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small_dataset import (
    document,
    plain_pycocotools,
    random_document,
    random_results,
    written,
)
from ssd_resnet34.errors import UsageError
from ssd_resnet34.evaluation.bootstrap import difference_intervals, intervals, resample
from ssd_resnet34.evaluation.coco import UNDEFINED, evaluate
from ssd_resnet34.evaluation.dataset import read

BOX = (10.0, 10.0, 40.0, 30.0)


def repeated(made: dict[str, Any], results: list[dict[str, Any]], weights: list[int]) -> Any:
    """pycocotools' precision on a set that has image i ``weights[i]`` times."""
    sample = {"images": [], "annotations": [], "categories": made["categories"]}
    found = []
    for image, weight in zip(made["images"], weights, strict=True):
        for _ in range(weight):
            number = len(sample["images"]) + 1
            sample["images"].append(image | {"id": number})
            for one in made["annotations"]:
                if one["image_id"] == image["id"]:
                    new = {"id": len(sample["annotations"]) + 1, "image_id": number}
                    sample["annotations"].append(one | new)
            found += [
                copy.deepcopy(one) | {"image_id": number}
                for one in results
                if one["image_id"] == image["id"]
            ]
    return plain_pycocotools(sample, found).eval["precision"][..., 0, -1]


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32))
def test_a_weighted_sample_is_the_set_with_repeated_images(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    made = random_document(seed, images=12, truths=60)
    results = random_results(made, seed, 80)
    weights = np.random.default_rng(seed).multinomial(12, np.full(12, 1 / 12), 3)
    evaluation = evaluate(read(written(tmp_path_factory.mktemp("set"), made)), results)
    values = resample(evaluation.tables, weights)
    for row, found in zip(weights.tolist(), values, strict=True):
        precision = repeated(made, results, row)
        for t in range(10):
            at = precision[t]
            assert found[t] == pytest.approx(at[at > -1].mean(), abs=1e-12)


def test_weights_of_one_give_the_number_itself(tmp_path: Path) -> None:
    made = random_document(4, images=30)
    evaluation = evaluate(read(written(tmp_path, made)), random_results(made, 4, 300))
    (values,) = resample(evaluation.tables, np.ones((1, 30), int))
    numbers = evaluation.scores.numbers
    assert values.mean() == pytest.approx(numbers["AP"], abs=1e-12)
    assert values[0] == pytest.approx(numbers["AP50"], abs=1e-12)


def test_the_interval_is_that_of_a_share(tmp_path: Path) -> None:
    """One object an image, found or not, nothing else: AP is the share p that is found (in steps
    of 1/101), so that its standard error is √(p (1 − p) / n)."""
    n, p = 400, 0.3
    made = document(n, [(k, 1, BOX) for k in range(1, n + 1)])
    results = [
        {"image_id": k, "category_id": 1, "bbox": list(BOX), "score": 1 - k / 1000}
        for k in range(1, round(n * p) + 1)
    ]
    evaluation = evaluate(read(written(tmp_path, made)), results)
    found = intervals(evaluation)
    for name in ("AP", "AP50"):
        one = found[name]
        measured = evaluation.scores.numbers[name]
        assert one.width == pytest.approx(2 * 1.96 * math.sqrt(p * (1 - p) / n), rel=0.1)
        assert one.low < measured < one.high
        assert (one.low + one.high) / 2 == pytest.approx(measured, abs=0.005)


def test_the_interval_stands_on_the_measured_number(tmp_path: Path) -> None:
    """AP of a resampled set is higher than that of the set: of so small a one by much."""
    made = random_document(3, images=12, truths=60)
    evaluation = evaluate(read(written(tmp_path, made)), random_results(made, 3, 200))
    weights = np.random.default_rng(7).multinomial(12, np.full(12, 1 / 12), 1000)
    replicates = resample(evaluation.tables, weights).mean(axis=1)
    measured = evaluation.scores.numbers["AP"]
    assert replicates.mean() - measured > 0.01
    low, high = np.percentile(replicates, [2.5, 97.5])
    found = intervals(evaluation, seed=7)["AP"]
    assert found.width == pytest.approx(high - low)
    assert found.low == pytest.approx(low - replicates.mean() + measured)


def test_the_same_results_give_the_same_interval(tmp_path: Path) -> None:
    made = random_document(6)
    evaluation = evaluate(read(written(tmp_path, made)), random_results(made, 6, 100))
    assert intervals(evaluation, replicates=50) == intervals(evaluation, replicates=50)
    other = intervals(evaluation, replicates=50, seed=1)
    assert other != intervals(evaluation, replicates=50)


def test_perfect_results_have_no_width(tmp_path: Path) -> None:
    made = document(5, [(k, 1, BOX) for k in range(1, 6)])
    results = [
        {"image_id": k, "category_id": 1, "bbox": list(BOX), "score": 0.5} for k in range(1, 6)
    ]
    one = intervals(evaluate(read(written(tmp_path, made)), results), replicates=50)["AP"]
    assert (one.low, one.high) == pytest.approx((1, 1))


def test_without_truths_it_is_undefined(tmp_path: Path) -> None:
    made = document()
    made["annotations"][0]["ignore"] = 1
    evaluation = evaluate(read(written(tmp_path, made)), [])
    assert evaluation.scores.numbers["AP"] == UNDEFINED
    one = intervals(evaluation, replicates=10)["AP"]
    assert (one.low, one.high) == (UNDEFINED, UNDEFINED)


def test_no_detections_are_zero_for_certain(tmp_path: Path) -> None:
    one = intervals(evaluate(read(written(tmp_path, document())), []), replicates=20)["AP"]
    assert (one.low, one.high) == (0, 0)


def found_of(images: set[int]) -> list[dict[str, Any]]:
    return [
        {"image_id": k, "category_id": 1, "bbox": list(BOX), "score": 1 - k / 1000}
        for k in sorted(images)
    ]


def test_a_difference_is_that_of_the_images_that_differ(tmp_path: Path) -> None:
    """Both find the same 200 of 400 objects, one of them 40 more: the share 40/400 has a standard
    error of √(0.1 · 0.9 / 400), whatever that of either number is."""
    made = document(400, [(k, 1, BOX) for k in range(1, 401)])
    dataset = read(written(tmp_path, made))
    a = evaluate(dataset, found_of(set(range(1, 201))))
    b = evaluate(dataset, found_of(set(range(1, 241))))
    one = difference_intervals(a, b)["AP"]
    assert one.width == pytest.approx(2 * 1.96 * math.sqrt(0.1 * 0.9 / 400), rel=0.25)
    assert one.width < 0.7 * intervals(a)["AP"].width
    assert 0 < one.low < 40 / 400 < one.high


def test_equal_runs_differ_by_nothing_for_certain(tmp_path: Path) -> None:
    made = random_document(9)
    dataset = read(written(tmp_path, made))
    results = random_results(made, 9, 100)
    one = difference_intervals(evaluate(dataset, results), evaluate(dataset, results))["AP50"]
    assert (one.low, one.high) == (0, 0)


def test_runs_on_different_images_are_not_compared(tmp_path: Path) -> None:
    dataset = read(written(tmp_path, document(3)))
    with pytest.raises(UsageError, match="different images"):
        difference_intervals(evaluate(dataset, [], [1, 2]), evaluate(dataset, [], [1, 3]))
