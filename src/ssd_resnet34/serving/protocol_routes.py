"""The routes of the Open Inference Protocol v2."""

import time
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from . import inference, work
from .answers import json_answer, timing
from .bodies import Reader
from .inference import HEADER_LENGTH, InferRequest
from .limits import ServerLimits
from .line import Place
from .metrics import Metrics
from .models import VERSION, Model, known, served, server_metadata
from .pool import Pool
from .refusals import Refused
from .tasks import Parse

INLINE_JSON: Final = 256 << 10
"""Bytes of JSON that are read in the server's own process (10 ms); a worker reads longer ones."""


class ProtocolRoutes:
    """The routes of one server."""

    def __init__(self, pool: Pool, reader: Reader, limits: ServerLimits, metrics: Metrics) -> None:
        self._pool, self._reader, self._limits, self._metrics = pool, reader, limits, metrics

    async def server(self, request: Request) -> Response:
        return json_answer(server_metadata())

    async def live(self, request: Request) -> Response:
        return json_answer({"live": True})

    async def ready(self, request: Request) -> Response:
        return self._readiness({})

    async def model(self, request: Request) -> Response:
        name = _known(request)
        facts = self._pool.facts or self._pool.check()
        return json_answer(served(facts)[name].metadata())

    async def model_ready(self, request: Request) -> Response:
        return self._readiness({"name": _known(request)})

    async def infer(self, request: Request) -> Response:
        name = _known(request)
        facts = self._pool.check()
        model = served(facts)[name]
        with self._pool.place() as place:
            async with self._reader.body(request) as body:
                began = time.perf_counter()
                asked = await self._parsed(request, body, model, place, began)
                tasks = await work.tasks_of(asked, model, facts, self._limits)
                done = await work.run(
                    request, self._pool, self._metrics, tasks, place, began, asked.timeout
                )
        outputs = work.outputs_of(done)
        content, length = inference.answer(model.name, VERSION, asked.id, outputs)
        headers = timing(done, time.perf_counter() - began)
        media = "application/json"
        if length is not None:
            headers[HEADER_LENGTH] = str(length)
            media = "application/octet-stream"
        return Response(content, 200, headers, media_type=media)

    async def _parsed(
        self, request: Request, body: bytes, model: Model, place: Place, began: float
    ) -> InferRequest:
        length = inference.header_length(request.headers.getlist(HEADER_LENGTH), len(body))
        if length == 0:
            shape = (1, *model.input.shape[1:])
            return inference.raw(body, model.input.name, model.input.datatype, shape)
        if length is None:
            inference.refuse_image(body)
        if (length or len(body)) <= INLINE_JSON:
            return inference.parse(body, length, self._limits.max_id)
        task = Parse(body, length, self._limits.max_id)
        (done,) = await work.run(request, self._pool, self._metrics, [task], place, began)
        assert isinstance(done.result, InferRequest)
        return done.result

    def _readiness(self, name: dict[str, str]) -> Response:
        if self._pool.ready:
            return json_answer({**name, "ready": True})
        state = "shutting down" if self._pool.draining else "no worker is ready"
        refused = Refused("not_ready", state, retry_after=1)
        return json_answer({**name, "ready": False, **refused.body()}, 503, refused.headers())


def _known(request: Request) -> str:
    parameters = request.path_params
    return known(str(parameters["model"]), str(parameters.get("version", VERSION)))
