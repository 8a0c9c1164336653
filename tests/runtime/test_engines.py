"""Engines: found by name, entry point or object; missing ones say what to install."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from fake_engine import FakeEngine
from fake_network import fake_onnx
from ssd_resnet34.compiler import quantization
from ssd_resnet34.errors import (
    EngineUnavailable,
    UnknownEngine,
    UnsupportedPrecision,
    UsageError,
)
from ssd_resnet34.runtime import cpu, engines, session
from ssd_resnet34.runtime.tensors import Array


def entry_points(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    found = [metadata.EntryPoint(n, v, engines.ENTRY_POINTS) for n, v in values.items()]

    def listed(**parameters: Any) -> list[metadata.EntryPoint]:
        return found if parameters == {"group": engines.ENTRY_POINTS} else []

    monkeypatch.setattr(metadata, "entry_points", listed)


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Make the engines' import of these packages, or of all, fail as if not installed."""
    from importlib import import_module

    def fail(name: str, *rest: Any) -> Any:
        if name in packages or not (packages or name.startswith("ssd_resnet34.")):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return import_module(name, *rest)

    monkeypatch.setattr(engines, "import_module", fail)
    from ssd_resnet34.runtime.engines import openvino

    monkeypatch.setattr(openvino, "_core", None)


def test_an_engine_of_an_entry_point_is_found_by_its_name(
    monkeypatch: pytest.MonkeyPatch, pictures: Array
) -> None:
    entry_points(monkeypatch, mine="fake_engine:FakeEngine")
    assert engines.names() == [*engines.BUILT_IN, "mine"]
    with session.create(fake_onnx(), "mine") as sess:
        assert sess.engine == "fake"
        assert len(sess.run(pictures[:1])) == 12


def test_a_broken_entry_point_says_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    entry_points(monkeypatch, mine="no_such_module:Engine", odd="fake_engine:DETECTIONS")
    with pytest.raises(EngineUnavailable, match=r"'mine' \(no_such_module:Engine\) cannot be"):
        engines.find("mine")
    with pytest.raises(UsageError, match=r"entry point fake_engine:DETECTIONS: a tuple is no"):
        engines.find("odd")
    names = {info.name: info.unavailable for info in engines.describe()}
    assert "no_such_module" in names["mine"]
    assert "no engine" in names["odd"]


class WithoutDriver(FakeEngine):
    def precisions(self, device: str) -> Mapping[str, str]:
        raise OSError("libmine.so: driver too old")


class WithoutLicence(FakeEngine):
    def __init__(self) -> None:
        raise RuntimeError("no licence")


class Double(FakeEngine):
    def precisions(self, device: str) -> Mapping[str, str]:
        return {"fp32": "", "fp64": ""}


def test_an_engine_of_others_that_fails_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"driver": WithoutDriver, "licence": WithoutLicence, "more": Double}
    values = {name: f"{__name__}:{kind.__name__}" for name, kind in kinds.items()}
    entry_points(monkeypatch, **values)
    found = {info.name: info for info in engines.describe()}
    assert list(found) == [*engines.BUILT_IN, *kinds]
    assert found["more"].unavailable.startswith("'fp64' is no precision, there are fp32, bf16")
    assert found["driver"].unavailable.startswith("OSError: libmine.so: driver too old; report")
    assert found["licence"].unavailable.startswith("RuntimeError: no licence; report")


def test_an_object_a_class_and_a_function_may_be_the_engine() -> None:
    engine = FakeEngine()
    factory: Callable[[], FakeEngine] = lambda: engine  # noqa: E731 - the point is a function
    assert engines.find(engine) is engine
    assert engines.find(factory) is engine
    assert isinstance(engines.find(FakeEngine), FakeEngine)


def test_an_unknown_engine_names_the_known_ones() -> None:
    with pytest.raises(UnknownEngine, match="'tensorrt' is unknown; there are auto, openvino"):
        session.create(fake_onnx(), "tensorrt")


def test_the_request_holds_what_the_session_was_asked_for() -> None:
    engine = FakeEngine()
    with session.create(fake_onnx(), engine, threads=3, streams=2) as sess:
        (request,) = engine.requests
        assert request.precision == "fp32"
        assert (request.device, request.threads, request.streams) == ("cpu", 3, 2)
        assert (sess.threads, sess.streams, sess.device) == (3, 2, "cpu")
        assert request.sha256 == sess.sha256


def test_auto_takes_openvino_first_and_then_what_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with session.create(fake_onnx()) as sess:
        assert sess.engine == "openvino"
    without(monkeypatch, "openvino")
    with session.create(fake_onnx()) as sess:
        assert sess.engine == "onnxruntime"
    assert session.runs_int8()
    assert session.float_precision() == "fp32"


def test_auto_asks_every_built_in_engine_on_cpus_and_on_gpus() -> None:
    assert engines.order("cpu") == list(engines.BUILT_IN)
    assert engines.order("cpu")[0] == "openvino"
    for device in ("cuda", "cuda:0", "tensorrt"):
        assert engines.order(device)[0] == "torch"
        assert sorted(engines.order(device)) == sorted(engines.BUILT_IN)


@pytest.mark.parametrize("name", engines.BUILT_IN)
def test_a_built_in_engine_has_the_name_it_is_found_by(name: str) -> None:
    assert engines.find(name).name == name


@pytest.mark.parametrize("name", engines.BUILT_IN)
def test_a_missing_engine_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch)
    with pytest.raises(EngineUnavailable, match="not installed: pip install '") as refused:
        session.create(fake_onnx(), name)
    assert str(refused.value) in {one.name: one.unavailable for one in engines.describe()}[name]


def test_without_any_engine_auto_gives_the_reason_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch)
    with pytest.raises(EngineUnavailable, match="no engine can run an fp32 artifact") as refused:
        session.create(fake_onnx())
    for command in ("'openvino>=2025.2'", "'onnxruntime>=1.20'", "'ssd-resnet34[torch]'"):
        assert f"pip install {command}" in str(refused.value)
    assert str(refused.value).count("not installed") == len(engines.BUILT_IN)


def test_an_installed_engine_that_does_not_import_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(name: str) -> Any:
        raise ImportError("libfoo.so: cannot open shared object file", name="_libfoo")

    monkeypatch.setattr(engines, "import_module", broken)
    with pytest.raises(EngineUnavailable, match=r"cannot be imported \(libfoo.so"):
        engines.import_engine("onnxruntime", "onnxruntime")


def test_describe_lists_every_engine_with_reasons() -> None:
    found = {info.name: info for info in engines.describe()}
    assert list(found)[: len(engines.BUILT_IN)] == list(engines.BUILT_IN)
    for name in ("openvino", "onnxruntime"):
        assert found[name].unavailable == ""
        assert found[name].version == metadata.version(name)
        assert found[name].precisions["fp32"] == ""
        assert found[name].precisions["int8"] == ""
    assert found["onnxruntime"].precisions["bf16"]


def test_onnx_runtime_has_a_version_in_its_package_for_gpus_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def installed(name: str) -> str:
        if name == "onnxruntime-gpu":
            return "1.20.1"
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", installed)
    assert engines.find("onnxruntime").version == "1.20.1"  # type: ignore[attr-defined]
    assert engines.version_of("onnxruntime") == "1.20.1"
    assert engines.version_of("openvino") == ""
    assert quantization.tools().startswith("onnxruntime 1.20.1, ")


def test_runs_int8_is_false_of_an_engine_without_it() -> None:
    class FloatOnly(FakeEngine):
        def precisions(self, device: str) -> dict[str, str]:
            return {"fp32": "", "int8": "floats only"}

    assert not session.runs_int8(FloatOnly())
    assert session.float_precision(FloatOnly()) == "fp32"
    with pytest.raises(UnsupportedPrecision, match="floats only"):
        session.create(fake_onnx(precision="int8"), FloatOnly())


def test_torch_refuses_int8_and_foreign_graphs_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("torch")
    with pytest.raises(UnsupportedPrecision, match="float artifacts only; openvino"):
        session.create(fake_onnx(precision="int8"), "torch")
    with pytest.raises(UnsupportedPrecision, match=r"published graph .*use engine='openvino'"):
        session.create(fake_onnx(), "torch", precision="fp32")
    monkeypatch.setattr(cpu, "features", lambda: frozenset({"avx2"}))
    with pytest.raises(UnsupportedPrecision, match="no bfloat16 instructions"):
        session.create(fake_onnx(), "torch", precision="bf16")


def test_torch_without_a_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EngineUnavailable, match=r"cannot use cuda: .*use device cpu"):
        session.create(fake_onnx(), "torch", device="cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(EngineUnavailable, match="there are 2 GPUs, numbered from 0"):
        session.create(fake_onnx(), "torch", device="cuda:2")
    with pytest.raises(EngineUnavailable, match="device 'tpu'; use 'cpu', 'cuda'"):
        session.create(fake_onnx(), "torch", device="tpu")


def test_importing_the_runtime_loads_no_engine() -> None:
    code = (
        "import sys, ssd_resnet34.runtime.session\n"
        "print(sorted({'torch', 'openvino', 'onnxruntime', 'onnx', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[tuple[int, int]], None]:
    """``gpu((9, 0))``: torch says that there is one card, of that capability."""
    torch = pytest.importorskip("torch")

    def use(capability: tuple[int, int]) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device}")

    return use


def test_torch_offers_the_halves_that_a_card_has(gpu: Callable[[tuple[int, int]], None]) -> None:
    engine = engines.find("torch")
    gpu((9, 0))
    table = engine.precisions("cuda:0")
    assert [name for name, reason in table.items() if not reason] == ["fp32", "bf16", "fp16"]
    assert session.float_precision("auto", "cuda") == "bf16"
    gpu((7, 5))
    assert "capability 8.0" in engine.precisions("cuda")["bf16"]
    assert session.float_precision("auto", "cuda") == "fp16"
    assert "for GPUs" in engine.precisions("cpu")["fp16"]


def test_torch_on_a_gpu_runs_the_whole_road_there(
    gpu: Callable[[tuple[int, int]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu((9, 0))
    from ssd_resnet34.runtime.device import folded, runner

    made: list[tuple[Any, ...]] = []

    class Runner:
        def __init__(self, *given: Any) -> None:
            made.append(given)

        def run(self, tensor: Array) -> list[Array]:
            return []

        def detect(self, images: Any, rules: Any) -> list[Any]:
            return []

        def close(self) -> None: ...

    monkeypatch.setattr(folded, "folded", lambda model, contract: "the network")
    monkeypatch.setattr(runner, "DeviceRunner", Runner)
    with session.create(fake_onnx(), device="cuda:0", precision="fp16") as sess:
        assert (sess.engine, sess.whole_road) == ("torch", True)
        assert (sess.streams, sess.batch) == (2, 16)
    assert made == [("the network", sess.contract, "cuda:0", "fp16", 2)]


def test_an_outdated_entry_point_says_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    entry_points(monkeypatch, mine="fake_engine:NoSuchEngine")
    with pytest.raises(EngineUnavailable, match=r"fake_engine:NoSuchEngine\) cannot be imported"):
        engines.find("mine")


def test_no_engine_that_is_imported_here_reports_to_its_makers(tmp_path: Path) -> None:
    """Both would keep an identifier in the home folder, and send an event at their import."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from ssd_resnet34.runtime.engines import find\n"
            "for name in ('openvino', 'onnxruntime'): find(name).precisions('cpu')\n"
            "import openvino.tools.ovc, onnxruntime\n"
            "onnxruntime.SessionOptions()\n"
            "print('openvino_telemetry' in sys.modules)",
        ],
        env={k: v for k, v in os.environ.items() if k != "CI" and not k.startswith("ORT_")}
        | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"
    assert not list(tmp_path.rglob("*"))
