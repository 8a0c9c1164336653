"""Every hostile and unusual image, sent to a server: its answer, and the server as it was before.

After each of them: liveness, the next good picture right, memory bounded. Hostile connections have
their own list in test_connection, hostile forms and encodings in test_app.
"""

import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
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
from serving_engine import picture
from ssd_resnet34 import load
from ssd_resnet34.detector import Detector
from ssd_resnet34.errors import ImageError
from ssd_resnet34.serving.refusals import CODES

GROWTH = 250_000_000
"""Bytes that server and worker may hold more than before; 6000 × 6000 pixels are 108 MB."""

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


def memory(server: Server) -> int:
    """Resident bytes of the server and its workers."""
    pages = 0
    for process in (server.process.pid, *server.workers()):
        pages += int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors(server: Server) -> list[int]:
    return [
        len(list(Path(f"/proc/{process}/fd").iterdir()))
        for process in (server.process.pid, *server.workers())
    ]


@pytest.fixture
def send(server: Server, detector: Detector) -> Iterator[Callable[..., Verdict]]:
    """Send a body to ``/detect``: its verdict, with all that must hold after it."""
    good = picture(70)
    right = detector(good).to_dict()["detections"]
    with server.client() as client:
        assert client.post("/detect", content=good).json()["detections"] == right
        before, workers = memory(server), server.workers()
        opened = descriptors(server)

        def sent(data: bytes, **headers: str) -> Verdict:
            answer = client.post("/detect", content=data, headers=headers)
            body = answer.json()
            if not headers:
                form = client.post("/detect", files={"image": ("", data)})
                assert form.status_code == answer.status_code
                assert form.json().get("detections") == body.get("detections")
                assert form.json().get("code") == body.get("code")
            if answer.status_code != 200:
                assert set(body) == {"error", "code"}
            assert client.get("/v2/health/live").json() == {"live": True}
            assert client.post("/detect", content=good).json()["detections"] == right
            assert memory(server) - before < GROWTH
            return answer.status_code, body.get("detections", body.get("code"))

        yield sent
        assert server.workers() == workers, "no worker was lost"
    with server.client() as client:
        assert client.get("/v2/health/live").status_code == 200
        assert max(np.subtract(descriptors(server), opened)) <= 2, "but for closing connections"


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


def test_the_next_client_is_served_after_all_of_them(server: Server) -> None:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
        text = client.get("/metrics").text
    assert "ssd_resnet34_held_bytes 0.0" in text
    assert "ssd_resnet34_queue_inside 0.0" in text
    assert "ssd_resnet34_worker_restarts_total 0.0" in text
