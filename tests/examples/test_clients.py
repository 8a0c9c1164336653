"""The client examples, run as their first lines say, against a server."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import REPOSITORY
from fake_engine import FakeEngine
from fake_network import fake_onnx
from running_server import Server, running
from serving_engine import picture
from ssd_resnet34 import Detections, load

CLIENTS = REPOSITORY / "examples" / "clients"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server"), grpc_port=0) as started:
        yield started


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "grey.jpg"
    path.write_bytes(picture(60, 400, 300))
    return path


@pytest.fixture(scope="module")
def wanted() -> Detections:
    with load(fake_onnx(), engine=FakeEngine()) as detector:
        return detector(picture(60, 400, 300))


def run(*command: str | Path) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_curl(server: Server, image: Path, wanted: Detections, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    drawn = tmp_path / "drawn.png"
    first, *rest = run("bash", CLIENTS / "detect.sh", image, server.url, drawn).splitlines()
    assert json.loads(first)["detections"] == wanted.to_dict()["detections"]
    assert drawn.read_bytes().startswith(b"\x89PNG")
    assert "Open Inference Protocol: 200" in rest[-1]


def test_the_standard_library(server: Server, image: Path, wanted: Detections) -> None:
    lines = run(sys.executable, CLIENTS / "detect.py", image, server.url).splitlines()
    assert lines[0] == "400×300, 3 objects"
    assert [line.split()[1] for line in lines[1:]] == list(wanted.labels)


def test_the_standard_library_tells_a_refusal(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "text.jpg"
    path.write_text("no picture")
    command = [sys.executable, str(CLIENTS / "detect.py"), str(path), server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("415 unsupported_image: ")


@pytest.mark.parametrize("form", ["http", "grpc"])
def test_tritonclient(server: Server, image: Path, wanted: Detections, form: str) -> None:
    where = ["--server", f"127.0.0.1:{server.port}"]
    if form == "grpc":
        (line,) = [line for line in server.log if line.startswith("gRPC on port ")]
        where = ["--grpc", "--server", f"127.0.0.1:{line.split()[-1]}"]
    lines = run(sys.executable, CLIENTS / "triton.py", image, image, *where).splitlines()
    rows = [
        f"  {one.score:.2f}  category {one.category_id:<3} {[round(v) for v in one.box]}"
        for one in wanted
    ]
    assert lines == [str(image), *rows, str(image), *rows]
