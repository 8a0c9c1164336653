"""What a server costs on top of its network, and what it does with too many clients.

    python -m benchmarks.serving [--pairs 15] [--json]

1. Around the network: time of a `/detect` request against the stages that its worker reports.
2. Throughput: 4 clients against `Detector.stream` in this process, in interleaved pairs.
3. Bursts: 50 clients at once; how long a refusal takes, and how long `/v2/health/live`. A cold one:
   pictures of 1600x1200, the very first requests of a server; and warm ones, of COCO's size first.

Ends with 1 where the first is over 1.05, the second under 0.95, or half of the refusals of a burst
take 100 ms.
"""

import json
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from statistics import median
from typing import Any, Final, cast

import cv2
import httpx

import ssd_resnet34
from benchmarks import SAMPLE, command_line
from ssd_resnet34.pairs import ENOUGH, interleave, percentiles, ratio

CLIENTS: Final = 4
BLOCK: Final = 4
BURST: Final = 50
BURST_SIZE: Final = (640, 480)
"""Of the pictures of the warm burst, pixels: COCO's."""

MOST_AROUND: Final = 1.05
LEAST_THROUGHPUT: Final = 0.95
REFUSAL_SECONDS: Final = 0.1

_ALONE: Final = {
    "around": "whole request / its stages in the worker, one at a time",
    "network_ms": "network of these requests, ms",
    "throughput": f"images a second, {CLIENTS} clients / a stream in one process",
    "low": "lower quartile of these pairs",
    "high": "upper quartile",
}
_BURST: Final = {
    "answered": "answered (200)",
    "refused": "refused at once: no room in the line (429)",
    "late": "let in, and not answered within the deadline (504)",
    "refusal_ms": "until a refusal, median, ms",
    "slowest_refusal_ms": "until a refusal, slowest, ms",
    "health_p50_ms": "until an answer of /v2/health/live meanwhile, median, ms",
    "health_p99_ms": "until an answer of /v2/health/live, 99 % of them, ms",
    "slowest_health_ms": "until an answer of /v2/health/live, slowest, ms",
}
"""What ``--json`` calls it, and the words for it in the text."""


@contextmanager
def server(*options: str) -> Iterator[httpx.Client]:
    """A client of a server on the embedded weights, started as a user starts it."""
    command = [sys.executable, "-m", "ssd_resnet34", "serve", "--port", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = ""
        while not line.startswith("serving: "):
            line = process.stderr.readline()
            if not line:
                sys.exit("the server did not start")
        threading.Thread(target=process.stderr.read, daemon=True).start()
        with client(line.split()[1].rstrip("/")) as made:
            yield made
        process.send_signal(signal.SIGTERM)
        if process.wait(120):
            sys.exit(f"the server ended with code {process.returncode}")
    finally:
        process.kill()
        process.wait()


def client(address: str) -> httpx.Client:
    limits = httpx.Limits(max_connections=BURST + 10)
    return httpx.Client(base_url=address, timeout=600, limits=limits, trust_env=False)


def jpeg(width: int = 1600, height: int = 1200) -> bytes:
    """The sample picture as a camera would send it."""
    picture = cv2.imread(str(SAMPLE))
    assert picture is not None
    return bytes(cv2.imencode(".jpg", cv2.resize(picture, (width, height)))[1])


def around(http: httpx.Client, data: bytes, count: int) -> dict[str, float]:
    """Whole request / stages in the worker, one request at a time."""
    shares, network = [], []
    for number in range(count + 2):
        began = time.perf_counter()
        answer = http.post("/detect", content=data)
        whole = time.perf_counter() - began
        assert answer.status_code == 200, answer.text
        stages = {
            name: float(value) / 1e3
            for name, _, value in (
                part.strip().partition(";dur=")
                for part in answer.headers["server-timing"].split(",")
            )
        }
        del stages["queue"]
        if number >= 2:  # the first two warm up
            shares.append(whole / sum(stages.values()))
            network.append(stages["network"])
    return {"around": median(shares), "network_ms": 1e3 * median(network)}


def throughput(http: httpx.Client, data: bytes, pairs: int) -> dict[str, float]:
    """Images a second of the server / of a stream in one process."""
    with ssd_resnet34.load() as detector, ThreadPoolExecutor(CLIENTS) as clients:

        def ask(_: int) -> None:
            assert http.post("/detect", content=data).status_code == 200

        def serve() -> None:
            list(clients.map(ask, range(BLOCK)))

        def stream() -> None:
            for _ in detector.stream([data] * BLOCK):
                pass

        found = ratio(interleave(stream, serve, pairs, warm_ups=1))
    return {"throughput": found.median, "low": found.low, "high": found.high}


def at_once(url: httpx.URL, data: bytes, count: int) -> list[tuple[int, float]]:
    """So many requests at the same time: the status of each, and seconds from its first byte sent.

    By bare sockets in one loop: fifty threads of a Python client would mostly wait for one another.
    """
    head = f"POST /detect HTTP/1.1\r\nhost: {url.host}\r\ncontent-length: {len(data)}\r\n\r\n"
    request = memoryview(head.encode() + data)
    answers: list[tuple[int, float]] = []
    with selectors.DefaultSelector() as ready, ExitStack() as stack:
        for _ in range(count):
            one = stack.enter_context(socket.create_connection((url.host, url.port or 80)))
            one.setblocking(False)
            ready.register(one, selectors.EVENT_READ | selectors.EVENT_WRITE, [request, 0.0])
        while len(answers) < count:
            for key, events in ready.select():
                one = cast(socket.socket, key.fileobj)
                if events & selectors.EVENT_READ:
                    first = one.recv(1 << 16)
                    answers.append(
                        (int(first.split(b" ", 2)[1]), time.perf_counter() - key.data[1])
                    )
                    ready.unregister(one)
                elif key.data[0]:
                    key.data[1] = key.data[1] or time.perf_counter()
                    key.data[0] = key.data[0][one.send(key.data[0]) :]
                else:
                    ready.modify(one, selectors.EVENT_READ, key.data)
    return answers


def burst(http: httpx.Client, data: bytes) -> dict[str, Any]:
    """50 clients at once, all connected already, and one that asks for its health meanwhile."""
    health: list[float] = []
    done = threading.Event()

    def watch() -> None:
        with client(str(http.base_url)) as own:
            while not done.is_set():
                began = time.perf_counter()
                assert own.get("/v2/health/live").status_code == 200
                health.append(time.perf_counter() - began)
                time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    answers = at_once(http.base_url, data, BURST)
    done.set()
    watcher.join()
    refused = [seconds for code, seconds in answers if code == 429]
    codes = [code for code, _ in answers]
    return {
        "answered": codes.count(200),
        "refused": len(refused),
        "late": codes.count(504),
        "refusal_ms": 1e3 * percentiles(refused).p50 if refused else 0.0,
        "slowest_refusal_ms": 1e3 * max(refused, default=0.0),
        "health_p50_ms": 1e3 * percentiles(health).p50,
        "health_p99_ms": 1e3 * percentiles(health).p99,
        "slowest_health_ms": 1e3 * max(health),
    }


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--pairs", type=int, default=ENOUGH, help=f"at least {ENOUGH}")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    pairs, data = max(arguments.pairs, ENOUGH), jpeg()
    with server("--deadline", "600") as http:
        found: dict[str, Any] = {**around(http, data, pairs), **throughput(http, data, pairs)}
    # Room for ten images: the burst is five times that, whatever this machine's speed.
    deadline = f"{10 * found['network_ms'] / 1e3 * 1.2:.2f}"
    with server("--deadline", deadline) as http:
        found |= {f"cold_{name}": value for name, value in burst(http, data).items()}
    with server("--deadline", deadline) as http:
        found |= burst(http, jpeg(*BURST_SIZE))
        found["refusal_1600x1200_ms"] = burst(http, data)["refusal_ms"]
    if arguments.json:
        print(json.dumps(found))
    else:
        show(found)
    bursts_hold = all(
        found[f"{kind}answered"]
        and found[f"{kind}refused"]
        and found[f"{kind}refusal_ms"] <= 1e3 * REFUSAL_SECONDS
        for kind in ("cold_", "")
    )
    if found["around"] > MOST_AROUND or found["throughput"] < LEAST_THROUGHPUT or not bursts_hold:
        sys.exit("a bound does not hold")


def show(found: Mapping[str, float]) -> None:
    """All that was found, in words."""

    def line(words: str, value: float) -> None:
        print(f"{words:<60}{f'{value:.3f}' if isinstance(value, float) else value:>8}")

    small = "x".join(map(str, BURST_SIZE))
    for name, words in _ALONE.items():
        line(words, found[name])
    for kind, title in (
        ("cold_", "1600x1200, the first requests of a server"),
        ("", f"{small}, the first requests of another"),
    ):
        print(f"{BURST} clients at once, {title}:")
        for name, words in _BURST.items():
            line(f"  {words}", found[f"{kind}{name}"])
    print(f"{BURST} clients at once, 1600x1200, after those:")
    line(f"  {_BURST['refusal_ms']}", found["refusal_1600x1200_ms"])


if __name__ == "__main__":
    main()
