"""Replicas on a simulated Ray cluster of two nodes answer as the one server does."""

import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from fake_engine import FakeEngine
from fake_network import fake_onnx
from hostile.make_images import refused
from running_server import Server, environment, running, wait
from serving_engine import picture
from ssd_resnet34 import load, ray_cluster
from ssd_resnet34.detector import Detector
from ssd_resnet34.errors import MissingExtra, ServerError, UsageError
from ssd_resnet34.serving import cluster
from ssd_resnet34.serving.cluster import Scale
from ssd_resnet34.serving.refusals import CODES
from ssd_resnet34.serving.server import Settings
from ssd_resnet34.serving.tasks import WorkerConfig
from ssd_resnet34.vision.images import Limits

MEMORY = 150 << 20
PATIENCE = 180
"""Seconds for Ray to start a replica; the machine may be busy."""

SECONDS = 0.4
"""That the network takes; with a deadline of ten times that, a replica's line holds eight."""

SETTINGS = Settings(WorkerConfig("embedded", "auto", "cpu", "auto", 1, Limits()))


@pytest.fixture(scope="module")
def detector() -> Iterator[Detector]:
    with load(fake_onnx(), engine=FakeEngine()) as made:
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def nodes(folder: Path) -> Iterator[Any]:
    """A cluster of a head and one more node, a CPU each."""
    simulated: Any = pytest.importorskip("ray.cluster_utils", reason="needs the extra [ray]")
    before = dict(os.environ)
    os.environ.update(environment(folder, SECONDS))
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", OMP_NUM_THREADS="1")
    os.environ["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"] = "60"
    made = simulated.Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": MEMORY, "include_dashboard": False},
    )
    made.add_node(num_cpus=1, object_store_memory=MEMORY)
    yield made
    made.shutdown()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def address(nodes: Any) -> str:
    return str(nodes.address)


@pytest.fixture(scope="module")
def server(folder: Path, address: str) -> Iterator[Server]:
    """One replica, and by load two."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    scale = {"least": 1, "most": 2, "address": address, "patience": 4.0}
    with running(folder, seconds=SECONDS, ray=scale, port=port, deadline=10 * SECONDS) as started:
        yield started


def replicas(folder: Path) -> dict[int, int]:
    """Process id of each replica -> that of its node."""
    found = {}
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            command = (process / "cmdline").read_bytes()
            ours = os.fsencode(folder) in (process / "environ").read_bytes()
            if process.name.isdigit() and command.startswith(b"ray::ServeReplica") and ours:
                status = (process / "status").read_text()
                found[int(process.name)] = int(status.split("PPid:")[1].split()[0])
    return found


@pytest.mark.proof
def test_weights_that_cannot_be_used_end_the_start(folder: Path, address: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    scale = {"address": address}
    missing = folder / "missing.onnx"
    with running(folder, ray=scale, port=port, weights=missing, wait_for_it=False) as server:
        assert server.process.wait(90) == 1
    log = "".join(server.log)
    assert "ServerError: no replica could start: " in log
    assert "missing.onnx: no such file" in log


def test_answers_are_those_of_the_one_server(server: Server, detector: Detector) -> None:
    with server.client() as client:
        assert client.get("/v2/health/ready").json() == {"ready": True}
        for shade in (20, 120, 220):
            answer = client.post("/detect", content=picture(shade))
            assert answer.json()["detections"] == detector(picture(shade)).to_dict()["detections"]
        for name, (data, code) in refused().items():
            answer = client.post("/detect", files={"image": ("x", data)})
            assert (answer.status_code, answer.json()["code"]) == (CODES[code].status, code), name
        answer = client.get("/nothing")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_tritonclient_asks_a_replica_as_it_asks_the_one_server(
    server: Server, detector: Detector
) -> None:
    import tritonclient.http as module

    image = module.InferInput("image", [1], "BYTES")
    image.set_data_from_numpy(np.array([picture(60)], np.object_))
    with module.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        answer = client.infer("ssd-resnet34", [image], request_id="7")
    wanted = detector(picture(60))
    assert np.array_equal(answer.as_numpy("boxes"), wanted.boxes)
    assert np.array_equal(answer.as_numpy("scores"), wanted.scores)
    assert answer.get_response()["id"] == "7"


def test_more_than_the_replicas_can_answer_in_time_is_429(server: Server) -> None:
    with server.client() as client, ThreadPoolExecutor(30) as clients:
        asked = [clients.submit(client.post, "/detect", content=picture(n)) for n in range(30)]
        assert client.get("/v2/health/live").status_code == 200
        answers = [one.result() for one in asked]
    # 504: the machine became slower than it was when they were let in.
    assert {200, 429} <= {one.status_code for one in answers} <= {200, 429, 504}
    for one in answers:
        if one.status_code == 429:
            assert one.json()["code"] == "overloaded"
            assert int(one.headers["retry-after"]) >= 1


@pytest.mark.proof
def test_load_starts_a_replica_on_the_other_node_and_a_killed_one_is_replaced(
    server: Server, folder: Path, detector: Detector
) -> None:
    with under_load(server) as codes:
        wait(lambda: len(replicas(folder)) == 2, PATIENCE)
        first = replicas(folder)
        assert len(set(first.values())) == 2, "a CPU each: they are on two nodes"
        with server.client() as client:
            killed = next(iter(first))
            os.kill(killed, signal.SIGKILL)
            wait(lambda: len(set(replicas(folder)) - set(first)) == 1, PATIENCE)
            wait(lambda: client.post("/detect", content=picture(70)).status_code == 200)
            answer = client.post("/detect", content=picture(80))
    if answer.status_code == 200:
        assert answer.json()["detections"] == detector(picture(80)).to_dict()["detections"]
    print(f"answers by status: {counted(codes)}")
    assert codes.count(200) > 5
    assert server.process.poll() is None


@pytest.mark.proof
def test_a_node_removed_without_grace_costs_the_requests_on_it_and_one_added_takes_over(
    server: Server, nodes: Any, folder: Path, detector: Detector
) -> None:
    (extra,) = nodes.worker_nodes
    with under_load(server) as codes:
        wait(lambda: raylet(extra) in replicas(folder).values(), PATIENCE)
        lost = {process for process, node in replicas(folder).items() if node == raylet(extra)}
        before = len(codes)
        wait(lambda: len(codes) > before + 20, PATIENCE)  # both replicas have requests
        at_removal = len(codes)
        nodes.remove_node(extra, allow_graceful=False)
        wait(lambda: not lost & set(replicas(folder)))
        gone = len(codes)
        wait(lambda: codes[gone:].count(200) > 10, PATIENCE)
    # Each of the six clients has had an answer to every request: none hung, none was cut off.
    print(f"answers by status, until the node was removed: {counted(codes[:at_removal])}")
    print(f"from then on: {counted(codes[at_removal:])}")
    assert set(codes) <= {200, 429, 500, 503, 504}
    assert codes[gone:][-10:].count(500) == 0, "Ray knows by now"
    with server.client() as client:
        for shade in (20, 120, 220):
            answer = client.post("/detect", content=picture(shade))
            assert answer.json()["detections"] == detector(picture(shade)).to_dict()["detections"]
    assert server.process.poll() is None
    added = nodes.add_node(num_cpus=1, object_store_memory=MEMORY)
    with under_load(server):
        wait(lambda: raylet(added) in replicas(folder).values(), PATIENCE)


def raylet(node: Any) -> int:
    """Process id of a node's raylet, the parent of the replicas there."""
    return int(node.all_processes["raylet"][0].process.pid)


@pytest.mark.proof
def test_while_no_replica_is_there_ray_itself_says_429(server: Server, folder: Path) -> None:
    before = set(replicas(folder))
    for process in before:
        os.kill(process, signal.SIGKILL)
    time.sleep(2.5)  # until Ray knows; others take longer to start
    with server.client() as client, ThreadPoolExecutor(100) as clients:
        asked = [clients.submit(client.post, "/detect", content=picture(n)) for n in range(100)]
        answers = [one.result() for one in asked]
        full = [one for one in answers if one.status_code == 429 and one.text[:1] != "{"]
        assert full
        assert all(one.headers["retry-after"] == "1" for one in full)
        assert {one.status_code for one in answers} <= {200, 429, 504}
        wait(lambda: client.post("/detect", content=picture()).status_code == 200)
    assert not before & set(replicas(folder))


def counted(codes: list[int]) -> str:
    """For the proof: each status, and how often it came."""
    return ", ".join(f"{code} {times} times" for code, times in sorted(Counter(codes).items()))


@contextmanager
def under_load(server: Server) -> Iterator[list[int]]:
    """Six clients that ask all the time; the statuses of their answers."""
    codes: list[int] = []
    done = threading.Event()

    def ask(shade: int) -> None:
        with server.client() as client:
            while not done.is_set():
                codes.append(client.post("/detect", content=picture(shade)).status_code)

    with ThreadPoolExecutor(6) as clients:
        asking = [clients.submit(ask, 30 * n) for n in range(6)]
        try:
            yield codes
        finally:
            done.set()
    for one in asking:
        one.result()


def test_sigterm_finishes_what_was_accepted_and_takes_nothing_more(server: Server) -> None:
    with server.client() as client, ThreadPoolExecutor(8) as clients:
        wait(lambda: client.get("/v2/health/ready").status_code == 200)
        asked = [clients.submit(client.post, "/detect", content=picture(n)) for n in range(6)]
        wait(lambda: inside(client) >= 2)
        server.process.send_signal(signal.SIGTERM)
        wait(lambda: client.get("/v2/health/ready").status_code == 503)
        assert client.get("/v2/health/live").status_code == 200
        late = client.post("/detect", content=picture())
        assert (late.status_code, late.json()["code"]) == (503, "not_ready")
        codes = [one.result().status_code for one in asked]
    assert codes.count(200) >= 2
    assert set(codes) <= {200, 429, 503}, "answered, or told that it may not enter"
    assert server.process.wait(60) == 0
    assert "Traceback" not in "".join(server.log)


def inside(client: httpx.Client) -> float:
    """Requests in the line of the replica that happens to answer."""
    for line in client.get("/metrics").text.splitlines():
        if line.startswith("ssd_resnet34_queue_inside "):
            return float(line.split()[1])
    raise AssertionError("no such number")


def test_what_ray_does_not_do_is_refused() -> None:
    for settings in (replace(SETTINGS, port=0), replace(SETTINGS, grpc_port=8001)):
        with pytest.raises(UsageError, match="port"):
            cluster.run(settings, Scale())


def test_a_port_in_use_is_told_before_ray_is_started() -> None:
    pytest.importorskip("ray.serve", reason="needs the extra [ray]")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = replace(SETTINGS, port=taken.getsockname()[1])
        with pytest.raises(ServerError, match="cannot listen there"):
            cluster.run(settings, Scale())


def test_a_cluster_that_serves_already_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    serve = SimpleNamespace(status=lambda: SimpleNamespace(proxies={"head": "HEALTHY"}))
    ray = SimpleNamespace(shutdown=lambda: None)
    monkeypatch.setattr(cluster, "_ray_serve", lambda: (serve, None))
    monkeypatch.setattr(ray_cluster, "ray", lambda: ray)
    monkeypatch.setattr(ray_cluster, "connect", lambda ray, address: None)
    with pytest.raises(ServerError, match="runs Ray Serve already"):
        cluster.run(SETTINGS, Scale(address="auto"))


@pytest.mark.parametrize(
    "wrong", [{"least": 0}, {"least": 3, "most": 2}, {"cpus": 0}, {"gpus": -1.0}]
)
def test_a_scale_out_of_range_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="replicas: "):
        Scale(**wrong)


def test_a_replica_that_says_nothing_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def result(timeout_s: float | None = None) -> None:
        assert timeout_s == 7.0
        raise TimeoutError

    remote = SimpleNamespace(remote=lambda: SimpleNamespace(result=result))
    serve = SimpleNamespace(
        RunTarget=lambda *given, **named: None,
        run_many=lambda *given, **named: None,
        get_app_handle=lambda name: SimpleNamespace(facts=remote),
    )
    monkeypatch.setattr(cluster, "application", lambda settings, scale: None)
    monkeypatch.setattr(cluster, "_started", lambda stopped, serve, seconds: True)
    with pytest.raises(ServerError, match="says nothing within 7 s"):
        cluster._serve_until(
            lambda: False, serve, SETTINGS, Scale(start=7.0), lambda address, facts: None
        )


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(cluster, "import_module", missing)
    with pytest.raises(MissingExtra, match=r"pip install 'ssd-resnet34\[serve,ray\]'"):
        cluster.run(SETTINGS, Scale())
