"""Clients that others have written, against a server process: the same numbers as the detector."""

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from fake_engine import FakeEngine
from fake_network import fake_onnx
from hostile.make_images import accepted
from running_server import Server, running
from serving_engine import picture
from ssd_resnet34 import Detections, load
from ssd_resnet34.contract import COCO
from ssd_resnet34.detector import Detector

NAMES = ("boxes", "scores", "indices", "category_ids", "num_detections")


@pytest.fixture(scope="module")
def detector() -> Iterator[Detector]:
    with load(fake_onnx(), engine=FakeEngine()) as made:
        yield made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server")) as started:
        yield started


def check(result: Any, wanted: Detections) -> None:
    """``result`` is what tritonclient gives."""
    assert np.array_equal(result.as_numpy("boxes"), wanted.boxes)
    assert np.array_equal(result.as_numpy("scores"), wanted.scores)
    assert np.array_equal(result.as_numpy("indices"), wanted.indices)
    assert np.array_equal(result.as_numpy("category_ids"), wanted.category_ids)
    assert result.as_numpy("num_detections").tolist() == [len(wanted)]


def triton_input(module: Any, data: bytes) -> Any:
    made = module.InferInput("image", [1], "BYTES")
    made.set_data_from_numpy(np.array([data], np.object_))
    return made


@pytest.fixture
def triton(server: Server) -> Iterator[Any]:
    import tritonclient.http as module

    with module.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        yield client


def test_tritonclient_reads_health_and_metadata(triton: Any) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("ssd-resnet34")
    assert triton.is_model_ready("ssd-resnet34-raw", "1")
    assert not triton.is_model_ready("other")
    assert triton.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    metadata = triton.get_model_metadata("ssd-resnet34", "1")
    assert [one["name"] for one in metadata["outputs"]] == list(NAMES)


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_tritonclient_infers_binary_compressed_or_not(
    triton: Any, compression: str | None, detector: Detector
) -> None:
    import tritonclient.http as module

    image = triton_input(module, picture(60))
    answer = triton.infer(
        "ssd-resnet34",
        [image],
        request_id="the id",
        timeout=20_000_000,
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )
    check(answer, detector(picture(60)))
    assert answer.get_response()["id"] == "the id"
    wanted = [module.InferRequestedOutput(name, binary_data=name == "boxes") for name in NAMES]
    mixed = triton.infer("ssd-resnet34", [image], outputs=wanted, model_version="1")
    check(mixed, detector(picture(60)))


def test_tritonclient_sends_a_batch(triton: Any, detector: Detector) -> None:
    import tritonclient.http as module

    pictures = [picture(60), picture(200, 90, 120)]
    images = module.InferInput("image", [2], "BYTES")
    images.set_data_from_numpy(np.array(pictures, np.object_))
    answer = triton.infer("ssd-resnet34", [images])
    wanted = [detector(one) for one in pictures]
    assert answer.as_numpy("num_detections").tolist() == [len(one) for one in wanted]
    assert np.array_equal(answer.as_numpy("boxes"), np.concatenate([one.boxes for one in wanted]))


def test_tritonclient_runs_the_network_alone(triton: Any, detector: Detector) -> None:
    import tritonclient.http as module

    tensor = detector.model.preprocess(picture(60)).tensor
    image = module.InferInput("image", list(tensor.shape), "FP32")
    image.set_data_from_numpy(tensor)
    answer = triton.infer("ssd-resnet34-raw", [image])
    wanted: list[NDArray[np.float32]] = detector.session.run(tensor)
    for name, head in zip(COCO.head_shapes(), wanted, strict=True):
        assert np.array_equal(answer.as_numpy(name), head)


def test_tritonclient_sees_refusals_with_their_status(triton: Any) -> None:
    import tritonclient.http as module
    from tritonclient.utils import InferenceServerException

    for data, status in ((b"no image", "415"), (picture()[:-2], "422"), (b"", "400")):
        with pytest.raises(InferenceServerException) as error:
            triton.infer("ssd-resnet34", [triton_input(module, data)])
        assert error.value.status() == status
        assert len(error.value.message()) > 10
    with pytest.raises(InferenceServerException) as error:
        triton.infer("ssd-resnet34", [triton_input(module, picture())], timeout=1)
    assert error.value.status() == "504"
    with pytest.raises(InferenceServerException):
        triton.get_inference_statistics()


def test_tritonclients_asyncio_form_does_the_same(server: Server, detector: Detector) -> None:
    import tritonclient.http.aio as module

    async def scenario() -> list[Any]:
        async with module.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            assert await client.is_server_ready()
            asked = (
                client.infer("ssd-resnet34", [triton_input(module, picture(20 * n))])
                for n in range(4)
            )
            return list(await asyncio.gather(*asked))

    for number, answer in enumerate(asyncio.run(scenario())):
        check(answer, detector(picture(20 * number)))


def test_open_inference_openapi_reads_everything(server: Server, detector: Detector) -> None:
    from open_inference.openapi.client import OpenInferenceClient
    from open_inference.openapi.errors.not_found_error import NotFoundError
    from open_inference.openapi.types.inference_request import InferenceRequest

    with httpx.Client(base_url=server.url, trust_env=False) as http:
        client = OpenInferenceClient(base_url=server.url, httpx_client=http)
        client.check_server_liveness()
        client.check_server_readiness()
        assert client.read_server_metadata().name == "ssd-resnet34"
        client.check_model_readiness("ssd-resnet34")
        assert client.read_model_metadata("ssd-resnet34").platform == "serving_fp32"
        body = {
            "id": "7",
            "inputs": [
                {
                    "name": "image",
                    "datatype": "BYTES",
                    "shape": [1],
                    "parameters": {"content_type": "base64"},
                    "data": [base64.b64encode(picture(60)).decode()],
                }
            ],
        }
        answer = client.model_infer("ssd-resnet34", request=InferenceRequest.parse_obj(body))
        with pytest.raises(NotFoundError):
            client.check_model_readiness("other")
    assert answer.id == "7"
    found = {one.name: np.array(one.data.__root__) for one in answer.outputs}
    wanted = detector(picture(60))
    assert np.array_equal(found["boxes"].astype(np.float32).reshape(-1, 4), wanted.boxes)
    assert np.array_equal(found["scores"].astype(np.float32), wanted.scores)


def test_two_hundred_images_from_eight_clients_equal_the_serial_answers(
    server: Server, detector: Detector
) -> None:
    kinds = [*accepted().values()]
    pictures = [
        kinds[n % len(kinds)] if n % 2 else picture(n, 40 + n % 7, 50 + n % 11) for n in range(200)
    ]

    async def scenario() -> list[Any]:
        limits = httpx.Limits(max_connections=8)
        async with httpx.AsyncClient(
            base_url=server.url, limits=limits, timeout=60, trust_env=False
        ) as client:
            gate = asyncio.Semaphore(8)

            async def ask(data: bytes) -> Any:
                async with gate:
                    return (await client.post("/detect", content=data)).json()["detections"]

            return list(await asyncio.gather(*map(ask, pictures)))

    answers = asyncio.run(scenario())
    assert answers == [detector(one).to_dict()["detections"] for one in pictures]
