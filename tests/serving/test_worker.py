"""The worker by its pipe: orders, overlap, cancelling, and the road of a device."""

import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from typing import Any

import numpy as np
import pytest

from fake_engine import FakeEngine
from fake_network import fake_onnx
from running_server import wait
from serving_engine import picture
from ssd_resnet34 import load
from ssd_resnet34.detector import Detector
from ssd_resnet34.serving.options import Selection
from ssd_resnet34.serving.refusals import Refused
from ssd_resnet34.serving.tasks import Cancel, Detect, Done, NotDone, Order, Parse, Started
from ssd_resnet34.serving.worker import Stopwatch, Worker

FAR_ENDS: dict[Any, Any] = {}
"""The worker's end of each test's pipe."""


@contextmanager
def worker(detector: Detector) -> Iterator[tuple[Any, Started]]:
    """The server's end of the pipe of a worker in a thread, and its first report."""
    ours, theirs = Pipe()
    FAR_ENDS[ours] = theirs
    thread = threading.Thread(target=Worker(theirs, detector).serve)
    thread.start()
    try:
        yield ours, ours.recv()
    finally:
        ours.send(None)
        thread.join()
        ours.close()
        theirs.close()
        del FAR_ENDS[ours]


def wait_until_read(pipe: Any) -> None:
    """The worker has taken the last message from the pipe, and so dealt with those before it."""
    far_end = FAR_ENDS[pipe]
    while far_end.poll():
        time.sleep(0.01)


def detect(number: int, data: bytes) -> Order:
    return Order(number, Detect(data, "a.jpg", Selection(), "json"))


def test_the_first_report_says_what_runs() -> None:
    with (
        load(fake_onnx(), engine=FakeEngine(), streams=1) as detector,
        worker(detector) as (_, started),
    ):
        assert (started.engine, started.precision, started.streams) == ("fake", "fp32", 1)
        assert started.slots == 2, "while one runs, another is decoded"
        assert started.trained_size is None, "the file does not say"
        assert started.seconds > 0
        assert "Engine: fake" in started.summary


def test_seconds_are_those_of_the_stages_and_waiting_is_apart() -> None:
    engine = FakeEngine()
    with load(fake_onnx(), engine=engine, streams=1) as detector, worker(detector) as (pipe, _):
        while engine.begun.acquire(blocking=False):
            pass  # the runs of the start
        engine.hold = threading.Event()
        pipe.send(detect(1, picture()))
        pipe.send(detect(2, picture()))
        assert engine.begun.acquire(timeout=60)
        assert not pipe.poll(0.3), "the network holds the first, and the second behind it"
        engine.hold.set()
        reports = {report.number: report for report in (pipe.recv(), pipe.recv())}
    assert set(reports) == {1, 2}
    assert all(isinstance(report, Done) for report in reports.values())
    held, waited = sorted(reports.values(), key=lambda report: report.waited)
    assert held.seconds["network"] > 0.2
    assert waited.seconds["network"] < held.seconds["network"]
    assert list(held.seconds) == ["decode", "preprocess", "network", "postprocess", "write"]


def test_a_refused_order_leaves_nothing_for_the_collector() -> None:
    with (
        load(fake_onnx(), engine=FakeEngine(), streams=1) as detector,
        worker(detector) as (pipe, _),
    ):

        def held() -> int:
            return sum(type(one) is Refused for one in gc.get_objects())

        gc.collect()
        gc.disable()
        try:
            before = held()
            pipe.send(Order(1, Parse(b"{", None, 9)))
            assert isinstance(pipe.recv(), NotDone)
            wait(lambda: held() == before)  # its thread is on its way out of the order
        finally:
            gc.enable()


def test_a_cancelled_order_does_not_reach_the_network() -> None:
    engine = FakeEngine()
    with load(fake_onnx(), engine=engine, streams=1) as detector, worker(detector) as (pipe, _):
        while engine.begun.acquire(blocking=False):
            pass  # the runs of the start
        engine.hold = threading.Event()
        pipe.send(detect(1, picture()))
        assert engine.begun.acquire(timeout=60)
        pipe.send(detect(2, picture()))
        pipe.send(Cancel(2))
        pipe.send(Cancel(99))
        wait_until_read(pipe)
        runs = len(engine.runs)
        engine.hold.set()
        reports = {report.number: report for report in (pipe.recv(), pipe.recv())}
    assert isinstance(reports[1], Done)
    assert isinstance(reports[2], NotDone)
    assert len(engine.runs) == runs


def test_an_order_may_end_while_its_cancelling_is_read() -> None:
    class Ending(dict[int, Any]):
        """Orders that end as soon as somebody has looked whether they run."""

        def __contains__(self, number: Any) -> bool:
            return self.pop(number, None) is not None

    ours, theirs = Pipe()
    with load(fake_onnx(), engine=FakeEngine(), streams=1) as detector, ours, theirs:
        one = Worker(theirs, detector)
        one._running = Ending({1: Stopwatch()})
        ours.send(Cancel(1))
        ours.send(None)
        one.serve()
        assert isinstance(ours.recv(), Started)


def test_a_refused_image_is_a_report_and_the_next_is_done() -> None:
    with (
        load(fake_onnx(), engine=FakeEngine(), streams=1) as detector,
        worker(detector) as (pipe, _),
    ):
        pipe.send(detect(1, picture()[:-2]))
        report = pipe.recv()
        assert isinstance(report, NotDone)
        assert report.code == "corrupt_image"
        pipe.send(detect(2, picture()))
        assert isinstance(pipe.recv(), Done)


def test_a_device_with_the_whole_road_is_given_the_decoded_image() -> None:
    pytest.importorskip("torch", reason="the torch extra is not installed")
    from small_network import small_onnx
    from small_torch import RoadEngine

    pixels = np.random.default_rng(0).integers(0, 256, (50, 80, 3), np.uint8)
    import cv2

    data = bytes(cv2.imencode(".png", pixels)[1])
    with load(small_onnx(), engine=RoadEngine(), device="cuda") as detector:
        wanted = detector(data)
        with worker(detector) as (pipe, started):
            assert started.slots == started.streams + started.threads
            pipe.send(Order(1, Detect(data, "", Selection(), "json")))
            report = pipe.recv()
    assert len(wanted)
    assert report.result == f"{wanted.to_json()}\n".encode()
    assert list(report.seconds) == ["decode", "network", "write"]
