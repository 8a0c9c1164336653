"""The routes, without sockets: the real worker in a thread, its engine fake."""

import asyncio
import gzip
import json
import logging
import zlib
from collections.abc import Awaitable, Callable, Iterator
from functools import cache
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from fake_network import fake_onnx
from hostile.make_images import accepted, refused
from serving_engine import picture
from serving_processes import CONFIG, Inline
from serving_requests import ENCODED, FORM, FORMS
from ssd_resnet34 import load
from ssd_resnet34.contract import COCO
from ssd_resnet34.detector import Detector
from ssd_resnet34.errors import ImageError, UnreadableFile
from ssd_resnet34.serving import front
from ssd_resnet34.serving.app import make
from ssd_resnet34.serving.detect_route import accepted as accepted_media
from ssd_resnet34.serving.limits import ServerLimits
from ssd_resnet34.serving.line import Budget
from ssd_resnet34.serving.metrics import Metrics
from ssd_resnet34.serving.pool import Pool
from ssd_resnet34.serving.protocol_routes import INLINE_JSON
from ssd_resnet34.serving.refusals import CODES, Refused, of_error
from ssd_resnet34.serving.tasks import Done
from ssd_resnet34.vision.images import REFUSALS, Limits

Client = httpx.AsyncClient
TOKEN = "0123456789abcdef"
INFER = "/v2/models/ssd-resnet34/infer"
RAW = "/v2/models/ssd-resnet34-raw/infer"


class Served:
    """The whole application in an event loop that runs while a test does."""

    def __init__(self, token: str | None = None, **limits: Any) -> None:
        self._runner = asyncio.Runner()
        self._pool, self._client = self._runner.run(self._start(token, ServerLimits(**limits)))

    async def _start(self, token: str | None, limits: ServerLimits) -> tuple[Pool, Client]:
        pool = Pool(CONFIG, 1, limits, Inline)
        pool.start()
        while not pool.ready:
            await asyncio.sleep(0.005)
        budget = Budget(limits.max_queued_bytes)
        app = self._app = make(pool, limits, budget, Metrics(pool, budget), token)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        return pool, Client(transport=transport, base_url="http://test")

    def run(self, scenario: Callable[[Client], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            return await scenario(self._client)

        return self._runner.run(main())

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.run(self._pool.stop())
        self._runner.close()

    def speak(self, scope: dict[str, Any], *messages: dict[str, Any]) -> list[str]:
        """Types of what the application sends, of a scope that is no request."""
        sent: list[str] = []
        given = iter(messages)

        async def receive() -> dict[str, Any]:
            return next(given)

        async def send(message: Any) -> None:
            sent.append(message["type"])

        async def main() -> None:
            await self._app(scope, receive, send)

        self._runner.run(main())
        return sent


@cache
def shared_server() -> Served:
    """With usual limits and without a token: one for all tests of this file."""
    return Served()


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    shared_server().close()
    shared_server.cache_clear()


def serve(
    scenario: Callable[[Client], Awaitable[Any]], token: str | None = None, **limits: Any
) -> Any:
    """Run a scenario with a client of the shared server, or of one with these limits."""
    if token is None and not limits:
        return shared_server().run(scenario)
    own = Served(token, **limits)
    try:
        return own.run(scenario)
    finally:
        own.close()


def get(path: str, **options: Any) -> httpx.Response:
    return request("GET", path, **options)


def post(path: str, **options: Any) -> httpx.Response:
    return request("POST", path, **options)


def request(method: str, path: str, **options: Any) -> httpx.Response:
    async def scenario(client: Client) -> httpx.Response:
        return await client.request(method, path, **options)

    found: httpx.Response = serve(scenario)
    return found


@pytest.fixture(scope="module")
def detector() -> Iterator[Detector]:
    with load(fake_onnx(), engine=Inline.engine) as made:
        yield made


def infer_json(*images: bytes, **more: Any) -> dict[str, Any]:
    import base64

    data = [base64.b64encode(one).decode() for one in images]
    image = {
        "name": "image",
        "datatype": "BYTES",
        "shape": [len(images)],
        "parameters": {"content_type": "base64"},
        "data": data,
    }
    return {"inputs": [image], **more}


def outputs(answer: httpx.Response) -> dict[str, Any]:
    """Name -> array, of JSON and binary answers."""
    assert answer.status_code == 200, answer.text
    length = answer.headers.get("inference-header-content-length")
    head = json.loads(answer.content[: int(length)] if length else answer.content)
    position = int(length) if length else 0
    found = {}
    for one in head["outputs"]:
        kind = {"FP32": "<f4", "INT64": "<i8"}[one["datatype"]]
        if "data" in one:
            values = np.array(one["data"], kind)
        else:
            size = one["parameters"]["binary_data_size"]
            values = np.frombuffer(answer.content[position : position + size], kind)
            position += size
        found[one["name"]] = values.reshape(one["shape"])
    assert position in (0, len(answer.content))
    return found


def assert_same(found: dict[str, Any], wanted: Any) -> None:
    assert np.array_equal(found["boxes"], wanted.boxes)
    assert np.array_equal(found["scores"], wanted.scores)
    assert np.array_equal(found["indices"], wanted.indices)
    assert np.array_equal(found["category_ids"], wanted.category_ids)


def test_detect_gives_the_common_json_of_the_detector(detector: Detector) -> None:
    answer = post("/detect", content=picture(90))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {**detector(picture(90)).to_dict(), "model": "sha256:" + _digest()}
    stages = [part.split(";")[0].strip() for part in answer.headers["server-timing"].split(",")]
    assert stages == ["queue", "decode", "preprocess", "network", "postprocess", "write"]


def _digest() -> str:
    import hashlib

    return hashlib.sha256(fake_onnx()).hexdigest()[:12]


def test_a_multipart_file_is_the_same_and_gives_its_name() -> None:
    data = picture(90)
    raw = post("/detect", content=data).json()
    for field in ("image", "file"):
        form = post("/detect", files={field: ("müll.jpg", data, "image/jpeg")}).json()
        assert form == {**raw, "image": "müll.jpg"}


def test_the_drawn_picture_comes_where_it_is_accepted() -> None:
    answer = post("/detect", content=picture(90, 200, 100), headers={"accept": "image/png"})
    assert answer.headers["content-type"] == "image/png"
    image = Image.open(BytesIO(answer.content))
    assert image.size == (200, 100)
    assert len(np.unique(np.asarray(image))) > 3, "something is drawn"


def test_options_choose_the_detections(detector: Detector) -> None:
    data = picture()
    everything = post("/detect?score_threshold=0.05", content=data).json()["detections"]
    labels = {one["label"] for one in everything}
    chosen = post("/detect?classes=car", content=data).json()["detections"]
    assert {one["label"] for one in chosen} == {"car"} < labels
    assert post("/detect?score_threshold=1", content=data).json()["detections"] == []


@pytest.mark.parametrize(
    "query", ["score_threshold=2", "score_threshold=x", "score_threshold=nan", "classes=cra",
              "classes=", "classes=,", "threshold=0.5"]
)  # fmt: skip
def test_an_option_that_means_nothing_is_refused(query: str) -> None:
    answer = post(f"/detect?{query}", content=picture())
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize("kind", [one for one in REFUSALS if one is not UnreadableFile])
def test_a_refused_image_is_the_fault_of_its_request(kind: type[ImageError]) -> None:
    assert of_error(kind("why")).code.name == kind.code, "add it to _TABLE of serving/refusals.py"


@pytest.mark.parametrize(
    ("kind", "code"), [("jpeg", "corrupt_image"), ("png", "unsupported_image")]
)
def test_an_image_that_curl_took_the_line_ends_off_is_refused_with_a_hint(
    kind: str, code: str
) -> None:
    file = BytesIO()
    pixels = np.random.default_rng(7).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(file, kind)
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert post("/detect", content=file.getvalue(), headers=form).status_code == 200  # as it came
    without = file.getvalue().translate(None, b"\r\n\0")  # what `curl -d @FILE` sends
    for headers, hinted in ((form, True), ({}, False)):
        answer = post("/detect", content=without, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (CODES[code].status, code)
        assert ("curl -d? " in answer.json()["error"]) is hinted
        assert ("--data-binary @FILE" in answer.json()["error"]) is hinted


@pytest.mark.parametrize(
    ("header", "media"),
    [
        ("*/*", "application/json"),
        ("image/png", "image/png"),
        ("image/*", "image/png"),
        ("application/json, image/png", "application/json"),
        ("application/json;q=0.5, image/png", "image/png"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("image/png;q=0.1, */*", "application/json"),
        ("application/*;q=0.2, image/png;q=0.1", "application/json"),
        ("*/*, application/json;q=0", "image/png"),
        ("image/png;q=x, application/json;q=0.1", "application/json"),
    ],
)
def test_accept_chooses_json_or_png(header: str, media: str) -> None:
    assert accepted_media(header) == media


@pytest.mark.parametrize("header", ["text/html", "image/jpeg", "", "application/json;q=0"])
def test_an_accept_header_that_takes_neither_is_refused(header: str) -> None:
    with pytest.raises(Refused) as error:
        accepted_media(header)
    assert error.value.status == 406


@pytest.mark.parametrize("name", accepted())
def test_every_accepted_file_is_accepted_on_both_roads(name: str, detector: Detector) -> None:
    data = accepted()[name]

    async def scenario(client: Client) -> None:
        found = await client.post("/detect", content=data)
        assert found.status_code == 200, found.text
        assert found.json()["detections"] == detector(data).to_dict()["detections"]
        raw = await client.post(
            INFER, content=data, headers={"inference-header-content-length": "0"}
        )
        assert_same(outputs(raw), detector(data))

    serve(scenario)


def test_every_refused_file_has_its_code_and_status_on_both_roads() -> None:
    async def scenario(client: Client) -> None:
        for name, (data, code) in refused().items():
            for answer in (
                await client.post("/detect", content=data),
                await client.post(INFER, json=infer_json(data)),
            ):
                wanted = (CODES[code].status, code)
                assert (answer.status_code, answer.json()["code"]) == wanted, name
                assert len(answer.json()["error"]) > 10
            assert (await client.get("/v2/health/live")).json() == {"live": True}
        assert (await client.post("/detect", content=picture())).status_code == 200

    serve(scenario)


def test_a_large_header_costs_nothing_before_the_refusal() -> None:
    answer = post("/detect", content=refused()["png_2_31"][0])
    assert answer.json()["code"] == "too_many_pixels"


def test_json_and_binary_answers_are_the_detectors_numbers(detector: Detector) -> None:
    wanted = detector(picture(60))

    async def scenario(client: Client) -> None:
        for parameters in ({}, {"binary_data_output": True}):
            body = infer_json(picture(60), parameters=parameters, id="x")
            answer = await client.post(INFER, json=body)
            found = outputs(answer)
            assert_same(found, wanted)
            assert found["num_detections"].tolist() == [len(wanted)]

    serve(scenario)


@pytest.mark.parametrize("name", accepted())
def test_an_image_where_json_belongs_is_told_how_to_send_it(name: str) -> None:
    answer = post(INFER, content=accepted()[name])
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    for word in ("looks like an image", "Inference-Header-Content-Length: 0", "/detect"):
        assert word in answer.json()["error"]


def test_bytes_that_are_no_text_are_told_how_a_raw_body_is_sent() -> None:
    answer = post(RAW, content=b"\0\x80\x80\x3f" * 100)
    assert answer.status_code == 400
    assert "byte 1 is not UTF-8" in answer.json()["error"]
    assert "Inference-Header-Content-Length: 0" in answer.json()["error"]


@pytest.mark.parametrize("bad", [b"text", picture()[:-20]], ids=["by its header", "when decoded"])
def test_an_error_says_which_image_it_means(bad: bytes) -> None:
    def sent(*images: bytes) -> str:
        return str(post(INFER, json=infer_json(*images)).json()["error"])

    assert sent(picture(), bad, picture()).startswith("image 2 of 3: ")
    assert sent(bad).startswith("the image: ")
    assert post("/detect", content=bad).json()["error"].startswith("the image: ")
    form = post("/detect", files={"image": ("street.jpg", bad)})
    assert form.json()["error"].startswith("street.jpg: ")


def test_a_limit_of_the_server_is_named_as_its_operator_sets_it() -> None:
    async def scenario(client: Client) -> list[str]:
        many = (b"x" * size for size in ((2 << 20) + 1, 4 << 20))
        answers = [await client.post("/detect", content=data) for data in (picture(), *many)]
        return [answer.json()["error"] for answer in answers]

    images = Limits(max_bytes=2 << 20, max_pixels=100)
    pixels, image, body = serve(scenario, images=images)
    assert "raise --max-pixels" in pixels
    assert "more than 2 MiB" in image
    assert "--max-bytes" in image
    assert "2 MiB (--max-bytes), and 1 MiB around it" in body


def test_a_batch_is_its_images_one_after_the_other(detector: Detector) -> None:
    images = [picture(20), picture(200, 100, 50), picture(120, 30, 90)]
    wanted = [detector(one) for one in images]
    for binary in (False, True):
        body = infer_json(*images, parameters={"binary_data_output": binary})
        found = outputs(post(INFER, json=body))
        assert found["num_detections"].tolist() == [len(one) for one in wanted]
        assert np.array_equal(found["boxes"], np.concatenate([one.boxes for one in wanted]))
        assert np.array_equal(found["scores"], np.concatenate([one.scores for one in wanted]))


def test_no_detections_are_empty_outputs() -> None:
    body = infer_json(picture(), parameters={"score_threshold": 1})
    found = outputs(post(INFER, json=body))
    assert found["boxes"].shape == (0, 4)
    assert found["num_detections"].tolist() == [0]


def test_outputs_come_as_they_are_asked_for() -> None:
    asked = [{"name": "scores", "parameters": {"binary_data": True}}, {"name": "num_detections"}]
    answer = post(INFER, json=infer_json(picture(), outputs=asked))
    found = outputs(answer)
    assert list(found) == ["scores", "num_detections"]
    wrong = post(INFER, json=infer_json(picture(), outputs=[{"name": "masks"}]))
    assert wrong.status_code == 400
    assert "boxes" in wrong.json()["error"]


def test_the_raw_model_gives_the_heads(detector: Detector) -> None:
    tensor = detector.model.preprocess(picture(60)).tensor
    wanted = detector.session.run(tensor)
    raw = post(RAW, content=tensor.tobytes(), headers={"inference-header-content-length": "0"})
    assert raw.headers["content-type"] == "application/octet-stream"
    found = outputs(raw)
    assert list(found) == list(COCO.head_shapes())
    for name, head in zip(found, wanted, strict=True):
        assert np.array_equal(found[name], head)


def test_a_long_json_body_is_read_by_a_worker_and_gives_the_same(detector: Detector) -> None:
    row = ",".join(["0"] * 1199 + ["3"])
    image = ",".join([f"[{row}]"] * 1200)
    body = (
        '{"inputs":[{"name":"image","datatype":"FP32","shape":[1,3,1200,1200],'
        f'"data":[[[{image}],[{image}],[{image}]]]}}],"outputs":[{{"name":"cls_5"}}]}}'
    )
    answer = post(RAW, content=body)
    (head,) = outputs(answer).values()
    tensor = np.zeros((1, 3, 1200, 1200), np.float32)
    tensor[..., -1] = 3
    assert np.array_equal(head, detector.session.run(tensor)[5])


def test_reading_a_request_takes_from_its_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[tuple[float | None, float]] = []
    run = Pool.run

    async def noted(
        self: Pool, tasks: Any, timeout: float | None, place: Any, spent: float
    ) -> list[Done]:
        runs.append((timeout, spent))
        return await run(self, tasks, timeout, place, spent)

    monkeypatch.setattr(Pool, "run", noted)
    text = infer_json(picture(), parameters={"timeout": 9_000_000, "comment": "x" * INLINE_JSON})
    assert post(INFER, json=text).status_code == 200
    (_, first), (timeout, second) = runs
    assert timeout == 9.0
    assert 0 < first < second, "the JSON was read by a worker before the image was"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_tensor_that_is_not_finite_is_refused(value: float) -> None:
    tensor = np.zeros((1, 3, 1200, 1200), np.float32)
    tensor[0, 1, 600, 3] = value
    answer = post(RAW, content=tensor.tobytes(), headers={"inference-header-content-length": "0"})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


WRONG: dict[str, Any] = {
    "another input": {"name": "picture"},
    "another datatype": {"datatype": "FP32", "data": [1.0], "parameters": {}},
    "another rank": {"shape": [1, 1]},
    "too many images": {"shape": [9], "data": [""] * 9},
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_the_models_input_is_refused(name: str) -> None:
    body = infer_json(picture())
    body["inputs"][0].update(WRONG[name])
    answer = post(INFER, json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2", 200),
        ("GET", "/v2/", 200),
        ("HEAD", "/v2/health/live", 200),
        ("HEAD", "/v2/health/ready", 200),
        ("GET", "/v2/models/ssd-resnet34/versions/1", 200),
        ("GET", "/v2/models/ssd-resnet34/versions/1/ready", 200),
        ("GET", "/v2/models/ssd-resnet34-raw/ready", 200),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/other/ready", 404),
        ("GET", "/v2/models/ssd-resnet34/versions/2", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("GET", "/v2/models", 404),
        ("GET", "/v2/models/..%2fm", 404),
        ("GET", "/static/..%2fapp.py", 404),
        ("GET", "/static/nothing.js", 404),
        ("GET", "/v2/health", 404),
        ("GET", "/v2/repository/index", 404),
        ("GET", INFER, 405),
        ("POST", "/v2/models/ssd-resnet34", 405),
        ("OPTIONS", INFER, 405),
        ("DELETE", "/detect", 405),
        ("GET", "/openapi.json", 200),
        ("GET", "/metrics", 200),
        ("GET", "/", 200),
    ],
)
def test_paths_and_methods(method: str, path: str, status: int) -> None:
    answer = request(method, path)
    assert answer.status_code == status
    if status >= 400:
        assert set(answer.json()) == {"error", "code"}
    if status == 405:
        assert "POST" in answer.headers["allow"] or "GET" in answer.headers["allow"]


def test_a_request_is_one_line_of_the_log_whatever_its_path(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, front.__name__):
        assert get("/%0AGET%20/forged%1b[2J").status_code == 404
    (line,) = (one.getMessage() for one in caplog.records if one.name == front.__name__)
    assert line.isprintable()
    assert line.startswith("GET /%0AGET%20/forged%1B%5B2J: 404")


def test_metadata_are_what_the_workers_run() -> None:
    answer = get("/v2/models/ssd-resnet34-raw").json()
    assert answer["platform"] == "fake_fp32"
    assert answer["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 3, 1200, 1200]}]
    assert len(answer["outputs"]) == 12
    assert get("/v2").json()["extensions"] == ["binary_tensor_data"]


def test_bodies_may_be_compressed() -> None:
    data = json.dumps(infer_json(picture())).encode()
    plain = post(INFER, content=data).json()
    for name, packed in (("gzip", gzip.compress(data)), ("deflate", zlib.compress(data))):
        answer = post(INFER, content=packed, headers={"content-encoding": name})
        assert answer.json() == plain
    answer = post(INFER, content=data, headers={"content-encoding": "identity"})
    assert answer.json() == plain


@pytest.mark.parametrize("name", ENCODED)
def test_a_broken_or_unknown_encoding_is_refused(name: str) -> None:
    encoding, body, status = ENCODED[name]
    answer = post(INFER, content=body, headers={"content-encoding": encoding})
    assert answer.status_code == status
    assert answer.json()["code"] in ("bad_request", "unsupported_encoding")


SMALL: dict[str, Any] = {"images": Limits(max_bytes=5000), "max_framing_bytes": 1000}


def test_bodies_over_the_limit_are_413_however_they_come() -> None:
    async def scenario(client: Client) -> None:
        big = bytes(7000)

        async def chunks() -> Any:
            for n in range(0, len(big), 100):
                yield big[n : n + 100]

        bomb = gzip.compress(bytes(2_000_000))
        assert len(bomb) < 5000
        for answer in (
            await client.post("/detect", content=big),
            await client.post("/detect", content=chunks()),
            await client.post("/detect", files={"image": big}),
            await client.post("/detect", content=picture() + bytes(5500)),
            await client.post(
                "/detect",
                content=zlib.compress(bytes(10**6)),
                headers={"content-encoding": "deflate"},
            ),
            await client.post("/detect", content=bomb, headers={"content-encoding": "gzip"}),
            await client.post(INFER, content=big),
        ):
            assert (answer.status_code, answer.json()["code"]) == (413, "too_many_bytes")
        assert (await client.post("/detect", content=picture())).status_code == 200

    serve(scenario, **SMALL)


def test_a_file_in_a_form_may_be_as_large_as_alone() -> None:
    async def scenario(client: Client) -> None:
        image = picture() + bytes(5000 - len(picture()))
        assert (await client.post("/detect", files={"image": image})).status_code == 200
        more = await client.post("/detect", files={"image": image + b"x"})
        assert more.status_code == 413

    serve(scenario, **SMALL)


@pytest.mark.parametrize("name", FORMS)
def test_a_form_without_exactly_one_file_is_refused(name: str) -> None:
    answer = post("/detect", content=FORMS[name], headers={"content-type": FORM})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_a_form_without_a_boundary_is_refused() -> None:
    for kind in ("multipart/form-data", "multipart/form-data; boundary="):
        answer = post("/detect", content=b"x", headers={"content-type": kind})
        assert answer.status_code == 400


def test_the_budget_of_bytes_is_given_back() -> None:
    async def scenario(client: Client) -> None:
        for _ in range(5):
            assert (await client.post("/detect", content=picture())).status_code == 200
            assert (await client.post("/detect", content=bytes(3000))).status_code == 415
        held = await client.get("/metrics")
        assert "ssd_resnet34_held_bytes 0.0" in held.text
        full = await client.post("/detect", content=bytes(4000))
        assert (full.status_code, full.headers["retry-after"]) == (429, "1")

    serve(scenario, max_queued_bytes=3500)


def test_a_timeout_shorter_than_the_work_is_504() -> None:
    body = infer_json(picture(), parameters={"timeout": 1})
    answer = post(INFER, json=body)
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")


def test_a_lifespan_is_answered_and_a_websocket_is_not_let_in() -> None:
    startup, shutdown = {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}
    sent = shared_server().speak({"type": "lifespan"}, startup, shutdown)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    socket = {"type": "websocket", "path": "/detect", "headers": [], "root_path": ""}
    assert shared_server().speak(socket, {"type": "websocket.connect"}) == ["websocket.close"]


def test_a_token_guards_everything_but_health_and_the_page() -> None:
    async def scenario(client: Client) -> None:
        for path in ("/", "/static/page.js", "/v2/health/live", "/v2/health/ready"):
            assert (await client.get(path)).status_code == 200, path
        for path in ("/v2", "/metrics", "/openapi.json", "/nothing", "/v2/models/ssd-resnet34"):
            answer = await client.get(path)
            assert answer.status_code == 401
            assert answer.json()["code"] == "unauthorized"
            assert answer.headers["www-authenticate"] == "Bearer"
        for value in ("Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer", f"Bearer {TOKEN}x"):
            answer = await client.post("/detect", headers={"authorization": value})
            assert answer.status_code == 401
        header = {"authorization": f"bearer {TOKEN}"}
        answer = await client.post("/detect", content=picture(), headers=header)
        assert answer.status_code == 200

    serve(scenario, token=TOKEN)


def test_an_answer_of_json_is_a_line() -> None:
    async def scenario(client: Client) -> list[str]:
        answers = [
            await client.post("/detect", content=picture()),
            await client.post("/detect", content=b""),
            await client.get("/v2"),
        ]
        return [answer.text for answer in answers]

    for text in serve(scenario):
        assert text.endswith("}\n")
        assert text.count("\n") == 1


def test_metrics_count_a_request_without_token_under_its_route() -> None:
    async def scenario(client: Client) -> str:
        await client.post("/detect", content=picture())
        await client.get("/nothing")
        return (await client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})).text

    text = serve(scenario, token=TOKEN, deadline=9.5)  # a server of its own counts from 0
    assert 'ssd_resnet34_requests_total{route="detect",status="401"} 1.0' in text
    assert 'ssd_resnet34_requests_total{route="none",status="401"} 1.0' in text


def test_metrics_count_requests_refusals_and_stages() -> None:
    async def scenario(client: Client) -> str:
        await client.post("/detect", content=picture())
        await client.post("/detect", content=b"")
        await client.get("/nothing")
        return (await client.get("/metrics")).text

    text = serve(scenario, deadline=9.0)  # a server of its own counts from 0
    for line in (
        'ssd_resnet34_requests_total{route="detect",status="200"} 1.0',
        'ssd_resnet34_requests_total{route="detect",status="400"} 1.0',
        'ssd_resnet34_requests_total{route="none",status="404"} 1.0',
        'ssd_resnet34_refusals_total{code="empty_input"} 1.0',
        'ssd_resnet34_stage_seconds_count{stage="network"} 1.0',
        "ssd_resnet34_workers_ready 1.0",
        "ssd_resnet34_queue_inside 0.0",
        "process_open_fds",
    ):
        assert line in text
    assert "_created" not in text


def test_a_refusal_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads take turns with the event loop: a burst of refusals would wait for them."""

    def elsewhere(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a thread")

    monkeypatch.setattr("anyio.to_thread.run_sync", elsewhere)
    for path, status in (("/detect?score_threshold=2", 400), (INFER, 400), ("/nothing", 404)):
        assert post(path, content=b"{").status_code == status
    assert get("/detect").status_code == 405


def test_a_defect_is_a_500_in_json_that_tells_nothing_of_the_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*arguments: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("ssd_resnet34.serving.options.read", broken)
    answer = post("/detect", content=picture())
    assert (answer.status_code, answer.json()["code"]) == (500, "failed")
    assert "secret" not in answer.text
