"""Answers over HTTP: JSON, refusals, and where the time went."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from .refusals import Refused
from .tasks import Done


def json_answer(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer of one line of JSON, without spaces; NaN is an error, since it is none."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Response(f"{text}\n", status, headers, media_type="application/json")


def refusal(refused: Refused) -> Response:
    """Its status, its headers, and ``{"error", "code"}``."""
    return json_answer(refused.body(), refused.status, refused.headers())


def timing(done: Sequence[Done], seconds: float) -> dict[str, str]:
    """The header ``Server-Timing`` (W3C): milliseconds of each stage, summed over the images.

    ``queue`` is what is left of ``seconds``, the time from the request's arrival: waiting for a
    worker and in it for the network, and moving bytes. Images that ran at the same time can leave
    nothing.
    """
    stages: dict[str, float] = {}
    for one in done:
        for name, value in one.seconds.items():
            stages[name] = stages.get(name, 0.0) + value
    stages = {"queue": max(0.0, seconds - sum(stages.values())), **stages}
    return {
        "server-timing": ", ".join(
            f"{name};dur={1e3 * value:.1f}" for name, value in stages.items()
        )
    }
