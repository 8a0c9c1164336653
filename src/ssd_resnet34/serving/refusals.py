"""Why a request was refused: one table of codes, for HTTP, gRPC and the documentation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ..errors import (
    CorruptImage,
    EmptyInput,
    ImageError,
    InvalidInput,
    SSDResNet34Error,
    TooManyBytes,
    TooManyPixels,
    UnsupportedImage,
    UsageError,
)


@dataclass(frozen=True, slots=True)
class Code:
    """A stable name, its HTTP status, the name of its gRPC status, and what it means."""

    name: str
    status: int
    grpc: str
    meaning: str


def _of_image(error: type[ImageError], grpc: str, meaning: str) -> Code:
    return Code(error.code, error.status, grpc, meaning)


_TABLE: Final = (
    Code("bad_request", 400, "INVALID_ARGUMENT", "not this protocol, or an option out of range"),
    _of_image(EmptyInput, "INVALID_ARGUMENT", "no bytes where an image should be"),
    Code("unauthorized", 401, "UNAUTHENTICATED", "no bearer token, or a wrong one"),
    Code("not_found", 404, "NOT_FOUND", "no such path, model or version"),
    Code("method_not_allowed", 405, "UNIMPLEMENTED", "see the header Allow"),
    Code("not_acceptable", 406, "INVALID_ARGUMENT", "neither JSON nor PNG is accepted"),
    Code("upload_too_slow", 408, "DEADLINE_EXCEEDED", "the request did not arrive in time"),
    _of_image(TooManyBytes, "INVALID_ARGUMENT", "over a limit of bytes; the connection closes"),
    _of_image(TooManyPixels, "INVALID_ARGUMENT", "the header claims more pixels than allowed"),
    _of_image(UnsupportedImage, "INVALID_ARGUMENT", "not an image of an accepted format"),
    Code("unsupported_encoding", 415, "INVALID_ARGUMENT", "a Content-Encoding not known here"),
    _of_image(CorruptImage, "INVALID_ARGUMENT", "damaged, cut short, or of a rare kind"),
    Code(
        "quarantined", 422, "INVALID_ARGUMENT", "this input ended a worker twice; never run again"
    ),
    Code("overloaded", 429, "UNAVAILABLE", "the queue is full; see the header Retry-After"),
    Code("headers_too_large", 431, "INVALID_ARGUMENT", "request line and headers are too long"),
    Code("failed", 500, "INTERNAL", "the engine failed, or a defect; the log says more"),
    Code("worker_died", 503, "UNAVAILABLE", "the worker ended during this request; try once more"),
    Code("not_ready", 503, "UNAVAILABLE", "starting, or shutting down"),
    Code("deadline_exceeded", 504, "DEADLINE_EXCEEDED", "not answered within its deadline"),
)

_LONGEST: Final = 500
"""Characters of a message: each is up to twelve bytes of the 8 KiB that gRPC has for it."""

CODES: Final[Mapping[str, Code]] = {code.name: code for code in _TABLE}


class Refused(SSDResNet34Error):
    """A request that is answered with an error.

    ``code`` is one of :data:`CODES`. ``retry_after`` is in seconds; ``allow`` lists the methods of
    a path. A message that repeats too much of what was sent is cut: gRPC has no room for it.
    """

    def __init__(
        self, code: str, message: str, *, retry_after: int | None = None, allow: str = ""
    ) -> None:
        super().__init__(message if len(message) <= _LONGEST else f"{message[:_LONGEST]}…")
        self.code = CODES[code]
        self.retry_after = retry_after
        self.allow = allow

    @property
    def status(self) -> int:
        """Of HTTP."""
        return self.code.status

    def body(self) -> dict[str, str]:
        """As JSON: the protocol's ``error``, and the stable ``code``."""
        return {"error": str(self), "code": self.code.name}

    def headers(self) -> dict[str, str]:
        """Of HTTP, without the body's own."""
        made = {}
        if self.retry_after is not None:
            made["retry-after"] = str(self.retry_after)
        if self.allow:
            made["allow"] = self.allow
        if self.code.status == 401:
            made["www-authenticate"] = "Bearer"
        return made


def bad_request(what: str) -> Refused:
    """What is not the protocol, or out of range; ``what`` says so, with the mend."""
    return Refused("bad_request", what)


def shutting_down() -> Refused:
    """What everybody hears who comes, or is not done arriving, after SIGTERM."""
    return Refused("not_ready", "the server is shutting down; ask another")


def of_error(error: SSDResNet34Error) -> Refused:
    """Any error of this package as an answer; what is not the request's fault is ``failed``."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, ImageError) and error.code in CODES:
        # The message of Python's own road; here an operator sets it.
        return Refused(error.code, str(error).replace("raise max_pixels", "raise --max-pixels"))
    if isinstance(error, UsageError | InvalidInput):
        return bad_request(str(error))
    return Refused("failed", str(error))
