"""Average precision: ground truth scores 1, and numbers are those of plain pycocotools."""

import contextlib
import io
import sys
from concurrent.futures import ThreadPoolExecutor
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
from ssd_resnet34.errors import MissingExtra
from ssd_resnet34.evaluation.coco import IOUS, NAMES, RECALLS, UNDEFINED, evaluate, score
from ssd_resnet34.evaluation.dataset import Dataset, read

BOX = (10.0, 10.0, 40.0, 30.0)


def truth_as_results(dataset: Dataset) -> list[dict[str, Any]]:
    return [
        {key: one[key] for key in ("image_id", "category_id", "bbox")} | {"score": 1.0}
        for one in dataset.annotations
        if not one["iscrowd"]
    ]


def result(image: int = 1, category: int = 1, box: Any = BOX, score: float = 0.9) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": list(box), "score": score}


@pytest.mark.parametrize(
    ("name", "images", "categories"),
    [
        ("coco/annotations/instances_val2017", 206, 80),
        ("voc2007/annotations/instances_val", 400, 20),
        ("bccd/annotations/instances_val", 87, 3),
    ],
)
def test_the_truth_as_predictions_scores_one(
    shared: Path, name: str, images: int, categories: int
) -> None:
    dataset = read(shared / "data" / f"{name}.json")
    scores = score(dataset, truth_as_results(dataset))
    assert scores.images == images
    for number in ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100", "ARs", "ARm", "ARl"):
        assert scores.numbers[number] == pytest.approx(1, abs=1e-12)
    measured = [one for one in scores.classes.values() if one.truths]
    assert len(measured) == categories
    for one in measured:
        assert (one.ap, one.ap50, one.ar) == pytest.approx((1, 1, 1), abs=1e-12)
    counting = [one for one in dataset.annotations if not (one["iscrowd"] or one["ignore"])]
    assert sum(one.truths for one in measured) == len(counting)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), crowds=st.sampled_from([0, 0.2]), count=st.integers(1, 200))
def test_numbers_are_those_of_plain_pycocotools(
    tmp_path_factory: pytest.TempPathFactory, seed: int, crowds: float, count: int
) -> None:
    made = random_document(seed, crowds=crowds)
    results = random_results(made, seed, count)
    plain = plain_pycocotools(made, results)
    evaluation = evaluate(read(written(tmp_path_factory.mktemp("set"), made)), results)
    found = evaluation.scores
    assert list(found.numbers) == list(NAMES)
    assert np.abs(np.subtract(list(found.numbers.values()), plain.stats)).max() <= 1e-12
    for k, one in enumerate(found.classes.values()):
        precision = plain.eval["precision"][..., -1]
        for value, theirs in (
            (one.ap, precision[:, :, k, 0]),
            (one.ap50, precision[0, :, k, 0]),
            (one.sizes["small"], precision[:, :, k, 1]),
            (one.sizes["large"], precision[:, :, k, 3]),
            (one.ar, plain.eval["recall"][:, k, 0, -1]),
        ):
            assert value == (theirs[theirs > -1].mean() if (theirs > -1).any() else -1)
        assert (one.precision == precision[0, :, k, 0]).all()


def test_images_that_are_chosen_are_those_of_plain_pycocotools(tmp_path: Path) -> None:
    made = random_document(3, images=30)
    results = random_results(made, 3, 150)
    plain = plain_pycocotools(made, results, [2, 3, 5, 7, 30])
    found = score(read(written(tmp_path, made)), results, [30, 7, 5, 3, 2])
    assert found.images == 5
    assert list(found.numbers.values()) == pytest.approx(list(plain.stats), abs=1e-12)


def test_no_detections_score_zero(tmp_path: Path) -> None:
    found = score(read(written(tmp_path, document())), [])
    assert (found.numbers["AP"], found.numbers["AR100"]) == (0, 0)
    assert found.numbers["APl"] == UNDEFINED


@pytest.mark.parametrize("flag", ["ignore", "difficult"])
def test_a_difficult_object_counts_neither_way(tmp_path: Path, flag: str) -> None:
    boxes = [(1, 1, BOX), (1, 1, (200.0, 200.0, 50.0, 50.0))]
    made = document(boxes=boxes)
    made["annotations"][1][flag] = 1
    dataset = read(written(tmp_path, made))
    left_out = score(dataset, [result()])
    assert left_out.numbers["AP"] == pytest.approx(1)
    found_too = score(dataset, [result(), result(box=boxes[1][2], score=0.95)])
    assert found_too.numbers["AP"] == pytest.approx(1)
    assert found_too.classes[1].truths == 1
    plain = plain_pycocotools(made, [result()])
    assert plain.stats[0] < 0.51  # which forgets the flag: half of the objects are missed


def test_an_annotation_of_id_zero_can_be_found(tmp_path: Path) -> None:
    made = document()
    made["annotations"][0]["id"] = 0
    dataset = read(written(tmp_path, made))
    assert score(dataset, [result()]).numbers["AP"] == pytest.approx(1)
    assert evaluate(dataset, [result()]).matches[1].results[0].annotation == 0
    assert plain_pycocotools(made, [result()]).stats[0] == 0  # which takes id 0 for no match


def test_categories_that_nobody_labelled_have_no_part(tmp_path: Path) -> None:
    dataset = read(written(tmp_path, document()))  # lists person, car and dog, labels a person
    scores = score(dataset, [result(), result(category=3)])
    assert scores.numbers["AP"] == pytest.approx(1)
    assert scores.classes[3].ap == UNDEFINED
    assert set(score(dataset, [result()], category_ids=[1]).classes) == {1}


def test_scoring_leaves_its_arguments_as_they_were(tmp_path: Path) -> None:
    made = random_document(5)
    dataset = read(written(tmp_path, made))
    results = random_results(made, 5, 50)
    before = ([dict(one) for one in dataset.annotations], [dict(one) for one in results])
    score(dataset, results)
    assert (list(dataset.annotations), results) == before


def test_matches_name_results_and_annotations(tmp_path: Path) -> None:
    far = (300.0, 300.0, 60.0, 60.0)
    made = document(2, [(1, 1, BOX), (1, 3, far), (1, 1, (500.0, 0.0, 60.0, 60.0)), (2, 1, BOX)])
    made["annotations"][2]["ignore"] = 1
    results = [
        result(box=(400.0, 100.0, 9.0, 9.0), score=0.4),  # nothing there
        result(score=0.8),
        result(box=(500.0, 0.0, 60.0, 60.0), score=0.6),  # the object to ignore
        result(category=18, score=0.99),  # another class
    ]
    found = evaluate(read(written(tmp_path, made)), results).matches
    assert sorted(found) == [1, 2]
    rows = [(one.result, one.annotation, one.right, one.ignored) for one in found[1].results]
    assert rows == [
        (3, None, False, False),
        (1, 1, True, False),
        (2, 3, False, True),
        (0, None, False, False),
    ]
    assert (found[1].missed, found[2].missed) == ((2,), (4,))


def test_tables_hold_every_detection_once_best_first(tmp_path: Path) -> None:
    made = random_document(8)
    results = random_results(made, 8, 120)
    evaluation = evaluate(read(written(tmp_path, made)), results)
    assert sum(len(table.image) for table in evaluation.tables.values()) == 120
    for category, table in evaluation.tables.items():
        truths = evaluation.scores.classes[category].truths
        assert table.truths.sum() == truths
        assert table.found.shape == (len(IOUS), len(table.image))
        hits = np.cumsum(table.found[0] & ~table.ignored[0])
        if truths and hits.any():
            assert hits[-1] <= truths
    assert len(RECALLS) == 101


def test_without_pycocotools_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = read(written(tmp_path, document()))
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(MissingExtra, match=r"pip install 'ssd-resnet34\[eval\]'"):
        score(dataset, [])


def test_nothing_is_printed(tmp_path: Path) -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        score(read(written(tmp_path, document())), [result()])
    assert said.getvalue() == ""


def test_threads_that_score_print_nothing_and_leave_stdout_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, stdout = read(written(tmp_path, document())), sys.stdout
    try:
        for _ in range(10):  # that they meet is chance
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda _: score(dataset, []), range(8)))
            assert sys.stdout is stdout
    finally:
        sys.stdout = stdout
    assert capsys.readouterr().out == ""
