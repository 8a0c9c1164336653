"""``POST /detect``: one image in; the common JSON or the drawn picture out."""

import time
from typing import Final, Literal

from starlette.requests import Request
from starlette.responses import Response

from ..errors import CorruptImage, ImageError, UnsupportedImage
from . import options, work
from .answers import timing
from .bodies import Reader, content_type
from .limits import ServerLimits
from .metrics import Metrics
from .pool import Pool
from .refusals import Refused, bad_request, of_error
from .tasks import THE_IMAGE, Detect

MEDIA: Final[dict[str, Literal["json", "png"]]] = {
    "application/json": "json",
    "image/png": "png",
}

CURLS_OWN: Final = "application/x-www-form-urlencoded"
"""The type that curl gives to a body, unless it is told another."""

DAMAGED: Final = (CorruptImage.code, UnsupportedImage.code)
"""What becomes of an image without its line ends: a PNG is no longer known as one."""


class DetectRoute:
    """The route of one server."""

    def __init__(self, pool: Pool, reader: Reader, limits: ServerLimits, metrics: Metrics) -> None:
        self._pool, self._reader, self._limits, self._metrics = pool, reader, limits, metrics

    async def detect(self, request: Request) -> Response:
        media = accepted(request.headers.get("accept", "*/*"))
        facts = self._pool.check()
        query = request.query_params
        unknown = set(query) - set(options.NAMES)
        if unknown:
            raise bad_request(
                f"unknown option {min(unknown)!r:.80}; there are {', '.join(options.NAMES)}",
            )
        selection = options.read(query, facts.contract)
        with self._pool.place() as place:
            async with self._reader.upload(request) as (data, name):
                began = time.perf_counter()
                task = Detect(data, name, selection, MEDIA[media])
                try:
                    await work.look(data, name or THE_IMAGE, self._limits.images)
                    done = await work.run(request, self._pool, self._metrics, [task], place, began)
                except (ImageError, Refused) as error:
                    if not _came_damaged(request, error):
                        raise
                    hint = "sent with curl -d? it leaves out line ends: use --data-binary @FILE"
                    # No name for the refusal here, and no context manager that makes it (on Python
                    # 3.13): it would hold itself, and the body with it.
                    raise Refused(of_error(error).code.name, f"{of_error(error)}; {hint}") from None
        headers = timing(done, time.perf_counter() - began)
        return Response(done[0].result, 200, headers, media_type=media)


def _came_damaged(request: Request, error: ImageError | Refused) -> bool:
    """Whether what is no whole image may have come by ``curl -d``.

    curl names the same type for ``--data-binary``, so that the type alone is no ground.
    """
    return content_type(request)[0] == CURLS_OWN and of_error(error).code.name in DAMAGED


def accepted(header: str) -> str:
    """The media type that an ``Accept`` header likes best; JSON where it likes both as much.

    Raises:
        Refused: it takes neither.
    """
    best, liked = "", 0.0
    for media in MEDIA:
        quality = max((_quality(entry, media) for entry in header.split(",")), default=(0, 0.0))[1]
        if quality > liked:
            best, liked = media, quality
    if not best:
        raise Refused("not_acceptable", f"Accept is {header!r:.80}; there are {', '.join(MEDIA)}")
    return best


def _quality(entry: str, media: str) -> tuple[int, float]:
    """How exactly one entry of ``Accept`` names the type, and its weight (RFC 9110, 12.5.1)."""
    named, *parameters = (part.strip().lower() for part in entry.split(";"))
    ranges = ("*/*", f"{media.partition('/')[0]}/*", media)
    if named not in ranges:
        return -1, 0.0
    weight = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                weight = min(1.0, max(0.0, float(value)))  # nan is not above 0.0
            except ValueError:
                weight = 0.0
    return ranges.index(named), weight
