"""``benchmarks.gpu`` with a small network on the CPU: every part runs, and fails alone."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from small_network import CONTRACT, small_onnx
from ssd_resnet34.contract import COCO
from ssd_resnet34.errors import SessionError
from ssd_resnet34.vision.images import Image
from ssd_resnet34.weights import embedded

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

from benchmarks import gpu, gpu_parts, gpu_tables  # noqa: E402  # needs torch
from benchmarks.gpu_parts import Setting  # noqa: E402

from small_torch import RoadEngine, small_torch  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Operations this small only wait for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def setting() -> Setting:
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 256, (30, 40 + n, 3), np.uint8) for n in range(2)]
    return Setting(
        model=small_onnx(),
        network=lambda: small_torch(small_onnx()),
        card="cpu",
        images=[Image(one) for one in pixels],
        files=[cv2.imencode(".png", one)[1].tobytes() for one in pixels],
        precisions=("fp32",),
        batches=(1, 2),
        seconds=0,
        repeats=1,
        pairs=1,
        engine=RoadEngine(),
        plan_batches=(2,),
        profiled=2,
        streamed=4,
        rate_sizes={"size": 16, "batch": 1, "channels": 4, "side": 6},
    )


def test_every_part_is_measured_and_told_at_once(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[dict[str, Any]] = []
    report = gpu.measure(setting, lambda so_far: seen.append(json.loads(json.dumps(so_far))))
    assert report["failed"] == []
    assert [bool(one["road"]) for one in seen][:4] == [False, False, False, True]
    assert seen[-1] == json.loads(json.dumps(report))
    assert report["facts"]["sizes"] == [(40, 30), (41, 30)]
    assert report["facts"]["operations"] > 0
    (agreed,) = report["agreement"]
    assert agreed["heads"] < 1e-3
    assert agreed["matched"] == agreed["reference"] > 0
    assert agreed["violations"] == []
    assert [row["batch"] for row in report["road"]] == [1, 2]
    for row in report["road"]:
        assert min(row["alone"], row["overlapping"], row["network"]) > 0
        assert row["memory"] is None  # a card's alone
    assert {row["plan"] for row in report["plans"]} == {"fused", "autotuned", "captured"}
    assert report["stream"][0]["images_per_second"] > 0
    kernels = report["profile"]["fp32"]
    assert any("conv" in kernel["name"] for kernel in kernels)
    assert 0.5 < sum(kernel["share"] for kernel in kernels) <= 1.0001
    monkeypatch.setenv("COLUMNS", "80")
    gpu_tables.show(report)
    shown = capsys.readouterr().out
    assert all(len(line) <= 80 for line in shown.splitlines())
    for text in ("kept", "stream from JPEG, fp32, batch 2", "autotuned", "GFLOP an image"):
        assert text in shown


def test_shares_are_of_the_cards_own_rates() -> None:
    row = {"precision": "bf16", "overlapping": 100.0, "network": 200.0}
    report = {
        "facts": {"operations": 4e11},
        "rates": {
            "products": [{"precision": "bf16", "gops": 8e5}],
            "convolutions": [{"precision": "bf16", "gops": None}],
        },
    }
    found = gpu.shared(row, report)
    assert found["overlapping_of_products"] == pytest.approx(0.05)
    assert found["network_of_products"] == pytest.approx(0.1)
    assert found["network_of_convolutions"] is None


def failing(*_: Any, **__: Any) -> Any:
    raise RuntimeError("CUDA error: device lost\nmore")


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("facts", ["facts"]),
        ("card_rates", ["rates"]),
        ("agreement", ["agreement fp32"]),
        ("road", ["road fp32 1", "road fp32 2"]),
        ("stream", ["stream fp32"]),
        ("profile", ["profile fp32"]),
        ("plans", ["plans 2"]),
    ],
)
def test_a_part_that_fails_leaves_the_others(
    setting: Setting,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    names: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    quick: dict[str, Callable[..., Any]] = {
        "facts": lambda _: {},
        "card_rates": lambda _: {"products": [], "convolutions": []},
        "agreement": lambda *_: {"violations": []},
        "road": lambda *_: {"precision": "fp32", "overlapping": 1.0, "network": 1.0},
        "stream": lambda *_: {},
        "profile": lambda *_: [],
        "plans": lambda *_: [{}],
    }
    for name, function in quick.items():
        monkeypatch.setattr(gpu, name, failing if name == part else function)
    report = gpu.measure(setting, lambda _: None)
    assert [one["name"] for one in report["failed"]] == names
    assert report["failed"][0]["fault"] == "RuntimeError: more"
    assert "more" in capsys.readouterr().err
    others = {"agreement", "road", "stream", "plans"} - {part}
    assert all(report[name] for name in others)


def test_a_precision_out_of_tolerance_is_said(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shifted(reference: Any, found: Any) -> float:
        return 0.5

    monkeypatch.setattr(gpu_parts, "head_difference", shifted)
    assert gpu_parts.agreement(setting, "fp32")["violations"] == ["differs by 0.5; expected ≤ 0.02"]


def test_times_are_of_calls_after_the_warm_up(setting: Setting) -> None:
    now = [0.0]
    calls: list[float] = []

    def run() -> None:
        calls.append(now[0])
        now[0] += 100 if len(calls) <= 3 else 0.5

    fake = replace(setting, clock=lambda: now[0], seconds=4, repeats=3)
    found = gpu_parts.timed(run, fake)
    assert (found.p50, found.samples) == (0.5, 8)


def test_the_embedded_weights_cost_what_the_published_model_costs() -> None:
    assert embedded.contract().num_classes == COCO.num_classes


def test_pictures_have_the_size_that_was_asked_for() -> None:
    images, files = gpu.pictures(64, 48, 3)
    assert [(one.width, one.height) for one in images] == [(64, 48)] * 3
    assert len({one.pixels.tobytes() for one in images}) == len(set(files)) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--precisions", "bf16,int8"], "int8: give some of fp32, bf16, fp16"),
        (["--size", "640"], "give WIDTHxHEIGHT"),
        (["--batches", "1,65"], "give numbers from 1 to 64"),
    ],
)
def test_wrong_usage_is_told_at_once(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        gpu.parsed(words)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_the_report_is_a_file_that_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "gpu.json"
    gpu.write(target, {"road": [1]})
    assert json.loads(target.read_text()) == {"road": [1]}
    assert list(tmp_path.iterdir()) == [target]
    gpu.write(None, {})


def test_without_a_gpu_the_command_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["gpu", "--device", "cpu"])
    with pytest.raises(SystemExit, match="is no GPU; give cuda"):
        gpu.main()

    def gone(*_: Any) -> Any:
        raise SessionError("engine torch cannot use cuda: it is a CPU-only build")

    monkeypatch.setattr("ssd_resnet34.runtime.session.has_whole_road", gone)
    with pytest.raises(SystemExit, match="CPU-only build"):
        gpu.main()


def test_the_contract_of_a_setting_is_its_models(setting: Setting) -> None:
    assert setting.contract == CONTRACT
    assert [one.width for one in setting.batch(3)] == [40, 41, 40]
