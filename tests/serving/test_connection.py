"""Hostile connections, byte by byte, against a server process. After each: alive, and right."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import httpx
import pytest

from running_server import Server, read_all, running, wait
from serving_condition import Condition
from serving_engine import picture

HEAD = b"Host: test\r\n"

GROWTH = (90_000_000, 90_000_000)
"""Bytes that the server and its worker may ever hold more: a body has 18 MB at most."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With short patience, so that the tests need none."""
    with running(
        tmp_path_factory.mktemp("server"),
        images={"max_bytes": 18_000_000},
        max_framing_bytes=4000,
        max_connections=40,
        header_seconds=1.0,
        upload_seconds=1.5,
        send_seconds=1.5,
        idle_seconds=1.0,
    ) as started:
        yield started


@pytest.fixture(scope="module")
def condition(server: Server) -> Iterator[Condition]:
    """Of the server before anything hostile was sent."""
    with closing(Condition(server, GROWTH)) as made:
        yield made


@pytest.fixture(autouse=True)
def _as_before(condition: Condition) -> Iterator[None]:
    """Each entry by itself, and all of them together, leave the server as it was."""
    condition.check()
    yield
    condition.check()


def answer_of(data: bytes) -> tuple[int, dict[str, Any], dict[bytes, bytes]]:
    """Status, JSON and headers of the first answer in what a server sent."""
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(b": ")
        headers[name.lower()] = value
    length = int(headers[b"content-length"])
    return int(first.split()[1]), json.loads(rest[:length]), headers


def post(body: bytes, *headers: bytes, path: bytes = b"/detect") -> bytes:
    lines = b"".join(line + b"\r\n" for line in headers)
    return b"POST " + path + b" HTTP/1.1\r\n" + HEAD + lines + b"\r\n" + body


UPGRADE = (
    b"Connection: Upgrade, HTTP2-Settings",
    b"Upgrade: h2c",
    b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
)

CLOSED: dict[str, tuple[bytes, int]] = {
    "not HTTP": (b"\x16\x03\x01\x02\x00 hello\r\n\r\n", 405),
    "an unknown method": (b"BREW / HTTP/1.1\r\n" + HEAD + b"\r\n", 405),
    "a broken request line": (b"GET / HTTP/9.9\r\n\r\n", 400),
    "a header without a colon": (b"GET / HTTP/1.1\r\nHost\r\n\r\n", 400),
    "a NUL in a header": (b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 400),
    "a length that is no number": (post(b"", b"Content-Length: abc"), 400),
    "a negative length": (post(b"", b"Content-Length: -5"), 400),
    "two lengths": (post(b"abcd", b"Content-Length: 3", b"Content-Length: 4"), 400),
    "length and chunks": (
        post(b"1\r\nx\r\n0\r\n\r\n", b"Content-Length: 1", b"Transfer-Encoding: chunked"),
        400,
    ),
    "an upgrade with chunks": (post(b"", *UPGRADE, b"Transfer-Encoding: chunked"), 400),
    "a broken chunk": (post(b"zz\r\nx\r\n", b"Transfer-Encoding: chunked"), 400),
    "a header of 64 KB": (b"GET / HTTP/1.1\r\nX: " + b"x" * 65536 + b"\r\n\r\n", 431),
    "a path of 64 KB": (b"GET /" + b"x" * 65536 + b" HTTP/1.1\r\n" + HEAD + b"\r\n", 431),
    "10,000 headers": (b"GET / HTTP/1.1\r\n" + HEAD + b"X: y\r\n" * 10_000 + b"\r\n", 431),
    "a header without end": (b"GET / HTTP/1.1\r\nX: " + b"x" * 2_000_000, 431),
    "a trailer without end": (
        post(b"1\r\nx\r\n0\r\nX: " + b"x" * 4_000_000, b"Transfer-Encoding: chunked"),
        431,
    ),
    "a million chunks of a byte": (
        post(b"1\r\nx\r\n" * 1_000_000, b"Transfer-Encoding: chunked"),
        400,
    ),
    "a length of 10 GB": (post(b"x" * 1000, b"Content-Length: 10737418240"), 413),
    "chunks without end": (
        post((b"10000\r\n" + b"x" * 65536 + b"\r\n") * 300, b"Transfer-Encoding: chunked"),
        413,
    ),
}


@pytest.mark.parametrize("name", CLOSED)
def test_a_hostile_request_is_answered_in_json_and_the_connection_closes(
    name: str, server: Server
) -> None:
    data, status = CLOSED[name]
    with server.connect() as connection:
        writer = threading.Thread(target=_send, args=(connection, data))
        writer.start()  # the server need not read it all before it answers
        found = read_all(connection)
        writer.join()
    code, body, headers = answer_of(found)
    assert (code, set(body)) == (status, {"error", "code"})
    assert headers[b"connection"] == b"close"


def _send(connection: socket.socket, data: bytes) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(data)


def test_what_the_parser_refuses_is_counted(server: Server) -> None:
    server.speak(b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000 + b"\r\n\r\n")
    with server.client() as client:
        assert 'refusals_total{code="headers_too_large"}' in client.get("/metrics").text


def test_an_endless_upload_is_cut_off(server: Server) -> None:
    def chunks() -> Iterator[bytes]:
        while True:
            yield bytes(1 << 16)

    # The client reads the answer when it cannot write any more.
    with server.client() as client, suppress(httpx.HTTPError):
        assert client.post("/detect", content=chunks()).status_code == 413


@pytest.mark.parametrize("pieces", [1, 2, 100])
def test_a_client_that_offers_http2_is_answered_in_http1(server: Server, pieces: int) -> None:
    data = picture(90, 500, 400)
    length = b"Content-Length: %d" % len(data)
    head, body = post(b"", *UPGRADE, length), data
    step = max(1, len(body) // pieces)
    with server.connect() as connection:
        if pieces == 1:
            connection.sendall(head + body)
        else:
            connection.sendall(head)
            for n in range(0, len(body), step):
                time.sleep(0.001)
                connection.sendall(body[n : n + step])
        status, found, headers = answer_of(read_all(connection))
    assert (status, headers[b"connection"]) == (200, b"close")
    assert (found["width"], found["height"]) == (500, 400)
    lines = b"\r\n".join((b"GET /v2 HTTP/1.1", HEAD.strip(), *UPGRADE, b"", b""))
    assert answer_of(server.speak(lines))[0] == 200


def test_a_request_without_a_body_is_refused_and_keeps_the_connection(server: Server) -> None:
    with server.client() as client:
        for path in ("/detect", "/v2/models/ssd-resnet34/infer"):
            answer = client.request("POST", path)
            assert answer.status_code == 400
            assert answer.headers.get("connection") != "close"


def test_a_body_in_small_chunks_is_a_body(server: Server) -> None:
    data = picture(90)
    chunks = (data[n : n + 1] for n in range(len(data)))
    with server.client() as client:
        assert client.post("/detect", content=chunks).status_code == 200


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    request = b"GET /v2/health/live HTTP/1.1\r\n" + HEAD
    with server.connect() as connection:
        connection.sendall((request + b"\r\n") * 3 + request + b"Connection: close\r\n\r\n")
        found = read_all(connection)
    assert found.count(b"HTTP/1.1 200") == 4


SLOW: dict[str, tuple[bytes, bytes]] = {
    "headers": (b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
    "one header": (b"GET / HTTP/1.1\r\nX: ", b"y"),
    "a body": (post(b"", b"Content-Length: 1000"), b"x"),
    "chunks": (post(b"", b"Transfer-Encoding: chunked"), b"1\r\nx\r\n"),
}


@pytest.mark.parametrize("name", SLOW)
def test_a_slow_sender_is_given_up_while_others_are_served(name: str, server: Server) -> None:
    start, more = SLOW[name]
    began = time.monotonic()
    with server.connect() as connection, server.client() as client:
        connection.sendall(start)
        connection.settimeout(0.1)
        found = b""
        while time.monotonic() - began < 30:
            assert client.get("/v2/health/live").status_code == 200
            try:
                connection.sendall(more)
                part = connection.recv(1 << 16)
            except TimeoutError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                break
            if not part:
                break
            found += part
    status, body, _ = answer_of(found)
    assert (status, body["code"]) == (408, "upload_too_slow")


def test_a_connection_that_says_nothing_is_closed_without_a_word(server: Server) -> None:
    assert server.speak(b"") == b""


def test_a_connection_that_was_used_is_closed_when_it_is_idle(server: Server) -> None:
    found = server.speak(b"GET /v2/health/live HTTP/1.1\r\n" + HEAD + b"\r\n")
    assert answer_of(found)[0] == 200


def test_a_client_that_does_not_read_its_answer_is_given_up(server: Server) -> None:
    with server.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        # Many answers of some kilobytes, none of them read: the buffers of the system fill.
        request = b"GET /openapi.json HTTP/1.1\r\n" + HEAD + b"\r\n"
        connection.settimeout(0.2)

        def given_up() -> bool:
            try:
                connection.sendall(request * 50)
            except TimeoutError:
                return False
            except (BrokenPipeError, ConnectionResetError):
                return True
            return False

        wait(given_up)


def test_a_client_that_takes_a_large_answer_slowly_is_given_up(server: Server) -> None:
    data = bytes(4 * 3 * 1200 * 1200)
    headers = (b"Inference-Header-Content-Length: 0", b"Content-Length: %d" % len(data))
    with server.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.sendall(post(data, *headers, path=b"/v2/models/ssd-resnet34-raw/infer"))
        time.sleep(4)  # longer than the server's patience
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    # What the system had taken over still arrives; the server has dropped the rest.
    assert 0 < len(body) < 5_144_200


def test_more_connections_than_the_limit_are_turned_away(server: Server) -> None:
    connections = [server.connect() for _ in range(60)]
    try:
        codes = []
        for connection in connections:
            connection.settimeout(10)
            codes.append(connection.recv(12))
        assert b"HTTP/1.1 429" in codes
        assert codes.count(b"") >= 20, "the others are idle, and closed without a word"
    finally:
        for connection in connections:
            connection.close()


def test_500_clients_that_vanish_leave_nothing_behind(server: Server) -> None:
    def upload(connection: socket.socket) -> None:
        connection.sendall(post(b"x" * 500, b"Content-Length: 1000"))

    def ask(connection: socket.socket) -> None:
        data = picture(90)
        connection.sendall(post(data, b"Content-Length: %d" % len(data)))

    kinds: list[Callable[[socket.socket], None]] = [upload, ask]
    for n in range(500):
        with server.connect() as connection:
            kinds[n % 2](connection)
    with server.client() as client:  # it may be turned away as one connection too many
        wait(lambda: 'route="detect",status="499"' in client.get("/metrics").text)
