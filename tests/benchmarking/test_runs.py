"""Configurations: how they are written, opened, timed, and what becomes of those that fail."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_clock import FakeClock
from fake_engine import FakeEngine
from fake_network import fake_onnx
from small_network import small_onnx
from ssd_resnet34 import Detections
from ssd_resnet34.benchmarking.runs import (
    Configuration,
    Contender,
    Entry,
    first_that_opens,
    is_expected,
    measure,
    opened,
    parse,
)
from ssd_resnet34.errors import (
    EngineUnavailable,
    MissingExtra,
    SessionError,
    UnsupportedPrecision,
    UsageError,
    WeightsError,
)
from ssd_resnet34.runtime.engines import BUILT_IN
from ssd_resnet34.runtime.precision import PRECISIONS
from ssd_resnet34.vision.images import Image

EntryPoints = Callable[..., None]


def texts(text: str) -> list[str]:
    return [str(one) for one in parse(text)]


def test_a_configuration_is_engine_precision_streams_batch_with_defaults() -> None:
    assert parse("auto") == [Configuration()]
    assert texts("openvino") == ["openvino:auto:1:1"]
    assert texts("openvino:int8:2:4, torch:bf16") == ["openvino:int8:2:4", "torch:bf16:1:1"]


def test_several_values_of_a_part_give_their_product_each_once() -> None:
    assert texts("openvino+onnxruntime:int8+fp32:1:1+2,openvino:int8") == [
        "openvino:int8:1:1",
        "openvino:int8:1:2",
        "openvino:fp32:1:1",
        "openvino:fp32:1:2",
        "onnxruntime:int8:1:1",
        "onnxruntime:int8:1:2",
        "onnxruntime:fp32:1:1",
        "onnxruntime:fp32:1:2",
    ]


def test_all_is_every_engine_and_precision(entry_points: EntryPoints) -> None:
    entry_points(FakeEngine())
    found = parse("all:all")
    assert {one.engine for one in found} == {*BUILT_IN, "fake"}
    assert len(found) == len(PRECISIONS) * (len(BUILT_IN) + 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "give engine:precision:streams:batch"),
        ("auto,,auto", "give engine:precision:streams:batch"),
        ("auto:int8:1:1:1", "give engine:precision:streams:batch"),
        ("auto:int8+", "give engine:precision:streams:batch"),
        ("opnvino", "engine 'opnvino' is unknown; use all, auto, openvino"),
        ("auto:int4", "precision 'int4' is unknown"),
        ("auto:int8:0", "streams '0': give a number from 1 to 64"),
        ("auto:int8:two", "streams 'two'"),
        ("auto:int8:1:257", "batch '257': give a number from 1 to 256"),
        ("auto:int8:1:-1", "batch '-1'"),
        ("auto:int8:1:²", "batch"),
    ],
)
def test_what_is_no_configuration_is_refused_and_named(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert said in str(caught.value)


def entry(name: str, run: Callable[[], object], log: list[str], **facts: Any) -> Entry:
    @contextmanager
    def open_it() -> Iterator[Contender]:
        log.append(f"open {name}")
        try:
            yield Contender(name, run, **facts)
        finally:
            log.append(f"close {name}")

    return Entry(name, open_it)


def failing(name: str, error: Exception) -> Entry:
    def open_it() -> AbstractContextManager[Contender]:
        raise error

    return Entry(name, open_it)


def test_every_entry_is_paired_with_the_baseline_and_closed_before_the_next() -> None:
    clock, log, pairs = FakeClock(), list[str](), list[int]()
    baseline = Contender("base", clock.taking(4))
    entries = [entry("fast", clock.taking(1), log), entry("slow", clock.taking(8), log)]
    found = list(measure(baseline, entries, 15, clock=clock, on_pair=lambda: pairs.append(1)))
    assert [run.name for run in found] == ["base", "fast", "slow"]
    ratios = [run.ratio for run in found]
    assert [one and (one.median, one.low, one.high, one.pairs) for one in ratios] == [
        (1, 1, 1, 15),  # the baseline against itself
        (0.25, 0.25, 0.25, 15),
        (2, 2, 2, 15),
    ]
    assert [run.images_per_second for run in found] == [0.25, 1, 0.125]
    assert log == ["open fast", "close fast", "open slow", "close slow"]
    assert len(pairs) == 45


def test_times_and_ratios_are_of_one_image() -> None:
    clock = FakeClock()
    baseline = Contender("base", clock.taking(2), streams=1, batch=2)  # 1 s an image
    eight = entry("eight", clock.taking(4), [], streams=2, batch=4)  # 0.5 s an image
    _, found = measure(baseline, [eight], 3, clock=clock)
    assert found.seconds is not None
    assert found.seconds.p50 == 0.5
    assert found.images_per_second == 2
    assert found.ratio is not None
    assert found.ratio.median == 0.5


def test_a_run_says_what_it_got_of_the_cpu_time_of_its_threads() -> None:
    clock, busy = FakeClock(), FakeClock()

    def work(seconds: float, used: float, warm_up: float) -> Callable[[], None]:
        wall, calls = clock.taking(seconds), list[float]()

        def run() -> None:
            calls.append(warm_up if len(calls) < 2 else used)
            busy.now += calls[-1]
            wall()

        return run

    baseline = Contender("base", work(2, 4, warm_up=4), threads=2)
    entries = [
        entry("half", work(4, 4, warm_up=8), [], threads=2),
        entry("one", work(4, 4, warm_up=0), [], threads=1),
        entry("unknown", work(4, 4, warm_up=0), []),
    ]
    found = measure(baseline, entries, 3, clock=clock, cpu_clock=busy)
    assert [run.cpu for run in found] == [1, 0.5, 1, None]


def test_one_that_is_interrupted_is_a_row_and_the_last() -> None:
    clock = FakeClock()

    def interrupted() -> None:
        raise KeyboardInterrupt

    entries = [entry("b", interrupted, []), entry("c", clock.taking(1), [])]
    found = measure(Contender("a", clock.taking(1)), entries, 2, clock=clock)
    rows = [next(found), next(found)]
    with pytest.raises(KeyboardInterrupt):
        next(found)
    assert [(run.name, run.fault) for run in rows] == [
        ("a", ""),
        ("b", "interrupted before all of its pairs were done"),
    ]


def test_what_an_engine_says_it_cannot_run_is_not_expected_to(entry_points: EntryPoints) -> None:
    entry_points(FakeEngine())
    said = {
        text: is_expected(parse(text)[0], "cpu")
        for text in ("auto", "fake", "fake:fp32", "fake:bf16", "openvino:fp16", "openvino:int8")
    }
    assert said == {
        "auto": True,
        "fake": True,
        "fake:fp32": True,
        "fake:bf16": False,
        "openvino:fp16": False,
        "openvino:int8": True,
    }
    assert not is_expected(Configuration("openvino"), "cuda")


def test_one_that_cannot_be_had_or_fails_is_a_row_and_the_others_are_done() -> None:
    clock = FakeClock()

    def broken() -> None:
        raise SessionError("lost its way; restart it")

    log: list[str] = []
    entries = [
        failing("a", EngineUnavailable("a is not installed: pip install 'a'")),
        failing("b", UnsupportedPrecision("b has no bf16")),
        failing("c", MissingExtra("pip install 'c'")),
        entry("d", broken, log),
        entry("e", clock.taking(1), log),
    ]
    found = list(measure(Contender("base", clock.taking(1)), entries, 2, clock=clock))[1:]
    assert [run.unavailable for run in found] == [
        "a is not installed: pip install 'a'",
        "b has no bf16",
        "pip install 'c'",
        "",
        "",
    ]
    assert [run.fault for run in found] == ["", "", "", "lost its way; restart it", ""]
    assert [run.seconds is None for run in found] == [True] * 4 + [False]
    assert "close d" in log


def test_an_error_of_no_kind_we_know_is_a_row_too() -> None:
    """Engines and peers are other people's code."""
    clock = FakeClock()

    def broken() -> None:
        raise ValueError("a long story\nnegative dimensions")

    entries = [
        failing("a", ZeroDivisionError()),
        entry("b", broken, []),
        entry("c", clock.taking(1), []),
    ]
    _, a, b, c = measure(Contender("base", clock.taking(1)), entries, 2, clock=clock)
    assert a.fault == "a failed: ZeroDivisionError; leave it out"
    assert b.fault == "b failed: ValueError: negative dimensions; leave it out"
    assert c.seconds is not None
    with pytest.raises(SessionError, match="base failed: ValueError: negative dimensions"):
        list(measure(Contender("base", broken), [], 2, clock=clock))


def test_whose_turn_it_is_is_told_before_it_opens() -> None:
    log: list[str] = []
    clock = FakeClock()
    entries = [entry("a", clock.taking(1), log), failing("gone", EngineUnavailable("no"))]
    base = Contender("base", clock.taking(1))
    list(measure(base, entries, 1, clock=clock, on_begin=lambda name: log.append(f"turn {name}")))
    assert log == ["turn base", "turn a", "open a", "close a", "turn gone"]


def test_a_baseline_that_fails_is_an_error() -> None:
    def broken() -> None:
        raise SessionError("lost its way; restart it")

    with pytest.raises(SessionError, match="lost its way"):
        list(measure(Contender("base", broken), [], 2))


@pytest.fixture
def weights(tmp_path: Path) -> str:
    path = tmp_path / "fake.onnx"
    path.write_bytes(fake_onnx())
    return str(path)


def blank(count: int) -> list[Image]:
    return [Image(np.zeros((20, 30, 3), np.uint8))] * count


def test_streams_run_at_the_same_time_each_with_its_batch(
    weights: str, entry_points: EntryPoints
) -> None:
    engine = FakeEngine()
    entry_points(engine)
    configuration = Configuration("fake", "fp32", 2, 3)
    with opened(configuration, weights, blank, threads=1) as (detector, contender):
        engine.hold = threading.Event()
        thread = threading.Thread(target=contender.run)
        thread.start()
        for _ in range(2):  # both have begun, neither may end
            assert engine.begun.acquire(timeout=300)
        engine.hold.set()
        thread.join()
        assert engine.runs == [3, 3]
        assert contender.images == 6
        assert contender.name == "fake:fp32:2:3"
        assert contender.reason == "asked for"
        assert detector.session.threads == 1
    assert engine.closed == 1


def test_the_name_says_what_auto_came_to(weights: str, entry_points: EntryPoints) -> None:
    entry_points(FakeEngine())
    with opened(Configuration("fake"), weights, blank) as (_, contender):
        assert contender.name == "fake:fp32:1:1"
        assert "the artifact is fp32" in contender.reason


def test_where_the_device_has_the_whole_road_that_is_what_is_timed(
    tmp_path: Path, entry_points: EntryPoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="the torch extra is not installed")
    from small_torch import RoadEngine

    path, engine = tmp_path / "small.onnx", RoadEngine()
    path.write_bytes(small_onnx())
    entry_points(engine)
    configuration = Configuration("road", "fp32", 2, 3)
    with opened(configuration, str(path), blank, device="cuda") as (detector, contender):
        assert "pixels to boxes on the device" in contender.reason
        assert (detector.session.streams, detector.session.batch) == (2, 3)
        found: Any = contender.run()
    assert [len(batch) for batch in found] == [3, 3]
    assert all(isinstance(one, Detections) for batch in found for one in batch)


@contextmanager
def _open(configuration: Configuration) -> Iterator[tuple[Any, Contender]]:
    if configuration.engine == "gone":
        raise EngineUnavailable("gone is not installed")
    if configuration.engine == "lost":
        raise WeightsError("no weights")
    yield None, Contender(configuration.engine, lambda: None)


def test_the_first_that_opens_is_the_baseline() -> None:
    with first_that_opens([Configuration("gone"), Configuration("b")], _open) as found:
        assert found[0] == Configuration("b")
        assert found[2].name == "b"


def test_no_baseline_at_all_says_why_the_first_is_not_there() -> None:
    with (
        pytest.raises(EngineUnavailable, match="gone is not installed"),
        first_that_opens([Configuration("gone")], _open),
    ):
        pass


def test_weights_that_cannot_be_had_are_an_error_whatever_follows() -> None:
    with (
        pytest.raises(WeightsError),
        first_that_opens([Configuration("lost"), Configuration("b")], _open),
    ):
        pass
