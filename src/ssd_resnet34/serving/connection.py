"""One HTTP connection: what uvicorn leaves open is bounded here.

Headers: their bytes and the time they take. Chunks of a body. The time a client takes to read an
answer. The number of connections. And every error has a JSON body, also those of the parser.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any, ClassVar, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from .limits import ServerLimits
from .refusals import Refused, bad_request

_CHUNK_HEADER: Final = 16
"""Bytes around a chunk."""

_BAD: Final = bad_request("this is not HTTP/1.1; the connection closes")


class Connection(HttpToolsProtocol):
    """uvicorn's connection with limits; made by :func:`connection_class`."""

    limits: ClassVar[ServerLimits]
    refused: ClassVar[Callable[[str], None]]
    """Gets the code of every answer that the application has not given."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._in_headers = False
        self._header_bytes = self._chunks = 0
        # The parser hands a header or trailer over when it is complete, and holds any length of it
        # until then. These are the bytes of a message, from its second block on, without its body.
        self._unseen = 0
        self._block = b""
        self._body_left = 0
        """Bytes of a body that the parser does not see: of a request that would like HTTP/2."""
        self._header_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._refusal: Refused | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self._refuse(Refused("overloaded", "too many connections; try again", retry_after=1))
            return
        self._begin_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._header_timer, self._send_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._body_left:
            self._take_body(data)
            return
        self._block = data
        self._unseen += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        most = self.limits.max_headers
        if not self._in_headers:
            most += _CHUNK_HEADER * self.limits.max_chunks
        if self._unseen > most:
            self._refuse(self._headers_too_large())

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls for anything the parser, or a callback below, has refused."""
        error = sys.exc_info()[1]  # it is called while that is handled
        if self._refusal is not None:
            self._refuse(self._refusal)
        elif isinstance(error, httptools.HttpParserInvalidMethodError):
            self._refuse(Refused("method_not_allowed", "no such method", allow="GET, HEAD, POST"))
        else:
            self._refuse(_BAD)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers = True
        self._header_bytes = self._chunks = self._unseen = 0
        if self._header_timer is None:
            self._begin_headers()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count_headers(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count_headers(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        self._end_headers()
        headers = dict(self.headers)
        upgrade = self.parser.should_upgrade()
        if upgrade and b"transfer-encoding" in headers:
            self._refusal = bad_request("Upgrade together with chunks; leave it out")
            raise self._refusal
        super().on_headers_complete()
        if upgrade:
            self.cycle.keep_alive = False  # the parser is of no use after this
            self._body_left = int(headers.get(b"content-length", b"0"))

    def on_message_complete(self) -> None:
        if not self._body_left:
            super().on_message_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """What uvicorn calls when a client offers another protocol, as Java's does (h2c).

        The offer is ignored. The parser takes the request for one without a body, so what is
        behind its headers is handed on here.
        """
        error = sys.exc_info()[1]
        if self._body_left and error is not None:
            self._take_body(self._block[error.args[0] :])

    def _take_body(self, data: bytes) -> None:
        part = data[: self._body_left]
        self._body_left -= len(part)
        if part:
            self.on_body(part)
        if not self._body_left:
            super().on_message_complete()

    def on_body(self, body: bytes) -> None:
        self._unseen -= len(body)
        super().on_body(body)

    def on_chunk_header(self) -> None:
        self._chunks += 1
        if self._chunks > self.limits.max_chunks:
            self._refusal = bad_request(
                f"more than {self.limits.max_chunks} chunks; send larger ones"
            )
            raise self._refusal

    def on_response_complete(self) -> None:
        self._end_sending()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._send_timer is None:
            self._send_timer = self.loop.call_later(self.limits.send_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._end_sending()

    def _end_sending(self) -> None:
        """The time to read an answer counts from the first full buffer until all of it is out."""
        done = self.cycle is None or self.cycle.response_complete
        if self._send_timer is not None and done and not self.flow.write_paused:
            self._send_timer.cancel()
            self._send_timer = None

    def _count_headers(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self.limits.max_headers:
            self._refusal = self._headers_too_large()
            raise self._refusal

    def _headers_too_large(self) -> Refused:
        return Refused(
            "headers_too_large", f"more than {self.limits.max_headers} bytes of headers; send fewer"
        )

    def _begin_headers(self) -> None:
        self._header_timer = self.loop.call_later(
            self.limits.header_seconds, self._headers_too_slow
        )

    def _end_headers(self) -> None:
        self._in_headers = False
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _headers_too_slow(self) -> None:
        if self.transport.is_closing():
            return
        if not self._in_headers:  # a connection that was opened in advance and is not needed
            self.transport.close()
        else:
            self._refuse(
                Refused(
                    "upload_too_slow",
                    f"no request within {self.limits.header_seconds:g} s; the connection closes",
                )
            )

    def _refuse(self, refused: Refused) -> None:
        """Answer without the application, and close."""
        cycle = self.cycle
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            self.transport.abort()  # nothing else can be said in the middle of an answer
            return
        type(self).refused(refused.code.name)
        body = f"{json.dumps(refused.body())}\n".encode()
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "connection": "close",
            **refused.headers(),
        }
        lines = [f"{name}: {value}\r\n".encode() for name, value in headers.items()]
        self.transport.write(b"".join((STATUS_LINE[refused.status], *lines, b"\r\n", body)))
        self.transport.close()


def connection_class(limits: ServerLimits, refused: Callable[[str], None]) -> type[Connection]:
    """The class of a server's connections, for uvicorn's ``http``; ``refused`` gets codes."""
    members = {"limits": limits, "refused": staticmethod(refused)}
    return type("LimitedConnection", (Connection,), members)
