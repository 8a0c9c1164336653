"""The client examples, run as their first lines say, against a server."""

import json
import os
import shutil
import socket
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
TOKEN = "a-token-for-these-examples"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server"), grpc_port=0) as started:
        yield started


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that wants the token."""
    with running(tmp_path_factory.mktemp("guarded"), grpc_port=0, token=TOKEN) as started:
        yield started


@pytest.fixture(autouse=True)
def no_token_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSD_RESNET34_TOKEN", raising=False)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "grey.jpg"
    path.write_bytes(picture(60, 400, 300))
    return path


@pytest.fixture(scope="module")
def wanted() -> Detections:
    with load(fake_onnx(), engine=FakeEngine()) as detector:
        return detector(picture(60, 400, 300))


def attempt(*command: str | Path, token: str | None = None) -> "subprocess.CompletedProcess[str]":
    variables = dict(os.environ)
    if token is not None:
        variables["SSD_RESNET34_TOKEN"] = token
    words = [str(word) for word in command]
    return subprocess.run(
        words, capture_output=True, text=True, timeout=120, check=False, env=variables
    )


def run(*command: str | Path, token: str | None = None) -> str:
    done = attempt(*command, token=token)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def place(server: Server, form: str) -> list[str]:
    """Options of ``triton.py`` for a server."""
    if form == "http":
        return ["--server", f"127.0.0.1:{server.port}"]
    (line,) = [line for line in server.log if line.startswith("gRPC on port ")]
    return ["--grpc", "--server", f"127.0.0.1:{line.split()[-1]}"]


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
    done = attempt(sys.executable, CLIENTS / "detect.py", path, server.url)
    assert done.returncode == 1
    assert done.stderr.startswith("415 unsupported_image: ")


def test_the_standard_library_tells_in_a_line_that_there_is_no_server(image: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        server = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = attempt(sys.executable, CLIENTS / "detect.py", image, server)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{server}: ")
    assert line.endswith("is ssd-resnet34 serve running?")


@pytest.mark.parametrize("form", ["http", "grpc"])
def test_tritonclient(server: Server, image: Path, wanted: Detections, form: str) -> None:
    where = place(server, form)
    lines = run(sys.executable, CLIENTS / "triton.py", image, image, *where).splitlines()
    rows = [
        f"  {one.score:.2f}  category {one.category_id:<3} {[round(v) for v in one.box]}"
        for one in wanted
    ]
    assert lines == [str(image), *rows, str(image), *rows]


def test_every_client_sends_the_token_of_its_environment(
    guarded: Server, image: Path, wanted: Detections, tmp_path: Path
) -> None:
    """Without it, or with another, the server's refusal is told."""
    triton: list[str | Path] = [sys.executable, CLIENTS / "triton.py", image]
    commands: list[list[str | Path]] = [
        [sys.executable, CLIENTS / "detect.py", image, guarded.url],
        [*triton, *place(guarded, "http")],
        [*triton, *place(guarded, "grpc")],
    ]
    if shutil.which("curl") is not None:
        commands.append(["bash", CLIENTS / "detect.sh", image, guarded.url, tmp_path / "drawn.png"])
    for command in commands:
        for refused in (None, TOKEN.upper()):
            done = attempt(*command, token=refused)
            assert done.returncode != 0, command
            assert "Traceback" not in done.stderr, command
            assert "send 'Authorization: Bearer TOKEN'" in done.stdout + done.stderr, command
        said = run(*command, token=TOKEN)
        assert f"{wanted.scores[0]:.2f}" in said or wanted.labels[0] in said, command


def test_without_tritonclient_one_line_says_what_to_install(image: Path) -> None:
    code = "import runpy, sys; sys.modules['tritonclient'] = None; "
    code += f"sys.argv = ['triton.py', {str(image)!r}]; "
    code += f"runpy.run_path({str(CLIENTS / 'triton.py')!r}, run_name='__main__')"
    done = attempt(sys.executable, "-c", code)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.endswith("pip install 'tritonclient[http,grpc]'")
