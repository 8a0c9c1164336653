"""Room is looked for when the headers are here: a full server reads no more bodies.

Places are taken by clients that have sent their headers and a part of their bodies. Whoever comes
then is refused before its body is read, and can read why, however it sends.
"""

import http.client
import json
import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest

from running_server import Server, read_all, running, wait
from serving_engine import picture
from ssd_resnet34.serving.line import Line
from ssd_resnet34.serving.refusals import Refused

BODY = 30_000_000
"""More than any buffer between client and server holds."""

PATHS = ("/detect", "/v2/models/ssd-resnet34/infer", "/v2/models/ssd-resnet34-raw/versions/1/infer")


def head(length: int, path: str = "/detect", *more: str) -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: test", f"Content-Length: {length}", *more)
    return "\r\n".join((*lines, "", "")).encode()


def number(server: Server, name: str) -> int:
    with server.client() as client:
        for line in client.get("/metrics").text.splitlines():
            if line.startswith(f"ssd_resnet34_{name} "):
                return int(float(line.split()[1]))
    raise AssertionError(f"no {name}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Its line holds a few requests, and keeps places longer than any test takes."""
    folder = tmp_path_factory.mktemp("server")
    with running(folder, seconds=0.5, deadline=4.0, arrival_seconds=100.0) as started:
        yield started


@contextmanager
def full(server: Server) -> Iterator[list[socket.socket]]:
    """Clients that hold every place with half a body each."""
    data = picture()
    with ExitStack() as stack:
        senders = []
        for _ in range(number(server, "queue_capacity")):
            senders.append(stack.enter_context(server.connect()))
            senders[-1].sendall(head(len(data)) + data[:20])
        wait(lambda: number(server, "queue_arriving") == len(senders))
        yield senders
    wait(lambda: number(server, "queue_arriving") == 0)


def assert_refused(status: int, body: bytes, headers: Any) -> None:
    assert (status, json.loads(body)["code"]) == (429, "overloaded")
    assert set(json.loads(body)) == {"error", "code"}
    assert int(headers["retry-after"]) >= 1
    assert headers["connection"] == "close"


def parsed(data: bytes) -> tuple[int, bytes, dict[str, str]]:
    start, _, body = data.partition(b"\r\n\r\n")
    first, *lines = start.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), body, headers


@pytest.mark.parametrize("path", PATHS)
def test_a_full_server_refuses_on_the_headers_alone(server: Server, path: str) -> None:
    with full(server), server.connect() as connection:
        connection.sendall(head(BODY, path))  # and nothing more
        assert_refused(*parsed(read_all(connection)))


def test_a_full_server_refuses_a_body_in_chunks_too(server: Server) -> None:
    with full(server), server.connect() as connection:
        start = head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        connection.sendall(start + b"5\r\nhello\r\n")
        assert_refused(*parsed(read_all(connection)))


def test_who_waits_for_a_100_is_refused_instead(server: Server) -> None:
    with full(server), server.connect() as connection:
        connection.sendall(head(BODY, "/detect", "Expect: 100-continue"))
        assert_refused(*parsed(read_all(connection)))
    with server.connect() as connection:
        connection.sendall(head(len(picture()), "/detect", "Expect: 100-continue"))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"


def test_httpx_that_is_still_sending_reads_the_refusal(server: Server) -> None:
    with full(server), server.client() as client:
        answer = client.post("/detect", content=bytes(BODY))
        assert_refused(answer.status_code, answer.content, answer.headers)
        form = client.post("/detect", files={"image": bytes(BODY)})
        assert_refused(form.status_code, form.content, form.headers)


def test_http_client_that_is_still_sending_reads_the_refusal(server: Server) -> None:
    with full(server):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("POST", "/detect", bytes(BODY))
        answer = connection.getresponse()
        assert_refused(answer.status, answer.read(), answer.headers)
        connection.close()


def test_who_sends_slowly_but_steadily_can_send_it_all_before_the_refusal_is_read(
    server: Server,
) -> None:
    """As a client behind a thin line does that reads when it has written."""
    with full(server), server.connect() as connection:
        step, steps = 20_000, 150
        connection.sendall(head(step * steps))
        for _ in range(steps):
            time.sleep(0.02)
            connection.sendall(bytes(step))  # a reset would raise here
        assert_refused(*parsed(read_all(connection)))


def test_who_only_drips_is_cut_off_and_has_been_told_why(server: Server) -> None:
    with full(server), server.connect() as connection:
        connection.sendall(head(BODY))
        began = time.monotonic()
        with suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() - began < 60:
                time.sleep(0.05)
                connection.sendall(b"x")
            raise AssertionError("the server reads without end")
        assert_refused(*parsed(read_all(connection)))


def test_other_routes_do_not_ask_for_room(server: Server) -> None:
    with full(server), server.client() as client:
        for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/ssd-resnet34", "/metrics"):
            assert client.get(path).status_code == 200, path
        assert client.post("/nothing", content=b"x").status_code == 404
        wrong = client.post("/v2/models/other/infer", content=b"x")
        assert wrong.status_code == 404, "the path is looked at before the room"


def test_the_next_request_finds_room_when_the_others_have_gone(server: Server) -> None:
    with full(server) as senders, server.client() as client:
        assert client.post("/detect", content=picture()).status_code == 429
        senders[0].close()
        wait(lambda: client.post("/detect", content=picture()).status_code == 200)


def test_who_holds_a_place_is_answered_when_its_body_is_here(server: Server) -> None:
    with full(server) as senders:
        senders[0].sendall(picture()[20:])
        assert senders[0].recv(12) == b"HTTP/1.1 200"


def test_what_is_refused_for_another_reason_gives_its_place_back(server: Server) -> None:
    with server.client() as client:
        for _ in range(2 * number(server, "queue_capacity")):
            assert client.post("/detect", content=b"text").status_code == 415
            assert client.post("/detect", content=b"").status_code == 400
            assert client.post(PATHS[1], content=b"{").status_code == 400
    assert number(server, "queue_arriving") == 0


def test_slow_clients_keep_their_places_for_a_while_only(tmp_path: Path) -> None:
    with (
        running(tmp_path, seconds=0.3, deadline=3.0, arrival_seconds=0.5) as server,
        server.client() as client,
        ExitStack() as stack,
    ):
        data = picture()
        senders = [stack.enter_context(server.connect()) for _ in range(20)]
        for sender in senders:
            sender.sendall(head(len(data)) + data[:20])
        wait(lambda: client.post("/detect", content=data).status_code == 200)
        senders[0].sendall(data[20:])  # it took too long to keep its place, but there is room
        assert senders[0].recv(12) == b"HTTP/1.1 200"


def test_a_body_that_the_budget_cannot_hold_is_refused_before_it_comes(tmp_path: Path) -> None:
    with running(tmp_path, max_queued_bytes=1_000_000) as server, server.client() as client:
        with server.connect() as holder:
            holder.sendall(head(700_000) + bytes(600_000))
            wait(lambda: number(server, "held_bytes") == 600_000)
            with server.connect() as connection:
                connection.sendall(head(500_000))
                assert_refused(*parsed(read_all(connection)))
            assert client.post("/detect", content=picture()).status_code == 200, "it is small"
        wait(lambda: number(server, "held_bytes") == 0)
        with server.connect() as connection:
            connection.sendall(head(1_000_001))
            assert_refused(*parsed(read_all(connection)))


def test_an_announced_body_does_not_use_up_the_budget(tmp_path: Path) -> None:
    """Else a client could keep out the others with promises."""
    with (
        running(tmp_path, max_queued_bytes=1_000_000) as server,
        server.client() as client,
        server.connect() as connection,
    ):
        connection.sendall(head(900_000) + b"x")
        wait(lambda: number(server, "queue_arriving") == 1)
        assert client.post("/detect", content=bytes(500_000)).status_code == 415


def test_a_cold_burst_of_large_bodies_is_refused_without_being_read(tmp_path: Path) -> None:
    """The very first requests, all at once, none of them more than begun."""
    with running(tmp_path, seconds=0.5, deadline=4.0, arrival_seconds=100.0) as server:
        capacity = number(server, "queue_capacity")
        with ExitStack() as stack:
            clients = [stack.enter_context(server.connect()) for _ in range(50)]
            for one in clients:
                one.sendall(head(BODY))
            with selectors.DefaultSelector() as ready:
                for one in clients:
                    ready.register(one, selectors.EVENT_READ)
                answers: list[bytes] = []
                while len(answers) < 50 - capacity:
                    for key, _ in ready.select(60):
                        answers.append(cast(socket.socket, key.fileobj).recv(12))
                        ready.unregister(key.fileobj)
                assert not ready.select(0.2), "the others may send their bodies"
        assert answers == [b"HTTP/1.1 429"] * (50 - capacity)


def test_a_kept_place_counts_until_it_is_given_up() -> None:
    line = Line(3.0, 1)
    line.measured(1.0)
    places = [line.keep() for _ in range(3)]
    with pytest.raises(Refused) as error:
        line.keep()
    assert error.value.retry_after == 3
    line.give_up(places[0])
    line.give_up(places[0])
    assert line.arriving == 2
    line.check(1)
    with pytest.raises(Refused):
        line.check(2)
