"""What the server takes, and for how long: one frozen set of numbers."""

import math
from dataclasses import dataclass, field, fields
from typing import Any, Final

from ..errors import UsageError
from ..vision.images import DEFAULT_LIMITS, Limits

MEBI: Final = 1 << 20


def amount(size: int) -> str:
    """Bytes in words: whole MiB and above in MiB, as the documentation has them."""
    return f"{size / MEBI:g} MiB" if size >= MEBI else f"{size:,} bytes"


def _limit(default: Any, unit: str, meaning: str, code: str = "") -> Any:
    """A field; ``code`` is what a request over it is refused with."""
    return field(default=default, metadata={"unit": unit, "meaning": meaning, "code": code})


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Every limit of the server; ``images`` are those of every other road.

    Raises:
        UsageError: a number below 1 (seconds: not above 0, or without end).
    """

    images: Limits = DEFAULT_LIMITS
    deadline: float = _limit(
        10.0,
        "s",
        "from the last byte of a request to its answer; `parameters.timeout` shortens it",
        "deadline_exceeded",
    )
    max_batch: int = _limit(8, "images", "in one inference request", "bad_request")
    max_queued_bytes: int = _limit(
        256 * MEBI, "bytes", "of all requests in the server together", "overloaded"
    )
    max_framing_bytes: int = _limit(
        1 * MEBI,
        "bytes",
        "a body may be longer than an image: JSON, multipart",
        "too_many_bytes",
    )
    max_id: int = _limit(1024, "characters", "of a request's `id`", "bad_request")
    max_headers: int = _limit(32 << 10, "bytes", "of request line and headers", "headers_too_large")
    max_chunks: int = _limit(65_536, "chunks", "of a chunked body", "bad_request")
    max_parts: int = _limit(8, "parts", "of a multipart body", "bad_request")
    max_connections: int = _limit(512, "connections", "at the same time", "overloaded")
    header_seconds: float = _limit(10.0, "s", "for the headers of a request to arrive")
    upload_seconds: float = _limit(60.0, "s", "for its body to arrive", "upload_too_slow")
    arrival_seconds: float = _limit(
        1.0, "s", "a place in the line is kept for a body on its way; then it must find one"
    )
    send_seconds: float = _limit(60.0, "s", "for a client to take its answer")
    idle_seconds: float = _limit(20.0, "s", "a connection stays open between requests")
    run_seconds: float = _limit(
        120.0, "s", "in a worker, which then counts as hung and is ended", "worker_died"
    )
    drain_seconds: float = _limit(30.0, "s", "for accepted requests to finish at SIGTERM")
    restarts: int = _limit(
        5, "workers", "may end one after the other without an answer; then the server gives up"
    )

    def __post_init__(self) -> None:
        for one in fields(self)[1:]:
            value = getattr(self, one.name)
            if not (value >= 1 if isinstance(value, int) else 0 < value < math.inf):
                least = "above 0" if isinstance(value, float) else "from 1"
                raise UsageError(f"{one.name}: {value} is out of range; give a number {least}")

    @property
    def max_body(self) -> int:
        """Bytes of a request's body, after any decompression."""
        return self.images.max_bytes + self.max_framing_bytes
