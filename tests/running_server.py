"""A server in processes of its own, as a user starts one, on the fake engine with faults."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from fake_network import fake_onnx
from ssd_resnet34.contract import COCO

TESTS = Path(__file__).parent
SECONDS = 60
"""For anything that a healthy server does at once; the machine may be busy."""


@dataclass
class Server:
    """A running server: its process, its address, and what it has written."""

    process: "subprocess.Popen[str]"
    url: str = ""
    log: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=SECONDS, trust_env=False, **options)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)

    def speak(self, data: bytes) -> bytes:
        """Send bytes as they are, read until the server closes."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_all(connection)

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        found = []
        for line in Path(f"/proc/{self.process.pid}/task").iterdir():
            children = (line / "children").read_text().split()
            for child in children:
                command = Path(f"/proc/{child}/cmdline").read_bytes()
                if b"spawn_main" in command:
                    found.append(int(child))
        return found

    def processes(self) -> list[int]:
        """Of the server, and of its workers."""
        return [self.process.pid, *self.workers()]

    def memory(self) -> list[int]:
        """Resident bytes of each of its processes."""
        return [_status(process, "VmRSS") for process in self.processes()]

    def peaks(self) -> list[int]:
        """The most bytes that each of its processes has held so far."""
        return [_status(process, "VmHWM") for process in self.processes()]

    def descriptors(self) -> list[int]:
        """How many each of its processes has open."""
        return [len(os.listdir(f"/proc/{process}/fd")) for process in self.processes()]

    def wait_ready(self, wanted: bool = True) -> None:
        with self.client() as client:
            wait(lambda: (client.get("/v2/health/ready").status_code == 200) is wanted)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


def _status(process: int, name: str) -> int:
    """Bytes of a line of kB in a process's status."""
    text = Path(f"/proc/{process}/status").read_text()
    return int(text.split(f"{name}:")[1].split()[0]) << 10


def wait(condition: Any, seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.02)


def read_all(connection: socket.socket) -> bytes:
    found = b""
    while True:
        try:
            part = connection.recv(1 << 16)
        except ConnectionResetError:
            return found
        if not part:
            return found
        found += part


@contextmanager
def running(
    folder: Path,
    *,
    seconds: float = 0,
    workers: int = 1,
    token: str | None = None,
    grpc_port: int | None = None,
    images: dict[str, Any] | None = None,
    weights: Path | str | None = None,
    ray: dict[str, Any] | None = None,
    port: int = 0,
    engine: str = "serving",
    precision: str = "fp32",
    wait_for_it: bool = True,
    **limits: Any,
) -> Iterator[Server]:
    """A server with an engine whose runs take ``seconds``; ended with the context.

    ``ray`` has fields of :class:`ssd_resnet34.serving.cluster.Scale`: replicas on a Ray cluster.
    """
    if weights is None:
        weights = folder / "fake.onnx"
        if not weights.exists():
            weights.write_bytes(fake_onnx(COCO))
    given = {
        "weights": str(weights),
        "engine": engine,
        "precision": precision,
        "workers": workers,
        "grpc_port": grpc_port,
        "ray": ray,
        "port": port,
        "token": token,
        "images": images or {},
        "limits": limits,
    }
    process = subprocess.Popen(
        [sys.executable, str(TESTS / "launch_server.py"), json.dumps(given)],
        env=environment(folder, seconds),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    server = Server(process)
    assert process.stderr is not None
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: server.log.extend(process.stderr or ()), daemon=True)
    reader.start()
    try:
        if wait_for_it:
            server.url = process.stdout.readline().strip()
            assert server.url, "".join(server.log)
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join(SECONDS)
        process.stdout.close()
        process.stderr.close()


def environment(folder: Path, seconds: float) -> dict[str, str]:
    """Variables with which another process finds the fake engine, as an installed one."""
    info = folder / "serving_engine-1.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: serving-engine\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[ssd_resnet34.engines]\nserving = serving_engine:ServingEngine\n"
    )
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(folder), str(TESTS))),
        "SERVING_ENGINE_SECONDS": str(seconds),
    }
