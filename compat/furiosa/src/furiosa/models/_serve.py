"""``furiosa-models serve``: the server of ``ssd_resnet34``, with the vendor's ``POST /infer``."""

import json
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATH: Final = "/infer"

_THRESHOLD: Final = "0.05"
"""The vendor's; the server's own is made for people."""


class Infer:
    """``/infer`` in front of the server: its ``/detect``, in the vendor's JSON.

    Options of ``/detect`` (``score_threshold``, ``classes``) are options here, too. Refusals are
    the server's own.
    """

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH:
            await self._inner(scope, receive, send)
            return
        held: Message | None = None
        parts: list[bytes] = []

        async def converted(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start" and message["status"] == 200:
                held = message  # its length is not known yet
            elif held is None:
                await send(message)  # a refusal
            else:
                parts.append(message.get("body", b""))
                if not message.get("more_body", False):
                    body = _result(b"".join(parts))
                    length = {b"content-length": len(body)}
                    await send({**held, "headers": _replaced(held["headers"], length)})
                    await send({"type": message["type"], "body": body})

        await self._inner(_detect(scope), receive, converted)


def _detect(scope: Scope) -> Scope:
    """The same request to ``/detect``, for JSON."""
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    query.setdefault("score_threshold", _THRESHOLD)
    return {
        **scope,
        "path": "/detect",
        "raw_path": b"/detect",
        "query_string": urlencode(query).encode("latin-1"),
        "headers": _replaced(scope["headers"], {b"accept": "application/json"}),
    }


def _replaced(headers: Any, values: dict[bytes, Any]) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in headers if name.lower() not in values]
    return kept + [(name, str(value).encode()) for name, value in values.items()]


def _result(detections: bytes) -> bytes:
    """``{"result": [[{"boundingbox": {left, top, right, bottom}, "score", "label", "index"}]]}``,
    of the one image."""
    results = [
        {
            "boundingbox": dict(zip(("left", "top", "right", "bottom"), found["box"], strict=True)),
            "score": found["score"],
            "label": found["label"],
            "index": found["index"],
        }
        for found in json.loads(detections)["detections"]
    ]
    return json.dumps({"result": [results]}).encode()
