"""Every hostile and unusual image and request, sent to a server: its answer, and what is after it.

After each of them: liveness, the next good picture right, memory and descriptors bounded. Hostile
connections have their own list in test_connection.
"""

import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import cv2
import numpy as np
import pytest

from fake_engine import FakeEngine
from fake_network import fake_onnx
from hostile.make_images import (
    accepted,
    bombs,
    endless,
    jpeg_with_zeroed_middle,
    malformed_exif,
    oriented,
    plain_png,
    refused,
)
from running_server import Server, running
from serving_condition import Condition
from serving_requests import ENCODED, FORM, FORMS, NOT_THE_PROTOCOL
from ssd_resnet34 import load
from ssd_resnet34.detector import Detector
from ssd_resnet34.errors import ImageError
from ssd_resnet34.serving.detect_route import CURLS_OWN
from ssd_resnet34.serving.refusals import CODES

GROWTH = (150_000_000, 400_000_000)
"""Bytes that the server and its worker may ever hold more: a body has 65 MiB at most, and of
6000 × 6000 pixels the worker holds 108 MB more than once."""

INFER = "/v2/models/ssd-resnet34/infer"

Verdict = tuple[int, Any]
"""Status, and the detections or the code of the refusal."""


@pytest.fixture(scope="module")
def detector() -> Iterator[Detector]:
    with load(fake_onnx(), engine=FakeEngine()) as made:
        yield made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("server"), deadline=60.0) as started:
        yield started


@pytest.fixture(scope="module")
def condition(server: Server) -> Iterator[Condition]:
    """Of the server before anything hostile was sent."""
    with closing(Condition(server, GROWTH)) as made:
        yield made


@pytest.fixture
def send(server: Server, condition: Condition) -> Iterator[Callable[..., Verdict]]:
    """Send a body to ``/detect``: its verdict, with all that must hold after it."""
    workers = server.workers()

    def sent(data: bytes, **headers: str) -> Verdict:
        with server.client() as client:
            answer = client.post("/detect", content=data, headers=headers)
            body = answer.json()
            if not headers:
                form = client.post("/detect", files={"image": ("", data)})
                assert form.status_code == answer.status_code
                assert form.json().get("detections") == body.get("detections")
                assert form.json().get("code") == body.get("code")
        if answer.status_code != 200:
            assert set(body) == {"error", "code"}
        condition.check()
        return answer.status_code, body.get("detections", body.get("code"))

    yield sent
    assert server.workers() == workers, "no worker was lost"


def verdict(detector: Detector, data: bytes) -> Verdict:
    """What the detector itself says: the same on every road."""
    try:
        return 200, detector(data).to_dict()["detections"]
    except ImageError as error:
        return error.status, error.code


def test_unusual_images_are_answered_as_by_the_detector(
    send: Callable[..., Verdict], detector: Detector
) -> None:
    more = {"zeroed middle": jpeg_with_zeroed_middle(), "6000": plain_png(6000, 6000)}
    for name, data in (accepted() | malformed_exif() | more).items():
        status, found = send(data)
        assert status == 200, name
        assert (status, found) == verdict(detector, data), name


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_every_orientation_has_the_boxes_of_the_picture_as_displayed(
    kind: str, send: Callable[..., Verdict]
) -> None:
    upright = send(oriented(kind, 1))
    for orientation in range(2, 9):
        status, found = send(oriented(kind, orientation))
        assert status == 200
        for one, other in zip(found, upright[1], strict=True):
            assert (one["label"], one["box"]) == (other["label"], other["box"])


def test_refused_images_have_their_code_and_status(send: Callable[..., Verdict]) -> None:
    for name, (data, code) in refused().items():
        assert send(data) == (CODES[code].status, code), name


@pytest.mark.parametrize("sides", [(1, 1), (1, 65500), (65500, 1)])
def test_pictures_of_a_pixels_width_have_finite_boxes(
    sides: tuple[int, int], send: Callable[..., Verdict]
) -> None:
    width, height = sides
    status, found = send(plain_png(width, height))
    assert status == 200
    boxes = np.array([one["box"] for one in found])
    assert np.isfinite(boxes).all()
    assert (boxes >= 0).all()
    assert (boxes <= [width, height, width, height]).all()


def test_bombs_and_endless_files_end(send: Callable[..., Verdict], detector: Detector) -> None:
    for name, data in (bombs() | endless()).items():
        assert send(data) == verdict(detector, data), name


def test_a_file_cut_anywhere_is_refused(send: Callable[..., Verdict]) -> None:
    for kind in (".jpg", ".png"):
        whole = bytes(cv2.imencode(kind, np.full((90, 90, 3), 50, np.uint8))[1])
        for cut in (1, 2, 20, len(whole) // 2):
            assert send(whole[:-cut]) == (422, "corrupt_image"), (kind, cut)


def test_ten_megabytes_that_inflate_to_ten_gigabytes_are_refused(
    send: Callable[..., Verdict],
) -> None:
    maker = zlib.compressobj(9, wbits=31)
    head = maker.compress(b"")
    head += maker.flush(zlib.Z_FULL_FLUSH)
    block = maker.compress(bytes(10_000_000)) + maker.flush(zlib.Z_FULL_FLUSH)
    bomb = head + block * 1000  # after a full flush each block stands for itself
    assert len(bomb) < 12_000_000
    status, code = send(bomb, **{"content-encoding": "gzip"})
    assert (status, code) == (413, "too_many_bytes")


def refuse(server: Server, path: str, body: bytes, headers: dict[str, str]) -> int:
    """Send what is refused; the status."""
    with server.client() as client:
        answer = client.post(path, content=body, headers=headers)
    assert set(answer.json()) == {"error", "code"}
    assert "Error(" not in answer.text, "that is for programmers"
    return answer.status_code


@pytest.mark.parametrize("name", FORMS)
def test_a_hostile_form_leaves_the_server_as_it_was(
    name: str, server: Server, condition: Condition
) -> None:
    assert refuse(server, "/detect", FORMS[name], {"content-type": FORM}) == 400
    condition.check()


@pytest.mark.parametrize("name", ENCODED)
def test_a_hostile_encoding_leaves_the_server_as_it_was(
    name: str, server: Server, condition: Condition
) -> None:
    encoding, body, status = ENCODED[name]
    for path in ("/detect", INFER):
        assert refuse(server, path, body, {"content-encoding": encoding}) == status
        condition.check()


@pytest.mark.parametrize("name", NOT_THE_PROTOCOL)
def test_hostile_json_leaves_the_server_as_it_was(
    name: str, server: Server, condition: Condition
) -> None:
    body, blobs = NOT_THE_PROTOCOL[name]
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"inference-header-content-length": str(len(text))} if blobs else {}
    assert refuse(server, INFER, text + blobs, headers) == 400
    condition.check()


def test_refused_bodies_are_let_go(server: Server, condition: Condition) -> None:
    for _ in range(15):
        body = bytes(20_000_000)
        assert refuse(server, "/detect", body, {"content-type": CURLS_OWN}) == 415
    condition.check()


def test_no_worker_was_lost_to_any_of_them(server: Server) -> None:
    with server.client() as client:
        assert "ssd_resnet34_worker_restarts_total 0.0" in client.get("/metrics").text
