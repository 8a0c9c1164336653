"""The deployment page: its files are understood by what reads them, its numbers are the code's."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from manual.blocks import blocks
from manual.pages import DOCS

from conftest import REPOSITORY
from ssd_resnet34.serving import process, server
from ssd_resnet34.serving.front import OPEN
from ssd_resnet34.serving.limits import MEBI, ServerLimits

PAGE = DOCS / "deploy.md"

ENDING = ServerLimits().drain_seconds + 2 * server._CLOSE_SECONDS + process._PATIENCE
"""Seconds from SIGTERM to the end of the server at most: requests, gRPC and HTTP, workers."""


def written(language: str) -> list[str]:
    return [block.text for block in blocks(PAGE, "deploy.md") if block.language == language]


def number(pattern: str, text: str) -> float:
    (found,) = re.findall(pattern, text)
    return float(found)


@pytest.fixture
def deployment() -> Any:
    return resource("Deployment")


def resource(kind: str) -> Any:
    found = [yaml.safe_load(text) for text in written("yaml")]
    (one,) = (value for value in found if value.get("kind") == kind)
    return one


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    (text,) = written("ini")
    here = Path(sys.executable).with_name("ssd-resnet34")
    assert "/opt/ssd-resnet34/.venv/bin/ssd-resnet34" in text
    unit = tmp_path / "ssd-resnet34.service"
    said = []
    for change in ("", "Sandbox=yes\n"):
        unit.write_text(
            text.replace("/opt/ssd-resnet34/.venv/bin/ssd-resnet34", str(here)).replace(
                "[Install]", f"{change}[Install]"
            )
        )
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", unit],
            capture_output=True,
            text=True,
            check=False,
        )
        said.append([line for line in done.stderr.splitlines() if unit.name in line])
    assert said[0] == []
    assert "Sandbox" in said[1][0]  # it does look


def test_nginx_takes_the_configuration(tmp_path: Path) -> None:
    if shutil.which("nginx") is None:
        pytest.skip("no nginx here")
    (text,) = written("nginx")
    plain = re.sub(r"    ssl_certificate.*\n", "", text).replace("listen 443 ssl", "listen 8443")
    assert plain.count("ssl") == 0
    for change, code in (("", 0), ("proxy_nothing on;", 1)):
        file = tmp_path / "nginx.conf"
        file.write_text(
            f"pid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n{change}\n{plain}\n}}\n"
        )
        done = subprocess.run(
            ["nginx", "-t", "-p", tmp_path, "-c", file], capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr


def test_whoever_stops_the_server_waits_for_it(deployment: Any) -> None:
    page = PAGE.read_text("utf-8")
    assert number(r"--stop-timeout (\d+) ", page) >= ENDING
    assert number(r"TimeoutStopSec=(\d+)", page) >= ENDING
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    _, before = container["lifecycle"]["preStop"]["exec"]["command"]
    assert pod["terminationGracePeriodSeconds"] >= ENDING + float(before)


def test_every_example_fetches_the_weights_that_it_serves(deployment: Any) -> None:
    record = "mlcommons"
    (unit,) = written("ini")
    assert re.findall(r"ExecStartPre=\S+ (.*)", unit) == [f"weights fetch --quiet {record}"]
    assert re.findall(r"ExecStart=.* serve -w (\S+)", unit) == [record]
    pod = deployment["spec"]["template"]["spec"]
    (before,), (container,) = pod["initContainers"], pod["containers"]
    assert before["args"] == ["weights", "fetch", "--quiet", record]
    assert container["args"][-2:] == ["-w", record]
    assert before["volumeMounts"] == container["volumeMounts"]
    (docker,) = (text for text in written("sh") if "docker run" in text)
    fetched, _, served = docker.partition(f"weights fetch {record}\n")
    assert served.count(f"-w {record}\n") == 1
    assert " serve " not in fetched


def test_the_service_finds_the_pods_and_their_port(deployment: Any) -> None:
    spec, template = resource("Service")["spec"], deployment["spec"]["template"]
    assert spec["selector"] == template["metadata"]["labels"]
    (container,) = template["spec"]["containers"]
    assert [port["targetPort"] for port in spec["ports"]] == [
        port["name"] for port in container["ports"]
    ]
    secret = container["env"][0]["valueFrom"]["secretKeyRef"]
    command = f"kubectl create secret generic {secret['name']} --from-literal={secret['key']}="
    assert command in PAGE.read_text("utf-8")


def test_nginx_lets_through_what_the_server_takes() -> None:
    (text,) = written("nginx")
    limits = ServerLimits()
    assert number(r"client_max_body_size (\d+)m;", text) * MEBI >= limits.max_body
    assert number(r"proxy_read_timeout (\d+)s;", text) > limits.deadline
    assert number(r"keepalive_timeout (\d+)s;", text) < limits.idle_seconds


def test_probes_need_no_token_and_the_user_is_the_containers(deployment: Any) -> None:
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for probe in ("livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] in OPEN
    dockerfile = (REPOSITORY / "Dockerfile").read_text("utf-8")
    assert number(r"USER (\d+)", dockerfile) == pod["securityContext"]["runAsUser"]
    (cache, _) = (mount["mountPath"] for mount in container["volumeMounts"])
    assert f"SSD_RESNET34_CACHE={cache}\n" in dockerfile
