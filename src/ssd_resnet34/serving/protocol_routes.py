"""The routes of the Open Inference Protocol v2."""

import time
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from .. import __version__
from . import inference, options, work
from .answers import json_answer, timing
from .bodies import Reader
from .inference import HEADER_LENGTH, InferRequest
from .limits import ServerLimits
from .metrics import Metrics
from .models import DETECTION, HEADS, VERSION, Model, models
from .pool import Pool
from .refusals import Refused
from .tasks import Infer, Parse, RunHeads, Started, Task
from .tensors import OutputTensor, join

INLINE_JSON: Final = 256 << 10
"""Bytes of JSON that are read in the server's own process (10 ms); a worker reads longer ones."""

NAME: Final = "ssd-resnet34"
EXTENSIONS: Final = ("binary_tensor_data",)


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
        if self._pool.facts is None:
            self._pool.check()
        assert self._pool.facts is not None
        return json_answer(served(self._pool.facts)[name].metadata())

    async def model_ready(self, request: Request) -> Response:
        return self._readiness({"name": _known(request)})

    async def infer(self, request: Request) -> Response:
        name = _known(request)
        facts = self._pool.check()
        model = served(facts)[name]
        async with self._reader.body(request) as body:
            began = time.perf_counter()
            asked = await self._parsed(request, body, model)
            wanted = model.wanted(asked)
            tasks: list[Task] = []
            if model.name == HEADS:
                for tensor in model.payloads(asked, self._limits.max_batch):
                    tasks.append(RunHeads(tensor, wanted))
            else:
                selection = options.read(asked.parameters, facts.contract)
                for number, data in enumerate(model.payloads(asked, self._limits.max_batch)):
                    await work.look(data, f"image {number}", self._limits.images)
                    tasks.append(Infer(data, selection, wanted))
            timeout = asked.timeout
            if timeout is not None:  # reading the request is part of it
                timeout = max(1e-6, timeout - (time.perf_counter() - began))
            done = await work.run(request, self._pool, self._metrics, tasks, timeout)
        results: list[tuple[OutputTensor, ...]] = [one.result for one in done]  # type: ignore[misc]
        outputs = [join(parts) for parts in zip(*results, strict=True)]
        content, length = inference.answer(model.name, VERSION, asked.id, outputs)
        headers = timing(done, time.perf_counter() - began)
        media = "application/json"
        if length is not None:
            headers[HEADER_LENGTH] = str(length)
            media = "application/octet-stream"
        return Response(content, 200, headers, media_type=media)

    async def _parsed(self, request: Request, body: bytes, model: Model) -> InferRequest:
        length = inference.header_length(request.headers.getlist(HEADER_LENGTH), len(body))
        if length == 0:
            shape = (1, *model.input.shape[1:])
            return inference.raw(body, model.input.name, model.input.datatype, shape)
        if (length or len(body)) <= INLINE_JSON:
            return inference.parse(body, length, self._limits.max_id)
        task = Parse(body, length, self._limits.max_id)
        (done,) = await work.run(request, self._pool, self._metrics, [task], None)
        assert isinstance(done.result, InferRequest)
        return done.result

    def _readiness(self, name: dict[str, str]) -> Response:
        if self._pool.ready:
            return json_answer({**name, "ready": True})
        state = "shutting down" if self._pool.draining else "no worker is ready"
        refused = Refused("not_ready", state, retry_after=1)
        return json_answer({**name, "ready": False, **refused.body()}, 503, refused.headers())


def server_metadata() -> dict[str, object]:
    return {"name": NAME, "version": __version__, "extensions": list(EXTENSIONS)}


def served(facts: Started) -> dict[str, Model]:
    """The models, as the workers run them."""
    return models(facts.contract, f"{facts.engine}_{facts.precision}")


def _known(request: Request) -> str:
    """The model of the path.

    Raises:
        Refused: no such model or version.
    """
    name = str(request.path_params["model"])
    version = str(request.path_params.get("version", VERSION))
    if name not in (DETECTION, HEADS):
        raise Refused("not_found", f"no model {name!r:.80}; there are {DETECTION} and {HEADS}")
    if version != VERSION:
        raise Refused("not_found", f"model {name} has version {VERSION}, not {version!r:.80}")
    return name
