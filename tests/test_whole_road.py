"""``Detector`` where the device has the whole road: the host's results, in batches, in order."""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

import ssd_resnet34
from fake_engine import FakeEngine
from fake_network import fake_onnx
from small_network import small_onnx
from ssd_resnet34 import Detections, Detector
from ssd_resnet34.errors import CorruptImage, ImageError, UsageError
from ssd_resnet34.vision.selection import Candidates

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

from small_torch import RoadEngine  # noqa: E402  # needs torch


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Operations this small only wait for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def picture(number: int) -> bytes:
    """A PNG of its own size and content."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (6, 9, 3), np.uint8)
    pixels = cv2.resize(coarse, (90 + number, 60 + number), interpolation=cv2.INTER_NEAREST)
    return cv2.imencode(".png", pixels)[1].tobytes()


class Watched:
    """A detector on ``RoadEngine``; notes the size of every batch."""

    def __init__(self, **options: Any) -> None:
        self.engine = RoadEngine()
        given = {"threads": 2, "score_threshold": 0.6, **options}
        self.detector = ssd_resnet34.load(
            small_onnx(), engine=self.engine, device="cuda", precision="fp32", **given
        )
        (runner,) = self.engine.runners
        detect, self.batches = runner.detect, list[int]()

        def noted(images: Any, rules: Any) -> list[Candidates]:
            self.batches.append(len(images))
            return detect(images, rules)

        runner.detect = noted  # type: ignore[method-assign]

    def __enter__(self) -> "Watched":
        return self

    def __exit__(self, *_: Any) -> None:
        self.detector.close()


def host() -> Detector:
    return ssd_resnet34.load(
        small_onnx(), engine="onnxruntime", precision="fp32", threads=1, score_threshold=0.6
    )


def assert_same(found: list[Detections], wanted: list[Detections]) -> None:
    for a, b in zip(found, wanted, strict=True):
        assert (a.width, a.height, a.image, a.model) == (b.width, b.height, b.image, b.model)
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)
        order = [np.lexsort((*one.boxes.round(1).T, one.indices)) for one in (a, b)]
        np.testing.assert_array_equal(a.indices[order[0]], b.indices[order[1]])
        np.testing.assert_allclose(a.boxes[order[0]], b.boxes[order[1]], atol=1e-2)


def test_single_images_lists_and_streams_are_the_hosts() -> None:
    pictures = [picture(n) for n in range(5)]
    with host() as detector:
        wanted = [detector(one) for one in pictures]
    assert sum(map(len, wanted)) > 20
    with Watched(batch=2) as watched:
        assert_same([watched.detector(one) for one in pictures], wanted)
        assert watched.batches == [1] * 5
        assert_same(watched.detector(pictures), wanted)
        assert_same(list(watched.detector.stream(pictures)), wanted)
        assert sorted(watched.batches[5:]) == [1, 1, 2, 2, 2, 2]


def test_boxes_are_clipped_and_options_reach_the_device() -> None:
    with Watched(classes=["dog"], top_k=3, score_threshold={"dog": 0.2}) as watched:
        found = watched.detector(picture(0))
    assert found.labels == ("dog",) * 3
    assert (found.boxes >= 0).all()
    assert (found.boxes <= (found.width, found.height) * 2).all()


def test_a_refused_image_keeps_its_place_in_its_batch() -> None:
    pictures = [picture(n) for n in range(7)]
    broken = {1: pictures[1][:-20], 4: b"no image", 5: b""}
    mixed = [broken.get(n, one) for n, one in enumerate(pictures)]
    with Watched(batch=4, streams=1) as watched:
        results = list(watched.detector.stream(mixed, errors="return"))
        assert [isinstance(one, ImageError) for one in results] == [n in broken for n in range(7)]
        assert [one.width for one in results if isinstance(one, Detections)] == [90, 92, 93, 96]
        assert watched.batches == [3, 1]  # what was refused is not run
        stream = watched.detector.stream(mixed)
        assert next(stream).width == 90
        with pytest.raises(CorruptImage):
            next(stream)


def test_a_batch_of_refused_images_does_not_reach_the_device() -> None:
    with Watched(batch=2) as watched:
        results = list(watched.detector.stream([b"", b"no", picture(0)], errors="return"))
        assert [type(one).__name__ for one in results[:2]] == ["EmptyInput", "UnsupportedImage"]
        assert watched.batches == [1]


def test_images_that_fail_lose_no_result_of_those_before() -> None:
    def images() -> Iterator[bytes]:
        yield from (picture(n) for n in range(3))
        raise OSError("the folder went away")

    with Watched(batch=2) as watched:
        results = watched.detector.stream(images())
        assert [next(results).width for _ in range(3)] == [90, 91, 92]
        with pytest.raises(OSError, match="went away"):
            next(results)


def test_an_endless_source_is_read_a_few_batches_ahead() -> None:
    taken = 0

    def images() -> Iterator[bytes]:
        nonlocal taken
        while True:  # endless: a stream that reads all would hang
            taken += 1
            yield picture(0)

    with Watched(batch=3, streams=2, threads=4) as watched:
        stream = watched.detector.stream(images())
        for _ in range(4):  # the second batch is under way
            next(stream)
        session = watched.detector.session
        most = (session.streams + 1) * session.batch + session.threads + 1
        assert taken <= most + session.batch
        stream.close()  # type: ignore[attr-defined]  # it is a generator


def test_a_batch_where_images_go_one_by_one_is_refused_and_no_session_left_open() -> None:
    engine = FakeEngine()
    with pytest.raises(UsageError, match=r"batch: 8 has no effect.*engine torch on a GPU"):
        ssd_resnet34.load(fake_onnx(), engine=engine, batch=8)
    assert engine.requests == []
    ssd_resnet34.load(fake_onnx(), engine=engine, batch=1).close()
