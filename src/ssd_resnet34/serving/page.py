"""The page for people: files of this package, read once, under a policy that allows no others."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from ..vision.colours import colour_of
from .refusals import Refused

_FOLDER: Final = Path(__file__).parent / "static"
_MEDIA: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}

_COLOURS: Final = 256
"""Classes with a colour of their own; those of higher indices share them."""

_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class _File:
    data: bytes
    media: str
    tag: str


async def index(request: Request) -> Response:
    """The page for people."""
    return _answer(request, "index.html")


async def static(request: Request) -> Response:
    """A file that the page needs."""
    return _answer(request, str(request.path_params["name"]))


def _answer(request: Request, name: str) -> Response:
    found = _files().get(name)
    if found is None:
        raise Refused("not_found", "no such file of the page")
    headers = {**_HEADERS, "etag": found.tag}
    if request.headers.get("if-none-match") == found.tag:
        return Response(status_code=304, headers=headers)
    return Response(found.data, headers=headers, media_type=found.media)


@cache
def _files() -> dict[str, _File]:
    """By name; what a request asks for never becomes a path."""
    found = {path.name: path.read_bytes() for path in sorted(_FOLDER.iterdir()) if path.is_file()}
    colours = [f"rgb{colour_of(index)}" for index in range(_COLOURS)]
    found["colours.js"] = f"export const COLOURS = {json.dumps(colours)};\n".encode()
    return {
        name: _File(data, _MEDIA[Path(name).suffix], f'"{hashlib.sha256(data).hexdigest()[:16]}"')
        for name, data in found.items()
    }
