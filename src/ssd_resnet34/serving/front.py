"""What stands in front of every route: the token, the count, and bodies that nobody reads."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import quote

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .answers import refusal
from .closing import Closing
from .refusals import Refused
from .tokens import check_token

_LOG = logging.getLogger(__name__)

_LINGER_SECONDS: Final = 30.0
_LINGER_BYTES: Final = 64 << 20
_LOOK_SECONDS: Final = 2.0
_LEAST_BYTES: Final = 64 << 10
"""What must come between two looks for the lingering to go on: by a line of 256 kbit/s."""

_LAST_SECONDS: Final = 0.5
"""The longest lingering while the server closes, which would else wait for it."""

OPEN: Final = ("/", "/v2/health/live", "/v2/health/ready")
"""Paths that need no token; and the page's own files."""

CLIENT_GONE: Final = 499

Count = Callable[[str, int, float], None]
"""Gets the route's name, the status and the seconds of each request."""


class Counted:
    """Counts and logs every request when its answer is out."""

    def __init__(self, app: ASGIApp, count: Count) -> None:
        self._app, self._count = app, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        status = CLIENT_GONE

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            seconds = time.perf_counter() - began
            route = getattr(scope.get("endpoint"), "__name__", "none")
            self._count(route, status, seconds)
            path = quote(scope["path"])  # as it was sent: a decoded line feed would forge a line
            _LOG.debug("%s %s: %d, %.3f s", scope["method"], path, status, seconds)


class Lingering:
    """Reads on a little when a request was answered before its body had arrived.

    A connection that is closed with unread bytes is reset, and the reset may overtake the answer.
    So the answer goes out at once, then the rest is read and dropped, as long as it comes fast
    enough to be worth it, then it closes.
    """

    def __init__(self, app: ASGIApp, closing: Closing) -> None:
        self._app, self._closing = app, closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        unread = b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"

        async def watched() -> Message:
            nonlocal unread
            message = await receive()
            unread = unread and bool(message.get("more_body", False))
            return message

        async def lingering(message: Message) -> None:
            if not unread:
                await send(message)
            elif message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
                await send(message)
            elif message.get("more_body", False):
                await send(message)
            else:
                await send({**message, "more_body": True})
                with suppress(TimeoutError):
                    async with self._closing.within(_LINGER_SECONDS, _LAST_SECONDS):
                        await _drain(receive)
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app(scope, watched, lingering)


async def _drain(receive: Receive) -> None:
    size = 0
    while True:
        before = size
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                while size < _LINGER_BYTES:
                    message = await receive()
                    if not message.get("more_body", False):  # the end, or the client is gone
                        return
                    size += len(message.get("body", b""))
        if size >= _LINGER_BYTES or size - before < _LEAST_BYTES:
            return


class Guarded:
    """Lets in who has the token, and everybody where there is none."""

    def __init__(
        self,
        app: ASGIApp,
        token: str | None,
        refused: Callable[[str], None],
        routes: Sequence[BaseRoute],
    ) -> None:
        self._app, self._token, self._refused, self._routes = app, token, refused, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        try:
            if not (scope["path"] in OPEN or scope["path"].startswith("/static/")):
                check_token(given, self._token)
        except Refused as error:
            self._refused(error.code.name)
            self._name_route(scope)
            await refusal(error)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _name_route(self, scope: Scope) -> None:
        """Say which route is refused, as the router would have, for the count."""
        for route in self._routes:
            match, found = route.matches(scope)
            if match is not Match.NONE:
                scope.update(found)
                return
