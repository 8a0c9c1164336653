"""gRPC: foreign clients in the same process, statuses, limits, health, cancellation."""

import asyncio
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from fake_engine import FakeEngine
from fake_network import fake_onnx
from hostile.make_images import refused
from running_server import Server, environment, running, wait
from serving_condition import Condition
from serving_engine import FAULTS, coloured, picture
from serving_processes import STARTED
from ssd_resnet34 import Detections, load
from ssd_resnet34.contract import COCO
from ssd_resnet34.detector import Detector
from ssd_resnet34.serving.grpc_messages import CLASSES, is_modest
from ssd_resnet34.serving.grpc_service import GrpcService, read, start
from ssd_resnet34.serving.limits import ServerLimits
from ssd_resnet34.serving.line import Budget
from ssd_resnet34.serving.metrics import Metrics
from ssd_resnet34.serving.refusals import CODES, Refused
from ssd_resnet34.serving.tasks import Done, Started
from ssd_resnet34.vision.images import Limits

TOKEN = "0123456789abcdef"
SERVICE = "/inference.GRPCInferenceService/"
GROWTH = (300_000_000, 60_000_000)
"""Bytes that the server and its worker may ever hold more: a message has 65 MiB at most."""

SIZES = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]


@pytest.fixture(scope="module")
def detector() -> Iterator[Detector]:
    with load(fake_onnx(), engine=FakeEngine()) as made:
        yield made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server"), grpc_port=0) as started:
        yield started


def address(server: Server) -> str:
    (line,) = [line for line in server.log if line.startswith("gRPC on port ")]
    return f"127.0.0.1:{line.split()[-1]}"


def call(channel: Any, name: str, **values: Any) -> Any:
    """One call with this package's messages; ``metadata`` and ``timeout`` are gRPC's own."""
    options = {key: values.pop(key) for key in ("metadata", "timeout") if key in values}
    request, answer = CLASSES[f"{name}Request"], CLASSES[f"{name}Response"]
    method = channel.unary_unary(f"{SERVICE}{name}", request.SerializeToString, answer.FromString)
    return method(request(**values), **options)


@pytest.fixture(scope="module")
def condition(server: Server, detector: Detector) -> Iterator[Condition]:
    """Of the server before anything hostile was sent."""
    right(server, detector)
    with closing(Condition(server, GROWTH)) as made:
        yield made


@pytest.fixture(autouse=True)
def _as_before(server: Server, condition: Condition, detector: Detector) -> Iterator[None]:
    """Each entry leaves the server as it was: over gRPC, over HTTP, in memory and descriptors."""
    yield
    right(server, detector)
    condition.check()


def right(server: Server, detector: Detector) -> None:
    """Alive, and the next good call is right."""
    with grpc.insecure_channel(address(server), options=SIZES) as channel:
        assert call(channel, "ServerLive").live
        answer = call(channel, "ModelInfer", model_name="ssd-resnet34", **image(picture(60)))
    boxes = np.frombuffer(answer.raw_output_contents[0], "<f4").reshape(-1, 4)
    assert np.array_equal(boxes, detector(picture(60)).boxes)


@pytest.fixture
def channel(server: Server) -> Iterator[Any]:
    with grpc.insecure_channel(address(server), options=SIZES) as made:
        yield made


def image(*elements: bytes, name: str = "image", datatype: str = "BYTES") -> dict[str, Any]:
    blob = b"".join(len(one).to_bytes(4, "little") + one for one in elements)
    return {
        "inputs": [{"name": name, "datatype": datatype, "shape": [len(elements)]}],
        "raw_input_contents": [blob],
    }


def check(result: Any, wanted: Detections) -> None:
    assert np.array_equal(result.as_numpy("boxes"), wanted.boxes)
    assert np.array_equal(result.as_numpy("scores"), wanted.scores)
    assert np.array_equal(result.as_numpy("category_ids"), wanted.category_ids)
    assert result.as_numpy("num_detections").tolist() == [len(wanted)]


def triton_input(data: bytes) -> Any:
    import tritonclient.grpc as module

    made = module.InferInput("image", [1], "BYTES")
    made.set_data_from_numpy(np.array([data], np.object_))
    return made


def test_tritonclient_lives_in_one_process_with_our_messages(
    server: Server, detector: Detector
) -> None:
    import tritonclient.grpc as module

    with module.InferenceServerClient(address(server)) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("ssd-resnet34", "1")
        assert not client.is_model_ready("other")
        assert client.get_server_metadata().name == "ssd-resnet34"
        metadata = client.get_model_metadata("ssd-resnet34-raw")
        assert [one.name for one in metadata.outputs] == list(COCO.head_shapes())
        answer = client.infer("ssd-resnet34", [triton_input(picture(60))], request_id="7")
        check(answer, detector(picture(60)))
        assert answer.get_response().id == "7"
        nothing = client.infer(
            "ssd-resnet34", [triton_input(picture(60))], parameters={"score_threshold": 1.0}
        )
        assert nothing.as_numpy("boxes").shape == (0, 4)
        tensor = detector.model.preprocess(picture(60)).tensor
        heads = module.InferInput("image", list(tensor.shape), "FP32")
        heads.set_data_from_numpy(tensor)
        answer = client.infer("ssd-resnet34-raw", [heads])
        for name, head in zip(COCO.head_shapes(), detector.session.run(tensor), strict=True):
            assert np.array_equal(answer.as_numpy(name), head)


def test_tritonclients_asyncio_form_does_the_same(server: Server, detector: Detector) -> None:
    import tritonclient.grpc.aio as module

    async def scenario() -> list[Any]:
        async with module.InferenceServerClient(address(server)) as client:
            asked = (
                client.infer("ssd-resnet34", [triton_input(picture(20 * n))]) for n in range(4)
            )
            return list(await asyncio.gather(*asked))

    for number, answer in enumerate(asyncio.run(scenario())):
        check(answer, detector(picture(20 * number)))


@pytest.mark.parametrize("order", ["import tritonclient.grpc; import {ours}",
                                   "import {ours}; import tritonclient.grpc"])  # fmt: skip
def test_both_orders_of_import_work(order: str, tmp_path: Path) -> None:
    code = order.format(ours="ssd_resnet34.serving.grpc_service")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(tmp_path, 0),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_our_messages_are_the_published_ones_on_the_wire() -> None:
    from tritonclient.grpc import service_pb2

    theirs = service_pb2.ModelInferRequest(model_name="m", model_version="1", id="i")
    theirs.parameters["timeout"].int64_param = 5
    theirs.parameters["a"].string_param = "b"
    theirs.parameters["b"].bool_param = True
    theirs.parameters["c"].double_param = 0.5
    one = theirs.inputs.add(name="image", datatype="FP32", shape=[1, -1])
    one.contents.fp32_contents.extend([1.5, 2.5])
    one.contents.bytes_contents.append(b"abc")
    theirs.outputs.add(name="boxes").parameters["x"].bool_param = False
    theirs.raw_input_contents.append(b"q")
    wire = theirs.SerializeToString(deterministic=True)
    ours = CLASSES["ModelInferRequest"].FromString(wire)
    assert ours.SerializeToString(deterministic=True) == wire
    assert ours.parameters["c"].WhichOneof("choice") == "double_param"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown model": ({"model_name": "other"}, "NOT_FOUND"),
    "unknown version": ({"model_version": "2"}, "NOT_FOUND"),
    "no inputs": ({"inputs": [], "raw_input_contents": []}, "INVALID_ARGUMENT"),
    "another name": (image(b"x", name="picture"), "INVALID_ARGUMENT"),
    "another datatype": (image(b"x", datatype="FP32"), "INVALID_ARGUMENT"),
    "too many images": (image(*[b"x"] * 9), "INVALID_ARGUMENT"),
    "neither contents": ({"raw_input_contents": []}, "INVALID_ARGUMENT"),
    "more raw than inputs": ({"raw_input_contents": [b"", b""]}, "INVALID_ARGUMENT"),
    "a prefix too long": ({"raw_input_contents": [b"\x09\0\0\0x"]}, "INVALID_ARGUMENT"),
    "unknown output": ({"outputs": [{"name": "masks"}]}, "INVALID_ARGUMENT"),
    "a long id": ({"id": "x" * 2000}, "INVALID_ARGUMENT"),
    "timeout a string": ({"parameters": {"timeout": {"string_param": "1"}}}, "INVALID_ARGUMENT"),
    "a timeout too short": ({"parameters": {"timeout": {"int64_param": 1}}}, "DEADLINE_EXCEEDED"),
    "classes by the million": (
        {"parameters": {"classes": {"string_param": "car," * 500_000}}},
        "INVALID_ARGUMENT",
    ),
    "a name of 100,000 letters": (image(name="x" * 100_000), "INVALID_ARGUMENT"),
    "elements by the million": (
        {
            "inputs": [{"name": "image", "datatype": "BYTES", "shape": [2_000_000]}],
            "raw_input_contents": [bytes(8_000_000)],
        },
        "INVALID_ARGUMENT",
    ),
    "inputs of many names": (
        {
            "inputs": [{"name": str(n), "datatype": "FP32", "shape": [1]} for n in range(1000)],
            "raw_input_contents": [b""] * 1000,
        },
        "INVALID_ARGUMENT",
    ),
    "no image": (image(b"text"), "INVALID_ARGUMENT"),
    "the engine's error": (image(coloured(FAULTS["engine"])), "INTERNAL"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_has_its_status(name: str, channel: Any) -> None:
    values, status = WRONG[name]
    with pytest.raises(grpc.RpcError) as error:
        call(channel, "ModelInfer", **{"model_name": "ssd-resnet34", **image(picture()), **values})
    assert error.value.code().name == status
    assert len(error.value.details()) > 10


def test_a_message_that_repeats_letters_beyond_ascii_has_room(channel: Any) -> None:
    """Over 8 KiB gRPC drops some, drawn by lot, as RESOURCE_EXHAUSTED."""
    values = {"parameters": {"classes": {"string_param": "\N{CAT}" * 30_000}}, **image(picture())}
    for _ in range(20):
        with pytest.raises(grpc.RpcError) as error:
            call(channel, "ModelInfer", model_name="ssd-resnet34", **values)
        assert code_of(error.value) == ("INVALID_ARGUMENT", "bad_request")


@pytest.mark.parametrize("name", refused())
def test_refused_images_have_their_codes(name: str, channel: Any) -> None:
    data, code = refused()[name]
    with pytest.raises(grpc.RpcError) as error:
        call(channel, "ModelInfer", model_name="ssd-resnet34", **image(data))
    assert error.value.code().name == CODES[code].grpc
    assert dict(error.value.trailing_metadata())["code"] == code


def field(number: int, data: bytes) -> bytes:
    """A field of bytes, or of a message, as protobuf writes it."""
    size, length = len(data), b""
    while size > 127:
        length += bytes((size & 127 | 128,))
        size >>= 7
    return bytes((number << 3 | 2, *length, size)) + data


BROKEN = {
    "no fields": b"\xff" * 100,
    "a length of 4 GB": b"\x0a\xff\xff\xff\xff\x0f",
    "cut": b"\x0a\x05abc",
}


@pytest.mark.parametrize("name", BROKEN)
def test_bytes_that_are_no_message_are_a_bad_request(name: str, channel: Any) -> None:
    for method in ("ServerLive", "ModelInfer"):
        with pytest.raises(grpc.RpcError) as error:
            channel.unary_unary(f"{SERVICE}{method}")(BROKEN[name])
        assert error.value.code().name == "INVALID_ARGUMENT"
        assert f"no {method}Request" in error.value.details()
        assert dict(error.value.trailing_metadata())["code"] == "bad_request"


IMMODEST = {
    "inputs by the million": b"*\0" * 4_000_000,
    "elements by the million": field(5, field(5, field(8, b"") * 4_000_000)),
    "dimensions by the million": field(5, field(3, bytes(12_000_000))),
    "parameters by the million": field(4, b"") * 4_000_000,
}
"""Messages that would take many times their bytes when they are read."""


@pytest.mark.parametrize("name", IMMODEST)
def test_a_message_that_would_swell_is_refused_unread(name: str, channel: Any) -> None:
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary(f"{SERVICE}ModelInfer")(IMMODEST[name])
    assert code_of(error.value) == ("INVALID_ARGUMENT", "bad_request")


def test_refused_messages_are_let_go(channel: Any) -> None:
    """Memory is looked at after each test."""
    for _ in range(50):
        with pytest.raises(grpc.RpcError) as error:
            call(channel, "ModelInfer", model_name="ssd-resnet34", **image(bytes(6_000_000)))
        assert code_of(error.value) == ("INVALID_ARGUMENT", "unsupported_image")


@given(st.binary(max_size=60))
def test_any_bytes_are_modest_or_not(data: bytes) -> None:
    if is_modest(data, "ModelInferRequest"):
        with suppress(DecodeError):
            CLASSES["ModelInferRequest"].FromString(data)


def test_a_message_with_a_whole_tensor_is_modest() -> None:
    message = CLASSES["ModelInferRequest"](
        model_name="m",
        id="é" * 99,
        parameters={"timeout": {"int64_param": 1 << 60}, "x": {"double_param": 0.5}},
        outputs=[{"name": "boxes"}],
        inputs=[{"name": "image", "shape": [1, 3, 1200, 1200], "datatype": "FP32",
                 "contents": {"fp32_contents": np.zeros(100_000, np.float32)}}],
    ).SerializeToString()  # fmt: skip
    assert is_modest(message, "ModelInferRequest")


def test_metadata_of_a_megabyte_are_turned_away(channel: Any) -> None:
    with pytest.raises(grpc.RpcError) as error:
        call(channel, "ServerLive", metadata=(("x", "y" * 1_000_000),))
    assert error.value.code().name == "RESOURCE_EXHAUSTED"


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))

STREAMS: dict[str, bytes] = {
    "HTTP/1.1": b"GET / HTTP/1.1\r\nHost: test\r\n\r\n",
    "zeros": bytes(100_000),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(600),
    "half a preface": PREFACE[:10],
    "a preface alone": PREFACE,
    "a frame of 16 MB that does not come": PREFACE + SETTINGS + b"\xff\xff\xff\0\0\0\0\0\1",
    "data without a call": PREFACE + SETTINGS + b"\0\0\5\0\0\0\0\0\1hello",
    "pings without end": PREFACE + SETTINGS + (b"\0\0\x08\6\0\0\0\0\0" + bytes(8)) * 10_000,
    "settings without end": PREFACE + SETTINGS * 100_000,
}


def hold(server: Server, data: bytes, number: int) -> Iterator[socket.socket]:
    """Connections that have sent ``data`` and read nothing."""
    host, _, port = address(server).partition(":")
    for _ in range(number):
        connection = socket.create_connection((host, int(port)), timeout=10)
        connection.sendall(data)
        yield connection


def served(server: Server) -> bool:
    with suppress(grpc.RpcError), grpc.insecure_channel(address(server)) as channel:
        return bool(call(channel, "ServerMetadata", timeout=5).name)
    return False


def frame(kind: int, flags: int, data: bytes, stream: int = 1) -> bytes:
    """Of HTTP/2."""
    return len(data).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + data


def without_a_window(name: str, message: bytes) -> bytes:
    """A call whose client takes no byte of any answer."""
    headers = {":method": "POST", ":scheme": "http", ":path": f"{SERVICE}{name}", ":authority": "x",
               "content-type": "application/grpc", "te": "trailers"}  # fmt: skip
    packed = b"".join(
        bytes((0, len(key))) + key.encode() + bytes((len(value),)) + value.encode()
        for key, value in headers.items()
    )
    no_window = frame(4, 0, bytes((0, 4, 0, 0, 0, 0)), 0)
    body = b"\0" + len(message).to_bytes(4, "big") + message
    return PREFACE + no_window + frame(1, 4, packed) + frame(0, 1, body)


@pytest.mark.parametrize("name", ["that call nothing", "that take no answer"])
def test_connections_that_only_last_keep_out_nobody_for_long(name: str, tmp_path: Path) -> None:
    seconds: dict[str, Any] = dict.fromkeys(("upload_seconds", "deadline", "send_seconds"), 1.0)
    data, number = PREFACE + SETTINGS, 300
    if name == "that take no answer":
        data, number = without_a_window("ServerMetadata", b""), 64
    with (
        running(tmp_path, grpc_port=0, idle_seconds=3.0, **seconds) as server,
        ExitStack() as stack,
    ):
        for connection in hold(server, data, number):
            stack.enter_context(closing(connection))
        wait(lambda: not served(server))
        with server.client() as client:
            assert client.get("/v2/health/live").status_code == 200
        wait(lambda: served(server))
        assert "Traceback" not in "".join(server.log)


@pytest.mark.parametrize("name", STREAMS)
def test_a_hostile_stream_leaves_the_server_as_it_was(name: str, server: Server) -> None:
    host, _, port = address(server).partition(":")
    for _ in range(20):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            with suppress(OSError):
                connection.sendall(STREAMS[name])
            connection.settimeout(0.05)
            with suppress(OSError):
                connection.recv(1 << 16)  # whatever it says


def test_200_calls_that_are_cancelled_leave_nothing_behind(server: Server) -> None:
    request, answer = CLASSES["ModelInferRequest"], CLASSES["ModelInferResponse"]
    for _ in range(10):
        with grpc.insecure_channel(address(server), options=SIZES) as channel:
            method = channel.unary_unary(
                f"{SERVICE}ModelInfer", request.SerializeToString, answer.FromString
            )
            message = request(model_name="ssd-resnet34", **image(picture(60)))
            asked = [method.future(message) for _ in range(20)]
            for one in asked[::2]:
                one.cancel()


def test_typed_contents_are_the_same_and_may_not_be_mixed_with_raw(
    channel: Any, detector: Detector
) -> None:
    typed: dict[str, Any] = {"name": "image", "datatype": "BYTES", "shape": [1]}
    typed["contents"] = {"bytes_contents": [picture(60)]}
    answer = call(channel, "ModelInfer", model_name="ssd-resnet34", inputs=[typed])
    scores = np.frombuffer(answer.raw_output_contents[1], "<f4")
    assert np.array_equal(scores, detector(picture(60)).scores)
    with pytest.raises(grpc.RpcError) as error:
        call(channel, "ModelInfer", model_name="ssd-resnet34", inputs=[typed],
             raw_input_contents=[b"x"])  # fmt: skip
    assert "either" in error.value.details()


def test_typed_floats_are_read() -> None:
    request = CLASSES["ModelInferRequest"](
        inputs=[
            {
                "name": "image",
                "datatype": "FP32",
                "shape": [2],
                "contents": {"fp32_contents": [1.5, -2]},
            }
        ]
    )
    assert read(request, 9).inputs[0].elements == (np.array([1.5, -2], "<f4").tobytes(),)
    request.inputs[0].datatype = "INT8"
    with pytest.raises(Refused, match="INT8"):
        read(request, 9)


def test_limits_beyond_the_integers_of_grpc_are_its_largest() -> None:
    limits = ServerLimits(Limits(max_bytes=3 << 30), deadline=1e8)

    async def started() -> int:
        service: Any = GrpcService(Watched(), limits, Budget(1), None, None)  # type: ignore[arg-type]
        server, port = await start(service, limits, "127.0.0.1:0")
        await server.stop(0)
        return int(port)

    assert asyncio.run(started())


def test_a_message_over_the_limit_is_turned_away(server: Server) -> None:
    unlimited = [("grpc.max_send_message_length", -1)]
    with (
        grpc.insecure_channel(address(server), options=unlimited) as channel,
        pytest.raises(grpc.RpcError) as error,
    ):
        call(channel, "ModelInfer", model_name="ssd-resnet34", **image(bytes(66 << 20)))
    assert error.value.code().name == "RESOURCE_EXHAUSTED"


def test_a_token_deadlines_and_a_drain(tmp_path: Path) -> None:
    with (
        running(tmp_path, grpc_port=0, token=TOKEN, seconds=0.5) as server,
        grpc.insecure_channel(address(server)) as channel,
        server.client(headers={"authorization": f"Bearer {TOKEN}"}) as http,
    ):
        for metadata in ((), (("authorization", "Bearer wrong"),)):
            with pytest.raises(grpc.RpcError) as error:
                call(channel, "ServerMetadata", metadata=metadata)
            assert error.value.code().name == "UNAUTHENTICATED"
        assert call(channel, "ServerReady").ready
        metadata = (("authorization", f"Bearer {TOKEN}"),)
        asked = [
            channel.unary_unary(
                f"{SERVICE}ModelInfer",
                CLASSES["ModelInferRequest"].SerializeToString,
                CLASSES["ModelInferResponse"].FromString,
            ).future(
                CLASSES["ModelInferRequest"](model_name="ssd-resnet34", **image(picture(n))),
                timeout=0.4,
                metadata=metadata,
            )
            for n in range(4)
        ]
        for one in asked:
            with pytest.raises(grpc.RpcError) as error:
                one.result()
            assert error.value.code().name == "DEADLINE_EXCEEDED"
        wait(lambda: "queue_inside 0.0" in http.get("/metrics").text)
        text = http.get("/metrics").text
        dropped = [line for line in text.splitlines() if line.startswith("ssd_resnet34_dropped")]
        assert float(dropped[0].split()[1]) >= 2, "those that waited never ran"
        with ThreadPoolExecutor(1) as clients:
            values = {"model_name": "ssd-resnet34", **image(picture()), "metadata": metadata}
            last = clients.submit(call, channel, "ModelInfer", **values)
            wait(lambda: "queue_inside 1.0" in http.get("/metrics").text)
            server.process.send_signal(signal.SIGTERM)
            wait(lambda: not call(channel, "ServerReady").ready)
            with pytest.raises(grpc.RpcError) as error:
                call(channel, "ModelInfer", **values)
            assert error.value.code().name == "UNAVAILABLE"
            assert last.result().model_name == "ssd-resnet34"
        assert server.process.wait(60) == 0


class Watched:
    """A pool that is told to run, and a call's context, of which 5 s are left."""

    def __init__(self) -> None:
        self.timeouts: list[float | None] = []

    def check(self) -> Started:
        return STARTED

    def place(self) -> Any:
        return nullcontext()

    async def run(self, tasks: Any, timeout: float | None, place: None, spent: float) -> list[Done]:
        assert spent > 0
        self.timeouts.append(timeout)
        return []

    def time_remaining(self) -> float | None:
        return 5.0


def test_what_reading_took_is_taken_from_a_deadline_once() -> None:
    pool: Any = Watched()
    limits, budget = ServerLimits(), Budget(1 << 20)
    service = GrpcService(pool, limits, budget, Metrics(pool, budget), None)
    for microseconds in (0, 9_000_000, 2_000_000):  # 0: none
        request = CLASSES["ModelInferRequest"](model_name="ssd-resnet34", **image(picture()))
        request.parameters["timeout"].int64_param = microseconds
        asyncio.run(service._model_infer(request, pool))
    assert pool.timeouts == [5.0, 5.0, 2.0], "gRPC's own counts down by itself"


def test_the_health_service_says_what_the_server_is(channel: Any) -> None:
    request, answer = CLASSES["HealthCheckRequest"], CLASSES["HealthCheckResponse"]
    ends = (request.SerializeToString, answer.FromString)
    check = channel.unary_unary("/grpc.health.v1.Health/Check", *ends)
    assert check(request()).status == 1
    assert check(request(service="inference.GRPCInferenceService")).status == 1
    with pytest.raises(grpc.RpcError) as error:
        check(request(service="other"))
    assert error.value.code().name == "NOT_FOUND"
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch", *ends)
    statuses = watch(request())
    assert next(statuses).status == 1
    statuses.cancel()


def health(channel: Any, name: str, answers: str) -> Any:
    method = getattr(channel, answers)
    request, answer = CLASSES["HealthCheckRequest"], CLASSES["HealthCheckResponse"]
    return method(f"/grpc.health.v1.Health/{name}", request.SerializeToString, answer.FromString)


def code_of(error: Any) -> tuple[str, str]:
    """gRPC's status and this package's code."""
    return error.code().name, dict(error.trailing_metadata())["code"]


def test_watches_have_a_bound_of_their_own(channel: Any, server: Server) -> None:
    request = CLASSES["HealthCheckRequest"]()
    watch = health(channel, "Watch", "unary_stream")
    watches = [watch(request) for _ in range(32)]
    assert {next(one).status for one in watches} == {1}
    late = watch(request)
    with pytest.raises(grpc.RpcError) as error:
        next(late)
    assert code_of(error.value) == ("UNAVAILABLE", "overloaded")
    with grpc.insecure_channel(address(server)) as other:
        asked = [health(other, "Check", "unary_unary").future(request) for _ in range(31)]
        assert {one.result().status for one in asked} == {1}
        values = {"model_name": "ssd-resnet34", **image(picture(60))}
        assert call(other, "ModelInfer", **values).model_name == "ssd-resnet34"
    watches[0].cancel()

    def another() -> bool:
        with suppress(grpc.RpcError):
            watches.append(watch(request))
            return bool(next(watches[-1]).status == 1)
        return False

    wait(another)
    for one in watches:
        one.cancel()


def test_a_watch_holds_no_message(channel: Any) -> None:
    """Memory is looked at after each test."""
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
    size = 25_000_000
    field = b"\x12" + bytes((size & 127 | 128, size >> 7 & 127 | 128, size >> 14 & 127 | 128))
    message = field + bytes((size >> 21,)) + bytes(size)
    watches = []
    for _ in range(16):  # one after the other: messages on their way are held
        watches.append(watch(message))
        assert next(watches[-1]) == b"\x08\1"
    for one in watches:
        one.cancel()


@pytest.mark.parametrize("name", ["Check", "Watch"])
def test_the_health_service_refuses_bytes_that_are_no_message(name: str, channel: Any) -> None:
    with pytest.raises(grpc.RpcError) as error:
        list(channel.unary_stream(f"/grpc.health.v1.Health/{name}")(b"\x0a\x05abc"))
    assert code_of(error.value) == ("INVALID_ARGUMENT", "bad_request")


@contextmanager
def unsent(channel: Any, method: str, number: int, **options: Any) -> Iterator[list[Any]]:
    """Calls whose messages do not come."""
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait()
        yield from ()

    ask = channel.stream_unary(method)
    try:
        yield [ask.future(nothing(), **options) for _ in range(number)]
    finally:
        over.set()


def test_a_call_without_its_message_is_given_up_and_keeps_out_nobody(tmp_path: Path) -> None:
    metadata = (("authorization", f"Bearer {TOKEN}"),)
    with (
        running(
            tmp_path, grpc_port=0, token=TOKEN, header_seconds=1.0, upload_seconds=1.0
        ) as server,
        grpc.insecure_channel(address(server)) as channel,
        grpc.insecure_channel(address(server)) as other,
    ):
        with unsent(channel, f"{SERVICE}ModelInfer", 100) as calls:
            codes = {code_of(one.exception()) for one in calls}
            assert codes == {("UNAUTHENTICATED", "unauthorized")}, "before any message"
        with unsent(channel, "/grpc.health.v1.Health/Check", 100) as calls:
            values = {"model_name": "ssd-resnet34", **image(picture()), "metadata": metadata}
            assert call(other, "ModelInfer", **values).model_name == "ssd-resnet34"
            codes = {code_of(one.exception()) for one in calls}
            assert codes == {
                ("DEADLINE_EXCEEDED", "upload_too_slow"),
                ("UNAVAILABLE", "overloaded"),
            }
        with unsent(channel, f"{SERVICE}ModelInfer", 1, metadata=metadata) as calls:
            assert code_of(calls[0].exception()) == ("DEADLINE_EXCEEDED", "upload_too_slow")
        for _ in range(10):  # clients that go meanwhile leave nothing, in the log neither
            with unsent(channel, "/grpc.health.v1.Health/Watch", 10) as calls:
                for one in calls:
                    one.cancel()
        assert health(other, "Check", "unary_unary")(CLASSES["HealthCheckRequest"]()).status == 1
        assert server.stop() == 0
    assert "Traceback" not in "".join(server.log)


def test_the_end_tells_watches_and_calls_without_their_message(tmp_path: Path) -> None:
    with (
        running(tmp_path, grpc_port=0) as server,
        grpc.insecure_channel(address(server)) as channel,
        unsent(channel, f"{SERVICE}ModelInfer", 1) as calls,
    ):
        statuses = health(channel, "Watch", "unary_stream")(CLASSES["HealthCheckRequest"]())
        assert next(statuses).status == 1
        server.process.send_signal(signal.SIGTERM)
        assert next(statuses).status == 2
        with pytest.raises(grpc.RpcError) as error:
            next(statuses)
        for one in (error.value, calls[0].exception()):
            assert code_of(one) == ("UNAVAILABLE", "not_ready")
        assert server.process.wait(60) == 0


def test_calls_that_other_servers_have_are_unimplemented(channel: Any) -> None:
    method = channel.unary_unary(f"{SERVICE}ModelStatistics")
    with pytest.raises(grpc.RpcError) as error:
        method(b"")
    assert error.value.code().name == "UNIMPLEMENTED"
