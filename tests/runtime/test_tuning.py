"""Threads, streams and batch: the usual ones, those that were measured, and what they hold for."""

from typing import Any

import pytest

from fake_engine import FakeEngine
from fake_network import fake_onnx
from small_network import small_onnx
from ssd_resnet34.runtime import cpu, session, tuning
from ssd_resnet34.runtime.cache import Cache
from ssd_resnet34.runtime.session import Session, Tuning


def made(**options: Any) -> Session:
    return session.create(fake_onnx(), FakeEngine(), **options)


def chosen(sess: Session) -> Tuning:
    with sess:
        return Tuning(sess.threads, sess.streams, sess.batch)


def test_a_cpu_runs_one_image_at_a_time_with_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "available_threads", lambda: 6)
    assert chosen(made()) == Tuning(6, 1, 1)
    assert tuning.usual("cuda:1") == Tuning(6, 2, 16)


def test_a_measurement_is_used_by_later_sessions_of_the_same_key() -> None:
    with made(threads=2) as sess:
        assert not sess.tuned
        sess.remember(Tuning(3, 2, 1))
    with made() as sess:
        assert sess.tuned
        assert "threads 3, streams 2, batch 1 (measured)" in sess.summary()
    assert chosen(made()) == Tuning(3, 2, 1)


def test_who_asks_for_one_of_the_three_gets_the_usual_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cpu, "available_threads", lambda: 6)
    with made() as sess:
        sess.remember(Tuning(3, 2, 1))
    assert chosen(made(streams=4)) == Tuning(6, 4, 1)
    assert chosen(made(threads=5)) == Tuning(5, 1, 1)


def test_a_measurement_holds_for_its_artifact_engine_precision_machine_and_device(
    monkeypatch: pytest.MonkeyPatch, store: Cache
) -> None:
    with made() as sess:
        sess.remember(Tuning(3, 2, 1))
    others: list[Any] = []

    class Newer(FakeEngine):
        version = "2"

    class Other(FakeEngine):
        name = "other"

    others += [session.create(fake_onnx(), engine) for engine in (Newer(), Other())]
    others.append(session.create(small_onnx(), FakeEngine()))
    others.append(session.create(fake_onnx(precision="int8"), FakeEngine()))
    monkeypatch.setattr(cpu, "identity", lambda: "another processor")
    others.append(made())
    monkeypatch.undo()
    monkeypatch.setattr("ssd_resnet34.runtime.cache.default", lambda: store)
    before = cpu.available_threads()
    monkeypatch.setattr(cpu, "available_threads", lambda: before + 1)
    others.append(made())
    for sess in others:
        with sess:
            assert not sess.tuned


def test_a_card_of_another_name_is_another_machine() -> None:
    pytest.importorskip("torch", reason="the torch extra is not installed")
    from small_torch import RoadEngine

    class Other(RoadEngine):
        def device_name(self, device: str) -> str:
            return "another card"

    with session.create(small_onnx(), RoadEngine(), device="cuda") as sess:
        assert (sess.whole_road, sess.streams, sess.batch) == (True, 2, 16)
        sess.remember(Tuning(1, 3, 32))
    with session.create(small_onnx(), RoadEngine(), device="cuda") as sess:
        assert (sess.tuned, sess.streams, sess.batch) == (True, 3, 32)
    with session.create(small_onnx(), RoadEngine(), device="cuda:1") as sess:
        assert not sess.tuned
    with session.create(small_onnx(), Other(), device="cuda") as sess:
        assert not sess.tuned
