"""Two thousand requests, a fifth of them bad: neither memory nor descriptors grow."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

import pytest

from hostile.make_images import accepted, refused
from running_server import Server, running
from serving_engine import picture

REQUESTS = 2000
FIRST = 400
"""Requests after which everything that is made once has been made."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path, deadline=60.0) as started:
        yield started


@pytest.mark.proof
def test_two_thousand_requests_leave_nothing_behind(server: Server) -> None:
    good = [*accepted().values(), *(picture(n % 256, 40 + n % 50) for n in range(100))]
    bad = [data for data, _ in refused().values()]
    mixed = [
        next_bad if n % 5 == 4 else next_good
        for n, next_good, next_bad in zip(range(REQUESTS), cycle(good), cycle(bad), strict=False)
    ]
    processes = server.processes()
    with server.client() as client, ThreadPoolExecutor(8) as clients:

        def ask(data: bytes) -> int:
            return client.post("/detect", content=data).status_code

        codes = list(clients.map(ask, mixed[:FIRST]))
        memory, descriptors = server.memory(), server.descriptors()
        codes += list(clients.map(ask, islice(mixed, FIRST, None)))
        grown = [now - then for now, then in zip(server.memory(), memory, strict=True)]
        more = [now - then for now, then in zip(server.descriptors(), descriptors, strict=True)]
    assert server.processes() == processes, "no worker was restarted"
    assert codes.count(200) == REQUESTS * 4 // 5
    assert set(codes) == {200, 400, 413, 415, 422}
    print(f"after {REQUESTS} requests: memory of server and worker grown by {grown} bytes")
    assert max(grown) < 20_000_000
    assert max(more) <= 0
