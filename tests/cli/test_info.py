"""``ssd-resnet34 info``: this machine, or an artifact."""

import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

import ssd_resnet34
from command import Run
from fake_network import fake_onnx
from ssd_resnet34 import artifact
from ssd_resnet34.cli import info
from ssd_resnet34.contract import COCO
from ssd_resnet34.runtime.engines import EngineInfo
from ssd_resnet34.weights import embedded
from ssd_resnet34.weights.records import RECORDS


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two engines, one of them not here: importing the real ones takes seconds."""
    why = "it has none"
    found = [
        EngineInfo("fake", "1", "", {"fp32": "", "bf16": why, "int8": ""}),
        EngineInfo("other", "", "other is not installed: pip install 'other'", {}),
    ]
    monkeypatch.setattr(info, "describe", lambda: found)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.usefixtures("engines")
def test_the_machine_is_described_in_tables_of_80_columns(run: Run) -> None:
    result = run("info")
    assert result.code == 0
    lines = result.out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    words = result.out.split()
    for name in (ssd_resnet34.__version__, "numpy", "opencv-python-headless", *RECORDS):
        assert name in words
    assert any(line.split() == ["fake", "1", "fp32", "yes"] for line in lines)
    assert any("bf16" in line and "it has none" in line for line in lines)
    assert "pip install 'other'" in result.out
    text = " ".join(result.out.split())
    for figure in ("20.0 by MLCommons", "19.97 by pycocotools", "20.73 by Open Model Zoo"):
        assert figure in text


@pytest.mark.usefixtures("engines")
def test_a_package_of_another_name_for_gpus_is_found(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if name == "onnxruntime-gpu":
            return "1.99"
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    packages = json.loads(run("info", "--json").out)["packages"]
    assert packages["onnxruntime"] == "1.99"
    assert packages["numpy"] is None


@pytest.mark.usefixtures("engines")
def test_json_has_the_same_facts_for_machines(run: Run, tmp_path: Path) -> None:
    facts = json.loads(run("info", "--json").out)
    assert facts["version"] == ssd_resnet34.__version__
    assert facts["cpu"]["threads"] >= 1
    assert facts["precision"]["chosen"] in ("int8", "bf16", "fp32")
    assert facts["precision"]["reason"]
    assert [engine["name"] for engine in facts["engines"]] == ["fake", "other"]
    assert facts["engines"][0]["precisions"]["bf16"] == "it has none"
    assert [record["name"] for record in facts["weights"]] == list(RECORDS)
    scores = {record["name"]: record["mAP"] for record in facts["weights"]}
    assert {"value": 19.97, "by": "pycocotools"} in scores["mlcommons"]
    assert Path(facts["cache"]).is_absolute()


def test_the_real_engines_are_all_told_of(run: Run) -> None:
    names = {engine["name"] for engine in json.loads(run("info", "--json").out)["engines"]}
    assert {"openvino", "onnxruntime", "torch", "fake"} <= names


def test_an_artifact_says_what_it_is(
    run: Run, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = json.loads(run("info", weights, "--json").out)
    assert facts["precision"] == "fp32"
    assert facts["lineage"] == "pytorch"
    assert facts["classes"] == 80
    assert facts["labels"] == list(COCO.labels)
    assert facts["metadata"]["producer"] == "fake network"
    assert "contract" not in facts["metadata"]
    monkeypatch.setenv("COLUMNS", "80")
    table = run("info", weights)
    assert table.code == 0
    assert all(len(line) <= 80 for line in table.out.splitlines())
    lines = [" ".join(line.split()) for line in table.out.splitlines()]
    assert "producer fake network" in lines
    assert "input image float32 [N, 3, 1200, 1200]" in lines
    assert "output loc_5 float32 [N, 16, 3, 3]" in lines
    assert facts["outputs"][0] == {"name": "cls_0", "dtype": "float32", "shape": ["N", 324, 50, 50]}
    text = " ".join(table.out.split())
    assert "person, bicycle, car, motorcycle, airplane, bus, 74 more (--json has them)" in text


def test_weights_without_a_graph_are_described_by_the_one_that_is_made_of_them(
    run: Run,
) -> None:
    """``model.safetensors`` of a training run, for one."""
    facts = json.loads(run("info", embedded.path(), "--json").out)
    assert (facts["precision"], facts["classes"]) == ("fp32", 80)
    assert facts["metadata"]["source_kind"] == "safetensors"


def test_entries_of_an_artifact_are_a_fact_a_line_and_empty_ones_none(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    model = artifact.load(fake_onnx())
    entries = {
        "export": '{"form": "end-to-end", "batch": null, "uint8_input": false}',
        "keep_float": "",
        "tools": "{cut short",
    }
    artifact.embed(model, COCO, entries)
    path = tmp_path / "model.onnx"
    path.write_bytes(artifact.serialize(model))
    lines = [" ".join(line.split()) for line in run("info", path).out.splitlines()]
    assert "export.form end-to-end" in lines
    assert "export.uint8_input no" in lines
    assert "tools {cut short" in lines
    assert not any("keep_float" in line or "export.batch" in line for line in lines)


def test_the_opset_is_that_of_onnx_and_of_no_other_domain(run: Run, tmp_path: Path) -> None:
    model = artifact.load(fake_onnx())
    (own,) = model.opset_import
    model.opset_import.add(domain="com.example", version=99)
    path = tmp_path / "model.onnx"
    path.write_bytes(artifact.serialize(model))
    assert json.loads(run("info", path, "--json").out)["opset"] == own.version


def test_an_int8_artifact_is_told_apart(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    path.write_bytes(fake_onnx(precision="int8"))
    assert json.loads(run("info", path, "--json").out)["precision"] == "int8"


@pytest.mark.parametrize(
    "make",
    [
        lambda path: None,
        lambda path: path.mkdir(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"<html>not found</html>"),
        lambda path: path.write_bytes(fake_onnx()[:1000]),
    ],
    ids=["missing", "folder", "empty", "html", "half"],
)
def test_what_is_no_artifact_is_one_line_and_code_1(
    run: Run, tmp_path: Path, make: Callable[[Path], object]
) -> None:
    path = tmp_path / "model.onnx"
    make(path)
    result = run("info", path)
    assert result.code == 1
    assert result.out == ""
    assert len(result.err.splitlines()) == 1
    assert "model.onnx" in result.err
