"""``ssd-resnet34 check``, with engines that agree and engines that do not."""

import importlib.metadata
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from command import Run
from fake_engine import FakeEngine, FakeRunner
from small_int8 import small_int8
from small_network import small_onnx
from ssd_resnet34.cli import check
from ssd_resnet34.contract import LEVELS
from ssd_resnet34.errors import SessionError
from ssd_resnet34.evaluation.agreement import TOLERANCES
from ssd_resnet34.runtime.engines import CompileRequest, describe
from ssd_resnet34.runtime.engines.onnxruntime import ONNXRuntimeEngine
from ssd_resnet34.runtime.engines.openvino import OpenVINOEngine

Picture = Callable[..., Path]
Change = Callable[[list[NDArray[np.float32]]], list[NDArray[np.float32]]]


def engine(name: str, change: Change | None = None, bf16: str = "") -> type[FakeEngine]:
    """An engine of that name that changes the heads of the fake one."""

    class Runner(FakeRunner):
        def run(self, tensor: NDArray[np.float32]) -> list[NDArray[np.float32]]:
            heads = super().run(tensor)
            return heads if change is None else change(heads)

    class Engine(FakeEngine):
        def precisions(self, device: str) -> Mapping[str, str]:
            return {"fp32": "", "bf16": bf16, "int8": "none of that"}

        def compile(self, model: bytes, request: CompileRequest) -> FakeRunner:
            return Runner(self, request)

    Engine.name = name
    return Engine


def shifted(amount: float) -> Change:
    return lambda heads: [head + np.float32(amount) for head in heads]


def broken(heads: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    heads[3][0, 0, 0, 0] = np.nan
    return heads


def crash(heads: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    raise SessionError("the engine lost its way; restart it")


@pytest.fixture
def engines(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``engines(a, b)``: these are all there are, and the first is the reference."""
    del run  # it sets the entry points first, we replace them

    def use(*kinds: Any) -> None:
        entries = [
            SimpleNamespace(name=kind.name, value=kind.name, load=lambda kind=kind: kind)
            for kind in kinds
        ]
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: entries)
        names = {kind.name for kind in kinds}
        monkeypatch.setattr(
            check, "describe", lambda: [one for one in describe() if one.name in names]
        )
        monkeypatch.setattr(check, "REFERENCE", (kinds[0].name, "fp32"))
        monkeypatch.setenv("COLUMNS", "80")

    return use


def by_run(out: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {(run["engine"], run["precision"]): run for run in json.loads(out)["runs"]}


def test_engines_that_agree_are_code_0(
    run: Run, picture: Picture, weights: Path, engines: Callable[..., None]
) -> None:
    engines(engine("one"), engine("two"))
    result = run("check", picture("a.png"), picture("b.png", shade=9), "-w", weights, "--json")
    assert result.code == 0
    facts = json.loads(result.out)
    assert facts["images"] == 2
    assert facts["reference"] == ["one", "fp32"]
    runs = by_run(result.out)
    assert set(runs) == {(e, p) for e in ("one", "two") for p in ("fp32", "bf16")}
    for one in runs.values():
        assert one["heads"] == 0
        assert one["share"] == 1
        assert one["matched"] == one["reference"] == 6


def test_the_verdict_names_the_tolerance_of_each_precision(
    run: Run, picture: Picture, weights: Path, engines: Callable[..., None]
) -> None:
    engines(engine("one"), engine("two"))
    said = " ".join(run("check", picture(), "-w", weights).out.split())
    assert said.endswith(
        "3 of 3 within tolerance: bf16: agree ≥ 90 %; "
        "fp32: heads ≤ 0.02 logits, agree ≥ 99 %; 2 detections may always miss"
    )
    assert " logits " in said
    assert "box, px" in said
    engines(engine("one"), engine("two", shifted(0.5)), engine("three", crash))
    said = " ".join(run("check", picture(), "-w", weights).out.split())
    assert "2 of 5 within tolerance" in said
    engines(engine("one", bf16="none"))
    assert "nothing to compare" in run("check", picture(), "-w", weights).out


def test_json_says_of_each_run_whether_it_passes(
    run: Run, picture: Picture, weights: Path, engines: Callable[..., None]
) -> None:
    engines(engine("one"), engine("two", shifted(0.5)), engine("three", crash))
    out = run("check", picture(), "-w", weights, "--json").out
    assert json.loads(out)["pass"] is False
    runs = by_run(out)
    assert runs["one", "fp32"]["pass"] is True
    assert runs["two", "fp32"]["pass"] is runs["three", "fp32"]["pass"] is False
    assert runs["two", "fp32"]["tolerance"] == {"heads": 0.02, "share": 0.99}
    assert runs["two", "bf16"]["tolerance"] == {"heads": None, "share": 0.9}
    engines(engine("one"), engine("two"))
    assert json.loads(run("check", picture(), "-w", weights, "--json").out)["pass"] is True


def test_images_without_detections_are_told_to_compare_heads_alone(
    run: Run, picture: Picture, weights: Path, engines: Callable[..., None]
) -> None:
    engines(engine("one"), engine("two"))
    result = run("check", picture("a.png"), "-w", weights, "--json")
    assert "nothing was detected" not in result.err
    result = run("check", picture("a.png"), "-w", weights, "--json", "-t", "1")
    assert (result.code, by_run(result.out)["two", "fp32"]["share"]) == (0, 1.0)
    assert "note: nothing was detected, so heads alone were compared" in result.err


def test_the_table_fits_80_columns_with_names_whole(
    run: Run, picture: Picture, weights: Path, engines: Callable[..., None]
) -> None:
    engines(engine("onnxruntime-like"), engine("two", broken))
    result = run("check", picture(), "-w", weights)
    lines = result.out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert any(line.split()[:2] == ["onnxruntime-like", "fp32"] for line in lines)
    assert "100.0 % (3 of 3)" in result.out


def test_an_fp32_engine_that_differs_is_code_1_and_named(
    run: Run, picture: Picture, weights: Path, engines: Callable[..., None]
) -> None:
    engines(engine("one"), engine("two", shifted(0.5)))
    result = run("check", picture(), "-w", weights, "--json")
    assert result.code == 1
    assert "two fp32 differs by 0.5" in result.err
    assert by_run(result.out)["two", "fp32"]["heads"] == pytest.approx(0.5, rel=1e-5)


def test_a_lower_precision_may_differ(
    run: Run, picture: Picture, weights: Path, engines: Callable[..., None]
) -> None:
    engines(engine("one", bf16="none"), engine("two", shifted(0.01)))
    result = run("check", picture(), "-w", weights, "--json")
    assert result.code == 0
    assert by_run(result.out)["two", "bf16"]["heads"] == pytest.approx(0.01, rel=1e-3)


def blind(heads: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Sees nothing: background everywhere."""
    for head, level in zip(heads[:6], LEVELS, strict=True):
        head[:, level.anchors :] = -30
    return heads


def test_a_lower_precision_that_loses_the_objects_is_code_1_and_named(
    run: Run, picture: Picture, weights: Path, engines: Callable[..., None]
) -> None:
    engines(engine("one", bf16="none"), engine("two", blind))
    result = run("check", picture(), "-w", weights, "--json")
    assert result.code == 1
    assert "two bf16 agrees on 0.0 % of the detections; expected ≥ 90 %" in result.err


def defect(heads: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    raise IndexError("who would have thought")


@pytest.mark.parametrize(
    ("change", "message"),
    [(broken, "nan"), (crash, "lost its way"), (defect, "indexerror: who would")],
)
def test_an_engine_that_fails_is_named_and_the_others_are_done(
    run: Run,
    picture: Picture,
    weights: Path,
    engines: Callable[..., None],
    change: Change,
    message: str,
) -> None:
    engines(engine("one"), engine("two", change), engine("three"))
    result = run("check", picture("a.png"), picture("b.png"), "-w", weights, "--json")
    assert result.code == 1
    assert "two fp32" in result.err
    runs = by_run(result.out)
    assert message in runs["two", "fp32"]["fault"].lower()
    assert runs["three", "fp32"]["matched"] == 6


def test_an_engine_that_cannot_be_started_is_named_and_the_others_are_done(
    run: Run, picture: Picture, weights: Path, engines: Callable[..., None]
) -> None:
    class Two(engine("two")):  # type: ignore[misc]  # a class made by a function
        def compile(self, model: bytes, request: CompileRequest) -> FakeRunner:
            raise OSError("libtwo.so: driver too old")

    engines(engine("one"), Two, engine("three"))
    result = run("check", picture(), "-w", weights, "--json")
    assert result.code == 1
    assert "two fp32: OSError: libtwo.so: driver too old" in result.err
    runs = by_run(result.out)
    assert "libtwo.so" in runs["two", "fp32"]["fault"]
    assert runs["three", "fp32"]["matched"] == 3


def test_a_refused_image_is_code_3_and_the_rest_is_compared(
    run: Run, picture: Picture, weights: Path, engines: Callable[..., None], tmp_path: Path
) -> None:
    engines(engine("one"), engine("two"))
    (tmp_path / "bad.jpg").write_bytes(b"not an image")
    result = run("check", picture(), tmp_path / "bad.jpg", "-w", weights, "--json")
    assert result.code == 3
    assert json.loads(result.out)["images"] == 1
    assert "refused: " in result.err
    assert "[unsupported_image]" in result.err


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_without_an_image_there_is_an_error_and_no_number(
    run: Run, weights: Path, engines: Callable[..., None], tmp_path: Path, options: tuple[str, ...]
) -> None:
    engines(engine("one"))
    result = run("check", tmp_path / "nodir", "-w", weights, *options)
    assert result.code == 1
    assert result.out == ""
    assert "nodir" in result.err
    assert result.err.splitlines()[-1].startswith("error: none of the images could be read")


@pytest.mark.parametrize(("change", "word"), [(None, "not here (1)"), (crash, "failed (1)")])
def test_a_run_without_numbers_is_a_line_and_its_reason_stands_under_the_table(
    run: Run, picture: Picture, weights: Path, engines: Callable[..., None], change: Any, word: str
) -> None:
    class Int8(engine("two", change)):  # type: ignore[misc]  # a class made by a function
        def precisions(self, device: str) -> Mapping[str, str]:
            return {"fp32": ""} if change else {"int8": ""}

    engines(engine("one", bf16="none"), Int8)
    out = run("check", picture(), "-w", weights).out
    lines = [line.strip() for line in out.splitlines()]
    assert all(len(line) <= 80 for line in lines)
    (row,) = (line for line in lines if line.startswith("two"))
    assert word in row
    note = " ".join(lines[lines.index(row) :])
    assert "(1) " + ("the engine lost its way" if change else "fake.onnx comes without") in note


@pytest.fixture
def int8(tmp_path: Path) -> Path:
    """What ``compile`` makes of the small network, whose weights lie beside it."""
    (tmp_path / "fp32.onnx").write_bytes(small_onnx())
    path = tmp_path / "int8.onnx"
    path.write_bytes(small_int8())
    return path


def test_what_compile_made_is_compared_among_the_engines(
    run: Run, picture: Picture, engines: Callable[..., None], int8: Path
) -> None:
    engines(ONNXRuntimeEngine, OpenVINOEngine)
    result = run("check", picture("photos/a.png").parent, "--weights", int8, "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["reference"] == ["onnxruntime", "int8"]
    assert set(by_run(result.out)) == {("onnxruntime", "int8"), ("openvino", "int8")}
    assert "int8.onnx is int8 and holds no fp32" in result.err
    assert "--reference" in result.err


def test_int8_is_compared_with_the_fp32_that_it_was_compiled_from(
    run: Run, picture: Picture, engines: Callable[..., None], int8: Path
) -> None:
    engines(ONNXRuntimeEngine)
    fp32 = int8.with_name("fp32.onnx")
    result = run("check", picture(), "-w", int8, "--reference", fp32, "-t", 0.01, "--json")
    assert result.code in (0, 1)  # a network of random weights may lose what it finds
    assert json.loads(result.out)["reference"] == ["onnxruntime", "fp32"]
    runs = by_run(result.out)
    assert runs["onnxruntime", "fp32"]["heads"] == 0
    assert runs["onnxruntime", "int8"]["heads"] > 0
    assert "note: " not in result.err


def test_an_int8_engine_that_loses_the_objects_is_told_without_fp32(
    run: Run, picture: Picture, engines: Callable[..., None], int8: Path
) -> None:
    def with_int8(name: str, change: Change | None = None) -> Any:
        class Int8(engine(name, change)):  # type: ignore[misc]  # a class made by a function
            def __init__(self) -> None:
                super().__init__([(9000, 1), (14000, 2)])  # the small network has two classes

            def precisions(self, device: str) -> Mapping[str, str]:
                return {"fp32": "", "int8": ""}

        return Int8

    engines(with_int8("one"), with_int8("two", blind))
    result = run("check", picture("a.png"), picture("b.png"), "-w", int8)
    assert result.code == 1
    assert "two int8 agrees on 0.0 % of the detections" in result.err


def test_a_reference_that_says_nothing_of_the_artifact_is_refused(
    run: Run, picture: Picture, weights: Path, engines: Callable[..., None], int8: Path
) -> None:
    engines(ONNXRuntimeEngine)
    for given, reference, message in (
        (weights, weights, "only for an int8 artifact"),
        (int8, int8, "is int8 as well"),
        (int8, weights, "another contract"),
    ):
        result = run("check", picture(), "-w", given, "--reference", reference)
        assert result.code in (1, 2)
        assert result.out == ""
        assert message in result.err


def test_a_reference_of_other_bytes_is_told(
    run: Run, picture: Picture, engines: Callable[..., None], int8: Path
) -> None:
    engines(ONNXRuntimeEngine)
    other = int8.with_name("other.onnx")
    other.write_bytes(small_onnx(seed=1))
    result = run("check", picture(), "-w", int8, "--reference", other)
    assert "note: int8.onnx was not compiled from these bytes of other.onnx" in result.err


def test_int8_without_an_engine_for_it_is_refused(
    run: Run, picture: Picture, engines: Callable[..., None], int8: Path
) -> None:
    engines(engine("one"))
    result = run("check", picture(), "-w", int8)
    assert result.code == 1
    assert "int8.onnx is int8, which no engine here can run; pip install openvino" in result.err


def test_a_precision_that_cannot_be_made_is_told_not_hidden(
    run: Run, picture: Picture, weights: Path, engines: Callable[..., None]
) -> None:
    class Int8(engine("two")):  # type: ignore[misc]  # a class made by a function
        def precisions(self, device: str) -> Mapping[str, str]:
            return {"fp32": "", "int8": ""}

    engines(engine("one"), Int8)
    result = run("check", picture(), "-w", weights, "--json")
    assert result.code == 0
    assert "ranges" in by_run(result.out)["two", "int8"]["unavailable"]


def test_the_reference_must_run(
    run: Run, picture: Picture, weights: Path, engines: Callable[..., None]
) -> None:
    engines(engine("one", crash), engine("two"))
    result = run("check", picture(), "-w", weights)
    assert result.code == 1
    assert "lost its way" in result.err


def test_the_help_tells_the_tolerances_in_use() -> None:
    said = " ".join((check.check.__doc__ or "").split())
    assert f"fp32 heads within {TOLERANCES['fp32'].heads:g} and 99 % of the detections" in said
    assert TOLERANCES["fp32"].share == 0.99
    for precision in ("bf16", "int8"):
        assert f"{precision} {TOLERANCES[precision].share:.0%}".replace("%", " %") in said
