"""Tuning: what is tried, what is timed, and which of it is taken."""

from typing import Any

import cv2
import numpy as np
import pytest

import ssd_resnet34
from fake_engine import FakeEngine
from fake_network import fake_onnx
from ssd_resnet34 import Detector
from ssd_resnet34.benchmarking import tuning
from ssd_resnet34.benchmarking.runs import Run
from ssd_resnet34.pairs import Ratio
from ssd_resnet34.runtime import cpu
from ssd_resnet34.runtime.tuning import Tuning


@pytest.fixture(autouse=True)
def _eight_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "available_threads", lambda: 8)


def test_a_cpu_tries_more_streams_and_half_the_threads() -> None:
    assert tuning.candidates("cpu", False) == [
        Tuning(8, 1, 1),
        Tuning(8, 2, 1),
        Tuning(8, 4, 1),
        Tuning(8, 8, 1),
        Tuning(4, 1, 1),
    ]


def test_one_thread_leaves_nothing_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "available_threads", lambda: 1)
    assert tuning.candidates("cpu", False) == [Tuning(1, 1, 1)]


def test_a_gpu_tries_other_batches_where_it_has_the_whole_road() -> None:
    found = tuning.candidates("cuda:1", True)
    assert found[0] == Tuning(8, 2, 16)
    assert {one.batch for one in found} == {4, 8, 16, 32, 64}
    assert {one.streams for one in found} == {1, 2, 3}
    assert len(set(found)) == len(found)
    assert {one.batch for one in tuning.candidates("cuda", False)} == {1}


def run(name: str, median: float | None) -> Run:
    return Run(name, ratio=None if median is None else Ratio(median, median, median, 15))


def test_the_fastest_is_taken_if_it_gains_more_than_noise() -> None:
    chosen = [Tuning(8, count, 1) for count in (1, 2, 4)]
    assert tuning.fastest(chosen, [run("", 1.01), run("", 0.9), run("", 0.95)]) == chosen[1]
    assert tuning.fastest(chosen, [run("", 1.0), run("", 0.985), run("", 1.2)]) == chosen[0]
    assert tuning.fastest(chosen, [run("", 1.0), run("", None), run("", 0.5)]) == chosen[2]


def test_a_contender_streams_the_pictures_and_counts_all_its_images() -> None:
    picture = cv2.imencode(".png", np.full((20, 30, 3), 99, np.uint8))[1].tobytes()
    engine = FakeEngine()
    with ssd_resnet34.load(fake_onnx(), engine=engine, threads=3, streams=2) as detector:
        found = tuning.contender(detector, [picture])
        found.run()
    assert found.name == "threads 3, streams 2, batch 1"
    assert len(engine.runs) == found.images == 8


def test_each_entry_is_loaded_in_its_turn_and_closed() -> None:
    log: list[Any] = []

    class Noted(Detector):
        def close(self) -> None:
            log.append("closed")
            super().close()

    def load(one: Tuning) -> Detector:
        log.append(one)
        detector = ssd_resnet34.load(fake_onnx(), engine=FakeEngine(), threads=one.threads)
        return Noted(detector.model, detector.session, detector.options)

    chosen = [Tuning(1, 1, 1), Tuning(2, 1, 1)]

    names = []
    for entry in tuning.entries(chosen, load, [b""]):
        with entry.open() as contender:
            names.append(contender.name)
    assert names == ["threads 1, streams 1, batch 1", "threads 2, streams 1, batch 1"]
    assert log == [chosen[0], "closed", chosen[1], "closed"]
