"""``load()`` and ``Detector`` on the fake engine."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import ssd_resnet34
from fake_engine import FakeEngine
from fake_network import fake_onnx
from ssd_resnet34 import Detections, Detector
from ssd_resnet34.errors import CorruptImage, ImageError, SessionClosed, UsageError
from ssd_resnet34.runtime.session import Session
from ssd_resnet34.vision.images import Image as Decoded


@pytest.fixture
def detector() -> Iterator[Detector]:
    with ssd_resnet34.load(fake_onnx(), engine=FakeEngine()) as made:
        yield made


@pytest.fixture
def picture() -> np.ndarray[Any, Any]:
    return np.full((60, 100, 3), 90, np.uint8)


def test_one_image_gives_one_result_and_a_list_gives_a_list(
    detector: Detector, picture: np.ndarray[Any, Any]
) -> None:
    one = detector(picture, colour="rgb")
    assert isinstance(one, Detections)
    assert one.labels
    many = detector([picture, picture], colour="bgr")
    assert isinstance(many, list)
    assert [len(found) for found in many] == [len(one)] * 2


def test_every_source_of_the_same_pixels_gives_the_same_boxes(
    detector: Detector, picture: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), picture)
    data = path.read_bytes()
    sources: list[Any] = [path, str(path), data, io.BytesIO(data), Image.open(path)]
    boxes = [detector(source).boxes for source in sources]
    boxes.append(detector(picture, colour="bgr").boxes)
    for other in boxes[1:]:
        np.testing.assert_array_equal(other, boxes[0])


def test_boxes_are_clipped_to_the_image(picture: np.ndarray[Any, Any]) -> None:
    corner = 0  # the first prior of the first cell reaches outside
    engine = FakeEngine(((corner, 5),))
    with ssd_resnet34.load(fake_onnx(), engine=engine) as detector:
        found = detector(picture, colour="rgb")
    assert (found.boxes[:, :2] >= 0).all()
    assert (found.boxes[:, 2] <= 100).all()
    assert (found.boxes[:, 3] <= 60).all()


def test_a_refused_image_ends_a_stream_or_is_an_item_of_it(
    detector: Detector, picture: np.ndarray[Any, Any]
) -> None:
    data = cv2.imencode(".jpg", picture)[1].tobytes()
    images = [data, data[: len(data) // 2], data]
    with pytest.raises(CorruptImage):
        list(detector.stream(images))
    results = list(detector.stream(images, errors="return"))
    assert [isinstance(result, ImageError) for result in results] == [False, True, False]


@pytest.mark.parametrize("streams", [1, 3])
def test_a_stream_reads_a_few_images_ahead_and_no_more(
    streams: int, picture: np.ndarray[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "busy", 0.0)  # a network that takes nothing: overlap pays
    taken = 0

    def images() -> Iterator[Any]:
        nonlocal taken
        while True:  # endless: a stream that reads all would hang
            taken += 1
            yield picture

    with ssd_resnet34.load(fake_onnx(), engine=FakeEngine(), streams=streams) as detector:
        stream = detector.stream(images(), colour="rgb")
        alone = 3 if streams == 1 else 0  # one by one, while nobody knows what the network takes
        for done in range(1, alone + 1):
            next(stream)
            assert taken == done
        next(stream)
        assert taken == alone + 1 + streams + 1
        stream.close()  # type: ignore[attr-defined]  # it is a generator


def test_pairs_bring_the_picture_or_its_refusal_by_batches_where_a_device_has_the_road() -> None:
    pytest.importorskip("torch", reason="the torch extra is not installed")
    from small_network import small_onnx
    from small_torch import RoadEngine

    pictures = [Decoded(np.full((40 + n, 60, 3), 9 * n, np.uint8), str(n)) for n in range(5)]
    refusal = CorruptImage("no image")

    def read(number: int) -> Decoded:
        if number == 2:
            raise refusal
        return pictures[number]

    with ssd_resnet34.load(small_onnx(), engine=RoadEngine(), device="cuda", batch=2) as detector:
        sizes: list[int] = []
        on_device = detector.session.detect

        def detect(batch: list[Decoded], *rest: Any, **options: Any) -> list[Detections]:
            sizes.append(len(batch))
            return on_device(batch, *rest, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(detector.session, "detect", detect)
            pairs = list(detector.stream_pairs(range(5), read))
        alone = [detector(picture) for picture in pictures]
    assert sorted(sizes) == [1, 1, 2], "four images in batches of two, one of which lost an image"
    assert pairs[2] is refusal
    for number in (0, 1, 3, 4):
        picture, found = pairs[number]  # type: ignore[misc]  # not a refusal
        assert picture is pictures[number]
        np.testing.assert_array_equal(found.boxes, alone[number].boxes)


def test_a_stream_keeps_the_order_and_gives_what_single_calls_give(tmp_path: Path) -> None:
    pictures = [np.full((40 + n, 60, 3), 8 * n, np.uint8) for n in range(20)]
    with ssd_resnet34.load(fake_onnx(), engine=FakeEngine(), streams=3) as detector:
        alone = [detector(one, colour="bgr") for one in pictures]
        streamed = list(detector.stream(pictures, colour="bgr"))
    assert [one.height for one in streamed] == [40 + n for n in range(20)]
    for a, b in zip(alone, streamed, strict=True):
        assert np.array_equal(a.boxes, b.boxes)
        assert np.array_equal(a.scores, b.scores)


def test_a_closed_detector_says_so(detector: Detector, picture: np.ndarray[Any, Any]) -> None:
    detector.close()
    with pytest.raises(SessionClosed, match="closed"):
        detector(picture, colour="rgb")


def test_options_reach_the_selection(picture: np.ndarray[Any, Any]) -> None:
    with ssd_resnet34.load(fake_onnx(), engine=FakeEngine(), classes=["car"], top_k=1) as detector:
        assert detector(picture, colour="rgb").labels == ("car",)


@pytest.mark.parametrize(
    "options",
    [{"precision": "fp8"}, {"threads": 0}, {"streams": 0}],
)
def test_a_wrong_option_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        ssd_resnet34.load(fake_onnx(), engine=FakeEngine(), **options)


def test_wrong_selection_options_are_named_before_any_image() -> None:
    for options in ({"score_threshold": 2}, {"nms": "soft"}, {"classes": ["cra"]}, {"top_k": 0}):
        with pytest.raises(UsageError):
            ssd_resnet34.load(fake_onnx(), engine=FakeEngine(), **options)


def test_a_refused_option_leaves_no_session_open() -> None:
    engine = FakeEngine()
    with pytest.raises(UsageError):
        ssd_resnet34.load(fake_onnx(), engine=engine, classes=["cra"])
    assert engine.closed == len(engine.requests)


@pytest.mark.parametrize("device", [5, None, "cuda:x", "CPU"])
def test_what_is_no_device_is_a_usage_error(device: Any) -> None:
    with pytest.raises(UsageError, match="is not a device"):
        ssd_resnet34.load(fake_onnx(), device=device)


@pytest.mark.parametrize("weights", [5, None, bytearray(b"x")])
def test_what_is_no_weights_is_a_usage_error(weights: Any) -> None:
    with pytest.raises(UsageError, match="weights: a "):
        ssd_resnet34.load(weights, engine=FakeEngine())


def test_a_stream_with_an_unknown_way_of_errors_is_refused(detector: Detector) -> None:
    with pytest.raises(UsageError, match="errors"):
        next(detector.stream(["a.jpg"], errors="ignore"))  # type: ignore[call-overload]


def test_a_stream_of_one_image_is_refused_and_not_taken_apart(
    detector: Detector, picture: np.ndarray[Any, Any]
) -> None:
    one: Any
    for one in ("street.jpg", b"bytes", Path("street.jpg"), io.BytesIO(b"bytes"), picture):
        with pytest.raises(UsageError, match="images: one alone"):
            next(detector.stream(one, colour="rgb"))
    stack = np.stack([picture, picture])
    assert len(list(detector.stream(stack, colour="rgb"))) == 2


@pytest.mark.parametrize("alone", ["car", 3, np.int64(3)])
def test_one_class_alone_may_stand_without_a_list(alone: Any) -> None:
    with ssd_resnet34.load(fake_onnx(), engine=FakeEngine(), classes=alone) as detector:
        assert detector.options.classes == (alone,)
