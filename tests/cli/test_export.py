"""``ssd-resnet34 export``: files, their check, and what is refused."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command import Run
from small_network import CONTRACT, small_onnx
from ssd_resnet34 import artifact
from ssd_resnet34.compiler.export import described
from ssd_resnet34.contract import HEAD_NAMES
from ssd_resnet34.evaluation.agreement import NOTHING
from ssd_resnet34.evaluation.exported import ExportCheck, check_export
from ssd_resnet34.training.sample import sample_scene
from ssd_resnet34.vision.images import Image

Picture = Callable[..., Path]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.onnx"
    path.write_bytes(small_onnx())
    return path


def test_the_default_is_twelve_heads_checked(run: Run, small: Path, tmp_path: Path) -> None:
    out = tmp_path / "heads.onnx"
    result = run("export", "-w", small, "-o", out)
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0].endswith(" bytes  raw-heads, fp32, opset 17")
    assert "image           float32  [N, 3, 1200, 1200]" in lines[1]
    assert [line.split()[1] for line in lines[2:14]] == list(HEAD_NAMES)
    assert lines[14].startswith("checked with onnxruntime ")
    assert "on 1 image (made up): heads differ by 0 at most" in lines[14]
    assert artifact.contract_of(out.read_bytes()) == CONTRACT


def test_every_option_shows_in_the_file_and_in_the_json(
    run: Run, small: Path, picture: Picture, tmp_path: Path
) -> None:
    out = tmp_path / "all.onnx"
    result = run(
        "export", "-w", small, "-o", out, "--end-to-end", "--batch", 2, "--static",
        "--opset", 13, "--uint8-input", "--score-threshold", 0.3, "--iou-threshold", 0.6,
        "--pre-nms-top-k", 100, "--top-k", 50, "--precision", "fp32",
        "--image", picture("a.png"), "--json",
    )  # fmt: skip
    assert result.code == 0
    facts = json.loads(result.out)
    made = described(out.read_bytes())
    assert (made.form, made.batch, made.opset, made.uint8_input) == ("end-to-end", 2, 13, True)
    selection = {"score_threshold": 0.3, "iou_threshold": 0.6, "pre_nms_top_k": 100, "top_k": 50}
    assert facts["selection"] == selection
    assert facts["form"] == "end-to-end"
    assert facts["bytes"] == out.stat().st_size
    assert facts["inputs"] == [{"name": "image", "dtype": "uint8", "shape": [2, 3, 1200, 1200]}]
    shapes = {one["name"]: (one["dtype"], one["shape"]) for one in facts["outputs"]}
    assert shapes == {
        "boxes": ("float32", [2, 50, 4]),
        "scores": ("float32", [2, 50]),
        "indices": ("int64", [2, 50]),
        "category_ids": ("int64", [2, 50]),
        "num_detections": ("int64", [2]),
    }
    check = facts["check"]
    assert check["agrees"]
    assert check["images"] == 2
    assert check["image"].endswith("a.png")
    assert check["detections"]["share"] > 0.9


def test_a_batch_without_static_is_that_of_the_check(run: Run, small: Path, tmp_path: Path) -> None:
    out = tmp_path / "split.onnx"
    result = run("export", "-w", small, "-o", out, "--split-heads", "--batch", 3, "--json")
    facts = json.loads(result.out)
    assert facts["check"]["images"] == 3
    assert facts["batch"] is None
    assert [one["shape"] for one in facts["outputs"]] == [["N", 3, 15130], ["N", 4, 15130]]
    assert "selection" not in facts


def test_the_objects_of_the_artifact_are_in_the_detections(
    run: Run, weights: Path, picture: Picture, tmp_path: Path
) -> None:
    """The fake network plants three."""
    out = tmp_path / "found.onnx"
    result = run("export", "-w", weights, "-o", out, "--end-to-end", "--image", picture())
    assert result.code == 0
    assert "3 of 3 detections are the same as postprocess finds" in result.out
    assert result.err == ""


def test_detections_are_checked_on_a_picture_with_objects_where_none_is_given(
    run: Run, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Image] = []

    def check(data: bytes, source: bytes, images: Sequence[Image]) -> ExportCheck:
        seen.extend(images)
        return ExportCheck(len(images), "a test", None, None, NOTHING, True)

    monkeypatch.setattr("ssd_resnet34.cli.export.check_export", check)
    words = ["--end-to-end", "--batch", "2"]
    result = run("export", "-w", small, "-o", tmp_path / "o.onnx", *words)
    assert result.code == 0
    assert "checked with a test on 2 images (the sample picture): 0 of 0" in result.out
    assert np.array_equal(seen[0].pixels, sample_scene().image)
    assert len(seen) == 2


def test_a_check_without_detections_says_so(run: Run, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "none.onnx"
    result = run("export", "-w", weights, "-o", out, "--end-to-end", "--score-threshold", 0.999)
    assert result.code == 0
    assert "note: nothing was detected in the check; give a picture with --image" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--raw-heads", "--split-heads"], "exclude one another"),
        (["--split-heads", "--end-to-end"], "exclude one another"),
        (["--score-threshold", "0.3"], "--score-threshold needs --end-to-end: raw-heads"),
        (["--split-heads", "--top-k", "5"], "--top-k needs --end-to-end: split-heads"),
        (["--iou-threshold", "0.5"], "--iou-threshold needs --end-to-end"),
        (["--pre-nms-top-k", "200"], "--pre-nms-top-k needs --end-to-end"),
        (["--end-to-end", "--score-threshold", "2"], "score_threshold: 2.0 is out of range"),
        (["--end-to-end", "--score-threshold", "nan"], "score_threshold: nan is out of range"),
        (["--end-to-end", "--iou-threshold", "0"], "give a number above 0"),
        (["--end-to-end", "--top-k", "0"], "top_k: 0 is out of range"),
        (["--batch", "0"], "batch: 0 is out of range; give 1 to 1024"),
        (["--batch", "2000", "--static"], "batch: 2000 is out of range"),
        (["--opset", "12"], "opset: 12 is out of range; give 13"),
        (["--opset", "22"], "to 21"),
        (["--precision", "bf16"], "bf16"),
        (["--opset", "many"], "--opset"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_usage_is_code_2_and_writes_nothing(
    run: Run, small: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    out = tmp_path / "out.onnx"
    result = run("export", "-w", small, "-o", out, *arguments)
    assert result.code == 2
    assert message in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["small.onnx"]


def test_an_output_is_needed(run: Run) -> None:
    assert run("export").code == 2


def test_the_weights_are_not_replaced_by_their_export(run: Run, small: Path) -> None:
    before = small.read_bytes()
    result = run("export", "-w", small, "-o", small)
    assert result.code == 2
    assert "is the file of --weights" in result.err
    assert small.read_bytes() == before


def test_a_place_that_cannot_be_written_is_told_before_anything_runs(
    run: Run, small: Path, tmp_path: Path
) -> None:
    for place in (tmp_path / "missing" / "out.onnx", tmp_path):
        result = run("export", "-w", small, "-o", place)
        assert result.code == 2
        assert result.err.startswith("error: ")


def test_an_export_that_differs_is_code_1_and_not_written(
    run: Run, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def differs(*arguments: Any) -> Any:
        return replace(check_export(*arguments), agrees=False, heads=0.5, error=0.25)

    monkeypatch.setattr("ssd_resnet34.cli.export.check_export", differs)
    out = tmp_path / "out.onnx"
    out.write_bytes(b"the file before")
    result = run("export", "-w", small, "-o", out)
    assert result.code == 1
    assert "not written, as the export differs from small.onnx" in result.err
    assert "heads differ by 0.5 at most (0.25 of their spread)" in result.err
    assert out.read_bytes() == b"the file before"


def test_a_precision_that_cannot_be_had_is_code_1(run: Run, small: Path, tmp_path: Path) -> None:
    result = run("export", "-w", small, "-o", tmp_path / "out.onnx", "--precision", "int8")
    assert result.code == 1
    assert "ranges" in result.err
    assert not (tmp_path / "out.onnx").exists()


def test_an_exported_file_is_no_artifact_to_export(run: Run, small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    assert run("export", "-w", small, "-o", out, "--end-to-end").code == 0
    result = run("export", "-w", out, "-o", tmp_path / "again.onnx")
    assert result.code == 1
    assert "outputs are boxes, scores, indices" in result.err


def test_a_refused_picture_is_code_1(run: Run, small: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"not an image")
    result = run("export", "-w", small, "-o", tmp_path / "out.onnx", "--image", bad)
    assert result.code == 1
    assert "bad.jpg" in result.err


def test_weights_that_are_not_there_are_bad_usage(run: Run, tmp_path: Path) -> None:
    result = run("export", "-w", tmp_path / "missing.onnx", "-o", tmp_path / "out.onnx")
    assert result.code == 2
    assert "no such file" in result.err
    assert list(tmp_path.iterdir()) == []


def test_info_tells_what_the_export_is(run: Run, small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    assert run("export", "-w", small, "-o", out, "--split-heads").code == 0
    facts = json.loads(run("info", out, "--json").out)
    assert json.loads(facts["metadata"]["export"])["form"] == "split-heads"
