"""Bodies of requests, read within limits: time, bytes before and after inflation, parts.

uvicorn and Starlette bound none of these. What the server holds is counted in one budget.
"""

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from multipart import MultipartError, MultipartSegment, PushMultipartParser
from starlette.requests import ClientDisconnect, Request

from ..errors import TooManyBytes
from .closing import Closing
from .limits import ServerLimits, amount
from .line import Budget
from .refusals import Refused, bad_request, shutting_down

_SLICE: Final = 1 << 20
"""Bytes that are inflated before others in this process get their turn."""

_WINDOW: Final[Mapping[str, int]] = {"gzip": 31, "deflate": 15}
"""Content-Encoding -> zlib's wbits. HTTP's deflate is a zlib stream (RFC 9110)."""

_IMAGE_FIELDS: Final = ("image", "file")
_PART_HEADER: Final = 4096


class Reader:
    """The bodies of one server; ``budget`` is shared by all its requests.

    What has not arrived when the server begins to close is refused, since nobody will run it.
    """

    def __init__(self, limits: ServerLimits, budget: Budget, closing: Closing) -> None:
        self._limits, self._budget, self._closing = limits, budget, closing

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The whole body, inflated; its bytes count in the budget as long as the context is open.

        Raises:
            Refused: over a limit of bytes or time, a broken or unknown encoding; or the server
                closes.
            TooManyBytes: over the limit of a body.
            ClientDisconnect: the client is gone.
        """
        async with self._held() as held:
            parts = []
            async for chunk in self._chunks(request):
                held.take(len(chunk))
                parts.append(chunk)
            data = b"".join(parts)
            parts.clear()  # else every body would be held twice
            yield data

    @asynccontextmanager
    async def upload(self, request: Request) -> AsyncIterator[tuple[bytes, str]]:
        """The one file of a multipart body, or the whole body; and the file's name, "" for none.

        Raises: as :meth:`body`, and Refused for a multipart body without one file, or broken.
        """
        kind, options = content_type(request)
        if kind != "multipart/form-data":
            async with self.body(request) as data:
                yield data, ""
            return
        form = _Form(_boundary(options), self._limits)
        async with self._held() as held:
            async for chunk in self._chunks(request):
                held.take(len(chunk))
                form.feed(chunk)
            yield form.file()

    @asynccontextmanager
    async def _held(self) -> AsyncIterator["_Held"]:
        held = _Held(self._budget)
        try:
            yield held
        finally:
            self._budget.give_back(held.size)

    async def _chunks(self, request: Request) -> AsyncIterator[bytes]:
        """The body in pieces, inflated."""
        headers, most = request.headers, self._limits.max_body
        if "content-length" in headers and "transfer-encoding" in headers:
            raise bad_request("both Content-Length and Transfer-Encoding; send one of them")
        inflate = _inflater(headers.getlist("content-encoding"))
        announced = int(headers.get("content-length", "0"))
        if announced > most:
            raise _too_many(self._limits)
        self._budget.check(announced)  # not taken yet: a client could claim it and send nothing
        sent = size = 0
        end = time.monotonic() + self._limits.upload_seconds
        more = True
        while more:
            chunk, more = await self._receive(request, end - time.monotonic())
            sent += len(chunk)
            if sent > most:
                raise _too_many(self._limits)
            pieces = inflate.feed(chunk) if inflate else _as_it_is(chunk)
            async for piece in pieces:
                size += len(piece)
                if size > most:
                    raise _too_many(self._limits)
                yield piece
        if inflate:
            inflate.finish()

    async def _receive(self, request: Request, seconds: float) -> tuple[bytes, bool]:
        """What has arrived, and whether more is to come."""
        try:
            async with self._closing.within(seconds):
                message = await request.receive()
        except TimeoutError:
            if self._closing.begun:
                raise shutting_down() from None
            raise Refused(
                "upload_too_slow",
                f"the body did not arrive within {self._limits.upload_seconds:g} s; send it faster",
            ) from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        return message.get("body", b""), message.get("more_body", False)


@dataclass(slots=True)
class _Held:
    """What one request took from the budget."""

    budget: Budget
    size: int = 0

    def take(self, size: int) -> None:
        self.budget.take(size)
        self.size += size


async def _as_it_is(chunk: bytes) -> AsyncIterator[bytes]:
    if chunk:
        yield chunk


def _inflater(encodings: list[str]) -> "_Inflater | None":
    names = [name.strip().lower() for value in encodings for name in value.split(",")]
    names = [name for name in names if name not in ("", "identity")]
    if not names:
        return None
    if len(names) > 1 or names[0] not in _WINDOW:
        raise Refused(
            "unsupported_encoding",
            f"Content-Encoding {', '.join(names)!r:.80}; send gzip, deflate or none",
        )
    return _Inflater(names[0])


class _Inflater:
    def __init__(self, name: str) -> None:
        self._name, self._zlib = name, zlib.decompressobj(_WINDOW[name])

    async def feed(self, chunk: bytes) -> AsyncIterator[bytes]:
        while chunk:
            if self._zlib.eof:
                raise bad_request(f"bytes behind the end of the {self._name} stream")
            try:
                piece = self._zlib.decompress(chunk, _SLICE)
            except zlib.error as error:
                raise bad_request(f"the body is not {self._name} ({error})") from None
            chunk = self._zlib.unconsumed_tail or self._zlib.unused_data
            if piece:
                yield piece
            await asyncio.sleep(0)

    def finish(self) -> None:
        if not self._zlib.eof:
            raise bad_request(f"the {self._name} stream ends too early")


@dataclass(slots=True)
class _File:
    name: str
    parts: list[bytes] = field(default_factory=list)
    size: int = 0


class _Form:
    """A multipart body as it arrives: one file, nothing else."""

    def __init__(self, boundary: str, limits: ServerLimits) -> None:
        self._limits = limits
        self._files: list[_File] = []
        try:
            self._parser = PushMultipartParser(
                boundary,
                max_header_size=_PART_HEADER,
                max_header_count=16,
                max_segment_count=limits.max_parts,
            )
        except ValueError as error:
            raise bad_request(f"multipart: {error}") from None

    def feed(self, chunk: bytes) -> None:
        try:
            for event in self._parser.parse(chunk):
                if isinstance(event, MultipartSegment):
                    self._begin(event)
                elif event:
                    file = self._files[-1]
                    file.size += len(event)
                    if file.size > self._limits.images.max_bytes:
                        raise _too_many(self._limits)
                    file.parts.append(bytes(event))
        except MultipartError as error:
            raise bad_request(f"multipart: {error.args[0]}") from None

    def _begin(self, segment: MultipartSegment) -> None:
        if segment.name not in _IMAGE_FIELDS:
            raise bad_request(
                f"multipart: a field {segment.name!r:.80}; send one file as 'image', and options "
                "in the query string"
            )
        self._files.append(_File(segment.filename or ""))

    def file(self) -> tuple[bytes, str]:
        try:
            self._parser.close()
        except MultipartError as error:
            raise bad_request(f"multipart: {error}") from None
        if len(self._files) != 1:
            raise bad_request(f"multipart: {len(self._files)} files; send one image in a request")
        file = self._files.pop()  # its parts go; else every file would be held twice
        return b"".join(file.parts), file.name


def content_type(request: Request) -> tuple[str, str]:
    """The media type of a request's body in lower case, "" for none, and its parameters."""
    kind, _, options = request.headers.get("content-type", "").partition(";")
    return kind.strip().lower(), options


def _boundary(options: str) -> str:
    for option in options.split(";"):
        name, _, value = option.partition("=")
        if name.strip().lower() == "boundary":
            return value.strip().strip('"')
    raise bad_request("multipart without a boundary in its Content-Type")


def _too_many(limits: ServerLimits) -> TooManyBytes:
    most, around = amount(limits.images.max_bytes), amount(limits.max_framing_bytes)
    return TooManyBytes(
        f"the body has more than an image may have, {most} (--max-bytes), and {around} around it; "
        "send a smaller one"
    )
