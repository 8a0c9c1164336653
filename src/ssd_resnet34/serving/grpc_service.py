"""The Open Inference Protocol over gRPC, with gRPC's own health check."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from ..errors import ServerError, SSDResNet34Error
from . import inference, work
from .grpc_messages import CLASSES, HEALTH, INFERENCE, MOST_FIELDS, is_modest
from .inference import InferRequest, InputTensor, WantedOutput
from .limits import ServerLimits
from .line import Budget
from .metrics import Metrics
from .models import VERSION, known, served, server_metadata
from .pool import Pool
from .refusals import Refused, bad_request, of_error, shutting_down
from .tensors import read_elements
from .tokens import check_token

_LOG = logging.getLogger(__name__)

_SERVING, _NOT_SERVING, _UNKNOWN_SERVICE = 1, 2, 3

CALLS: Final = 64
"""At the same time, of those that need the token; each may hold a whole message."""

_OPEN: Final = ("ServerLive", "ServerReady", "Check", "Watch")
"""Calls that need no token. They have places of their own: nobody without it keeps out others."""

OPEN_CALLS: Final = 32
WATCHES: Final = 32
"""They last as long as their clients like."""

CONNECTIONS: Final = 256
"""At the same time; each is a descriptor, of which HTTP needs some, too."""

_INT: Final = (1 << 31) - 1
"""The largest number that gRPC takes for an option."""

_LOOK_SECONDS: Final = 0.2
"""Between two looks of a watch."""

_LAST_SECONDS: Final = 0.5
"""For a message to arrive while the server closes, which would else wait for it."""

Handler = Callable[[Any, Any], Awaitable[Any]]


class GrpcService:
    """The calls of one server; every request holds its bytes in the budget shared with HTTP."""

    def __init__(
        self, pool: Pool, limits: ServerLimits, budget: Budget, metrics: Metrics, token: str | None
    ) -> None:
        self._pool, self._limits, self._budget = pool, limits, budget
        self._metrics, self._token = metrics, token
        self._calls = asyncio.Semaphore(CALLS)
        self._open_calls = asyncio.Semaphore(OPEN_CALLS)
        self._watches = asyncio.Semaphore(WATCHES)

    def handlers(self) -> list[Any]:
        """For ``grpc.aio.Server.add_generic_rpc_handlers``.

        To gRPC all of them take a stream: it waits without end for the one message of other calls,
        before it asks anybody.
        """
        calls: dict[str, Handler] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._model_infer,
        }
        described = {
            name: grpc.stream_unary_rpc_method_handler(
                self._answered(name, f"{name}Request", call),
                _reader(f"{name}Request"),
                CLASSES[f"{name}Response"].SerializeToString,
            )
            for name, call in calls.items()
        }
        asked, answer = "HealthCheckRequest", CLASSES["HealthCheckResponse"].SerializeToString
        health = {
            "Check": grpc.stream_unary_rpc_method_handler(
                self._answered("Check", asked, self._check), _reader(asked), answer
            ),
            "Watch": grpc.stream_stream_rpc_method_handler(
                self._answered("Watch", asked, self._watch), _reader(asked), answer
            ),
        }
        return [
            grpc.method_handlers_generic_handler(f"{INFERENCE}.GRPCInferenceService", described),
            grpc.method_handlers_generic_handler(f"{HEALTH}.Health", health),
        ]

    def _answered(self, name: str, asked: str, call: Handler) -> Handler:
        """The call with its message read, errors as statuses, and a count."""

        async def handle(messages: Any, context: Any) -> Any:
            began, status = time.perf_counter(), "CANCELLED"
            try:
                try:
                    answer = await self._admitted(name, asked, call, context)
                except SSDResNet34Error as error:
                    refused = _bare(error)
                except Exception:
                    _LOG.exception("a defect in %s", name)
                    refused = Refused("failed", "a defect; the server's log says more")
                else:
                    status = "OK"
                    return answer
                status = refused.code.grpc
                await self._abort(context, refused)
            finally:
                self._metrics.request(f"grpc {name}", status, time.perf_counter() - began)

        return handle

    async def _admitted(self, name: str, asked: str, call: Handler, context: Any) -> Any:
        """The call's answer: the token is looked at first, then there must be a place for it."""
        places, seconds = self._open_calls, self._limits.header_seconds
        if name == "Watch":
            places = self._watches
        elif name not in _OPEN:
            metadata = dict(context.invocation_metadata() or ())
            check_token(str(metadata.get("authorization", "")), self._token)
            places, seconds = self._calls, self._limits.upload_seconds
        if places.locked():
            raise Refused("overloaded", "too many such calls at a time; try again", retry_after=1)
        await places.acquire()  # at once
        context.add_done_callback(lambda done: places.release())  # when its answer is out, too
        return await call(await self._message(asked, context, seconds), context)

    async def _message(self, asked: str, context: Any, seconds: float) -> Any:
        """The one message of a call.

        Raises:
            Refused: it does not arrive in time, or is another.
        """
        # Not cancelled when nobody waits any more: gRPC's core would write to where it was to go.
        # It ends with its call.
        reading = asyncio.ensure_future(context.read())
        reading.add_done_callback(_seen)
        closing = self._pool.closing
        try:
            async with closing.within(seconds, _LAST_SECONDS):
                await asyncio.wait((reading,))
        except TimeoutError:
            if closing.begun:
                raise shutting_down() from None
            raise Refused(
                "upload_too_slow", f"no message within {seconds:g} s; send it faster"
            ) from None
        message = reading.result()
        if message is None or message is grpc.aio.EOF:
            raise bad_request(
                f"the bytes are no {asked}, or one of more than {MOST_FIELDS} fields; send what "
                "the protocol describes"
            )
        return message

    async def _abort(self, context: Any, refused: Refused) -> None:
        self._metrics.refused(refused.code.name)
        details = [("code", refused.code.name)]
        if refused.retry_after is not None:
            details.append(("retry-after", str(refused.retry_after)))
        code = getattr(grpc.StatusCode, refused.code.grpc)
        try:
            await context.abort(code, str(refused), trailing_metadata=tuple(details))
        except grpc.aio.InternalError:  # gRPC has ended the call itself: nobody is to be told
            raise asyncio.CancelledError from None

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
            raise Refused("not_found", f"no service {request.service!r:.80}; leave it empty")
        return CLASSES["HealthCheckResponse"](status=status)

    async def _watch(self, request: Any, context: Any) -> None:
        """Each new status, until the client goes or the server closes."""
        service = request.service
        del request  # a client may have put anything into it
        closing, last = self._pool.closing, None
        while True:
            ending, status = closing.begun, self._status(service)
            if status != last:
                last = status
                await context.write(CLASSES["HealthCheckResponse"](status=status))
            if ending:
                raise shutting_down()
            with suppress(TimeoutError):
                async with closing.within(_LOOK_SECONDS):
                    await asyncio.sleep(_LOOK_SECONDS)

    def _status(self, service: str) -> int:
        if service not in ("", f"{INFERENCE}.GRPCInferenceService"):
            return _UNKNOWN_SERVICE
        return _SERVING if self._pool.ready else _NOT_SERVING


def _bare(error: SSDResNet34Error) -> Refused:
    """The refusal without what led to it.

    gRPC keeps what it raises at an abort, and all that hangs on it, such as the message in hand,
    until the collector comes by.
    """
    refused = of_error(error)
    return Refused(refused.code.name, str(refused), retry_after=refused.retry_after)


def _seen(done: "asyncio.Future[Any]") -> None:
    """asyncio logs errors that nobody has looked at."""
    if not done.cancelled():
        done.exception()


def _reader(name: str) -> Callable[[bytes], Any]:
    """Reads a message of this name, None for bytes that are none: gRPC itself would say UNKNOWN."""

    def read_message(data: bytes) -> Any:
        if not is_modest(data, name):
            return None
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
        raise bad_request(f"the id has {len(request.id)} characters; at most {max_id}")
    if len(request.inputs) > inference.MAX_TENSORS:
        raise bad_request(f"{len(request.inputs)} inputs; a model here has one")
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise bad_request(f"{len(raw)} raw contents for {len(request.inputs)} inputs")
    inputs: list[InputTensor] = []
    for number, one in enumerate(request.inputs):
        if bool(raw) == one.HasField("contents"):
            raise bad_request(f"input {one.name!r:.80}: give either contents or raw_input_contents")
        elements = _raw(one, raw[number]) if raw else _typed(one)
        if one.name in {other.name for other in inputs}:
            raise bad_request(f"input {one.name!r:.80} is there twice")
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
            raise bad_request(f"input {tensor.name!r:.80}: {len(elements)} elements for its shape")
        return elements
    if tensor.datatype == "FP32":
        return (_floats(tensor),)
    raise bad_request(
        f"input {tensor.name!r:.80}: datatype {tensor.datatype!r:.40} is of no model here"
    )


def _floats(tensor: Any) -> bytes:
    """The values as they lie on the wire: as numbers of Python's they would take a second."""
    contents = tensor.contents
    if len(contents.ListFields()) > 1:
        raise bad_request(f"input {tensor.name!r:.80}: contents of several types; give one")
    contents.DiscardUnknownFields()  # nothing is behind the values then
    wire: bytes = contents.SerializeToString()
    return wire[len(wire) - 4 * len(contents.fp32_contents) :]


def _shape(tensor: Any) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    if len(shape) > 8 or not all(1 <= side < 1 << 31 for side in shape):
        raise bad_request(
            f"input {tensor.name!r:.80}: shape {list(shape)!r:.80}; give sides from 1"
        )
    return shape


async def start(service: GrpcService, limits: ServerLimits, address: str) -> Any:
    """A running ``grpc.aio`` server and the port it has got.

    A connection ends when nobody calls over it, and when it is old: clients open another by
    themselves. So nobody keeps its place who does not take its answer, which gRPC would wait for
    without end.

    Raises:
        ServerError: it cannot listen there.
    """
    longest = limits.upload_seconds + limits.deadline + limits.send_seconds
    options = {
        "max_receive_message_length": limits.max_body,
        "max_send_message_length": limits.max_body,
        "so_reuseport": 0,
        "max_allowed_incoming_connections": CONNECTIONS,
        "max_connection_idle_ms": 1e3 * limits.idle_seconds,
        "max_connection_age_ms": 1e3 * limits.send_seconds,
        "max_connection_age_grace_ms": 1e3 * longest,
    }
    server = grpc.aio.server(
        options=[(f"grpc.{name}", min(round(most), _INT)) for name, most in options.items()]
    )
    server.add_generic_rpc_handlers(service.handlers())
    try:
        got = server.add_insecure_port(address)
    except RuntimeError as error:
        raise ServerError(
            f"{address}: cannot listen there for gRPC; choose another --grpc-port, or 0"
        ) from error
    await server.start()
    return server, got
