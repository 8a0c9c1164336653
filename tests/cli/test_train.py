"""``ssd-resnet34 train``: a run of a few steps, checks, other classes, and what is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from command import Run
from ssd_resnet34 import weights
from ssd_resnet34.artifact import contract_of

SIDE = 385
QUICK = ("--size", SIDE, "--epochs", 1, "--batch", 2, "--freeze", "backbone", "--device", "cpu")


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """A COCO file of two pictures with a disc and a square each, and their folder beside it."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(2):
        picture = np.full((300, 400, 3), 200, np.uint8)
        left, top = 30 + 40 * number, 60
        cv2.circle(picture, (left + 50, top + 50), 50, (40, 40, 220), -1)
        cv2.rectangle(picture, (left + 150, top), (left + 249, top + 99), (220, 40, 40), -1)
        cv2.imwrite(str(folder / f"{number}.png"), picture)
        images.append({"id": number, "file_name": f"{number}.png", "width": 400, "height": 300})
        for kind, shift in ((4, 0), (9, 150)):
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": number,
                    "category_id": kind,
                    "bbox": [left + shift, top, 100, 100],
                    "area": 10000,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": 4, "name": "disc"}, {"id": 9, "name": "square"}]
    path = tmp_path / "cells.json"
    document = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(document))
    return path


def options(cells: Path, out: Path, *more: Any) -> tuple[Any, ...]:
    folder = cells.parent / "pictures"
    return ("train", cells, "--format", "coco", "--images", folder, "--out", out, *more)


def test_a_run_leaves_weights_of_ones_own_classes_a_report_and_logs(
    run: Run, cells: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    validation = ("--val", cells, "--val-images", cells.parent / "pictures")
    result = run(*options(cells, out, *QUICK, *validation, "--json"))
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert found["labels_new"] == ["disc", "square"]
    assert (found["epochs"], found["steps"]) == (1, 1)
    assert set(found["numbers"]) >= {"AP", "AP50"}
    assert {path.name for path in out.iterdir()} == {
        "checkpoint.pt",
        "detections.json",
        "log.csv",
        "model.onnx",
        "model.safetensors",
        "report.html",
        "tensorboard",
        "val.json",
        "validation.json",
        "validation.csv",
    }
    for path in (found["weights"], found["graph"]):
        contract = contract_of(weights.load(path))
        assert contract.labels == ("disc", "square")
        assert [one.category_id for one in contract.categories] == [4, 9]
    assert "epoch 1/1 step 1/1 loss" in result.err
    assert "1 step in all, where new classes mostly want 300: --epochs 300" in result.err
    assert "2 of 2 validation images trained on too: the scores are better" in result.err
    assert "trained on too" in found["notes"][-1]
    assert "validation: epoch 1: AP" in result.err
    assert "trained and scored at 385×385" in found["notes"][0]
    assert f"--init {out / 'model.safetensors'} --size 1200" in found["notes"][0]
    rows = json.loads((out / "detections.json").read_text())
    assert {row["image_id"] for row in rows} == {0, 1}
    judged = run("eval", cells, "--predictions", out / "detections.json", "--json")
    assert judged.code == 0, judged.err
    assert json.loads(judged.out)["numbers"]["AP50"] == pytest.approx(found["numbers"]["AP50"])

    again = run(*options(cells, out, *QUICK, *validation))
    assert again.code == 2
    assert "holds a training run already; go on with it by --resume" in again.err
    other = run(*options(cells, out, *QUICK, *validation, "--rate", "0.1", "--resume"))
    assert other.code == 2
    assert "run with rate 0.0005 (now 0.1)" in other.err
    assert f"from what was learnt with --init {out / 'model.safetensors'}" in other.err
    plain = run(*options(cells, out, *QUICK, *validation, "--plain", "--resume"))
    assert plain.code == 2
    assert "run with other images, boxes or augmentation" in plain.err
    before = {path: path.stat().st_mtime_ns for path in (out / "model.onnx", out / "report.html")}
    done = run(*options(cells, out, *QUICK, *validation, "--resume"))
    assert "this run is finished; nothing left to do" in done.err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    (out / "report.html").unlink()
    done = run(*options(cells, out, *QUICK, *validation, "--resume", "--quiet"))
    assert (out / "report.html").exists()
    assert done.code == 0
    assert done.err == ""
    assert "best epoch 1 of 1: AP" in done.out
    assert str(out / "model.onnx") in done.out
    words = f"eval {out / 'val.json'} {cells.parent / 'pictures'} --weights {out / 'model.onnx'}"
    assert f"score it again: ssd-resnet34 {words}" in done.out


def test_check_reports_and_draws_and_trains_nothing(run: Run, cells: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(*options(cells, out, "--size", SIDE, "--check", "--no-val", "--json"))
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert found["classes"] == {"disc": 2, "square": 2}
    assert [Path(path).parent for path in found["drawings"]] == [out] * len(found["drawings"])
    assert {path.suffix for path in out.iterdir()} == {".png"}
    people = run(*options(cells, out, "--size", SIDE, "--check", "--no-val"))
    assert "2 images (0 without a box), 4 boxes" in people.out
    assert "validation: none" in people.out


def test_a_share_can_be_held_out_where_nothing_is_divided(
    run: Run, cells: Path, tmp_path: Path
) -> None:
    """And what is held out is written down as ``eval`` takes it, whatever the form of DATA."""
    data = tmp_path / "cells.yaml"
    data.write_text("train: pictures\nnames: [disc, square]\n")
    for picture in (tmp_path / "pictures").iterdir():
        picture.with_suffix(".txt").write_text("0 .2 .3 .2 .3\n1 .6 .3 .2 .3\n")
    out = tmp_path / "out"
    share = ("--format", "yolo", "--size", SIDE, "--hold-out", 0.5, "--check")
    result = run("train", data, "--out", out, *share)
    assert result.code == 0, result.err
    assert "1 image (0 without a box), 2 boxes" in result.out
    assert "validation: 1 image (0 without a box), 2 boxes" in result.out
    assert f"{out / 'val.json'}: the validation in COCO's form" in result.out
    found = json.loads((out / "val.json").read_text())
    (image,) = found["images"]
    assert (tmp_path / "pictures" / image["file_name"]).is_file()
    assert [one["name"] for one in found["categories"]] == ["disc", "square"]
    (tmp_path / "found.json").write_text(
        json.dumps([{**one, "score": 0.9} for one in found["annotations"]])
    )
    judged = run("eval", out / "val.json", "--predictions", tmp_path / "found.json", "--json")
    assert json.loads(judged.out)["numbers"]["AP"] == pytest.approx(1)


@pytest.mark.parametrize("more", [("--check",), ()])
def test_annotations_are_not_written_over_by_those_that_a_run_leaves(
    run: Run, cells: Path, more: tuple[str, ...]
) -> None:
    """Which have no outlines, and boxes as they were read."""
    val = cells.parent / "val.json"
    val.write_bytes(cells.read_bytes())
    result = run(*options(cells, cells.parent, "--size", SIDE, "--val", val, *more))
    assert result.code == 2
    assert f"--out {val}: is the file of --val; name another" in result.err
    assert val.read_bytes() == cells.read_bytes()


def test_a_check_that_stops_draws_what_can_be_read(run: Run, cells: Path, tmp_path: Path) -> None:
    data = json.loads(cells.read_text())
    for number in (2, 3):
        data["images"].append({**data["images"][0], "id": number, "file_name": f"{number}.png"})
    cells.write_text(json.dumps(data))
    result = run(*options(cells, tmp_path / "out", "--size", SIDE, "--no-val", "--check"))
    assert result.code == 1
    assert (tmp_path / "out" / "boxes.png").exists()


def test_one_folder_of_images_serves_both_annotation_files(
    run: Run, cells: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes").mkdir()
    val = tmp_path / "notes" / "val.json"
    val.write_bytes(cells.read_bytes())
    result = run(*options(cells, tmp_path / "out", "--size", SIDE, "--val", val, "--check"))
    assert result.code == 0, result.err
    assert "validation: 2 images (0 without a box), 4 boxes, 0 more ignored" in result.out


def test_a_check_with_a_refused_image_ends_with_3(run: Run, cells: Path, tmp_path: Path) -> None:
    (cells.parent / "pictures" / "0.png").write_bytes(b"\x89PNG")
    result = run(*options(cells, tmp_path / "out", "--size", SIDE, "--no-val", "--check"))
    assert result.code == 3
    assert "1 of 2 images decoded" in result.out


def test_a_validation_of_other_classes_is_refused(run: Run, cells: Path, tmp_path: Path) -> None:
    val = tmp_path / "val.json"
    val.write_text(cells.read_text().replace("square", "rhomb"))
    result = run(*options(cells, tmp_path / "out", "--val", val, "--check"))
    assert result.code == 2
    assert "rhomb is no class of the model" in result.err


def test_a_check_that_finds_nothing_but_damage_fails(run: Run, cells: Path, tmp_path: Path) -> None:
    for path in (cells.parent / "pictures").iterdir():
        path.write_bytes(path.read_bytes()[:50])
    result = run(*options(cells, tmp_path / "out", "--check", "--no-val"))
    assert result.code == 1
    assert "training stops" in result.out
    assert not (tmp_path / "out").exists()


def test_a_damaged_image_is_replaced_and_named_and_many_end_the_run(
    run: Run, cells: Path, tmp_path: Path
) -> None:
    first, second = sorted((cells.parent / "pictures").iterdir())
    first.write_bytes(first.read_bytes()[:80])
    result = run(*options(cells, tmp_path / "out", *QUICK, "--no-val", "--json"))
    assert result.code == 3, result.err
    found = json.loads(result.out)
    assert found["refused"] == [{"path": str(first), "code": "corrupt_image"}]
    assert f"refused: {first} [corrupt_image]" in result.err
    assert "refused and never shown: 1 training image" in found["notes"]
    assert (found["report"], found["numbers"], found["unscored"]) == (None, {}, [])
    second.unlink()
    result = run(*options(cells, tmp_path / "other", *QUICK, "--no-val"))
    assert result.code == 1
    assert "2 of 2 images are refused, more than 1" in result.err
    assert result.err.count("error:") == 1


def test_a_damaged_image_of_the_validation_is_named(run: Run, cells: Path, tmp_path: Path) -> None:
    held = tmp_path / "held"
    shutil.copytree(cells.parent / "pictures", held)
    (held / "0.png").write_bytes((held / "0.png").read_bytes()[:80])
    val = ("--val", cells, "--val-images", held)
    result = run(*options(cells, tmp_path / "out", *QUICK, *val, "--json"))
    assert result.code == 3, result.err
    found = json.loads(result.out)
    assert found["refused"] == []
    assert found["unscored"][0].startswith(str(held / "0.png"))
    assert f"refused: {held / '0.png'}: " in result.err


def test_a_signal_ends_the_command_after_a_checkpoint_and_resume_goes_on(
    run: Run, cells: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = [str(word) for word in options(cells, out, *QUICK, "--no-val", "--epochs", 99)]
    process = subprocess.Popen(
        [sys.executable, "-m", "ssd_resnet34", *words], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    while "progress: epoch 1/99" not in (line := process.stderr.readline()):
        assert line, "ended before its first step"
    os.kill(process.pid, signal.SIGTERM)
    _, complaints = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "note: ending after this step" in complaints
    assert "error: stopped after step" in complaints
    assert "--resume goes on" in complaints
    assert "Traceback" not in complaints
    assert (out / "checkpoint.pt").exists()
    words = [str(word) for word in options(cells, out, *QUICK, "--no-val", "--epochs", 99)]
    process = subprocess.Popen(
        [sys.executable, "-m", "ssd_resnet34", *words, "--resume"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    lines = iter(process.stderr.readline, "")
    assert any("note: going on after step" in line and "of 99" in line for line in lines)
    process.kill()
    process.communicate(timeout=300)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--size", 300, "--no-val"), "size: 300 is out of range; give 385 to 1200"),
        (("--no-val", "--val", "x"), "--no-val and --val exclude one another"),
        (("--val", "nothing.json"), "nothing.json: cannot be read (No such file or directory)"),
        (("--val", "n" * 300), f"{'n' * 300}: cannot be read"),
        (("--hold-out", 0.2, "--no-val"), "--no-val and --hold-out exclude one another"),
        (("--hold-out", 0.2, "--val", "x"), "--hold-out and --val exclude one another"),
        (("--no-val", "--val-split", "x"), "--no-val and --val-split exclude one another"),
        (("--hold-out", 0), "give a share between 0 and 1, like 0.2"),
        (("--val-images", "x"), "--val-images has no effect without --val"),
        (("--val", "none.json"), "none.json: cannot be read"),
        (
            ("--images", "x", "--no-val"),
            "x: no such folder; name the one with the images with --im",
        ),
        (("--resume", "--no-val"), "no checkpoint to resume; leave --resume out"),
        (("--plain", "--no-mirror", "--no-val"), "--no-mirror has no effect with --plain"),
        (("--no-val", "--mix", "x"), "--mix x: give FORMAT:DATA"),
        (("--no-val", "--mix", "coco:"), "FORMAT:DATA:IMAGES or FORMAT:DATA:IMAGES:LABELS"),
        (("--no-val", "--mix", "tfrecord:x"), "--mix tfrecord:x: give FORMAT:DATA"),
        (("--no-val", "--batch", 4, "--at-once", 3, "--size", SIDE), "at_once: 3 does not divide"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_made(
    run: Run, cells: Path, tmp_path: Path, more: tuple[Any, ...], message: str
) -> None:
    result = run(*options(cells, tmp_path / "out", *more))
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "out" / "checkpoint.pt").exists()


def test_a_missing_folder_of_the_validation_is_named_by_its_option(
    run: Run, cells: Path, tmp_path: Path
) -> None:
    result = run(*options(cells, tmp_path / "out", "--val", cells, "--val-images", "nowhere"))
    assert result.code == 2
    assert "nowhere: no such folder; name the one with the images with --val-images" in result.err


def test_a_validation_without_a_readable_image_is_refused_before_the_first_step(
    run: Run, cells: Path, tmp_path: Path
) -> None:
    (tmp_path / "damaged").mkdir()
    for number in range(2):
        (tmp_path / "damaged" / f"{number}.png").write_bytes(b"")
    val = ("--val", cells, "--val-images", tmp_path / "damaged")
    result = run(*options(cells, tmp_path / "out", *QUICK, *val))
    assert result.code == 2
    assert "validation: not one image with an object can be read" in result.err
    assert "0.png" in result.err
    assert not (tmp_path / "out").exists()
    checked = run(*options(cells, tmp_path / "out", "--size", SIDE, *val, "--check"))
    assert checked.code == 1
    assert "validation: not one image with an object can be read" in checked.out


WITHOUT_TORCH = """
import sys

sys.modules["torch"] = None
from ssd_resnet34.cli.main import main

main()
"""


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--size", "300"), "size: 300 is out of range"),
        (("--val", "x"), "--no-val and --val exclude one another"),
        (("--images", "nowhere"), "nowhere: no such folder"),
        (("--out", "used"), "used: holds a training run already"),
        (("--init", "imbedded"), "did you mean 'embedded'"),
        (("--init", "none.pth"), "none.pth: no such file"),
        ((), "training needs torch: pip install"),  # the control: none of them loads it
    ],
)
def test_what_can_be_refused_without_torch_is_refused_before_it_is_loaded(
    cells: Path, tmp_path: Path, more: tuple[str, ...], message: str
) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "checkpoint.pt").touch()
    words = map(str, options(cells, tmp_path / "out", "--no-val", *more))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (1, 2)
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("more", [(), ("--check",)])
def test_wrong_weights_are_named_before_the_data_is_read(
    run: Run, cells: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    cells.write_text("no JSON")
    result = run(*options(cells, tmp_path / "out", *QUICK, "--init", "imbedded", *more))
    assert result.code == 2
    assert "did you mean 'embedded'" in result.err


def test_without_scores_it_says_so(run: Run, cells: Path, tmp_path: Path) -> None:
    result = run(*options(cells, tmp_path / "out", *QUICK, "--at-once", 3))  # ends before a step
    assert "no --val, so no scores: the last epoch is kept" in result.err


def test_sources_that_label_different_things_are_mixed_and_scored_on_the_first(
    run: Run, cells: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.json"
    document = json.loads(cells.read_text())
    document["categories"] = [{"id": 4, "name": "square"}, {"id": 9, "name": "ring"}]
    other.write_text(json.dumps(document))
    folder = cells.parent / "pictures"
    mix = ("--mix", f"coco:{other}:{folder}", "--val", cells, "--val-images", folder)
    result = run(*options(cells, tmp_path / "out", *mix, "--size", SIDE, "--check", "--json"))
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert found["classes"] == {"disc": 2, "square": 4, "ring": 2}
    assert any("validation are trained on" in text for text in found["problems"])


@pytest.mark.parametrize(
    ("unknown", "taught"), [("", True), (":ring", False), (":unlabelled", False)]
)
def test_what_a_mixed_source_does_not_label_can_be_declared(
    run: Run, cells: Path, tmp_path: Path, unknown: str, taught: bool
) -> None:
    other = tmp_path / "other.json"
    document = json.loads(cells.read_text())
    document["categories"].append({"id": 10, "name": "ring"})
    other.write_text(json.dumps(document))
    mix = ("--mix", f"coco:{other}:{cells.parent / 'pictures'}{unknown}", "--no-val")
    result = run(*options(cells, tmp_path / "out", *mix, "--size", SIDE, "--check", "--json"))
    assert result.code == 0, result.err
    told = [one for one in json.loads(result.out)["problems"] if "(ring): taught as absent" in one]
    assert bool(told) == taught
    if told:
        assert told[0].endswith("give --mix FORMAT:DATA:IMAGES:unlabelled")


def test_a_mixed_source_may_leave_its_images_where_they_are_and_name_labels(
    run: Run, cells: Path, tmp_path: Path
) -> None:
    (cells.parent / "other").mkdir()
    other = cells.parent / "other" / "cells.json"
    other.write_bytes(cells.read_bytes())
    (cells.parent / "images").symlink_to(cells.parent / "pictures")
    mix = ("--mix", f"coco:{other}::disk", "--no-val", "--check")
    result = run(*options(cells, tmp_path / "out", *mix))
    assert result.code == 2
    assert "'disk' is unknown; did you mean 'disc'?" in result.err


def test_a_folder_without_validation_says_what_to_give(
    run: Run, cells: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "set"
    (folder / "annotations").mkdir(parents=True)
    (folder / "annotations" / "instances_train.json").write_bytes(cells.read_bytes())
    (folder / "train").symlink_to(cells.parent / "pictures")
    result = run("train", folder, "--format", "coco", "--out", tmp_path / "out", "--check")
    assert result.code == 2
    assert "Or give --val DATA for the scores, --hold-out 0.2 for those of a fifth" in result.err
