"""Stages and stream, on the fake engine and with clocks of our own."""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

import ssd_resnet34
from fake_clock import FakeClock, ticking
from fake_engine import FakeEngine
from fake_network import fake_onnx
from small_network import small_onnx
from ssd_resnet34 import Detector
from ssd_resnet34.benchmarking import stages
from ssd_resnet34.errors import CorruptImage, SessionError
from ssd_resnet34.pairs import Percentiles, Ratio


def picture(shade: int = 90) -> bytes:
    return cv2.imencode(".jpg", np.full((30, 40, 3), shade, np.uint8))[1].tobytes()


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def detector(engine: FakeEngine) -> Iterator[Detector]:
    with ssd_resnet34.load(fake_onnx(), engine=engine, threads=1) as made:
        yield made


def test_every_stage_of_every_image_is_timed_and_so_is_the_stream(detector: Detector) -> None:
    images = 0

    def count() -> None:
        nonlocal images
        images += 1

    # A second passes at each look: four an image one by one, one an image in the stream.
    found = stages.measure(detector, [picture()], 3, clock=ticking(), on_image=count)
    assert (found.name, found.precision) == ("fake:fp32:1:1", "fp32")
    assert found.stages == dict.fromkeys(stages.STAGES, Percentiles(1, 1, 1, 3 * stages.BLOCK))
    assert found.whole.p50 == 4
    assert found.around == Ratio(4, 4, 4, 3 * stages.BLOCK)
    assert found.serial_images_per_second == 0.25
    assert found.stream_images_per_second == 1
    assert found.overlap == Ratio(1, 1, 1, 3)
    assert images == stages.network_runs(3)


def test_filling_and_emptying_the_stream_are_part_of_its_rate(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    with ssd_resnet34.load(fake_onnx(), engine=engine, threads=1, streams=2) as detector:

        def stream(images: Any) -> Iterator[None]:
            for number, _ in enumerate(images):
                clock.now += 100 if number < 2 else 3
                yield

        monkeypatch.setattr(detector, "stream", stream)
        monkeypatch.setattr(stages, "_one", lambda *_: (1.0, 1.0, 2.0, 1.0))
        found = stages.measure(detector, [picture()], 3, clock=clock)
    mean = (2 * 100 + 14 * 3) / 16
    assert found.stream_images_per_second == pytest.approx(1 / mean)
    assert found.overlap.median == pytest.approx(2 / mean)  # of 1 / network time
    assert found.around.median == pytest.approx(5 / 2)


def test_the_two_sides_of_a_pair_alternate_and_pictures_come_in_turn(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bytes]] = []
    one, stream = stages._one, detector.stream

    def watched_one(detector: Detector, data: bytes, clock: Any) -> Any:
        seen.append(("one", data))
        return one(detector, data, clock)

    def watched_stream(images: Any) -> Any:
        def noted() -> Iterator[bytes]:
            for data in images:
                seen.append(("stream", data))
                yield data

        return stream(noted())

    monkeypatch.setattr(stages, "_one", watched_one)
    monkeypatch.setattr(detector, "stream", watched_stream)
    pictures = [picture(10), picture(200)]
    stages.measure(detector, pictures, 2)
    block, whole = ["one"] * stages.BLOCK, ["stream"] * stages.STREAMED
    assert [kind for kind, _ in seen] == ["one", *block, *whole, *whole, *block]
    assert [data for _, data in seen] == [pictures[n % 2] for n in range(len(seen))]


def test_where_the_device_has_the_whole_road_there_are_two_stages() -> None:
    pytest.importorskip("torch", reason="the torch extra is not installed")
    from small_torch import RoadEngine

    images = 0

    def count() -> None:
        nonlocal images
        images += 1

    with ssd_resnet34.load(
        small_onnx(), engine=RoadEngine(), device="cuda", streams=2, batch=3, score_threshold=0.9
    ) as detector:
        found = stages.measure(detector, [picture()], 1, clock=ticking(), on_image=count)
    assert found.stages == dict.fromkeys(("decode", "device"), Percentiles(1, 1, 1, 2))
    assert found.whole.p50 == 2
    assert found.around.median == 2
    assert found.stream_images_per_second == 1
    assert images == stages.network_runs(1, 2 * 3)


def test_a_picture_or_an_engine_that_fails_is_an_error(detector: Detector) -> None:
    with pytest.raises(CorruptImage):
        stages.measure(detector, [picture()[:300]], 1)
    detector.close()
    with pytest.raises(SessionError):
        stages.measure(detector, [picture()], 1)
