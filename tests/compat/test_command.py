"""The command ``furiosa-models``."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import yaml
from manual.pages import DOCS
from PIL import Image

import ssd_resnet34
from command import Result
from compat.conftest import SOURCE
from fake_engine import FakeEngine
from fake_network import DETECTIONS, fake_onnx
from furiosa import _settings
from furiosa.models import _bench, _serve
from furiosa.models.command import main
from furiosa.models.vision import SSDResNet34
from furiosa.runtime.sync import create_runner
from ssd_resnet34.contract import COCO
from ssd_resnet34.serving import server

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["furiosa-models", *arguments])
        monkeypatch.setenv("COLUMNS", "80")
        try:
            main()
            code = 0
        except SystemExit as done:
            code = int(done.code or 0)
        out, err = capfd.readouterr()
        return Result(code, out, err)

    return call


@pytest.mark.parametrize("arguments", [(), ("bench",), ("serve",)])
def test_help_names_the_way_to_other_weights(arguments: tuple[str, ...], run: Run) -> None:
    found = run(*arguments, "--help")
    assert found.code == 0
    assert f"{_settings.WEIGHTS}=mlcommons" in found.out
    assert (_settings.RELEASE in found.out) is (not arguments)
    assert all(len(line) <= 80 for line in found.out.splitlines())


def test_the_limits_page_has_both_variables() -> None:
    page = (DOCS / "limits.md").read_text("utf-8")
    assert f"| `{_settings.WEIGHTS}` |" in page
    assert f"| `{_settings.RELEASE}` |" in page


def test_version_is_the_release_that_is_followed_and_our_own(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run("--version")
    wanted = f"{_settings.LATEST['0.10']}+ssd.resnet34 (ssd-resnet34 {ssd_resnet34.__version__})\n"
    assert found == Result(0, wanted, "")
    monkeypatch.setenv(_settings.RELEASE, "0.7")
    assert run("--version").code == 2


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ((), True),
        (("detect",), True),
        (("Detection",), True),
        (("-t", "detect"), True),
        (("classification",), False),
        (("pose",), False),
    ],
)
def test_list_shows_the_models_of_a_kind(arguments: tuple[str, ...], shown: bool, run: Run) -> None:
    found = run("list", *arguments)
    assert (found.code, found.err) == (0, "")
    words = " ".join(re.findall(r"[\w,]+", found.out))
    assert "Model name" in words
    assert ("SSDResNet34" in words) is shown
    assert ("Python, Rust" in words) is shown
    assert all(len(line) <= 80 for line in found.out.splitlines())


def test_list_says_what_kinds_there_are_and_shows_all(run: Run) -> None:
    found = run("list", "sound")
    assert found.code == 0
    assert found.out.startswith("Unknown type 'sound'; use one of detect, classif, pose")
    assert "SSDResNet34" in found.out
    assert run("list", "detect", "-t", "detect").code == 2


@pytest.mark.parametrize("name", ["SSDResNet34", "ssd-resnet34", "ssd_resnet_34", "SSD ResNet34"])
def test_desc_is_yaml_and_three_lines(name: str, run: Run) -> None:
    found = run("desc", name)
    assert found.code == 0
    *facts, task, decoders, weights = found.out.splitlines()
    assert yaml.safe_load("\n".join(facts)) == {
        "name": "SSDResNet34",
        "format": "ONNX",
        "family": "ResNet",
        "version": "v1.1",
        "metadata": {
            "description": "SSD ResNet34 model for MLCommons v1.1",
            "publication": {
                "url": "https://github.com/mlcommons/inference/tree/master/vision/"
                "classification_and_detection"
            },
        },
    }
    assert task == "task type: Object Detection"
    assert decoders == "available postprocess versions: Python, Rust"
    assert weights.startswith("weights: embedded; ")
    assert "not for photographs" in weights
    assert found.err == ""


def test_desc_names_the_weights_that_were_chosen(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(_settings.WEIGHTS, "mlcommons")
    assert run("desc", "ssd-resnet34").out.splitlines()[-1] == "weights: mlcommons"


@pytest.mark.parametrize("arguments", [("desc",), ("bench", "x.jpg"), ("serve",)])
def test_another_model_is_bad_usage(arguments: tuple[str, ...], run: Run) -> None:
    found = run(arguments[0], "yolov5m", *arguments[1:])
    assert (found.code, found.out) == (2, "")
    assert found.err == "error: no model 'yolov5m'; there is SSDResNet34\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    for name in ("a.jpg", "b.JPEG", "deep/c.png", "notes.txt"):
        if name.endswith("txt"):
            (tmp_path / "photos" / name).write_text("no picture")
        else:
            image = Image.new("RGB", (40, 30), "grey")
            image.save(tmp_path / "photos" / name, "png" if name.endswith("png") else "jpeg")
    return tmp_path / "photos"


@pytest.mark.parametrize("options", [(), ("--postprocess", "python"), ("-post", "Rust")])
def test_bench_has_the_documented_blocks(
    options: tuple[str, ...], run: Run, engine: FakeEngine, folder: Path
) -> None:
    found = run("bench", "ssd-resnet34", str(folder), *options, "--devices", "warboy(2)*1")
    assert (found.code, found.err) == (0, "")
    rule = "-" * 70
    lines = found.out.splitlines()
    assert lines[:5] == [
        "Run benchmark on 3 input samples ...",
        rule,
        "WARN: the benchmark results may depend on the number of input samples,",
        "sizes of the images, and a machine where this benchmark is running.",
        rule,
    ]
    blocks = "\n".join(lines[5:]).split("\n\n")
    titles = ["Preprocess -> Inference -> Postprocess", "Inference -> Postprocess", "Inference"]
    totals = []
    units = {"sec": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
    for block, title in zip(blocks, titles, strict=True):
        matched = re.fullmatch(
            rf"{rule}\n{title}\n{rule}\n"
            r"Total elapsed time: ([0-9]+\.[0-9]{5}) (sec|ms|us|ns)\n"
            r"QPS: ([0-9]+\.[0-9]{5})\n"
            r"Avg\. elapsed time / sample: ([0-9]+\.[0-9]{5}) (sec|ms|us|ns)",
            block,
        )
        assert matched
        total = float(matched[1]) / units[matched[2]]
        assert float(matched[3]) == pytest.approx(3 / total, rel=1e-2)
        assert float(matched[4]) / units[matched[5]] == pytest.approx(total / 3, rel=1e-2)
        totals.append(total)
    assert totals == sorted(totals, reverse=True)
    assert len(engine.runs) == 4  # one, the first, untimed


def test_bench_sums_the_stages_of_a_clock(engine: FakeEngine, folder: Path) -> None:
    ticks = iter([0.0] * 4 + [10.0, 11.0, 13.0, 17.0])
    with create_runner(fake_onnx()) as runner:
        paths = [str(folder / "a.jpg")]
        times = _bench.measure(SSDResNet34(), runner, paths, clock=lambda: next(ticks))
    assert times.samples == [(1.0, 2.0, 4.0)]
    text = _bench.report(times)
    assert re.findall(r"Total elapsed time: (.*)", text) == [
        "7.00000 sec",
        "6.00000 sec",
        "2.00000 sec",
    ]
    assert next(_bench.details(times)).startswith("Preprocess: p50 1.00000 sec, p90")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.5, "1.50000 sec"), (0.0015, "1.50000 ms"), (2e-6, "2.00000 us"), (3e-10, "0.30000 ns")],
)
def test_times_have_the_documented_units(seconds: float, text: str) -> None:
    times = _bench.Times([(0.0, seconds, 0.0)])
    assert f"Avg. elapsed time / sample: {text}\n" in _bench.report(times) + "\n"


def test_bench_goes_on_over_a_broken_picture_and_says_so(
    run: Run, engine: FakeEngine, folder: Path
) -> None:
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    found = run("bench", "ssd-resnet34", str(folder), "-v")
    assert found.code == 3
    assert "refused: corrupt_image: " in found.err or "refused: unsupported_image" in found.err
    assert "Engine: fake" in found.err
    assert found.err.count("detail: ") == 4
    assert "QPS: " in found.out


@pytest.mark.parametrize(
    ("make", "code", "text"),
    [
        (lambda folder: "missing.jpg", 2, "missing.jpg: no such file or folder"),
        (lambda folder: str(folder / "notes.txt"), 1, "refused: "),
        (lambda folder: str((folder / "empty").mkdir() or folder / "empty"), 1, "without images"),
    ],
)
def test_bench_without_a_picture_fails(
    make: Callable[[Path], str], code: int, text: str, run: Run, engine: FakeEngine, folder: Path
) -> None:
    found = run("bench", "ssd-resnet34", make(folder))
    assert found.code == code
    assert text in found.err
    assert "QPS" not in found.out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("bench", "ssd-resnet34", ".", "--devices", "gpu"), "is no device"),
        (("bench", "ssd-resnet34", ".", "--postprocess", "cpp"), "'Python' or 'Rust'"),
        (("bench", "ssd-resnet34", ".", "--postprocess", "java"), "java"),
        (("serve", "ssd-resnet34", "--postprocess", "python"), "like the Rust decoder"),
        (("serve", "ssd-resnet34", "--devices", "gpu"), "is no device"),
        (("serve", "ssd-resnet34", "--port", "70000"), "65535"),
    ],
)
def test_an_option_that_means_nothing_here_is_bad_usage(
    arguments: tuple[str, ...],
    text: str,
    run: Run,
    engine: FakeEngine,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    found = run(*arguments)
    assert found.code == 2
    assert text in found.err


@pytest.mark.parametrize(
    ("name", "value"),
    [("SSD_RESNET34_FURIOSA_RELEASE", "0.7"), ("SSD_RESNET34_FURIOSA_WEIGHTS", "nosuch")],
)
def test_a_wrong_variable_is_one_line_and_bad_usage(name: str, value: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "furiosa.models.command", "desc", "ssd-resnet34"],
        env={**os.environ, "PYTHONPATH": str(SOURCE), name: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {name}")
    assert value in line


def test_serve_says_what_to_install_where_the_server_is_not(
    run: Run, monkeypatch: pytest.MonkeyPatch, forget: Callable[[str], None]
) -> None:
    forget("ssd_resnet34.serving")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    found = run("serve", "ssd-resnet34")
    assert found.code == 1
    assert "pip install -c constraints.txt . './compat/furiosa[serve]'" in found.err
    assert len(found.err.splitlines()) == 1


def test_serve_hands_its_options_to_the_server(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def stand_in(settings: Any, on_ready: Any, wrap: Any) -> None:
        assert wrap is _serve.Infer
        seen.append(settings)
        facts = SimpleNamespace(model="m", engine="e", precision="int8", trained_size=600)
        on_ready("http://host:80", facts)

    monkeypatch.setattr(server, "run", stand_in)
    monkeypatch.setenv("SSD_RESNET34_FURIOSA_WEIGHTS", "mlcommons")
    found = run("serve", "SSDResNet34")
    assert found.code == 0
    assert (seen[0].host, seen[0].port, seen[0].workers, seen[0].token) == (
        "127.0.0.1",
        8000,
        1,
        None,
    )
    assert seen[0].worker.weights == "mlcommons"
    assert "note: m was trained at 600×600 and runs at 1200×1200" in found.err
    assert "serving: http://host:80/infer" in found.err
    monkeypatch.setenv("SSD_RESNET34_TOKEN", "0123456789abcdef\n")  # as a mounted secret ends
    found = run(
        "serve", "SSDResNet34", "--host", "127.0.0.1", "--port", "0", "--devices", "warboy(1)*3",
        "--postprocess", "rust",
    )  # fmt: skip
    assert (seen[1].host, seen[1].port, seen[1].workers) == ("127.0.0.1", 0, 3)
    assert seen[1].token == "0123456789abcdef"
    assert run("serve", "SSDResNet34", "--host", "0.0.0.0").code == 0, "with a token"
    monkeypatch.delenv("SSD_RESNET34_TOKEN")
    assert run("serve", "SSDResNet34", "--host", "0.0.0.0", "--open").code == 0
    assert [one.host for one in seen[2:]] == ["0.0.0.0", "0.0.0.0"]


def test_serve_is_not_for_other_machines_unless_told_so(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSD_RESNET34_TOKEN", raising=False)
    found = run("serve", "SSDResNet34", "--host", "0.0.0.0")
    assert found.code == 2
    assert "SSD_RESNET34_TOKEN" in found.err
    assert "--open" in found.err


class Inner:
    """Stands for the server: answers with what it is told, keeps what it was asked."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status, self.body = status, body
        self.scope: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        headers = [(b"content-length", str(len(self.body)).encode()), (b"x-own", b"1")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body[:5], "more_body": True})
        await send({"type": "http.response.body", "body": self.body[5:]})


def _ask(inner: Inner, method: str, path: str, **options: Any) -> httpx.Response:
    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(_serve.Infer(inner))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **options)

    return asyncio.run(main())


def test_infer_is_detect_in_the_vendors_json() -> None:
    detections = [{"box": [1.5, 2, 3, 4], "score": 0.5, "index": 17, "category_id": 18,
                   "label": "cat"}]  # fmt: skip
    body = json.dumps({"image": "", "detections": detections}).encode()
    inner = Inner(200, body)
    answer = _ask(inner, "POST", "/infer", headers={"Accept": "image/png"})
    assert answer.status_code == 200
    assert answer.json() == {
        "result": [
            [
                {
                    "boundingbox": {"left": 1.5, "top": 2, "right": 3, "bottom": 4},
                    "score": 0.5,
                    "label": "cat",
                    "index": 17,
                }
            ]
        ]
    }
    assert answer.headers["x-own"] == "1"
    assert inner.scope["path"] == "/detect"
    assert inner.scope["query_string"] == b"score_threshold=0.05"
    assert dict(inner.scope["headers"])[b"accept"] == b"application/json"
    _ask(inner, "POST", "/infer?score_threshold=0.7&classes=cat,dog")
    assert inner.scope["query_string"] == b"score_threshold=0.7&classes=cat%2Cdog"


def test_refusals_and_other_routes_are_the_servers_own() -> None:
    inner = Inner(422, b'{"error": "corrupt_image"}')
    answer = _ask(inner, "POST", "/infer")
    assert (answer.status_code, answer.json()) == (422, {"error": "corrupt_image"})
    inner = Inner(200, b'{"name": "ssd-resnet34"}')
    assert _ask(inner, "GET", "/v2?x=1").json() == {"name": "ssd-resnet34"}
    assert (inner.scope["path"], inner.scope["query_string"]) == ("/v2", b"x=1")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The command as a process, with a real engine on the fake network: its address."""
    weights = tmp_path / "fake.onnx"
    weights.write_bytes(fake_onnx())
    environment = os.environ | {
        "PYTHONPATH": str(SOURCE),
        "SSD_RESNET34_FURIOSA_WEIGHTS": str(weights),
    }
    command = "-m furiosa.models.command serve ssd-resnet34 --host 127.0.0.1 --port 0"
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *command.split()], env=environment, stderr=file, stdout=file
        )
    try:
        end = time.monotonic() + 120
        while not (found := re.search(r"serving: (http\S+)/infer", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        yield found[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def test_the_server_answers_the_vendors_clients(served: str, tmp_path: Path) -> None:
    picture = tmp_path / "street.png"
    Image.new("RGB", (120, 90), "grey").save(picture)
    with picture.open("rb") as file:
        answer = httpx.post(f"{served}/infer", files={"image": file}, timeout=60)
    assert answer.status_code == 200, answer.text
    (found,) = answer.json()["result"]
    assert sorted(one["index"] for one in found) == sorted(index for _, index in DETECTIONS)
    for one in found:
        assert list(one) == ["boundingbox", "score", "label", "index"]
        assert one["label"] == COCO.labels[one["index"] - 1]
        assert 0 <= one["boundingbox"]["left"] < one["boundingbox"]["right"] <= 120
    broken = httpx.post(f"{served}/infer", files={"image": b"garbage"}, timeout=60)
    assert broken.status_code == 415
    assert httpx.get(f"{served}/v2/health/ready").status_code == 200
