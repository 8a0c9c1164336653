"""The container: clean by a linter, not root, with a health check that the server answers."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY
from documentation.reader import write_network
from running_server import running
from ssd_resnet34.serving.server import Settings
from ssd_resnet34.serving.tasks import WorkerConfig
from ssd_resnet34.vision.images import Limits

DOCKERFILE = REPOSITORY / "Dockerfile"


def lint(path: Path) -> list[str]:
    """Rules that the file breaks."""
    tool = Path(sys.executable).with_name("dockerfile-doctor")
    done = subprocess.run(
        [tool, "--format", "json", path], capture_output=True, text=True, check=False
    )
    report = json.loads(done.stdout)
    return re.findall(r"DD\d{3}", json.dumps(report))


def instructions() -> dict[str, list[str]]:
    """Instruction -> its arguments, continued lines joined."""
    text = DOCKERFILE.read_text("utf-8").replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            found.setdefault(word, []).append(rest.strip())
    return found


def test_the_linter_has_nothing_to_say(tmp_path: Path) -> None:
    assert lint(DOCKERFILE) == []
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM python:latest\nRUN apt-get install curl\n")
    assert lint(bad)


def test_it_is_not_root_and_ships_no_sources() -> None:
    lines = instructions()
    assert lines["USER"] == ["10001"]
    assert [line for line in lines["COPY"] if "src" in line] == ["src src"]
    assert lines["FROM"] == ["python:3.11-slim-bookworm AS build", "python:3.11-slim-bookworm"]


def test_without_that_package_openvino_has_a_stub_for_it() -> None:
    code = "import sys; sys.modules['openvino_telemetry'] = None; import openvino; "
    code += "from openvino.tools.ovc import telemetry_utils; print(telemetry_utils.tm.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "openvino.tools.ovc.telemetry_stub", done.stderr


def test_its_health_check_is_answered_by_the_server(tmp_path: Path) -> None:
    (check,) = instructions()["HEALTHCHECK"]
    program = json.loads(check.partition("CMD ")[2])
    assert program[0] == "python"
    with running(tmp_path, weights=write_network(tmp_path), engine="onnxruntime") as server:
        code = program[2].replace("http://127.0.0.1:8000", server.url)
        assert code != program[2]
        done = subprocess.run([sys.executable, "-c", code], check=False)
        assert done.returncode == 0
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode != 0


def test_its_command_asks_for_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    (command,) = instructions()["CMD"]
    (entry,) = instructions()["ENTRYPOINT"]
    words = [*json.loads(entry), *json.loads(command)]
    monkeypatch.delenv("SSD_RESNET34_TOKEN", raising=False)
    tool = Path(sys.executable).with_name(words[0])
    done = subprocess.run([tool, *words[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "token" in done.stderr


def test_the_token_in_the_examples_is_one_that_the_server_takes() -> None:
    worker = WorkerConfig("embedded", "auto", "cpu", "auto", None, Limits())
    for page in (DOCKERFILE, *(REPOSITORY / "docs" / f"{n}.md" for n in ("platforms", "deploy"))):
        (token,) = re.findall(r"-e SSD_RESNET34_TOKEN=(\S+)", page.read_text("utf-8"))
        assert Settings(worker, host="0.0.0.0", token=token).token == token
