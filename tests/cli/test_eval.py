"""``ssd-resnet34 eval`` as its users call it."""

import importlib.metadata
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command import Result, Run
from fake_network import DETECTIONS, constant_heads, fake_heads
from small_dataset import document, written
from ssd_resnet34.cli.eval_inputs import Way
from ssd_resnet34.contract import COCO
from ssd_resnet34.evaluation.coco import NAMES
from ssd_resnet34.evaluation.page import _templates as templates
from ssd_resnet34.vision.postprocess import postprocess
from ssd_resnet34.vision.preprocess import ImageContext

Picture = Callable[..., Path]
Evaluate = Callable[..., Result]


def truth_of_the_fake(width: int = 64, height: int = 48) -> list[tuple[int, list[float]]]:
    """Category and box of what the fake network finds in every image."""
    (found,) = postprocess(constant_heads(), [ImageContext(width, height)], contract=COCO)
    return [(one["category_id"], one["bbox"]) for one in found.to_coco(0)]


@pytest.fixture
def annotations(tmp_path: Path, picture: Picture) -> Path:
    """Three images with the fake network's objects, and a fourth without any."""
    boxes = [(n, *one) for n in (1, 2, 3) for one in truth_of_the_fake()]
    for n in range(1, 5):
        picture(f"images/{n:06d}.jpg", shade=40 * n)
    return written(tmp_path, document(4, boxes, width=64, height=48))


@pytest.fixture
def evaluate(run: Run, annotations: Path, weights: Path) -> Evaluate:
    """``evaluate("--json")`` on these images, with the fake engine."""
    folder = annotations.parent / "images"

    def call(*options: str | Path) -> Result:
        chosen = ["--engine", "fake", "--weights", str(weights)]
        return run("eval", annotations, folder, *chosen, *options)

    return call


def loaded(result: Result) -> Any:
    assert result.code in (0, 3), result.err
    return json.loads(result.out)


def test_a_network_that_is_right_scores_one(evaluate: Evaluate) -> None:
    found = loaded(evaluate("--json"))
    assert list(found["numbers"]) == list(NAMES)
    assert found["numbers"]["AP"] == pytest.approx(1)
    assert found["numbers"]["APl"] is None  # no object is large
    assert (found["images"], found["objects"], found["detections"]) == (4, 9, 12)
    assert found["intervals"]["AP"]["low"] <= 1
    assert [one["label"] for one in found["classes"]] == ["person", "car", "dog"]
    assert found["settings"]["score_threshold"] == 0.05
    assert (found["outcome"]["right"], found["outcome"]["score_threshold"]) == (9, 0.3)
    assert found["best_f1"]["recall"] == 1
    assert found["seconds_per_image"] > 0
    assert found["refused"] == {}


def test_the_table_fits_eighty_columns(evaluate: Evaluate, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = evaluate()
    assert result.code == 0
    assert all(len(line) <= 80 for line in result.out.splitlines())
    for name in NAMES:
        assert name in result.out
    assert "4 images, 9 objects of 3 classes, 12 detections" in result.out
    assert "95 % interval" in result.out
    assert "points wide with 4 images" in result.out
    assert "scores over 0.3: 9 of 9 objects found, 0 of another class,\n" in result.out
    assert "0 misplaced, 0 missed; also 0 once more, 3 invented\n" in result.out
    assert re.search(r"best F1 0\.857 at scores over 0\.\d{3}: ", result.out)  # many are near 1
    assert "precision 0.75, recall 1.00" in result.out


def test_one_image_has_no_interval_and_few_have_a_doubtful_one(
    evaluate: Evaluate, run: Run, annotations: Path, tmp_path: Path, picture: Picture
) -> None:
    few = evaluate()
    assert "an interval of only 4 images says little" in few.out
    assert "an interval of only 4 images says little" in loaded(evaluate("--json"))["notes"][-1]
    boxes = [(1, *one) for one in truth_of_the_fake()]
    alone = written(tmp_path, document(1, boxes, width=64, height=48), "alone.json")
    saved, page = tmp_path / "alone.jsonl", tmp_path / "alone.html"
    assert evaluate("--save-predictions", saved).code == 0
    given = ("eval", alone, "--predictions", saved)
    result = run(*given, "--report", page)
    assert result.code == 3  # the file holds further images
    assert "1 image, 3 objects of 3 classes, 3 detections" in result.out
    assert "no interval: one image" in result.out
    assert "% interval" not in result.out
    assert "no interval: one image" in page.read_text()
    assert "resampled image sets" not in page.read_text()
    found = loaded(run(*given, "--json"))
    assert found["intervals"]["AP"] == found["intervals"]["AP50"] == {"low": None, "high": None}
    both = run("eval", alone, "--compare", saved, saved)
    assert "no interval: one image" in both.out
    assert "chance" not in both.out


def test_one_image_is_explained_without_an_interval(
    run: Run, weights: Path, tmp_path: Path, picture: Picture
) -> None:
    picture("images/000001.jpg")
    boxes = [(1, *one) for one in truth_of_the_fake()]
    alone = written(tmp_path, document(1, boxes, width=64, height=48))
    chosen = ["--engine", "fake", "--weights", weights, "--explain"]
    found = loaded(run("eval", alone, tmp_path / "images", *chosen, "--json"))
    assert found["explanation"]["as_it_is"]["interval"] is None
    result = run("eval", alone, tmp_path / "images", *chosen, "--got", "50")
    assert "as it is, 1 image. One thing" in result.out


@pytest.mark.parametrize(
    ("package", "options"), [("pycocotools.coco", ()), ("jinja2", ("--report", "page.html"))]
)
def test_a_missing_extra_is_told_before_the_network_runs(
    evaluate: Evaluate,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    package: str,
    options: tuple[str, ...],
) -> None:
    def heads(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was made")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Way, "heads", heads)
    monkeypatch.setitem(sys.modules, package, None)
    templates.cache_clear()
    result = evaluate(*options)
    assert result.code == 1
    assert "pip install 'ssd-resnet34[eval]'" in result.err


def test_the_mlperf_set_leaves_out_images_without_objects(evaluate: Evaluate) -> None:
    found = loaded(evaluate("--json", "--images", "mlperf"))
    assert (found["images"], found["detections"]) == (3, 9)


def test_missing_images_are_listed_counted_and_end_in_three(
    evaluate: Evaluate, annotations: Path
) -> None:
    (annotations.parent / "images" / "000002.jpg").unlink()
    (annotations.parent / "images" / "000003.jpg").write_bytes(b"\xff\xd8\xff")
    result = evaluate("--json")
    assert result.code == 3
    assert "000002.jpg: missing" in result.err
    assert "2 images are left out of all numbers" in result.err
    found = loaded(result)
    assert sorted(found["refused"]) == ["000002.jpg", "000003.jpg"]
    assert found["images"] == 2
    assert found["numbers"]["AP"] == pytest.approx(1)  # left out, not missed


def test_many_missing_images_do_not_flood_the_terminal(
    run: Run, tmp_path: Path, picture: Picture, weights: Path
) -> None:
    picture("images/000001.jpg")
    box = truth_of_the_fake()[0]
    path = written(tmp_path, document(60, [(1, *box)], width=64, height=48))
    chosen = ["--engine", "fake", "--weights", str(weights)]
    result = run("eval", path, tmp_path / "images", *chosen, "--json")
    assert result.code == 3
    assert len(result.err.splitlines()) < 30
    assert "and 39 more" in result.err
    assert len(loaded(result)["refused"]) == 59


def test_a_folder_of_other_images_is_refused_before_the_network_is_made(
    evaluate: Evaluate, annotations: Path
) -> None:
    for path in (annotations.parent / "images").iterdir():
        path.unlink()
    result = evaluate()
    assert result.code == 2
    assert "has none of the 4 images" in result.err


@pytest.mark.parametrize("option", ["--save-predictions", "--report"])
def test_what_is_read_is_not_written_over(
    evaluate: Evaluate, run: Run, annotations: Path, tmp_path: Path, option: str
) -> None:
    before = annotations.read_bytes()
    result = evaluate(option, annotations)
    assert (result.code, result.out) == (2, "")
    assert f"{option} {annotations}: is the file of ANNOTATIONS; name another file" in result.err
    result = evaluate("--save-predictions", tmp_path / "a.json", "--report", tmp_path / "a.json")
    assert "is the file of --save-predictions" in result.err
    found = tmp_path / "found.json"
    found.write_text("[]")
    for words in (["--predictions", found], ["--compare", annotations, found]):
        result = run("eval", annotations, *words, "--report", found)
        assert result.code == 2
        assert f"--report {found}: is the file of" in result.err
    assert (annotations.read_bytes(), found.read_text()) == (before, "[]")


@pytest.mark.parametrize("extension", [".jsonl", ".json", ".coco.json"])
def test_saved_predictions_score_the_same(
    evaluate: Evaluate, run: Run, annotations: Path, tmp_path: Path, extension: str
) -> None:
    saved = tmp_path / f"found{extension}"
    first = loaded(evaluate("--json", "--save-predictions", saved))
    again = loaded(run("eval", annotations, "--predictions", saved, "--json"))
    for what in ("images", "objects", "detections", "numbers", "classes", "intervals"):
        assert again[what] == first[what]
    assert again["seconds_per_image"] is None


def test_saved_coco_has_the_categories_that_were_not_found_too(
    evaluate: Evaluate, annotations: Path, tmp_path: Path
) -> None:
    known = json.loads(annotations.read_text())
    known["categories"].append({"id": 2, "name": "bicycle"})
    annotations.write_text(json.dumps(known))
    evaluate("--save-predictions", tmp_path / "found.coco.json")
    kept = json.loads((tmp_path / "found.coco.json").read_text())["categories"]
    assert {"id": 2, "name": "bicycle"} in kept


def test_a_model_that_was_trained_at_another_size_is_told_of(
    run: Run, annotations: Path, trained_at_600: Path
) -> None:
    words = ["eval", annotations, annotations.parent / "images", "--engine", "fake", "--weights"]
    told = run(*words, trained_at_600).err
    assert told.count("note: trained.onnx was trained at 600×600 and runs at 1200×1200") == 1
    assert "trained at" not in run(*words, trained_at_600, "-q").err


def test_that_the_embedded_weights_are_not_for_photographs_is_told_where_nobody_named_them(
    run: Run, annotations: Path, evaluate: Evaluate
) -> None:
    words = ["eval", annotations, annotations.parent, "--engine", "fake"]
    told = "for photographs: -w mlcommons"
    assert told in run(*words).err
    assert told not in run(*words, "-q").err
    assert told not in run(*words, "--weights", "embedded").err
    assert told not in evaluate().err


def test_kept_heads_score_the_same(
    evaluate: Evaluate, run: Run, annotations: Path, tmp_path: Path, weights: Path
) -> None:
    folder = tmp_path / "heads"
    folder.mkdir()
    for n in range(1, 5):
        np.savez(folder / f"{n:06d}.npz", *fake_heads(np.zeros((1, 3, 1200, 1200), np.float32)))
    first = loaded(evaluate("--json"))
    kept = loaded(run("eval", annotations, "--heads", folder, "--weights", weights, "--json"))
    assert kept["numbers"] == first["numbers"]
    (folder / "000004.npz").write_bytes(b"PK")
    result = run("eval", annotations, "--heads", folder, "--weights", weights, "--json")
    assert result.code == 3
    assert list(loaded(result)["refused"]) == ["000004.jpg"]


def log_of_the_truth(folder: Path, annotations: Path, samples: list[int]) -> Path:
    truth = json.loads(annotations.read_text())
    records = []
    for index, image in enumerate(samples):
        rows = []
        for one in truth["annotations"]:
            if one["image_id"] == image:
                left, top, width, height = one["bbox"]
                corners = [top / 48, left / 64, (top + height) / 48, (left + width) / 64]
                rows.append([index, *corners, 0.9, one["category_id"]])
        data = np.array(rows, "<f4").tobytes().hex()
        records.append(json.dumps({"seq_id": index, "qsl_idx": index, "data": data}))
    return written(folder, "[\n" + ",\n".join(records) + "\n]\n", "mlperf_log_accuracy.json")


def test_a_log_counts_by_the_chosen_images(run: Run, annotations: Path, tmp_path: Path) -> None:
    made = json.loads(annotations.read_text())
    made["images"].insert(0, made["images"].pop())  # image 4, without objects, comes first
    annotations.write_text(json.dumps(made))
    for option, samples in (("all", [4, 1, 2, 3]), ("mlperf", [1, 2, 3])):
        log = log_of_the_truth(tmp_path, annotations, samples)
        found = loaded(
            run("eval", annotations, "--predictions", log, "--images", option, "--json",
                "--log-classes", "category_id")
        )  # fmt: skip
        assert found["numbers"]["AP50"] == pytest.approx(1)
        assert found["images"] == len(samples)


def test_predictions_of_unknown_images_are_named_and_end_in_three(
    run: Run, annotations: Path, tmp_path: Path
) -> None:
    result = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.05}
    path = written(tmp_path, [result, result | {"image_id": 99}], "found.json")
    done = run("eval", annotations, "--predictions", path, "--json")
    assert done.code == 3
    assert "id 99: in" in done.err
    assert loaded(done)["detections"] == 1


def test_images_without_predictions_are_left_out_where_the_file_names_images(
    evaluate: Evaluate, run: Run, annotations: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "found.jsonl"
    evaluate("--save-predictions", saved)
    saved.write_text("".join(saved.read_text().splitlines(keepends=True)[:3]))
    done = run("eval", annotations, "--predictions", saved, "--json")
    assert done.code == 3
    assert f"000004.jpg: not in {saved}" in done.err
    assert loaded(done)["images"] == 3


@pytest.mark.parametrize("content", ["[", "{}", '[{"image_id": 1}]'])
def test_bad_predictions_end_in_bad_usage(
    run: Run, annotations: Path, tmp_path: Path, content: str
) -> None:
    path = written(tmp_path, content, "found.json")
    done = run("eval", annotations, "--predictions", path)
    assert (done.code, done.out) == (2, "")
    assert str(path) in done.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": []}, "list of annotations is empty"),
        ({"images": []}, "list of images is empty"),
        ({"categories": [{"id": 1, "name": "RBC"}]}, "which the file does not list"),
    ],
)
def test_bad_annotations_end_in_bad_usage(
    evaluate: Evaluate, annotations: Path, change: dict[str, Any], message: str
) -> None:
    annotations.write_text(json.dumps(json.loads(annotations.read_text()) | change))
    result = evaluate()
    assert (result.code, result.out) == (2, "")
    assert message in result.err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("piped", ["annotations", "predictions"])
def test_a_pipe_is_refused_instead_of_waited_for(
    run: Run, annotations: Path, tmp_path: Path, piped: str
) -> None:
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    given = (pipe, tmp_path) if piped == "annotations" else (annotations, "--predictions", pipe)
    result = run("eval", *given)
    assert result.code == 2
    assert "pipe.json: cannot be read (a pipe or device, not a file)" in result.err


def test_other_categories_than_the_models_are_refused(
    evaluate: Evaluate, annotations: Path
) -> None:
    annotations.write_text(annotations.read_text().replace('"person"', '"RBC"'))
    result = evaluate()
    assert result.code == 2
    assert "1 is 'RBC', the model's is 'person'" in result.err


def test_categories_that_the_model_does_not_know_are_left_out(
    evaluate: Evaluate, annotations: Path
) -> None:
    made = json.loads(annotations.read_text())
    made["categories"].append({"id": 99, "name": "cloud"})
    one = dict(made["annotations"][0])
    made["annotations"].append(one | {"id": 1000, "category_id": 99})
    annotations.write_text(json.dumps(made))
    result = evaluate("--json")
    assert "the model has no cloud" in result.err
    assert [one["label"] for one in loaded(result)["classes"]] == ["person", "car", "dog"]


def test_a_partly_labelled_set_is_scored_on_what_it_labels(
    evaluate: Evaluate, annotations: Path
) -> None:
    made = json.loads(annotations.read_text())
    made["annotations"] = [one for one in made["annotations"] if one["category_id"] == 3]
    annotations.write_text(json.dumps(made))
    result = evaluate("--json")
    found = loaded(result)
    assert found["numbers"]["AP"] == pytest.approx(1)
    assert [one["label"] for one in found["classes"]] == ["car"]
    assert "scored on 1 of the 3 categories" in result.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--predictions", "a", "--heads", "b"], "--predictions and --heads exclude one another"),
        (["--predictions", "a", "--top-k", "3"], "--top-k has no effect with --predictions"),
        (
            ["--predictions", "a", "--save-predictions", "b.json"],
            "--save-predictions has no effect",
        ),
        (["--predictions", "a", "--explain"], "--explain has no effect with --predictions"),
        (["--heads", "a", "--explain-inputs", "3"], "--explain-inputs has no effect with --heads"),
        (["--heads", "a", "--resize", "pillow"], "--resize has no effect with --heads"),
        (["--compare", "a", "b", "--nms", "mlperf"], "--nms has no effect with --compare"),
        (["--log-classes", "index"], "--log-classes has no effect with a run"),
        (["--save-predictions", "found.txt"], "holds one image"),
        (["--save-predictions", "nowhere/found.json"], "no such folder"),
        (["--report", "nowhere/a.html"], "no such folder"),
    ],
)
def test_options_without_effect_are_refused(
    run: Run, annotations: Path, options: list[str], message: str
) -> None:
    result = run("eval", annotations, annotations.parent / "images", *options)
    assert result.code == 2
    assert message in result.err


def test_without_images_or_predictions_the_mend_is_named(run: Run, annotations: Path) -> None:
    result = run("eval", annotations)
    assert result.code == 2
    assert "IMAGES is missing" in result.err


def test_settings_reach_the_selection(evaluate: Evaluate) -> None:
    found = loaded(evaluate("--json", "--top-k", "2", "--nms", "mlperf", "--resize", "pillow"))
    assert found["detections"] == 8
    assert (found["settings"]["nms"], found["settings"]["resize"]) == ("mlperf", "pillow")
    assert loaded(evaluate("--json", "--score-threshold", "0.999"))["detections"] == 0


def test_a_second_call_runs_again_and_refused_images_wait(
    evaluate: Evaluate, annotations: Path, picture: Picture
) -> None:
    assert "earlier run" not in evaluate().err
    assert "earlier run" not in evaluate().err  # the first one was complete
    (annotations.parent / "images" / "000002.jpg").unlink()
    assert evaluate().code == 3
    picture("images/000002.jpg")
    result = evaluate()
    assert result.code == 0
    assert "3 images were done by an earlier run" in result.err


def test_a_report_is_written_with_its_command(
    evaluate: Evaluate, annotations: Path, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    assert evaluate("--report", page).code == 0
    text = page.read_text()
    assert f"--report {page}" in text
    scorer = importlib.metadata.version("pycocotools")
    assert f'<th scope="row">pycocotools</th><td>{scorer}</td>' in text
    assert "scored on" not in text
    assert "000001.jpg" in text


def test_two_files_are_compared(
    evaluate: Evaluate, run: Run, annotations: Path, tmp_path: Path
) -> None:
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    evaluate("--save-predictions", paths[0])
    evaluate("--save-predictions", paths[1], "--top-k", "2")
    page = tmp_path / "pair.html"
    result = run(
        "eval", annotations, annotations.parent / "images", "--compare", *paths, "--report", page
    )
    assert result.code == 0
    assert "only in A" in result.out
    assert "AP50: B − A is -" in result.out
    assert "points, 95 % interval" in result.out
    assert page.stat().st_size > 10_000
    found = loaded(run("eval", annotations, "--compare", *paths, "--json"))
    assert found["counts"]["only_a"] == len(DETECTIONS) * 4 - 8
    assert found["images"] == 4


def causes(found: Any) -> dict[str, dict[str, Any]]:
    return {one["causes"][0]["key"]: one for one in found["explanation"]["causes"]}


def test_explain_measures_every_cause_in_one_run(evaluate: Evaluate) -> None:
    """COCO's ids are the model's indices up to 11: of person, car and dog the last is lost."""
    plain = loaded(evaluate("--json"))
    found = loaded(evaluate("--json", "--explain"))
    assert found["numbers"] == plain["numbers"]
    assert found["explanation"]["diagnosis"] is None
    measured = causes(found)
    assert measured["contiguous-ids"]["AP"] == pytest.approx(2 / 3)
    assert measured["x-y-swapped"]["AP"] < 1
    assert measured["annotated-images"]["images"] == 3
    assert "bgr" not in measured


def test_a_number_from_elsewhere_is_explained(evaluate: Evaluate) -> None:
    found = loaded(evaluate("--json", "--got", "66.7"))["explanation"]["diagnosis"]
    assert found["mine"] == pytest.approx(0.667)
    assert "contiguous-ids" in [one["causes"][0]["key"] for one in found["fitting"]]
    shown = evaluate("--got", "0.667")
    assert shown.code == 0
    assert "contiguous ids as COCO's" in shown.out
    assert evaluate("--got", "120").code == 2


def test_explain_of_the_mlperf_set_can_go_back_to_all_images(evaluate: Evaluate) -> None:
    found = loaded(evaluate("--json", "--explain", "--images", "mlperf"))
    assert found["images"] == 3
    assert causes(found)["all-images"]["images"] == 4


def test_causes_before_the_network_run_again_on_a_sample(evaluate: Evaluate) -> None:
    found = loaded(evaluate("--json", "--explain-inputs", "2", "--precision", "fp32"))
    measured = causes(found)
    assert {"bgr", "resize-pillow", "no-scaling"} <= set(measured)
    assert measured["bgr"]["images"] == 2
    assert {"bf16", "int8"} <= set(found["explanation"]["not_tried"])


def test_kept_heads_are_explained_too(
    run: Run, annotations: Path, tmp_path: Path, weights: Path
) -> None:
    for n in range(1, 5):
        np.savez(tmp_path / f"{n:06d}.npz", *constant_heads())
    options = ["--heads", tmp_path, "--weights", weights, "--explain", "--json"]
    assert causes(loaded(run("eval", annotations, *options)))["contiguous-ids"]["change"] < 0
