"""The Open Inference Protocol over gRPC, with gRPC's own health check."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from ..errors import ServerError, SSDResNet34Error
from . import inference, work
from .grpc_messages import CLASSES, HEALTH, INFERENCE
from .inference import InferRequest, InputTensor, WantedOutput
from .limits import ServerLimits
from .line import Budget
from .metrics import Metrics
from .models import VERSION, known, served, server_metadata
from .pool import Pool
from .refusals import Refused, of_error
from .tensors import read_elements
from .tokens import check_token

_LOG = logging.getLogger(__name__)

_SERVING, _NOT_SERVING, _UNKNOWN_SERVICE = 1, 2, 3

_CALLS: Final = 64
"""At the same time; gRPC holds the whole message of each before this process sees it."""

_WATCH_SECONDS: Final = 0.2

Handler = Callable[[Any, Any], Awaitable[Any]]


class GrpcService:
    """The calls of one server; every request holds its bytes in the budget shared with HTTP."""

    def __init__(
        self, pool: Pool, limits: ServerLimits, budget: Budget, metrics: Metrics, token: str | None
    ) -> None:
        self._pool, self._limits, self._budget = pool, limits, budget
        self._metrics, self._token = metrics, token

    def handlers(self) -> list[Any]:
        """For ``grpc.aio.Server.add_generic_rpc_handlers``."""
        calls: dict[str, Handler] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._model_infer,
        }
        described = {
            name: grpc.unary_unary_rpc_method_handler(
                self._answered(name, call),
                _reader(f"{name}Request"),
                CLASSES[f"{name}Response"].SerializeToString,
            )
            for name, call in calls.items()
        }
        ends = (
            CLASSES["HealthCheckRequest"].FromString,
            CLASSES["HealthCheckResponse"].SerializeToString,
        )
        health = {
            "Check": grpc.unary_unary_rpc_method_handler(self._check, *ends),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch, *ends),
        }
        return [
            grpc.method_handlers_generic_handler(f"{INFERENCE}.GRPCInferenceService", described),
            grpc.method_handlers_generic_handler(f"{HEALTH}.Health", health),
        ]

    def _answered(self, name: str, call: Handler) -> Handler:
        """The call with the token checked, errors as statuses, and a count."""
        open_to_all = name in ("ServerLive", "ServerReady")

        async def handle(request: Any, context: Any) -> Any:
            began, status = time.perf_counter(), "CANCELLED"
            try:
                if not open_to_all:
                    metadata = dict(context.invocation_metadata() or ())
                    check_token(str(metadata.get("authorization", "")), self._token)
                if request is None:
                    raise _bad(f"the bytes are no {name}Request; send what the protocol describes")
                answer = await call(request, context)
                status = "OK"
                return answer
            except SSDResNet34Error as error:
                refused = of_error(error)
                status = refused.code.grpc
                await self._abort(context, refused)
            except Exception:
                _LOG.exception("a defect in %s", name)
                status = "INTERNAL"
                await self._abort(
                    context, Refused("failed", "a defect; the server's log says more")
                )
            finally:
                self._metrics.request(f"grpc {name}", status, time.perf_counter() - began)

        return handle

    async def _abort(self, context: Any, refused: Refused) -> None:
        self._metrics.refused(refused.code.name)
        details = [("code", refused.code.name)]
        if refused.retry_after is not None:
            details.append(("retry-after", str(refused.retry_after)))
        code = getattr(grpc.StatusCode, refused.code.grpc)
        await context.abort(code, str(refused), trailing_metadata=tuple(details))

    async def _server_live(self, request: Any, context: Any) -> Any:
        return CLASSES["ServerLiveResponse"](live=True)

    async def _server_ready(self, request: Any, context: Any) -> Any:
        return CLASSES["ServerReadyResponse"](ready=self._pool.ready)

    async def _model_ready(self, request: Any, context: Any) -> Any:
        try:
            known(request.name, request.version)
        except Refused:  # other servers, too, answer this call with OK
            return CLASSES["ModelReadyResponse"](ready=False)
        return CLASSES["ModelReadyResponse"](ready=self._pool.ready)

    async def _server_metadata(self, request: Any, context: Any) -> Any:
        return CLASSES["ServerMetadataResponse"](**server_metadata())

    async def _model_metadata(self, request: Any, context: Any) -> Any:
        name = known(request.name, request.version)
        facts = self._pool.facts or self._pool.check()
        return CLASSES["ModelMetadataResponse"](**served(facts)[name].metadata())

    async def _model_infer(self, request: Any, context: Any) -> Any:
        began, left = time.perf_counter(), context.time_remaining()
        name = known(request.model_name, request.model_version)
        facts = self._pool.check()
        size = request.ByteSize()
        self._budget.take(size)
        try:
            with self._pool.place() as place:
                asked = read(request, self._limits.max_id)
                tasks = await work.tasks_of(asked, served(facts)[name], facts, self._limits)
                timeout = min(
                    (one for one in (asked.timeout, left) if one is not None), default=None
                )
                done = await self._pool.run(tasks, timeout, place, time.perf_counter() - began)
        finally:
            self._budget.give_back(size)
        for one in done:
            self._metrics.stages(one.seconds)
        answer = CLASSES["ModelInferResponse"](
            model_name=name, model_version=VERSION, id=request.id
        )
        for output in work.outputs_of(done):
            answer.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
            answer.raw_output_contents.append(output.data)
        return answer

    async def _check(self, request: Any, context: Any) -> Any:
        status = self._status(request.service)
        if status == _UNKNOWN_SERVICE:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return CLASSES["HealthCheckResponse"](status=status)

    async def _watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        last = None
        while True:
            status = self._status(request.service)
            if status != last:
                last = status
                yield CLASSES["HealthCheckResponse"](status=status)
            await asyncio.sleep(_WATCH_SECONDS)

    def _status(self, service: str) -> int:
        if service not in ("", f"{INFERENCE}.GRPCInferenceService"):
            return _UNKNOWN_SERVICE
        return _SERVING if self._pool.ready else _NOT_SERVING


def _reader(name: str) -> Callable[[bytes], Any]:
    """Reads a message of this name, None for bytes that are none: gRPC itself would say UNKNOWN."""

    def read_message(data: bytes) -> Any:
        try:
            return CLASSES[name].FromString(data)
        except DecodeError:
            return None

    return read_message


def read(request: Any, max_id: int) -> InferRequest:
    """A ``ModelInferRequest`` as the request that HTTP gives.

    Raises:
        Refused: contents both typed and raw, or neither; or of the wrong number.
    """
    if len(request.id) > max_id:
        raise _bad(f"the id has {len(request.id)} characters; at most {max_id}")
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise _bad(f"{len(raw)} raw contents for {len(request.inputs)} inputs")
    inputs: list[InputTensor] = []
    for number, one in enumerate(request.inputs):
        if bool(raw) == one.HasField("contents"):
            raise _bad(f"input {one.name!r:.80}: give either contents or raw_input_contents")
        elements = _raw(one, raw[number]) if raw else _typed(one)
        if one.name in {other.name for other in inputs}:
            raise _bad(f"input {one.name!r:.80} is there twice")
        inputs.append(InputTensor(one.name, one.datatype, _shape(one), elements))
    wanted = tuple(WantedOutput(name, True) for name in {o.name: None for o in request.outputs})
    parameters = {
        name: getattr(value, kind)
        for name, value in request.parameters.items()
        if (kind := value.WhichOneof("choice"))
    }
    return InferRequest(
        request.id or None,
        tuple(inputs),
        wanted or None,
        True,
        parameters,
        inference.timeout_of(parameters),
    )


def _raw(tensor: Any, blob: bytes) -> tuple[bytes, ...]:
    if tensor.datatype == "BYTES":
        return read_elements(tensor.name, blob, math.prod(_shape(tensor)))
    return (blob,)


def _typed(tensor: Any) -> tuple[bytes, ...]:
    """Typed contents; the model checks their number against the shape."""
    if tensor.datatype == "BYTES":
        elements = tuple(tensor.contents.bytes_contents)
        if (len(elements),) != _shape(tensor):
            raise _bad(f"input {tensor.name!r:.80}: {len(elements)} elements for its shape")
        return elements
    if tensor.datatype == "FP32":
        return (np.array(tensor.contents.fp32_contents, "<f4").tobytes(),)
    raise _bad(f"input {tensor.name!r:.80}: datatype {tensor.datatype!r:.40} is of no model here")


def _shape(tensor: Any) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    if len(shape) > 8 or not all(1 <= side < 1 << 31 for side in shape):
        raise _bad(f"input {tensor.name!r:.80}: shape {list(shape)!r:.80}; give sides from 1")
    return shape


def _bad(what: str) -> Refused:
    return Refused("bad_request", what)


async def start(service: GrpcService, limits: ServerLimits, host: str, port: int) -> Any:
    """A running ``grpc.aio`` server and the port it has got.

    Raises:
        ServerError: it cannot listen there.
    """
    size = limits.max_body
    server = grpc.aio.server(
        maximum_concurrent_rpcs=_CALLS,
        options=[
            ("grpc.max_receive_message_length", size),
            ("grpc.max_send_message_length", size),
            ("grpc.so_reuseport", 0),
        ],
    )
    server.add_generic_rpc_handlers(service.handlers())
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        got = server.add_insecure_port(address)
    except RuntimeError as error:
        raise ServerError(
            f"{address}: cannot listen there for gRPC; choose another --grpc-port, or 0"
        ) from error
    await server.start()
    return server, got
